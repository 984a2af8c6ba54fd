"""Unsupervised 3D shape from a 2D image GAN, in JAX.

  >>> import gan2shape_jax
  >>> model = gan2shape_jax.load('heads')
  >>> shape = gan2shape_jax.reconstruct('photo.png', model)
  >>> shape.save('photo')

The names here are imported when they are first used: `import gan2shape_jax` loads neither JAX nor
flax, and `from gan2shape_jax import renderer` loads jax and numpy only. See docs/python.md.
"""

import importlib

__version__ = '0.1.0'

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
  '__version__',
  'api',
  'errors',
  'invert',
  'load',
  'predict',
  'presets',
  'reconstruct',
  'renderer',
  'sample',
]

_MODULES = ('api', 'errors', 'presets', 'renderer')


def __getattr__(name):
  if name in _MODULES:
    return importlib.import_module(f'gan2shape_jax.{name}')
  if name in __all__:
    return getattr(importlib.import_module('gan2shape_jax.api'), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
  return sorted({*globals(), *__all__})
