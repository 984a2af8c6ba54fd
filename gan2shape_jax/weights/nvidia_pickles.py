"""Reads the network pickles of NVIDIA's StyleGAN2 without running code from them.

The PyTorch versions (stylegan2-ada-pytorch and later) write a dict of networks, each a record of
class name, source text and state; tensors are byte strings of the older PyTorch format. The
TensorFlow versions write a tuple of three networks, each a record with source text and a list of
variables. A pickle is a program, so this unpickler knows only the names that these need, stands in
with its own harmless classes for them, and rejects every other name before anything happens. The
source text stays text.
"""

import collections
import io
import os
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import pickled_numpy, torch_files

_EXPECTED = "expected one of NVIDIA's StyleGAN2 pickles"


class Module:
  """A PyTorch network or layer of the file.

  Attributes:
    class_name: the class that wrote it, a text.
    state: attribute -> value; parameters, buffers and layers under `_parameters`, ...
  """

  def __init__(self, record):
    if not isinstance(record, Mapping) or not isinstance(record.get('state'), Mapping):
      raise torch_files.RefusedError('it has a malformed network')
    self.class_name = str(record.get('class_name'))
    self.state = record['state']

  def __setstate__(self, state):
    raise torch_files.RefusedError('it has a malformed network')


class Network:
  """A TensorFlow network of the file.

  Attributes:
    state: its record: `variables`, `components`, `static_kwargs`, ...
  """

  state: Mapping = {}

  def __setstate__(self, state):
    if not isinstance(state, Mapping):
      raise torch_files.RefusedError('it has a malformed network')
    self.state = state


def read_nvidia_pickle(content: bytes, *, path: str | os.PathLike):
  """Reads a pickle's networks.

  Args:
    content: the file's bytes.
    path: the file, for messages.

  Returns:
    What was pickled: containers, numbers, texts, `Module`s and `Network`s; PyTorch's tensors are
    numpy arrays, numpy's arrays are objects that `np.asarray` takes.

  Raises:
    WeightsError: one line: the file is cut off, no pickle, or refers to other code.
  """
  try:
    return torch_files.load_checked(_Unpickler(io.BytesIO(content)))
  except torch_files.RefusedError as error:
    raise WeightsError(f'{path}: {_EXPECTED}; {error}') from None
  except Exception as error:  # arbitrary bytes make an unpickler raise anything
    detail = ' '.join(str(error).split()) or type(error).__name__
    raise WeightsError(f'{path}: {_EXPECTED}, this one is damaged ({detail[:200]})') from None


class _Unpickler(torch_files.SafeUnpickler):
  """An unpickler that knows the names of NVIDIA's pickles and no other."""

  def find_class(self, module, name):
    found = _KNOWN.get((module, name))
    if found is None:
      raise torch_files.RefusedError(f'it refers to {module}.{name}, which was not run')
    return found if isinstance(found, type) else torch_files.Function(found)


class _Dict(dict):
  """Stands in for a dict with attributes."""

  def __setstate__(self, state):
    pass


def _storage(content):
  """The numbers of one tensor, which lie in the pickle as a whole PyTorch file of their own."""
  storage = torch_files.read_stream(content)
  if not isinstance(storage, np.ndarray) or storage.ndim != 1:
    raise torch_files.RefusedError('it has a malformed tensor')
  return storage


_KNOWN = {
  ('torch_utils.persistence', '_reconstruct_persistent_obj'): Module,
  ('torch._utils', '_rebuild_tensor_v2'): torch_files.rebuild_tensor,
  ('torch._utils', '_rebuild_parameter'): torch_files.rebuild_parameter,
  ('torch.storage', '_load_from_bytes'): _storage,
  ('torch', 'Size'): tuple,
  ('dnnlib.tflib.network', 'Network'): Network,
  ('dnnlib.util', 'EasyDict'): _Dict,
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('builtins', 'set'): set,
  ('__builtin__', 'set'): set,
  **pickled_numpy.KNOWN,
}
