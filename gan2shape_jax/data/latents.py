"""Latents of pictures: one archive in the order of the pictures, or one file for each."""

import os
import pathlib

import numpy as np

from gan2shape_jax.data.errors import DataError, read_arrays


def read_latents(path: str | os.PathLike) -> np.ndarray:
  """Reads the latents of an archive.

  Args:
    path: an .npz archive with an array 'w': [n, w_dim] (w) or [n, layers, w_dim] (w+).

  Returns:
    float32, the array's shape.

  Raises:
    DataError: the archive cannot be read, or 'w' has another shape or type or is not finite.
  """
  return _checked(read_arrays(path, ('w',))['w'], path, "'w' [n, w_dim] or [n, layers, w_dim]", 2)


def read_latent(path: str | os.PathLike) -> np.ndarray:
  """Reads one picture's latent.

  Args:
    path: an .npy file with an array [w_dim] (w) or [layers, w_dim] (w+).

  Returns:
    float32, the array's shape; a leading axis of one is removed from [1, w_dim].

  Raises:
    DataError: the file cannot be read, or the array has another shape or type or is not finite.
  """
  expected = 'an .npy file with [w_dim] or [layers, w_dim]'
  try:
    array = np.load(path, allow_pickle=False)
  except FileNotFoundError:
    raise DataError(f'{path}: no such file, expected {expected}') from None
  except Exception as error:  # damaged files fail in several ways
    raise DataError(f'{path}: expected {expected} ({type(error).__name__})') from None
  if not isinstance(array, np.ndarray):
    raise DataError(f'{path}: expected {expected}, this is an archive')
  latent = _checked(array, path, expected, 1)
  return latent[0] if latent.ndim == 2 and latent.shape[0] == 1 else latent


def latent_files(folder: pathlib.Path, names: list[str]) -> dict[str, pathlib.Path]:
  """The files NAME.npy of the pictures; DataError names the first that is missing."""
  files = {name: folder / f'{name}.npy' for name in names}
  for file in files.values():
    if not file.is_file():
      raise DataError(f'{file}: no such file, expected the latent of a picture')
  return files


def _checked(array, path, expected, smallest):
  if array.ndim not in (smallest, smallest + 1) or array.dtype.kind != 'f' or not array.size:
    raise DataError(
      f'{path}: expected {expected} of floats, this is {list(array.shape)} of {array.dtype}'
    )
  if not np.isfinite(array).all():
    raise DataError(f'{path}: expected finite latents, some are not')
  return array.astype(np.float32)
