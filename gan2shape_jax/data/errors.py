"""The one error that reading data raises, and the reading of .npz archives with it."""

import os

import numpy as np


class DataError(ValueError):
  """Data that cannot be used; one line that names the file and what was expected of it."""


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
  expected = f'expected an .npz archive with {", ".join(names)}'
  try:
    archive = np.load(path, allow_pickle=False)
    if not hasattr(archive, 'files'):
      raise DataError(f'{path}: {expected}, this is a single array')
    with archive:
      missing = [name for name in names if name not in archive.files]
      if missing:
        raise DataError(f'{path}: {expected}, it has no {", ".join(missing)}')
      return {name: archive[name] for name in names}
  except (DataError, MemoryError):
    raise
  except OSError as error:
    raise DataError(f'{path}: {expected} ({error.strerror or "it cannot be read"})') from None
  except Exception as error:  # a damaged archive fails in zipfile, zlib or numpy's header parser
    raise DataError(f'{path}: {expected} ({type(error).__name__} on reading it)') from None
