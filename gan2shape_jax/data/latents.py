"""Latents of pictures, in whichever form others' programs leave them.

A file is numpy's (.npy, .npz) or PyTorch's (.pt, .pth). It holds one of these:
  - an array [w_dim] (w) or [layers, w_dim] (w+) of one picture, or [n, ...] of several;
  - a list of arrays, one a picture;
  - a dict with one of those as 'w', 'latent', 'latents' or 'dlatents', and perhaps 'names';
  - a dict of pictures: name or path -> array, or name -> {'latent': array, ...}, as rosinality's
    projector writes.
"""

import os
import pathlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from gan2shape_jax.data.errors import read_archive, read_array
from gan2shape_jax.errors import DataError, WeightsError
from gan2shape_jax.weights import read_torch_file

_KEYS = ('w', 'latent', 'latents', 'dlatents')
_ENDINGS = ('.npy', '.npz', '.pt', '.pth')
_PROJECTED = 'projected_w.npz'  # NVIDIA's projector makes a folder for each picture
_EXPECTED = {
  '.npy': 'an .npy file with [w_dim], [layers, w_dim] or [n, ...]',
  '.npz': f'an .npz archive with {", ".join(_KEYS)} or with a latent for each name',
  '': "a tensor, a list of tensors, or a dict with the tensor 'latent' or with one for each name",
}


class Latents(NamedTuple):
  """What a file of latents holds.

  Attributes:
    arrays: float32 [w_dim] or [layers, w_dim] each; or one array [n, ...], not taken apart.
    names: as many, where the file names them; else None.
    lacking: what to say of a picture whose name is not among them.
  """

  arrays: list[np.ndarray] | np.ndarray
  names: list[str] | None
  lacking: str = "expected a latent of {name}, its 'names' lack it"

  def in_order(self, count: int) -> list[np.ndarray] | None:
    """The latents one by one, where there are as many as `count`; else None."""
    if len(self.arrays) == count and self.arrays[0].ndim:
      return [_one(array) for array in self.arrays]
    if count == 1 and isinstance(self.arrays, np.ndarray) and self.arrays.ndim < 3:
      return [self.arrays]  # w or w+ of one picture
    return None

  def of(self, name: str, path) -> np.ndarray | None:
    """The latent of a picture by its name: the file's own, or a path's without its ending.

    Args:
      name: of the picture.
      path: of the latents, for messages.

    Returns:
      The latent, or None where no name is the picture's.

    Raises:
      DataError: several are.
    """
    wanted = unicodedata.normalize('NFC', name)
    ways: tuple[Callable[[str], str], ...] = (str, _base, _stem)
    for known in ways:
      found = [k for k, own in enumerate(self.names or []) if known(own) == wanted]
      if len(found) > 1:
        raise DataError(f'{path}: expected one latent of {name}, it has {len(found)}')
      if found:
        return _one(self.arrays[found[0]])
    return None


def read_latents(path: str | os.PathLike) -> np.ndarray | list[np.ndarray]:
  """Reads the latents of several pictures, without their names.

  Args:
    path: a file as the module's docstring tells; of one picture [w_dim] will do.

  Returns:
    float32, [n, w_dim] or [n, layers, w_dim]; a list where the file has one.

  Raises:
    DataError: the file cannot be read, or an array has another shape or type or is not finite.
  """
  latents = read_named(path).arrays
  return latents[None] if isinstance(latents, np.ndarray) and latents.ndim == 1 else latents


def read_named(path: str | os.PathLike) -> Latents:
  """Reads latents with the names that a file gives them.

  Args:
    path: a file as the module's docstring tells.

  Returns:
    `Latents`.

  Raises:
    DataError: as `read_latents`, or a name comes twice.
  """
  ending = pathlib.Path(path).suffix.lower()
  expected = _EXPECTED.get(ending, _EXPECTED[''])
  if ending == '.npy':
    content = read_array(path, expected)
  elif ending in _ENDINGS[2:]:
    content = _torch_content(path)
  else:
    expected, content = _EXPECTED['.npz'], read_archive(path, _EXPECTED['.npz'])
  if isinstance(content, Mapping):
    return _from_mapping(content, path, expected)
  return _whole(content, None, path, expected)


def read_latent(path: str | os.PathLike) -> np.ndarray:
  """Reads one picture's latent.

  Args:
    path: a file as the module's docstring tells, of one picture.

  Returns:
    float32, [w_dim] or [layers, w_dim]; a leading axis of one is removed.

  Raises:
    DataError: the file cannot be read, holds several, or an array has another shape or type or is
      not finite.
  """
  latent = read_named(path).arrays
  if isinstance(latent, list):
    if len(latent) != 1:
      raise DataError(f"{path}: expected the tensor 'latent' of one picture, it has {len(latent)}")
    latent = latent[0]
  while latent.ndim > 1 and latent.shape[0] == 1:
    latent = latent[0]
  if latent.ndim > 2:
    raise DataError(
      f'{path}: expected [w_dim] or [layers, w_dim] of floats, this is {list(latent.shape)}'
    )
  return latent


def latent_files(folder: pathlib.Path, names: list[str]) -> dict[str, pathlib.Path]:
  """The files NAME.npy (.npz, .pt, .pth) of the pictures; DataError names the first missing one."""
  files = {}
  for name in names:
    forms = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ('NFC', 'NFD'))))
    candidates = [folder / f'{form}{ending}' for form in forms for ending in _ENDINGS]
    candidates += [folder / form / _PROJECTED for form in forms]
    found = [file for file in candidates if file.is_file()]
    if not found:
      raise DataError(
        f'{candidates[0]}: no such file (nor .npz, .pt), expected the latent of a picture'
      )
    files[name] = found[0]
  return files


def _torch_content(path):
  try:
    return read_torch_file(path)
  except WeightsError as error:
    raise DataError(str(error)) from None


def _from_mapping(content, path, expected):
  """The latents of a dict: under a known key, the only array, or one for each name."""
  key = next((key for key in _KEYS if key in content), None)
  if key is not None:
    return _whole(content[key], content.get('names'), path, expected)
  named, nested = {}, False
  for name, entry in content.items():
    if isinstance(entry, Mapping):
      nested = True
      entry = next((entry[key] for key in _KEYS if key in entry), None)
    if isinstance(name, str) and isinstance(entry, np.ndarray) and entry.ndim in (1, 2, 3):
      named[name] = entry
  tensors = [entry for entry in content.values() if isinstance(entry, np.ndarray)]
  in_torch = pathlib.Path(path).suffix.lower() != '.npz'
  if in_torch and len(tensors) == 1 and not nested:  # of one or of all, whatever it is called
    return _whole(tensors[0], None, path, expected)
  if len(content) != len(named) or not _alike(named.values()):
    raise DataError(f'{path}: expected {expected}')
  arrays = [_one(_checked(array, path, expected)) for array in named.values()]
  return Latents(arrays, list(named), f'expected {expected}, none is of {{name}}')


def _alike(arrays):
  """Whether arrays could be the latents of as many pictures: not weights nor images by chance."""
  return len({array.shape[-1] for array in arrays}) == 1 and len({a.ndim for a in arrays}) == 1


def _whole(content, names, path, expected):
  """One array, or a list of them, with the names that lie beside it."""
  if isinstance(content, list | tuple):
    latents = [_one(_checked(entry, path, expected)) for entry in content]
    if not latents:
      raise DataError(f'{path}: expected {expected}, the list is empty')
  else:
    latents = _checked(content, path, expected)
  if names is None:
    return Latents(latents, None)
  try:
    names = np.asarray(names)
  except ValueError:  # lists of different lengths
    names = np.array(None)
  if names.dtype.kind != 'U' or names.shape != (len(latents),):
    raise DataError(
      f"{path}: expected 'names' with a name for each of {len(latents)} latents, "
      f'this is {list(names.shape)} of {names.dtype}'
    )
  names = [str(name) for name in names]
  twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
  if twice is not None:
    raise DataError(f"{path}: expected different 'names', {twice} comes twice")
  return Latents(latents, names)


def _one(array):
  return array[0] if array.ndim > 1 and array.shape[0] == 1 else array


def _checked(array, path, expected):
  """A latent or several as float32."""
  if not isinstance(array, np.ndarray):
    raise DataError(f'{path}: expected {expected}')
  floating = array.dtype.kind == 'f' or array.dtype.name == 'bfloat16'
  if array.ndim not in (1, 2, 3) or not floating or not array.size:
    raise DataError(
      f'{path}: expected {expected} of floats, this is {list(array.shape)} of {array.dtype}'
    )
  with np.errstate(over='ignore'):
    latents = array.astype(np.float32)  # before the look: doubles may be too large for it
  if not np.isfinite(latents).all():
    raise DataError(f'{path}: expected finite latents, some are not')
  return latents


def _base(name):
  return unicodedata.normalize('NFC', name.replace('\\', '/').rpartition('/')[2])


def _stem(name):
  return pathlib.PurePosixPath(_base(name)).stem
