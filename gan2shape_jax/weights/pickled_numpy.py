"""Stand-ins for what numpy's arrays and scalars are pickled with.

numpy's own functions would take any type and state from a file. These make arrays of plain numbers
on bytes that the file itself holds, and nothing else.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class RefusedError(Exception):
  """Something in the file that a checkpoint of tensors does not contain."""


class Dtype:
  """Stands in for `numpy.dtype`: plain numbers only."""

  def __init__(self, code, *unused):
    if re.fullmatch(r'[<>|=]?[biuf][1248]', code) is None:
      raise RefusedError(f'it has an array of the type {code!r:.20}')
    self.dtype = np.dtype(code)

  def __setstate__(self, state):
    if state[1] in ('<', '>'):
      self.dtype = self.dtype.newbyteorder(state[1])


class Array:
  """Stands in for `numpy.ndarray`; `np.asarray` makes one of it."""

  def __init__(self, values=None):
    self._values = values

  def __setstate__(self, state):
    _, shape, dtype, fortran, raw = state
    raw = raw.encode('latin-1') if isinstance(raw, str) else raw
    self._values = _numbers(raw, dtype, tuple(shape), 'F' if fortran else 'C')

  def __array__(self, dtype=None, copy=None):
    if self._values is None:
      raise RefusedError('it has an array without values')
    return np.array(self._values, dtype)


def as_arrays(content):
  """What was unpickled, with numpy's arrays in place of `Array`s.

  Args:
    content: any; its dicts and lists are changed in place, and may hold themselves.
  """
  seen, top = {}, [content]
  waiting: list[Any] = [top]
  while waiting:
    holder = waiting.pop()
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
      if isinstance(value, Array):
        holder[key] = np.asarray(value)
      elif isinstance(value, tuple) and any(isinstance(entry, Array) for entry in value):
        holder[key] = tuple(np.asarray(e) if isinstance(e, Array) else e for e in value)
      elif isinstance(value, dict | list) and id(value) not in seen:
        seen[id(value)] = value
        waiting.append(value)
  return top[0]


def _numbers(raw, dtype, shape, order):
  """An array on raw bytes, whose number must be right, in this machine's byte order."""
  values = np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)
  return values.astype(values.dtype.newbyteorder('='))


def _scalar(dtype, raw):
  raw = raw.encode('latin-1') if isinstance(raw, str) else raw
  return _numbers(raw, dtype, (), 'C')[()]


def _encode(text, encoding):
  """How pickles before protocol 3 hold bytes."""
  if encoding not in ('latin1', 'latin-1'):
    raise RefusedError(f'it has bytes encoded in {encoding!r:.20}')
  return text.encode('latin-1')


def _names():
  found: dict[tuple[str, str], Callable] = {
    ('_codecs', 'encode'): _encode,
    ('numpy', 'dtype'): Dtype,
    ('numpy', 'ndarray'): Array,
  }
  for package in ('numpy.core', 'numpy._core'):
    found[f'{package}.multiarray', 'scalar'] = _scalar
    found[f'{package}.multiarray', '_reconstruct'] = lambda *unused: Array()
    found[f'{package}.numeric', '_frombuffer'] = lambda raw, dtype, shape, order: Array(
      _numbers(raw, dtype, tuple(shape), order)
    )
  return found


KNOWN: Mapping[tuple[str, str], type | Callable] = _names()
"""(module, name) in a pickle -> what stands in for it; functions are to be wrapped."""
