"""SIGTERM and Ctrl-C end a command alike: what is going on is saved, and one line says so.

Importing this module takes both signals over; a script does so before its other imports, which
take seconds. Until `watch` is called nothing has begun, and a signal ends the process at once.
Afterwards the first one asks for the end, and the second Ctrl-C does not wait for it.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

GRACE = 10.0  # seconds between the signal and the end; a half more while a state is saved
GOES_ON = 'the same command goes on from the last checkpoint'

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_received: list[int] = []
_watched = threading.Event()
_asked = threading.Event()
_ending = threading.Lock()


def status() -> int:
  """The exit status after a signal: 0 as all is saved, 130 after Ctrl-C, which ends scripts."""
  return 130 if signal.SIGINT in _received else 0


def by_hand() -> bool:
  """Whether Ctrl-C was pressed; programs that were started from here then end by it too."""
  return signal.SIGINT in _received


class Stop:
  """Tells whether a signal has come, and what to save where the work does not come to its end."""

  def __init__(self):
    self._save: Callable[[], str] | None = None

  def __call__(self) -> bool:
    """Whether a signal has come."""
    return _asked.is_set()

  def at_worst(self, save: Callable[[], str]) -> None:
    """Notes what can be called from another thread to save the newest state; it tells what it did.

    Args:
      save: the latest one given counts.
    """
    self._save = save

  def save(self) -> str:
    """Saves what there is; returns what is saved and what is lost, '' where nothing is kept."""
    try:
      return '' if self._save is None else self._save()
    except Exception as error:  # a full disk, for one: the checkpoints before are whole
      return f'nothing more could be saved ({" ".join(str(error).split())[:300]})'


def watch() -> Stop:
  """Returns a function that tells whether a signal has come.

  Python sees a signal only between its own steps, not while a program is compiled or runs. So a
  thread is woken beside. After half of the grace it saves the newest state that is kept, after all
  of it, or when that is on disk, it ends the process: everything there is whole at any time.
  """
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  _watched.set()
  stop = Stop()

  def sleep(end, going=lambda: True):
    while (left := end - time.monotonic()) > 0 and going():
      if select.select([read], [], [], min(left, 0.1))[0] and os.read(read, 1)[0] == signal.SIGINT:
        _end(f'stopped: {GOES_ON}')

  def wait():
    while (number := os.read(read, 1)[0]) not in _SIGNALS:
      pass
    if number not in _received:  # the handler has not come to it yet
      _received.append(number)
    begin, told = time.monotonic(), []
    sleep(begin + GRACE / 2)
    saver = threading.Thread(target=lambda: told.append(stop.save()), daemon=True)
    saver.start()
    sleep(begin + GRACE)
    sleep(begin + 1.5 * GRACE, saver.is_alive)
    if told and told[0]:
      _end(f'stopped {GRACE:.0f} s after the signal, within what did not end: {told[0]}; {GOES_ON}')
    _end(f'stopped {GRACE:.0f} s after the signal, before a new checkpoint was whole: {GOES_ON}')

  threading.Thread(target=wait, daemon=True).start()
  return stop


def _handle(number, frame):
  again = _asked.is_set() and number == signal.SIGINT
  _received.append(number)
  _asked.set()
  if again or not _watched.is_set():
    _end(f'stopped: {GOES_ON}')


def _end(line):
  # The handler and the thread beside it may both come here; one line is enough.
  if not _ending.acquire(blocking=False):
    return
  # Not by print: the main thread may be within one.
  os.write(2, f'{line}\n'.encode())
  sys.stdout.flush()
  os._exit(status())


for _number in _SIGNALS:
  signal.signal(_number, _handle)
