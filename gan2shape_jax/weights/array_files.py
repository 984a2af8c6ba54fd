"""Weights on disk: nested dicts of arrays as safetensors files, and names that must agree."""

import os
import stat
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save as safetensors_save

from gan2shape_jax.errors import ArtefactError, WeightsError
from gan2shape_jax.storage.atomic_files import write_bytes

_SEPARATOR = '/'
_MOST_NAMES = 8
_DEEPEST = 32  # parts of a name
_SMALL, _MOST_SWOLLEN = 1 << 26, 100  # of archives: bytes, and parts of the file's size
_DTYPES = {
  'F64': np.float64,
  'F32': np.float32,
  'F16': np.float16,
  'BF16': ml_dtypes.bfloat16,
  'I64': np.int64,
  'I32': np.int32,
  'I16': np.int16,
  'I8': np.int8,
  'U8': np.uint8,
  'BOOL': np.bool_,
}


def flatten(params: Mapping, prefix: str = '') -> dict[str, np.ndarray]:
  """A nested dict of arrays as a flat one, keys joined with '/'."""
  flat = {}
  for key, value in params.items():
    if not isinstance(key, str) or not key or _SEPARATOR in key:
      raise ValueError(f'{key!r} cannot be part of a name')
    if isinstance(value, Mapping):
      flat.update(flatten(value, prefix + key + _SEPARATOR))
    else:
      flat[prefix + key] = np.asarray(value)
  return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict:
  """The inverse of `flatten` (for dicts without empty groups).

  Raises:
    ValueError: a name has an empty part, too many parts, or is also the beginning of another.
  """
  params = {}
  for name, value in flat.items():
    *groups, last = parts = name.split(_SEPARATOR)
    if '' in parts or len(parts) > _DEEPEST:
      raise ValueError(f'{name!r:.60} cannot be the name of an array')
    place = params
    for group in groups:
      place = place.setdefault(group, {})
      if not isinstance(place, dict):
        raise ValueError(f'{name!r:.60} begins with the name of another array')
    if last in place:
      raise ValueError(f'{name!r:.60} is the beginning of the name of another array')
    place[last] = value
  return params


def save_safetensors(
  path: str | os.PathLike, params: Mapping, metadata: Mapping[str, str] | None = None
) -> int:
  """Writes a nested dict of arrays; the file appears complete or not at all.

  Args:
    path: the file to write; an existing one is replaced.
    params: nested dict of arrays, saved in their types.
    metadata: short texts kept in the file's header.

  Returns:
    The file's size in bytes.

  Raises:
    WeightsError: the folder cannot be written, the disk is full, or a name is no text.
  """
  arrays = {k: np.asarray(array, order='C') for k, array in sorted(flatten(params).items())}
  try:
    content = safetensors_save(arrays, metadata=dict(metadata or {}))
  except UnicodeEncodeError:
    raise WeightsError(f'cannot write {path}: expected names of text for all arrays') from None
  try:
    write_bytes(path, content)
  except ArtefactError as error:
    raise WeightsError(str(error)) from None
  return len(content)


def load_safetensors(path: str | os.PathLike, *, dtype=np.float32) -> dict:
  """Reads a nested dict of arrays.

  Args:
    path: a safetensors file.
    dtype: the type of the floating-point arrays returned; None keeps those of the file. Others
      keep theirs.

  Returns:
    The nested dict of numpy arrays.

  Raises:
    WeightsError: the file is missing or no safetensors file.
  """
  content = read_bytes(path)
  try:
    flat = {
      name: np.frombuffer(part['data'], _DTYPES[part['dtype']]).reshape(part['shape'])
      for name, part in safetensors.deserialize(content)
    }
  except safetensors.SafetensorError as error:
    raise WeightsError(f'{path}: expected a safetensors file ({error})') from None
  except KeyError as error:
    raise WeightsError(f'{path}: arrays of the type {error} are not supported') from None
  try:
    return unflatten({name: cast_floating(array, dtype) for name, array in flat.items()})
  except ValueError as error:
    raise WeightsError(f'{path}: {error}') from None


def cast_floating(array: np.ndarray, dtype) -> np.ndarray:
  """Casts a floating-point array (bfloat16 included) to `dtype`; None or others: unchanged."""
  floating = np.issubdtype(array.dtype, np.floating) or array.dtype.name == 'bfloat16'
  return array.astype(dtype) if dtype is not None and floating else array


def irregular(path: str | os.PathLike) -> str:
  """What a path is that would be read without end or for ever waited for; '' for a plain file."""
  try:
    mode = os.stat(path).st_mode
  except (OSError, ValueError):
    return ''
  kinds = ((stat.S_ISFIFO, 'a pipe'), (stat.S_ISSOCK, 'a socket'))
  kinds += ((stat.S_ISCHR, 'a device'), (stat.S_ISBLK, 'a device'))
  return next((what for is_one, what in kinds if is_one(mode)), '')


def swollen(archive: zipfile.ZipFile, size: int) -> str:
  """Why an archive is not unpacked: what it would take is out of proportion; else ''.

  Args:
    archive: an open one.
    size: of its file in bytes.
  """
  entries = archive.infolist()
  total = sum(entry.file_size for entry in entries)
  if total > _SMALL + _MOST_SWOLLEN * size:
    return f'it would take {total:,} bytes unpacked, the file has {size:,}'
  if any(entry.compress_size > size for entry in entries):
    return 'it is cut off'
  return ''


def read_bytes(path: str | os.PathLike, count: int = -1) -> bytes:
  """A file's content, or its first `count` bytes; WeightsError where it cannot be read."""
  if what := irregular(path):
    raise WeightsError(f'cannot read {path}: expected a file, this is {what}')
  try:
    with open(path, 'rb') as file:
      return file.read(count)
  except OSError as error:
    raise WeightsError(f'cannot read {path}: {error.strerror or error}') from None


def is_safetensors(path: str | os.PathLike) -> bool:
  """Whether a file is a safetensors file: they begin with a length and a JSON object.

  Raises:
    WeightsError: the file cannot be read.
  """
  return read_bytes(path, 9)[8:] == b'{'


def floating_arrays(state: Mapping, path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The entries of a state dict as arrays.

  Args:
    state: of a file, whatever is in it.
    path: the file, for messages.

  Returns:
    Names to arrays of floating-point numbers.

  Raises:
    WeightsError: one line that names the first entry that is none.
  """
  found = {}
  for name, value in state.items():
    if not isinstance(name, str):
      raise WeightsError(f'{path}: expected names of arrays, found {name!r:.40} as one')
    try:
      array = np.asarray(value)
    except ValueError:  # lists of different lengths
      array = np.empty(0, object)
    if array.dtype.kind != 'f' and array.dtype.name != 'bfloat16':
      kind = array.dtype if isinstance(value, np.ndarray) else type(value).__name__
      raise WeightsError(
        f'{path}: expected {name:.80} to be an array of floating-point numbers, this is {kind}'
      )
    found[name] = array
  return found


def compare_names(expected: Mapping, found: Mapping, *, path: str | os.PathLike):
  """Raises where two flat dicts differ in names or shapes.

  Args:
    expected: names to shapes, or to arrays; None as a value accepts any shape.
    found: names to shapes or arrays.
    path: the file, for the message.

  Raises:
    WeightsError: one line that lists missing names, extra names and shapes that differ (the first
      few of each).
  """
  missing = [name for name in expected if name not in found]
  extra = [name for name in found if name not in expected]
  differing = []
  for name in expected:
    if name in found and expected[name] is not None:
      wanted, given = _shape(expected[name]), _shape(found[name])
      if wanted != given:
        differing.append(f'{name} {_times(given)} instead of {_times(wanted)}')
  problems = [
    f'{len(names)} {what}: {_shortened(names)}'
    for what, names in (('missing', missing), ('extra', extra), ('of wrong shape', differing))
    if names
  ]
  if problems:
    raise WeightsError(f'{path}: the arrays are not the expected ones; ' + '; '.join(problems))


def _shape(value):
  return tuple(getattr(value, 'shape', value))


def _times(shape):
  return 'x'.join(str(size) for size in shape) or 'scalar'


def _shortened(names):
  more = len(names) - _MOST_NAMES
  return ', '.join(names[:_MOST_NAMES]) + (f' and {more} more' if more > 0 else '')
