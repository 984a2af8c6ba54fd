"""Profiles of a run's steps, for TensorBoard's profile plugin, Perfetto or xprof."""

import pathlib
from collections.abc import Callable

import jax

_ITERATIONS = 3


class Traces:
  """Traces a few iterations of each step, once a run, after its program is compiled.

  Example:
    >>> traces = Traces(workdir / 'profile')
    >>> state = traces.call('step 2', compiles=False, function=lambda: update(state))
  """

  def __init__(self, folder: pathlib.Path | None):
    """Writes nothing yet; with None, never."""
    self._folder = folder
    self._seen: dict[str, int] = {}

  def call(self, step: str, compiles: bool, function: Callable):
    """Calls a function, and traces it if it is among the first iterations of its step.

    Args:
      step: its name; each iteration has a folder of its own.
      compiles: whether a program is compiled in it, which a trace is not about.
      function: without arguments; what it returns is waited for before the trace ends.

    Returns:
      What the function returns.
    """
    seen = self._seen.get(step, 0)
    if self._folder is None or compiles or seen >= _ITERATIONS:
      return function()
    self._seen[step] = seen + 1
    with jax.profiler.trace(self._folder / f'{step.replace(" ", "_")}_{seen + 1}'):
      return jax.block_until_ready(function())
