"""Writes the files that others' programs write, without those programs.

Pickles name functions and classes; stand-ins with the foreign names are put in place of the foreign
modules while pickling. Tensors are written as PyTorch writes them: into a zip archive, into the
older stream, or (in NVIDIA's pickles) each as a byte string with such a stream.
"""

import collections
import contextlib
import io
import pickle
import sys
import types
import unittest.mock
import zipfile

import numpy as np

PROTOCOL_2 = 2


def _stand_in(module, name, is_class=True):
  if is_class:
    return type(name, (), {'__module__': module, '__qualname__': name})

  def function(*arguments):
    raise AssertionError(f'{name} must not run')

  function.__module__, function.__name__, function.__qualname__ = module, name, name
  return function


_REBUILD_TENSOR = _stand_in('torch._utils', '_rebuild_tensor_v2', False)
_REBUILD_PARAMETER = _stand_in('torch._utils', '_rebuild_parameter', False)
_LOAD_FROM_BYTES = _stand_in('torch.storage', '_load_from_bytes', False)
_RECONSTRUCT = _stand_in('torch_utils.persistence', '_reconstruct_persistent_obj', False)
_STORAGES = {
  'f4': _stand_in('torch', 'FloatStorage'),
  'f8': _stand_in('torch', 'DoubleStorage'),
  'i8': _stand_in('torch', 'LongStorage'),
}


class EasyDict(dict):
  pass


class Network:
  """A TensorFlow network: its record is what is pickled."""

  def __init__(self, state):
    self.state = state

  def __getstate__(self):
    return self.state


for _class, _module in ((EasyDict, 'dnnlib.util'), (Network, 'dnnlib.tflib.network')):
  _class.__module__ = _module

_FOREIGN = [
  _REBUILD_TENSOR,
  _REBUILD_PARAMETER,
  _LOAD_FROM_BYTES,
  _RECONSTRUCT,
  *_STORAGES.values(),
  EasyDict,
  Network,
]


class Tensor:
  """A tensor or, in a state of a network, a parameter."""

  def __init__(self, array, parameter=False):
    self.array, self.parameter = np.ascontiguousarray(array).reshape(np.shape(array)), parameter


class _Storage:
  def __init__(self, array):
    self.array = array


class Module:
  """A PyTorch network or layer as NVIDIA's decorator pickles it."""

  def __init__(self, class_name, state, source=''):
    self.class_name, self.state, self.source = class_name, state, source


@contextlib.contextmanager
def _foreign_modules():
  modules = {}
  for item in _FOREIGN:
    parts = item.__module__.split('.')
    for count in range(1, len(parts) + 1):
      modules.setdefault('.'.join(parts[:count]), types.ModuleType(parts[-1]))
    setattr(modules[item.__module__], item.__name__, item)
  with unittest.mock.patch.dict(sys.modules, modules):
    yield


class _Pickler(pickle.Pickler):
  def __init__(self, file, protocol, storages):
    super().__init__(file, protocol)
    self._storages = storages

  def persistent_id(self, item):
    if self._storages is None or not isinstance(item, _Storage):
      return None
    key = str(len(self._storages))
    self._storages[key] = item.array
    kind = _STORAGES[item.array.dtype.str[1:]]
    return ('storage', kind, key, 'cpu', item.array.size, *self.view_metadata)

  view_metadata = ()

  def reducer_override(self, item):
    if isinstance(item, Tensor):
      if item.parameter:
        return _REBUILD_PARAMETER, (Tensor(item.array), False, collections.OrderedDict())
      strides = tuple(stride // item.array.itemsize for stride in item.array.strides)
      view = (_Storage(item.array), 0, item.array.shape, strides, False, collections.OrderedDict())
      return _REBUILD_TENSOR, view
    if isinstance(item, _Storage):
      return _LOAD_FROM_BYTES, (torch_stream(item),)
    if isinstance(item, Module):
      record = EasyDict(
        type='class',
        version=6,
        module_src=item.source,
        class_name=item.class_name,
        state=item.state,
      )
      return _RECONSTRUCT, (dict(record),)
    return NotImplemented


class _StreamPickler(_Pickler):
  view_metadata = (None,)


def nvidia_pickle(content, protocol=3):
  """`content` as `pickle.dump` writes it where PyTorch's and NVIDIA's packages are installed."""
  file = io.BytesIO()
  with _foreign_modules():
    _Pickler(file, protocol, None).dump(content)
  pickled = file.getvalue()
  if protocol < 4:  # numpy before version 2, with which most of these files were made
    pickled = pickled.replace(b'cnumpy._core.', b'cnumpy.core.')
  return pickled


def torch_stream(content):
  """What `torch.save` wrote before PyTorch 1.6."""
  file, storages = io.BytesIO(), {}
  sizes = {'short': 2, 'int': 4, 'long': 4}
  header = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': sizes}
  for part in (0x1950A86A20F9469CFC6C, 1001, header):
    pickle.dump(part, file, PROTOCOL_2)
  with _foreign_modules():
    _StreamPickler(file, PROTOCOL_2, storages).dump(content)
  pickle.dump(sorted(storages), file, PROTOCOL_2)
  for key in sorted(storages):
    file.write(storages[key].size.to_bytes(8, 'little') + storages[key].tobytes())
  return file.getvalue()


def torch_zip(path, content):
  """What `torch.save` writes: dicts of arrays and tensors become dicts of tensors."""
  file, storages = io.BytesIO(), {}
  with _foreign_modules():
    _Pickler(file, PROTOCOL_2, storages).dump(tensors(content))
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', file.getvalue())
    archive.writestr('archive/byteorder', 'little')
    for key, array in storages.items():
      archive.writestr(f'archive/data/{key}', array.tobytes())
    archive.writestr('archive/version', '3\n')
  return path


def tensors(content):
  """The same dicts, with tensors for arrays."""
  if isinstance(content, dict):
    return type(content)((key, tensors(value)) for key, value in content.items())
  return Tensor(content) if isinstance(content, np.ndarray) else content


def random_arrays(shapes, seed=0):
  """float32 arrays of the shapes that a (nested) dict gives."""
  random = np.random.default_rng(seed)

  def draw(entry):
    if isinstance(entry, dict):
      return {name: draw(value) for name, value in entry.items()}
    return 0.1 * random.standard_normal(entry, np.float32)

  return draw(shapes)
