"""The newest state of a training on the host, for a signal while an iteration does not end.

Programs consume the arrays that they are given, so while one runs there is nothing on the devices
to save. A copy is taken every few seconds; it costs at most a hundredth of the time.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np

EVERY = 5.0  # seconds between copies, at least
_SHARE = 100  # times that a copy takes, between two of them


class LastState:
  """Saves the newest copy when it is asked to, from whichever thread.

  Example:
    >>> last = LastState(stop, '000', done, total)
    >>> if saves:
    ...   with last.saving(done):
    ...     checkpoints.save(done, tree)
    ... elif last.due():
    ...   last.keep(done, tree, lambda copy: checkpoints.save(done, copy))
  """

  def __init__(self, stop: Callable[[], bool], label: str, done: int, total: int):
    """Takes no copy yet.

    Args:
      stop: of the training; where it has a method `at_worst`, that is given `save`.
      label: what is trained.
      done: iterations that are on disk.
      total: iterations of the whole training.
    """
    self._label, self._saved, self._total = label, done, total
    self._newest: Callable[[], None] | None = None
    self._copied, self._done = done, done
    self._lock = threading.Lock()
    self._at, self._cost = time.monotonic(), 0.0
    at_worst = getattr(stop, 'at_worst', None)
    self._used = at_worst is not None
    if at_worst is not None:
      at_worst(self.save)

  def due(self) -> bool:
    """Whether a copy should be taken; never where nobody would ask for it."""
    wait = max(EVERY, _SHARE * self._cost)
    return self._used and time.monotonic() - self._at >= wait

  def finished(self, done: int) -> None:
    """Notes how many iterations are done, for what is told of the loss."""
    self._done = done

  def keep(self, done: int, tree: Any, write: Callable[[Any], None]) -> None:
    """Takes a copy.

    Args:
      done: iterations behind it.
      tree: of arrays, on devices or not.
      write: saves such a tree of numpy arrays.
    """
    begin = time.monotonic()
    # A copy in any case: numpy may look into a processor's arrays, which the next program takes.
    copy = jax.tree.map(lambda leaf: np.array(leaf) if _is_array(leaf) else leaf, tree)
    with self._lock:
      self._newest, self._copied = lambda: write(copy), done
    self._at = time.monotonic()
    self._cost = self._at - begin

  @contextlib.contextmanager
  def saving(self, done: int) -> Generator[None]:
    """Around the training's own saving of its state after so many iterations."""
    with self._lock:
      yield
      self._newest, self._saved, self._at = None, done, time.monotonic()

  def save(self) -> str:
    """Saves the newest copy, unless something newer is on disk; returns what is saved and lost.

    Raises:
      CheckpointError: the system refused.
    """
    with self._lock:
      if self._newest is not None:
        self._newest()
        self._newest, self._saved = None, self._copied
    lost = self._done - self._saved
    more = f', {lost} after it are lost' if lost > 0 else ''
    return f'{self._label} is saved at iteration {self._saved}/{self._total}{more}'


def _is_array(leaf):
  return isinstance(leaf, jax.Array | np.ndarray) and not jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )
