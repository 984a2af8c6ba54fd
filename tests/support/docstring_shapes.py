"""Shapes as docstrings give them, held against the arrays of actual calls.

An entry of `Args:`, `Attributes:` or `Returns:` that begins with a shape, such as `depth: [height,
width] canonical depth`, is a promise. Names stand for one size throughout a call (single letters
within one docstring), '...' for any number of axes, the same ones throughout; what is a number of
the call (`height: image height`) has that size. What else the words of an entry mean is in
`_entry`. All works on traced values too.
"""

import functools
import inspect
import re
import types
from typing import NamedTuple

import jax.numpy as jnp

_SHAPE = r'\[([^\[\]]*)\]'
_ONE = re.compile(rf'(?:numpy )?(?:float32 |uint8 )?({_SHAPE}(?: or {_SHAPE})*)(?![\w(])')
_SEVERAL = re.compile(rf'(?<!\bin )\b(?!in\b)(\w+) {_SHAPE}')
_LIKE = re.compile(r'like `(\w+)`[.;]')
_LEADING = re.compile(r'leading axis (?:of )?(\w+)')


class ShapeError(AssertionError):
  """An array is not of the shape that a docstring gives."""


class Entry(NamedTuple):
  """What the words about one value say of its shape.

  Attributes:
    shapes: alternatives, each a tuple of axes as text; empty where nothing is said.
    leading: name of an axis before all others, of containers too; '' for none.
    spread: the first axis may be 1.
    whole: whether a container's fields have the shapes of its own docstring.
  """

  shapes: tuple[tuple[str, ...], ...] = ()
  leading: str = ''
  spread: bool = False
  whole: bool = True


def _axes(text):
  return tuple(axis.strip() for axis in text.split(',')) if text.strip() else ()


def _entry(text, others):
  if alias := _LIKE.match(text):
    return others.get(alias[1], Entry())
  found = _ONE.match(text)
  shapes = tuple(map(_axes, re.findall(_SHAPE, found[1]))) if found else ()
  leading = _LEADING.search(text)
  return Entry(
    shapes,
    leading=leading[1] if leading else '',
    spread='or one for all' in text,
    whole='one batch of' not in text,
  )


def _sections(documented) -> dict[str, str]:
  """Heading -> its indented lines; a docstring of Google's style."""
  parts = re.split(r'^(\w+):\n', inspect.getdoc(documented) or '', flags=re.MULTILINE)
  return {name: re.split(r'\n(?=\S)', body)[0] for name, body in zip(parts[1::2], parts[2::2])}  # noqa: B905


@functools.cache
def entries(documented, section: str) -> dict[str, Entry]:
  """Name -> entry of a section of a function's or a class's docstring."""
  body = inspect.cleandoc('\n' + _sections(documented).get(section, ''))
  found = {}
  for name, text in re.findall(r'^(\w+): (.*(?:\n +.*)*)', body, re.MULTILINE):
    found[name] = _entry(' '.join(text.split()), found)
  return found


@functools.cache
def results(function) -> tuple[Entry, ...]:
  """An entry for each value that a function returns; empty where nothing is said."""
  text = ' '.join(_sections(function).get('Returns', '').split())
  whole = _entry(text, {})
  if whole.shapes or re.match(r'An? `\w+`', text):
    return (whole,)
  if re.match(rf'\w+ {_SHAPE}', text):
    return tuple(Entry((_axes(axes),)) for _, axes in _SEVERAL.findall(text.split('. ')[0]))
  return ()


def _bound(shape, axes, sizes, spread):
  """The sizes with those of an array added, or None where it does not fit."""
  sizes = dict(sizes)
  if '...' in axes:
    at, behind = axes.index('...'), len(axes) - axes.index('...') - 1
    if len(shape) < at + behind:
      return None
    middle = shape[at : len(shape) - behind]
    if sizes.setdefault('...', middle) != middle:
      return None
    shape = shape[:at] + shape[len(shape) - behind :]
    axes = axes[:at] + axes[at + 1 :]
  if len(shape) != len(axes):
    return None
  for k, (size, axis) in enumerate(zip(shape, axes, strict=True)):
    if spread and k == 0 and size == 1:
      continue
    if axis.isdecimal():
      wanted = int(axis)
    elif axis.isidentifier():
      wanted = sizes.setdefault(axis, size)
    else:  # a sum of names
      wanted = sum(sizes[name.strip()] for name in axis.split('+'))
    if size != wanted:
      return None
  return sizes


def _check(value, entry, sizes, what):
  """Raises `ShapeError` unless a value is as its entry says; returns the sizes with its own."""
  if value is None:
    return sizes
  before = (entry.leading,) if entry.leading else ()
  if isinstance(value, tuple) and hasattr(value, '_fields'):
    if entry.whole:
      lasting = lambda names: {k: v for k, v in names.items() if len(k) > 1 or k == entry.leading}
      within = lasting(sizes)
      for name, of_field in entries(type(value), 'Attributes').items():
        inner = of_field._replace(
          shapes=tuple(before + axes for axes in of_field.shapes),
          leading=entry.leading or of_field.leading,
        )
        within = _check(getattr(value, name), inner, within, f'{what}.{name}')
      sizes = sizes | lasting(within)
    return sizes
  if not entry.shapes:
    return sizes
  shape = jnp.shape(value)
  for axes in entry.shapes:
    found = _bound(shape, axes, sizes, entry.spread)
    if found is not None:
      return found
  wanted = ' or '.join(f'[{", ".join(axes)}]' for axes in entry.shapes)
  raise ShapeError(f'{what} is {list(shape)}, its docstring says {wanted}, with {sizes}')


def checked(function, *, seen=lambda name: None):
  """The function with its arguments and results held against its docstring.

  Args:
    function: with a docstring of Google's style.
    seen: is told the function's name after each call.

  Raises:
    ShapeError: when the returned function is called, and a shape differs.
  """
  signature, given = inspect.signature(function), entries(function, 'Args')

  @functools.wraps(function)
  def call(*args, **kwargs):
    arguments = signature.bind(*args, **kwargs).arguments
    numbers = {k: v for k, v in arguments.items() if isinstance(v, int) and not isinstance(v, bool)}
    sizes, where = dict(numbers), f'{function.__module__}.{function.__qualname__}'
    for name, value in arguments.items():
      sizes = _check(value, given.get(name, Entry()), sizes, f'{where}: {name}')
    values = function(*args, **kwargs)
    told = results(function)
    for k, entry in enumerate(told):
      value = values if len(told) == 1 else values[k]
      sizes = _check(value, entry, sizes, f'{where}: result {k}')
    seen(where)
    return values

  return call


def with_shapes(module: types.ModuleType) -> dict[str, types.FunctionType]:
  """The public functions of a module whose docstrings say anything of shapes, by name."""
  own = inspect.getmembers(module, inspect.isfunction)
  says = lambda f: any(entry.shapes for entry in (*results(f), *entries(f, 'Args').values()))
  return {
    name: function
    for name, function in own
    if function.__module__ == module.__name__ and not name.startswith('_') and says(function)
  }
