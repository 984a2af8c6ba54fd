"""The package from Python: load a model, reconstruct pictures with it (docs/python.md).

Nothing is printed and no file is written unless asked for. What the command line shows goes to
Python's logging, under the name 'gan2shape_jax', and to the `progress` functions. What cannot be
done is refused in one line, by the errors that the functions name.

Example:
  >>> import gan2shape_jax
  >>> model = gan2shape_jax.load('heads')
  >>> shape = gan2shape_jax.reconstruct('photo.png', model)
  >>> shape.mesh().export('photo.glb')
  >>> shape.save('photo')
"""

from gan2shape_jax.api.calls import InvertedLatent, invert, predict, reconstruct, sample
from gan2shape_jax.api.loading import Model, load
from gan2shape_jax.api.reconstructed import Reconstruction
from gan2shape_jax.errors import (
  ArtefactError,
  DataError,
  FitError,
  Gan2ShapeError,
  SettingsError,
  WeightsError,
)

__all__ = [
  'ArtefactError',
  'DataError',
  'FitError',
  'Gan2ShapeError',
  'InvertedLatent',
  'Model',
  'Reconstruction',
  'SettingsError',
  'WeightsError',
  'invert',
  'load',
  'predict',
  'reconstruct',
  'sample',
]
