"""How a call is timed: alone, or in turns with others."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax


class Effort(NamedTuple):
  """How long to measure.

  Attributes:
    rounds: of which the median is taken.
    seconds: length of a round, filled with iterations.
    views: that the renderer alone shows.
    sizes: of the renderer's images, pixels.
    flips: whether mirror images are used: both are measured.
  """

  rounds: int = 5
  seconds: float = 2.0
  views: int = 16
  sizes: tuple[int, ...] = (64, 128)
  flips: tuple[bool, ...] = (False, True)


class Timing(NamedTuple):
  """Seconds of one call, and what its first call took on top of it."""

  seconds: float
  compile_seconds: float


def measure(call: Callable, effort: Effort) -> Timing:
  """Times a function without arguments.

  Args:
    call: does one iteration and returns arrays to wait for.
    effort: how often to call it.

  Returns:
    The median over the rounds.
  """
  first = seconds_of(call, 1)
  estimate = seconds_of(call, 1)  # the first that compiles nothing
  count = _filling(effort.seconds, estimate)
  seconds = statistics.median(seconds_of(call, count) for _ in range(effort.rounds))
  return Timing(seconds, max(first - seconds, 0.0))


def measure_in_turns(calls: Mapping[str, Callable], rounds: int, seconds: float) -> dict:
  """Seconds of each function: medians over rounds in which all take turns.

  What else the machine does falls on all of them, so that their ratios hold.

  Args:
    calls: functions without arguments.
    rounds: how many.
    seconds: of a round for each function, filled with whole calls.

  Returns:
    name -> seconds of a call.
  """
  counts = {}
  for name, call in calls.items():
    call()
    counts[name] = _filling(seconds, seconds_of(call, 1))
  taken = {name: [] for name in calls}
  for _ in range(rounds):
    for name, call in calls.items():
      taken[name].append(seconds_of(call, counts[name]))
  return {name: statistics.median(values) for name, values in taken.items()}


def seconds_of(call: Callable, count: int) -> float:
  """Seconds of one of `count` calls, the last waited for."""
  start = time.perf_counter()
  for _ in range(count):
    result = call()
  jax.block_until_ready(result)
  return (time.perf_counter() - start) / count


def stepping(step, state):
  """A function without arguments that goes on from the state it left: steps consume theirs."""

  def call():
    nonlocal state
    state, terms = step(state)
    return state, terms

  return call


def _filling(seconds, estimate):
  """How many calls fill a round."""
  return min(max(math.ceil(seconds / max(estimate, 1e-6)), 1), 1000)
