"""Reads PyTorch checkpoints without PyTorch and without running code from the file.

A checkpoint is a pickle whose tensors refer to raw storages beside it: in a zip archive
(`data.pkl`, `data/0`, ...; since PyTorch 1.6), or one after the other in a stream (before). A
pickle is a program, so this unpickler knows only the handful of names that tensors need and rejects
every other before anything happens.

Source:
  the formats as documented in PyTorch's notes on serialization semantics.
"""

import collections
import io
import math
import os
import pickle
import pickletools
import zipfile

import ml_dtypes
import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import pickled_numpy
from gan2shape_jax.weights.array_files import read_bytes, swollen
from gan2shape_jax.weights.pickled_numpy import RefusedError

_STORAGE_TYPES = {
  'DoubleStorage': np.dtype(np.float64),
  'FloatStorage': np.dtype(np.float32),
  'HalfStorage': np.dtype(np.float16),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype(np.int64),
  'IntStorage': np.dtype(np.int32),
  'ShortStorage': np.dtype(np.int16),
  'CharStorage': np.dtype(np.int8),
  'ByteStorage': np.dtype(np.uint8),
  'BoolStorage': np.dtype(np.bool_),
}
_ZIP_START = b'PK\x03\x04'
_LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the magic number's pickle
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LARGEST_REPEATED = 1 << 22  # numbers of a tensor that shows some several times
_EXPECTED = 'expected a PyTorch checkpoint'


def is_torch_file(start: bytes) -> bool:
  """Whether a file that begins with these (at least 15) bytes is of one of the two formats."""
  return start.startswith((_ZIP_START, _LEGACY_START))


def read_torch_file(path: str | os.PathLike) -> dict:
  """Reads the tensors of a PyTorch checkpoint as numpy arrays.

  Args:
    path: a file made by `torch.save`, of the zip format or the older stream format. It may hold
      dicts, lists, tuples, sets, numbers, text, numpy's numbers and arrays, and dense tensors or
      parameters of the types half, bfloat16, float, double, (unsigned) integers and bool; nothing
      else.

  Returns:
    What was saved, arrays in place of tensors, in their types.

  Raises:
    WeightsError: one line: the file is missing, cut off, no checkpoint, or refers to code.
  """
  content = read_bytes(path)
  try:
    is_zip = content.startswith(_ZIP_START)
    return pickled_numpy.as_arrays(_read_zip(content) if is_zip else read_stream(content))
  except RefusedError as error:
    raise WeightsError(f'{path}: {_EXPECTED} of tensors only; {error}') from None
  except zipfile.BadZipFile:
    raise WeightsError(f'{path}: {_EXPECTED}, but the zip archive is damaged or cut off') from None
  except Exception as error:  # arbitrary bytes make an unpickler raise anything
    detail = ' '.join(str(error).split()) or type(error).__name__
    raise WeightsError(f'{path}: {_EXPECTED} ({detail[:200]})') from None


def _read_zip(content):
  """The zip format: one top folder with data.pkl and data/<key>."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    pickles = [name for name in archive.namelist() if name.split('/')[1:] == ['data.pkl']]
    if len(pickles) != 1:
      raise RefusedError('the zip archive has no data.pkl')
    if reason := swollen(archive, len(content)):
      raise RefusedError(reason)
    folder = pickles[0].split('/')[0]
    order = f'{folder}/byteorder'
    if order in archive.namelist() and archive.read(order) != b'little':
      raise RefusedError('its numbers are not little-endian')
    storages = {}

    def find_storage(key, dtype, size):
      if key not in storages:
        storages[key] = _as_numbers(archive.read(f'{folder}/data/{key}'), dtype, size)
      return storages[key]

    return load_checked(_Unpickler(io.BytesIO(archive.read(pickles[0])), find_storage))


def read_stream(content: bytes):
  """Reads the older format: magic number, protocol, system, object, keys, then the storages.

  Args:
    content: the whole file.

  Returns:
    What was saved, arrays in place of tensors and of storages.

  Raises:
    RefusedError: something in it that a checkpoint of tensors does not contain.
    Exception: almost any other, where it is damaged.
  """
  file = io.BytesIO(content)
  load = lambda *given: load_checked(_Unpickler(file, *given))
  if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
    raise RefusedError('it does not begin like one')
  if not load().get('little_endian', True):
    raise RefusedError('its numbers are not little-endian')
  # The storages come last: arrays are made on them at once and filled afterwards.
  storages = {}

  def find_storage(key, dtype, size):
    if key not in storages:
      taken = sum(storage.nbytes for storage in storages.values())
      if taken + size * dtype.itemsize > len(content):
        raise RefusedError('it is cut off')
      storages[key] = np.zeros(size, dtype)
    return storages[key]

  result = load(find_storage)
  for key in load():
    size = int.from_bytes(file.read(8), 'little')
    storage = storages.get(key)
    if storage is None or storage.size != size:
      raise RefusedError('its storages do not match its tensors')
    storage[:] = _as_numbers(file.read(size * storage.itemsize), storage.dtype, size)
  return result


def _as_numbers(raw, dtype, size):
  if len(raw) < size * dtype.itemsize:
    raise RefusedError('it is cut off')
  return np.frombuffer(raw, dtype, size)


def load_checked(unpickler: 'SafeUnpickler'):
  """Loads a pickle after a look at its instructions.

  The memo is an array in the unpickler, as long as its largest index, and bytes are made as long as
  they are said to be: a few bytes of a file could ask for any amount of memory.

  Raises:
    RefusedError: it asks for more memory than its length explains.
    Exception: almost any other, where it is damaged.
  """
  file = unpickler.file
  start, length = file.tell(), file.getbuffer().nbytes
  for instruction, argument, _ in pickletools.genops(file):
    if 'PUT' in instruction.name and argument is not None and argument > length:
      raise RefusedError('it asks for more memory than a file of its length needs')
  file.seek(start)
  return unpickler.load()


class Function:
  """A function of this program for an unpickler: a file can call it, and change nothing of it."""

  __slots__ = ('_call',)

  def __init__(self, call):
    object.__setattr__(self, '_call', call)

  def __call__(self, *arguments):
    """Calls the function."""
    return self._call(*arguments)

  def __setattr__(self, name, value):
    raise RefusedError('it changes a function')

  def __setstate__(self, state):
    raise RefusedError('it changes a function')


class SafeUnpickler(pickle.Unpickler):
  """An unpickler whose file can be looked at before."""

  def __init__(self, file: io.BytesIO):
    super().__init__(file, encoding='latin-1')
    self.file = file


class _StorageType:
  """Carries a type past the unpickler; numpy's own would accept a state from the file."""

  def __init__(self, dtype):
    self.dtype = dtype

  def __setstate__(self, state):
    raise RefusedError('it changes a type')


class Namespace:
  """Stands in for `argparse.Namespace`, in which training scripts keep their settings."""

  def __setstate__(self, state):  # also keeps a file from setting attributes of the class
    if not isinstance(state, dict):
      raise RefusedError('it has malformed settings')
    self.settings = state


class _Unpickler(SafeUnpickler):
  """An unpickler that knows tensors and containers, and no other name."""

  def __init__(self, file, find_storage=None):
    super().__init__(file)
    self._find_storage = find_storage

  def find_class(self, module, name):
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if module == 'torch._utils' and name == '_rebuild_tensor_v2':
      return Function(rebuild_tensor)
    if module == 'torch._utils' and name == '_rebuild_parameter':
      return Function(rebuild_parameter)
    if (module, name) == ('argparse', 'Namespace'):
      return Namespace
    if module == 'torch' and name == 'Size':
      return tuple
    if (found := pickled_numpy.KNOWN.get((module, name))) is not None:
      return found if isinstance(found, type) else Function(found)
    if module in ('torch', 'torch.storage') and name in _STORAGE_TYPES:
      return _StorageType(_STORAGE_TYPES[name])
    raise RefusedError(f'it refers to {module}.{name}, which was not run')

  def persistent_load(self, reference):
    kind, storage_type, key, _, size, *view = reference
    known = kind == 'storage' and isinstance(storage_type, _StorageType)
    if not known or any(v is not None for v in view):
      raise RefusedError('it has a reference of unknown kind')
    if self._find_storage is None:
      raise RefusedError('it has a tensor in its header')
    return self._find_storage(str(key), storage_type.dtype, int(size))


def rebuild_tensor(storage: np.ndarray, offset: int, shape, strides, *unused) -> np.ndarray:
  """A view of a storage, as PyTorch's function of that name makes it.

  Args:
    storage: [n] numbers.
    offset: that of the first number of the view.
    shape: the view's shape.
    strides: numbers between neighbours along each axis.
    *unused: what PyTorch needs beside.

  Returns:
    The view.

  Raises:
    RefusedError: the view does not lie within the storage.
  """
  shape, strides = tuple(shape), tuple(strides)
  if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
    raise RefusedError('it has a malformed tensor')
  if min((offset, *shape, *strides)) < 0:
    raise RefusedError('it has a malformed tensor')
  last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
  if 0 not in shape and last >= storage.size:
    raise RefusedError('it has a tensor larger than its storage')
  if math.prod(shape) > max(storage.size, _LARGEST_REPEATED):
    raise RefusedError('it has a tensor that repeats its storage without end')
  byte_strides = [stride * storage.itemsize for stride in strides]
  return np.lib.stride_tricks.as_strided(storage[offset:], shape, byte_strides)


def rebuild_parameter(data: np.ndarray, *unused) -> np.ndarray:
  """The tensor of a parameter."""
  return data
