"""Files that are whole or absent: written under a temporary name beside the target, then renamed.

A process killed in the middle leaves at most a hidden `.partial-*` file, which `sweep` removes.
"""

import contextlib
import json
import math
import os
import pathlib
import secrets
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from gan2shape_jax.errors import ArtefactError

_PARTIAL = '.partial-'


@contextlib.contextmanager
def whole_file(path) -> Generator[pathlib.Path, None, None]:
  """Gives a temporary path in the target's folder and renames it to the target on success.

  Args:
    path: the file to write; missing folders above it are made.

  Yields:
    A path with the same ending, to be written inside the `with` block.

  Raises:
    ArtefactError: the system refused (disk full, folder read-only, no such path). The target is
      then as it was before and the temporary file is gone.
  """
  path = pathlib.Path(path)
  partial = path.with_name(f'{_PARTIAL}{secrets.token_hex(4)}-{path.name}')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    os.replace(partial, path)
  except ArtefactError:
    raise
  except OSError as error:
    reason = error.strerror or ' '.join(str(error).split()) or type(error).__name__
    raise ArtefactError(f'cannot write {path}: {reason}') from error
  finally:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)


def sweep(folder) -> None:
  """Removes temporary files that a killed process left in a folder."""
  for leftover in pathlib.Path(folder).glob(f'{_PARTIAL}*'):
    with contextlib.suppress(OSError):
      leftover.unlink()


def write_bytes(path, content: bytes) -> None:
  """Writes bytes atomically.

  Args:
    path: the file to write.
    content: what it shall hold.

  Raises:
    ArtefactError: see `whole_file`.
  """
  with whole_file(path) as partial:
    partial.write_bytes(content)


def write_text(path, content: str) -> None:
  """Writes text as UTF-8 atomically; raises `ArtefactError` as `write_bytes` does."""
  write_bytes(path, content.encode())


def write_json(path, content: Mapping) -> None:
  """Writes a mapping as indented JSON; numbers that are not finite become null.

  Args:
    path: the file to write.
    content: strings, numbers (numpy's too), lists and mappings.

  Raises:
    ArtefactError: see `whole_file`.
  """
  write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + '\n')


def _plain(value):
  if isinstance(value, Mapping):
    return {str(key): _plain(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(entry) for entry in value]
  if hasattr(value, 'dtype'):
    return _plain(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_arrays(path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a compressed `.npz` atomically.

  Args:
    path: the file to write, ending in `.npz`.
    arrays: name -> array.

  Raises:
    ArtefactError: see `whole_file`.
  """
  with whole_file(path) as partial:
    flat: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(partial, **flat)


def read_bytes(path) -> bytes:
  """Reads a whole file.

  Args:
    path: the file to read.

  Returns:
    Its bytes.

  Raises:
    ArtefactError: it is missing or cannot be read.
  """
  try:
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ArtefactError(f'cannot read {path}: {error.strerror or error}') from error
