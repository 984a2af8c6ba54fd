"""What a picture's fit began from, as digests: kept with its state, compared when it goes on.

Files are known by their bytes and not by the pixels read from them, which another version of a
decoder or another device may change in the last bit.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from gan2shape_jax.errors import DataError
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.checkpoints import Checkpoints

GIVEN = ('picture', 'landmarks', 'mask', 'latent')  # what a picture comes with
FOUND = 'latent found'

_FILE = 'inputs.json'  # beside the checkpoints


def digests(pictures: Sequence, number: int) -> dict[str, str]:
  """The digests of what a picture comes with.

  Args:
    pictures: of a run; `inputs(number)` tells what each is read from, where it is known.
    number: of the picture.

  Returns:
    Some of `GIVEN` -> SHA-256; empty where a name and the settings tell all, as for samples.

  Raises:
    DataError: a file cannot be read.
  """
  given = getattr(pictures, 'inputs', None)
  parts = {} if given is None else given(number)
  return {kind: digest(part) for kind, part in parts.items() if part is not None}


def digest(part: str | os.PathLike | bytes | np.ndarray) -> str:
  """SHA-256 of a file's bytes, of bytes, or of an array's type, shape and bytes.

  Raises:
    DataError: the file cannot be read.
  """
  if isinstance(part, str | os.PathLike):
    try:
      with open(part, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
      raise DataError(f'{part}: expected a file ({error.strerror or error})') from None
  if isinstance(part, bytes):
    return hashlib.sha256(part).hexdigest()
  array = np.asarray(part)
  result = hashlib.sha256(f'{array.dtype} {array.shape}'.encode())
  result.update(np.ascontiguousarray(array).tobytes())
  return result.hexdigest()


def differences(before: Mapping, now: Mapping) -> list[str]:
  """Which inputs are not what they were; none where nothing is known of the earlier ones."""
  kinds = [kind for kind in (*GIVEN, FOUND) if kind in before or kind in now]
  return [kind for kind in kinds if before.get(kind) != now.get(kind)] if before else []


def keep_matching(folder: pathlib.Path, now: Mapping[str, str], progress: Progress) -> None:
  """Removes a picture's checkpoints that began from other inputs, and notes these ones.

  Args:
    folder: of the checkpoints; it need not be there.
    now: digests of the inputs.
    progress: shows what changed.

  Raises:
    ArtefactError: the folder cannot be written.
    CheckpointError: the old checkpoints cannot be removed.
  """
  path = folder / _FILE
  before = None
  with contextlib.suppress(OSError, ValueError, RecursionError):
    before = json.loads(path.read_bytes())
  known = isinstance(before, dict)
  if known and (changed := differences(before, now)):
    progress.note(
      f'{", ".join(changed)} changed since the last run: its checkpoints are removed, the fit '
      'begins anew'
    )
    Checkpoints(folder).remove()
  if not known or before != now:  # of an earlier version, or damaged: made again
    atomic_files.sweep(folder)
    atomic_files.write_json(path, now)
