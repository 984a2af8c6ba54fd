"""Arrays of a StyleGAN2's state dict as params hold them: channels last, plain weights.

Foreign layouts are channels first, and their weights are multiplied by 1 / sqrt of the fan-in
(equalised learning rate) whenever they are used; here that is done once.
"""

import os
import re
from collections.abc import Callable, Mapping

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import array_files

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
_Path = str | os.PathLike


def count(state: Mapping, pattern: str) -> int:
  """How many different numbers the names that begin like the pattern hold."""
  return len({match[1] for match in map(re.compile(pattern).match, state) if match})


def compare_params(params: Mapping, shapes: Callable, path: _Path):
  """Compares params with the shapes that their own widths imply.

  Args:
    params: converted or loaded params.
    shapes: a function of `stylegan2_shapes`.
    path: the file, for messages.

  Raises:
    WeightsError: names or shapes differ; the first few are listed.
  """
  found = array_files.flatten(params)
  array_files.compare_names(shapes(found, path), found, path=path)


def check_mean_latent(groups: Mapping, path: _Path):
  """Refuses a mean latent that does not fit the generator beside it."""
  if 'mean_latent' in groups:
    expected = {'mean_latent': groups['generator']['mapping']['layer1']['kernel'].shape[:1]}
    array_files.compare_names(expected, {'mean_latent': groups['mean_latent']}, path=path)


def check_filter(name: str, kernel: np.ndarray, gain: float, path: _Path):
  """Refuses a blur other than `gain` times the [1, 3, 3, 1] that the models have built in."""
  if kernel.shape != FILTER.shape or not np.allclose(kernel, gain * FILTER, atol=1e-3):
    raise WeightsError(f'{path}: {name} is not the [1, 3, 3, 1] filter that is supported')


def feature_map(state: Mapping, name: str, path: _Path, *, leading: int = 1) -> np.ndarray:
  """[C, H, W] (after `leading` axes of size 1) -> [H, W, C]."""
  return np.moveaxis(array(state, name, 3, path, leading=leading), 0, -1)


def kernel(
  state: Mapping, name: str, path: _Path, *, leading: int = 0, equalised: bool = True
) -> np.ndarray:
  """[O, I, KH, KW] (after `leading` axes of size 1) -> [KH, KW, I, O], / sqrt(fan-in)."""
  values = array(state, name, 4, path, leading=leading)
  fan_in = values.shape[1] * values.shape[2] * values.shape[3]
  return values.transpose(2, 3, 1, 0) * np.float32(fan_in**-0.5 if equalised else 1)


def flat(values: np.ndarray) -> np.ndarray:
  """[1, 1, I, O] -> [I, O]; others are left for the comparison of shapes to report."""
  return values[0, 0] if values.shape[:2] == (1, 1) else values


def dense(state: Mapping, name: str, path: _Path) -> np.ndarray:
  """[O, I] -> [I, O] / sqrt(I)."""
  values = array(state, name, 2, path)
  return values.T * np.float32(values.shape[1] ** -0.5)


def dense_of_map(state: Mapping, name: str, width: int, path: _Path) -> np.ndarray:
  """[O, width * 4 * 4] -> [4, 4, width, O] / sqrt(16 width)."""
  values = dense(state, name, path)
  if values.shape[0] != 16 * width:
    raise WeightsError(f'{path}: {name} has {values.shape[0]} inputs, not 16x{width}')
  return np.moveaxis(values.reshape(width, 4, 4, -1), 0, 2)


def array(
  state: Mapping, name: str, dimensions: int, path: _Path, *, leading: int = 0
) -> np.ndarray:
  """An array that must have `dimensions` axes after `leading` ones of size 1, without those."""
  values = state[name]
  if (
    values.ndim != leading + dimensions
    or values.shape[:leading] != (1,) * leading
    or not values.size
  ):
    wanted = f'{leading} axes of size 1 and {dimensions} more'
    raise WeightsError(f'{path}: {name} has shape {values.shape}, expected {wanted}')
  return values.reshape(values.shape[leading:])
