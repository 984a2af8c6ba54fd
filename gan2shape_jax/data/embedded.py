"""The data that the package carries, and the prior of views and lights."""

import importlib.resources
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.errors import DataError
from gan2shape_jax.reconstruction.state import ViewLightPrior

_PREFIX = 'embedded:'
_SHAPES = {'view_mean': (6,), 'view_cov': (6, 6), 'light_mean': (4,), 'light_cov': (4, 4)}


def embedded_path(name: str) -> pathlib.Path:
  """The folder of an embedded data set.

  Args:
    name: 'heads' or 'embedded:heads'.

  Returns:
    The folder: image/, mask/, head_mask/, depth/, latents.npz, prior.npz, stylegan2.safetensors.

  Raises:
    DataError: there is no embedded data set of that name.
  """
  root = pathlib.Path(str(importlib.resources.files('gan2shape_jax'))) / 'embedded'
  name = name.removeprefix(_PREFIX)
  known = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
  if name not in known:
    raise DataError(
      f'embedded:{name}: expected one of {", ".join(known) or "none (not installed)"}'
    )
  return root / name


def locate(value: str | os.PathLike, file: str = '') -> pathlib.Path:
  """The path that a setting means: 'embedded:NAME' is a file of that data set, others are paths.

  Args:
    value: 'embedded:heads', or a path ('~' is expanded).
    file: the file meant in the embedded data set's folder; '' is the folder itself.

  Returns:
    The path; it need not exist.

  Raises:
    DataError: there is no embedded data set of that name, no home folder, or the system refuses
      the path (too long a name, a folder that may not be entered).
  """
  place = os.fspath(value)
  if place.startswith(_PREFIX):
    return embedded_path(place) / file
  if '\0' in place:
    raise DataError(f'{place!r:.200}: expected a path')
  try:
    path = pathlib.Path(place).expanduser()
    path.is_dir()  # raises where the system refuses to look, unless there is just nothing
  except RuntimeError:
    raise DataError(f'{value}: expected a path, ~ names no home folder here') from None
  except OSError as error:
    raise DataError(f'{value:.200}: expected a path ({error.strerror})') from None
  return path


def load_prior(path: str | os.PathLike) -> ViewLightPrior:
  """Reads the Gaussians of views and lights.

  Args:
    path: an .npz archive with view_mean [6], view_cov [6, 6], light_mean [4] and light_cov
      [4, 4] in network units, or 'embedded:heads'.

  Returns:
    A `ViewLightPrior` of float32 numpy arrays.

  Raises:
    DataError: the archive cannot be read, a shape is wrong, a value is not finite, or a
      covariance is not symmetric and positive definite.
  """
  path = locate(path, 'prior.npz')
  return check_prior(read_arrays(path, tuple(_SHAPES)), path)


def check_prior(given: Mapping[str, np.ndarray], path: str | os.PathLike) -> ViewLightPrior:
  """Makes a prior of arrays that are Gaussians.

  Args:
    given: view_mean [6], view_cov [6, 6], light_mean [4] and light_cov [4, 4].
    path: the file, for messages.

  Returns:
    A `ViewLightPrior` of float32 numpy arrays.

  Raises:
    DataError: a shape is wrong, a value is not finite, or a covariance is not symmetric and
      positive definite.
  """
  arrays = {}
  for name, array in given.items():
    if array.shape != _SHAPES[name] or array.dtype.kind not in 'fiu':
      raise DataError(
        f'{path}: expected {name} {list(_SHAPES[name])} of numbers, '
        f'this is {list(array.shape)} of {array.dtype}'
      )
    with np.errstate(over='ignore'):
      arrays[name] = array.astype(np.float32)  # before the look: doubles may be too large for it
    if not np.isfinite(arrays[name]).all():
      raise DataError(f'{path}: expected finite values, some of {name} are not')
  for name in ('view_cov', 'light_cov'):
    matrix = arrays[name].astype(np.float64)
    if not np.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-6 * np.abs(matrix).max()):
      raise DataError(f'{path}: expected a symmetric {name}')
    smallest = np.linalg.eigvalsh(matrix).min()
    if smallest <= 0:
      raise DataError(
        f'{path}: expected a positive definite {name}, its smallest eigenvalue is {smallest:.2g}'
      )
  return ViewLightPrior(**arrays)
