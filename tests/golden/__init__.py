"""Replays of arrays made by the original implementation.

A replay is a function of a `Fixture` and a `Report`, registered for a file-name pattern by
`replays`. It recomputes the arrays of one fixture file with this package and hands each pair to
`Report.check` with the tolerance of the fixtures' own README. All settings (sizes, widths,
numbers of layers) are read from the arrays, so that other folders in the same format replay too.
"""

import dataclasses
import fnmatch
import functools
import pathlib
from collections.abc import Callable

import numpy as np

REPLAYS: list[tuple[str, Callable]] = []


def replays(pattern: str):
  """Registers a replay function for the fixture files whose names match `pattern`."""

  def register(function):
    REPLAYS.append((pattern, function))
    return function

  return register


def find_replay(name: str) -> Callable | None:
  """The first registered replay whose pattern matches the file name, or None."""
  return next((f for pattern, f in REPLAYS if fnmatch.fnmatch(name, pattern)), None)


class Missing:
  """An array that a file does not hold: nothing is compared with it; as an input it is an error."""

  def __init__(self, name: str):
    self.name = name

  def __getitem__(self, index):
    return self

  def __array__(self, *unused, **options):
    raise KeyError(f'the file holds no {self.name}')


@dataclasses.dataclass(frozen=True)
class Fixture:
  """One fixture file; `fixture['name']` is an array or `Missing`, `name in fixture` asks for it."""

  path: pathlib.Path

  @functools.cached_property
  def arrays(self) -> dict[str, np.ndarray]:
    with np.load(self.path, allow_pickle=False) as archive:
      return dict(archive)

  def __getitem__(self, name: str) -> np.ndarray | Missing:
    return self.arrays.get(name, Missing(name))

  def __contains__(self, name: str) -> bool:
    return name in self.arrays

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """The arrays `prefix/name`, by name."""
    start = prefix + '/'
    return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}

  def sibling(self, name: str) -> 'Fixture':
    """Another file of the same folder."""
    return Fixture(self.path.with_name(name))


@dataclasses.dataclass
class Report:
  """Collects the errors of one file as (name, error, tolerance), and what it does not hold."""

  rows: list[tuple[str, float, float]] = dataclasses.field(default_factory=list)
  missing: list[str] = dataclasses.field(default_factory=list)

  def check(
    self,
    name: str,
    actual,
    expected,
    tolerance: float,
    *,
    relative_to: str = 'max',
    where=None,
    quantile: float = 1.0,
  ):
    """Compares an array with its reference.

    Args:
      name: the array's name in the fixture.
      actual: ours, of the same shape as `expected`.
      expected: the reference.
      tolerance: the largest error allowed, in the unit that `relative_to` sets.
      relative_to: 'max' (the reference's largest absolute value), 'value' (each value's own) or
        'one' (absolute errors).
      where: optional boolean array (broadcastable): compare only there.
      quantile: the part of the values that must keep the tolerance (1.0: all).
    """
    if isinstance(expected, Missing):
      self.missing.append(name)
      return
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f'{name}: {actual.shape} but expected {expected.shape}'
    error = np.abs(actual - expected)
    if relative_to == 'max':
      error = error / max(np.abs(expected).max(), 1e-30)
    elif relative_to == 'value':
      error = error / np.maximum(np.abs(expected), 1e-30)
    elif relative_to != 'one':
      raise ValueError(f'unknown relative_to {relative_to!r}')
    if where is not None:
      error = error[np.broadcast_to(where, error.shape)]
    worst = float(np.quantile(error, quantile, method='lower')) if error.size else 0.0
    self.rows.append((name, worst if np.isfinite(error).all() else float('inf'), tolerance))

  def check_fraction(self, name: str, wrong, tolerance: float):
    """Checks that at most the part `tolerance` of the boolean array `wrong` is true."""
    self.rows.append((name, float(np.mean(wrong)), tolerance))

  def worst(self) -> tuple[str, float, float]:
    """The row with the largest error measured in its tolerance."""
    return max(self.rows, key=lambda row: row[1] / row[2])

  def failures(self) -> list[str]:
    return [f'{n}: error {e:.3g} > {t:.3g}' for n, e, t in self.rows if not e <= t]
