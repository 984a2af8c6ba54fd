"""Latents of pictures: one file in the order of the pictures, or one file for each.

Files are numpy's or PyTorch's. A PyTorch file (.pt, .pth) holds a tensor or a dict with one: the
entry 'latent', or the only tensor in it.
"""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.data.errors import DataError, read_arrays
from gan2shape_jax.weights import WeightsError, read_torch_file

_ENDINGS = ('.npy', '.pt', '.pth')


def read_latents(path: str | os.PathLike) -> np.ndarray:
  """Reads the latents of several pictures.

  Args:
    path: an .npz archive with an array 'w', or a PyTorch file: [n, w_dim] (w) or
      [n, layers, w_dim] (w+); of one picture [w_dim] will do in a PyTorch file.

  Returns:
    float32, [n, w_dim] or [n, layers, w_dim].

  Raises:
    DataError: the file cannot be read, or the array has another shape or type or is not finite.
  """
  if _is_torch_file(path):
    latents = _tensor(path)
    latents = latents[None] if latents.ndim == 1 else latents
    return _checked(latents, path, 'a tensor [n, w_dim] or [n, layers, w_dim]', 2)
  return _checked(read_arrays(path, ('w',))['w'], path, "'w' [n, w_dim] or [n, layers, w_dim]", 2)


def latent_names(path: str | os.PathLike) -> list[str] | None:
  """The names of the pictures that an archive's latents belong to.

  Args:
    path: a file that `read_latents` has read.

  Returns:
    As many names as latents, or None where the file has no 'names'.

  Raises:
    DataError: 'names' is no list of text of that length.
  """
  if _is_torch_file(path):
    return None
  with np.load(path, allow_pickle=False) as archive:
    if 'names' not in archive.files:
      return None
  arrays = read_arrays(path, ('w', 'names'))
  names = arrays['names']
  if names.dtype.kind != 'U' or names.shape != arrays['w'].shape[:1]:
    raise DataError(
      f"{path}: expected 'names' with a name for each of {len(arrays['w'])} latents, "
      f'this is {list(names.shape)} of {names.dtype}'
    )
  return [str(name) for name in names]


def read_latent(path: str | os.PathLike) -> np.ndarray:
  """Reads one picture's latent.

  Args:
    path: an .npy file or a PyTorch file with an array [w_dim] (w) or [layers, w_dim] (w+).

  Returns:
    float32, the array's shape; a leading axis of one is removed from [1, w_dim] and
    [1, layers, w_dim].

  Raises:
    DataError: the file cannot be read, or the array has another shape or type or is not finite.
  """
  if _is_torch_file(path):
    expected, array = 'a tensor [w_dim] or [layers, w_dim]', _tensor(path)
  else:
    expected = 'an .npy file with [w_dim] or [layers, w_dim]'
    array = _saved_array(path, expected)
  array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
  latent = _checked(array, path, expected, 1)
  return latent[0] if latent.ndim == 2 and latent.shape[0] == 1 else latent


def latent_files(folder: pathlib.Path, names: list[str]) -> dict[str, pathlib.Path]:
  """The files NAME.npy (or .pt, .pth) of the pictures; DataError names the first missing one."""
  files = {}
  for name in names:
    candidates = [folder / f'{name}{ending}' for ending in _ENDINGS]
    found = [file for file in candidates if file.is_file()]
    if not found:
      raise DataError(f'{candidates[0]}: no such file (nor .pt), expected the latent of a picture')
    files[name] = found[0]
  return files


def _is_torch_file(path):
  return pathlib.Path(path).suffix.lower() in _ENDINGS[1:]


def _saved_array(path, expected):
  try:
    array = np.load(path, allow_pickle=False)
  except FileNotFoundError:
    raise DataError(f'{path}: no such file, expected {expected}') from None
  except Exception as error:  # damaged files fail in several ways
    raise DataError(f'{path}: expected {expected} ({type(error).__name__})') from None
  if not isinstance(array, np.ndarray):
    raise DataError(f'{path}: expected {expected}, this is an archive')
  return array


def _tensor(path):
  """The tensor of a PyTorch file: the file itself, the entry 'latent' or the only tensor."""
  try:
    content = read_torch_file(path)
  except WeightsError as error:
    raise DataError(str(error)) from None
  if isinstance(content, Mapping):
    tensors = [value for value in content.values() if isinstance(value, np.ndarray)]
    content = content.get('latent', tensors[0] if len(tensors) == 1 else None)
  if not isinstance(content, np.ndarray):
    raise DataError(f"{path}: expected a tensor, or a dict with the tensor 'latent' or with one")
  return content


def _checked(array, path, expected, smallest):
  if array.ndim not in (smallest, smallest + 1) or array.dtype.kind != 'f' or not array.size:
    raise DataError(
      f'{path}: expected {expected} of floats, this is {list(array.shape)} of {array.dtype}'
    )
  if not np.isfinite(array).all():
    raise DataError(f'{path}: expected finite latents, some are not')
  return array.astype(np.float32)
