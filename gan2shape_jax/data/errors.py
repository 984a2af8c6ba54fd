"""The one error that reading data raises, and the reading of numpy's files with it."""

import os

import numpy as np

from gan2shape_jax.errors import DataError
from gan2shape_jax.weights import array_files


def check_regular(path: str | os.PathLike, expected: str) -> None:
  """Raises `DataError` for pipes and devices, which could be read without end.

  Args:
    path: a file; whether it exists is not looked at.
    expected: what it should be, for the message.
  """
  if what := array_files.irregular(path):
    raise DataError(f'{path}: {expected}, this is {what}')


def read_arrays(path: str | os.PathLike, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  """Reads arrays of an .npz archive.

  Args:
    path: the archive.
    names: the arrays wanted; others are not read.

  Returns:
    name -> array.

  Raises:
    DataError: the file is missing, no archive, or lacks an array.
  """
  return _read(path, f'expected an .npz archive with {", ".join(names)}', names)


def read_archive(path: str | os.PathLike, expected: str) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz archive.

  Args:
    path: the archive.
    expected: what it should hold, for messages.

  Returns:
    name -> array.

  Raises:
    DataError: the file is missing or no archive.
  """
  return _read(path, f'expected {expected}', None)


def read_array(path: str | os.PathLike, expected: str) -> np.ndarray:
  """Reads the array of an .npy file.

  Args:
    path: the file.
    expected: what it should hold, for messages.

  Raises:
    DataError: the file is missing, damaged or of another kind.
  """
  check_regular(path, f'expected {expected}')
  try:
    with open(path, 'rb') as file:
      array = np.load(file, allow_pickle=False)
  except FileNotFoundError:
    raise DataError(f'{path}: no such file, expected {expected}') from None
  except Exception as error:  # damaged files fail in several ways
    raise DataError(f'{path}: expected {expected} ({type(error).__name__})') from None
  if not isinstance(array, np.ndarray):
    raise DataError(f'{path}: expected {expected}, this is an archive')
  return array


def _read(path, expected, names):
  """The arrays named, or all, of an archive."""
  check_regular(path, expected)
  try:
    # numpy leaves a damaged archive open where it was given its name.
    with open(path, 'rb') as file:
      archive = np.load(file, allow_pickle=False)
      if not hasattr(archive, 'files'):
        raise DataError(f'{path}: {expected}, this is a single array')
      missing = [name for name in names or () if name not in archive.files]
      if missing:
        raise DataError(f'{path}: {expected}, it has no {", ".join(missing)}')
      if reason := array_files.swollen(archive.zip, os.fstat(file.fileno()).st_size):
        raise DataError(f'{path}: {expected} ({reason})')
      return {name: archive[name] for name in (archive.files if names is None else names)}
  except DataError:
    raise
  except OSError as error:
    raise DataError(f'{path}: {expected} ({error.strerror or "it cannot be read"})') from None
  except Exception as error:  # it fails in zipfile, zlib or numpy's header parser
    raise DataError(f'{path}: {expected} ({type(error).__name__} on reading it)') from None
