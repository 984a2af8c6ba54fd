"""Mean and deviation of what is measured over pictures, for tables, pages and instruments."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Statistics(NamedTuple):
  """Of the values that are numbers.

  Attributes:
    mean: NaN where there are none.
    deviation: population standard deviation; NaN where there are none.
    count: how many there are.
  """

  mean: float
  deviation: float
  count: int


def is_number(value: Any) -> bool:
  """Whether a value is a finite number: not NaN, not None, no text, no boolean."""
  number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
  return number and math.isfinite(value)


def mean_and_deviation(values: Iterable[Any]) -> Statistics:
  """The statistics of values; what is no finite number counts as absent.

  Example:
    >>> mean_and_deviation([1.0, None, 3.0, float('nan')])
    Statistics(mean=2.0, deviation=1.0, count=2)
  """
  numbers = np.array([value for value in values if is_number(value)], np.float64)
  if not len(numbers):
    return Statistics(math.nan, math.nan, 0)
  return Statistics(float(numbers.mean()), float(numbers.std()), len(numbers))
