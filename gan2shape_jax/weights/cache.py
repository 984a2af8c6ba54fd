"""Converted weights kept on disk, so that an original file is only converted once.

A file is known by its path, size and time of change; a changed file is converted anew. Where the
folder cannot be written, files are converted every time.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights.array_files import is_safetensors, load_safetensors, save_safetensors

FOLDER_VARIABLE = 'GAN2SHAPE_WEIGHTS_CACHE'
"""Environment variable that names the folder; empty for none."""

_DEFAULT = '~/.cache/gan2shape_jax/weights'


def converted(
  kind: str, paths: Sequence[str | os.PathLike], convert: Callable[[], Mapping]
) -> Mapping:
  """Params made from foreign files, from the cache where they have been made before.

  Args:
    kind: what is made of them; part of the cache's key.
    paths: the original files; a single safetensors file is never cached.
    convert: makes nested dicts of arrays out of the files.

  Returns:
    What `convert` makes, or the same read back, as float32 where it is floating-point.

  Raises:
    WeightsError: a file cannot be read, and whatever `convert` raises.
  """
  folder = os.environ.get(FOLDER_VARIABLE, _DEFAULT)
  if not folder or all(is_safetensors(path) for path in paths):
    return convert()
  folder = os.path.expanduser(folder)
  if folder.startswith('~'):  # there is no home folder: none is made of that name
    return convert()
  place = pathlib.Path(folder) / f'{kind}-{_key(kind, paths)}.safetensors'
  if place.is_file():
    with contextlib.suppress(WeightsError):  # a damaged copy is made again
      return load_safetensors(place)
  params = convert()
  with contextlib.suppress(WeightsError, OSError):  # the cache is a convenience
    place.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(place, params, {'kind': kind})
  return params


def _key(kind, paths) -> str:
  digest = hashlib.sha256(kind.encode())
  for path in paths:
    path = pathlib.Path(path)
    try:
      status = path.stat()
    except OSError as error:
      raise WeightsError(f'cannot read {path}: {error.strerror or error}') from None
    digest.update(f'{path.resolve()}|{status.st_size}|{status.st_mtime_ns}\n'.encode())
  return digest.hexdigest()[:16]
