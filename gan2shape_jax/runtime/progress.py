"""Progress of long work: a bar at a terminal, lines elsewhere, or calls of a function."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

_TELLING = 5, 3.0  # iterations and seconds since a restart


class Progress:
  """Counts iterations and shows picture, step, loss, speed and time left.

  The loss is only fetched from the device when a line is due, so the host loop stays ahead. Speed
  is that of the iterations since the last `restart`: what an earlier run did, compiling, and the
  steps before do not count.

  Example:
    >>> progress = Progress(total, label='000')
    >>> progress.note('compiling step 1')
    >>> progress.restart(done)
    >>> if progress.due():
    ...   progress.update(done, 'step 1', float(loss))
  """

  def __init__(self, total: int, *, done: int = 0, label: str = '', interval: float = 1.0):
    """Starts counting.

    Args:
      total: iterations of the whole work.
      done: iterations done by an earlier run.
      label: what is worked on.
      interval: seconds between lines.
    """
    self.total, self.label, self.interval = total, label, interval
    self._bar = None
    self._shown = time.monotonic()
    self._start = (self._shown, done)

  def restart(self, done: int):
    """Begins to measure speed, with `done` iterations behind; call it after a compilation."""
    self._start = (time.monotonic(), done)

  def due(self) -> bool:
    """Whether a line may be shown now."""
    return time.monotonic() - self._shown >= self.interval

  def note(self, text: str):
    """Shows a line at once, such as that something is being compiled."""
    self._shown = time.monotonic()
    if self._bar is not None:
      self._bar.write(f'{self.label} {text}', file=sys.stderr)
    else:
      print(f'{self.label} {text}', file=sys.stderr, flush=True)

  def warn(self, text: str):
    """Shows a warning at once."""
    self.note(f'warning: {text}')

  def show(self, text: str):
    """Shows a line if one is due."""
    if self.due():
      self.note(text)

  def part(self, done: int, total: int, where: str, error: float):
    """Shows how far a part is that `total` does not count, and its error, if a line is due."""
    self.show(f'{where} {done}/{total} | image error {error:.4f}')

  def update(self, done: int, where: str, loss: float):
    """Shows how far the work is, if a line is due."""
    if not self.due():
      return
    if sys.stderr.isatty():
      if self._bar is None:
        before = self._start[1]
        self._bar = tqdm(
          total=self.total, initial=before, desc=self.label, unit='it', dynamic_ncols=True
        )
      self._shown = time.monotonic()
      self._bar.set_postfix_str(f'{where} loss {loss:.4g}', refresh=False)
      self._bar.update(done - self._bar.n)
      return
    told = 'starting'
    if self._is_telling(done):
      speed = self.speed(done)
      told = f'{speed:.1f} it/s | {_clock((self.total - done) / speed)} left'
    self.note(f'{where} | {done}/{self.total} | loss {loss:.4g} | {told}')

  def speed(self, done: int) -> float:
    """Iterations a second since the last `restart`."""
    since, before = self._start
    return (done - before) / max(time.monotonic() - since, 1e-9)

  def _is_telling(self, done: int) -> bool:
    """Whether enough was measured to tell rate and time left: the first iterations compile."""
    since, before = self._start
    return done - before >= _TELLING[0] and time.monotonic() - since >= _TELLING[1]

  def close(self):
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()
      self._bar = None


class CalledProgress:
  """Stands for `Progress` where nothing is printed: calls a function, and Python's logging.

  Example:
    >>> progress = CalledProgress(10, label='000', call=lambda *seen: print(seen))
    >>> progress.update(3, 'stage 1/2 step 1', 0.25)
    (3, 10, 'stage 1/2 step 1', 0.25)
  """

  def __init__(
    self,
    total: int,
    *,
    label: str = '',
    call: Callable[[int, int, str, float], None] | None = None,
  ):
    """Starts counting.

    Args:
      total: iterations of the whole work.
      label: what is worked on.
      call: called after every iteration with (done, total, step, loss), or None.
    """
    self.total, self.label, self._call = total, label, call
    self._log = logging.getLogger('gan2shape_jax')

  def restart(self, done: int):
    """Nothing: the caller may measure speed."""

  def due(self) -> bool:
    """Whether there is a function to call; without one no loss is fetched from the device."""
    return self._call is not None

  def note(self, text: str):
    """Logs a line of level INFO."""
    self._log.info('%s %s', self.label, text)

  def warn(self, text: str):
    """Logs a warning."""
    self._log.warning('%s %s', self.label, text)

  def update(self, done: int, where: str, loss: float):
    """Calls the function with how far the work is."""
    self.part(done, self.total, where, loss)

  def part(self, done: int, total: int, where: str, error: float):
    """Calls the function with how far a part is that `total` does not count."""
    if self._call is not None:
      self._call(done, total, where, error)

  def close(self):
    """Nothing is open."""


class Stopwatch:
  """Seconds spent on named parts of the work."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def part(self, name: str):
    """Adds the time spent in the block to a part."""
    start = time.monotonic()
    try:
      yield
    finally:
      self.add(name, time.monotonic() - start)

  def add(self, name: str, seconds: float):
    """Adds seconds to a part."""
    self.seconds[name] = self.seconds.get(name, 0.0) + seconds

  def total(self) -> float:
    """Seconds of all parts."""
    return sum(self.seconds.values())


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
