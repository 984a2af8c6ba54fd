"""Progress of long work: a bar at a terminal, at most a line a second elsewhere."""

import contextlib
import sys
import time

from tqdm import tqdm


class Progress:
  """Counts iterations and shows picture, step, loss, speed and time left.

  The loss is only fetched from the device when a line is due, so the host loop stays ahead.
  """

  def __init__(self, total: int, *, done: int = 0, label: str = '', interval: float = 1.0):
    """Starts counting.

    Args:
      total: iterations of the whole work.
      done: iterations done by an earlier run.
      label: what is worked on.
      interval: seconds between lines.
    """
    self.total, self.done, self.label = total, done, label
    self.interval = interval
    self._last = time.monotonic()
    self._first = (self._last, done)
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm(total=total, initial=done, desc=label, unit='it', dynamic_ncols=True)

  def due(self) -> bool:
    """Whether a line may be shown now."""
    return time.monotonic() - self._last >= self.interval

  def note(self, text: str):
    """Shows a line at once, such as that something is being compiled."""
    if self._bar is not None:
      self._bar.write(f'{self.label} {text}', file=sys.stderr)
    else:
      print(f'{self.label} {text}', file=sys.stderr, flush=True)

  def update(self, done: int, where: str, loss: float):
    """Shows a line; call it when `due`."""
    now = time.monotonic()
    started, initial = self._first
    speed = (done - initial) / max(now - started, 1e-9)
    self._last = now
    if self._bar is not None:
      self._bar.set_postfix_str(f'{where} loss {loss:.4f}')
      self._bar.update(done - self._bar.n)
      return
    left = (self.total - done) / speed if speed > 0 else 0.0
    self.note(
      f'{where} | {done}/{self.total} | loss {loss:.4f} | {speed:.1f} it/s | {_clock(left)} left'
    )

  def close(self):
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()


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
      self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes}:{seconds:02d}'
