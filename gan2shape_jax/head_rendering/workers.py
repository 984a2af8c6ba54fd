"""The same work on many heads in several processes; what comes out does not depend on how many."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering.parametric_heads import HeadMaker

_CHUNK = 8  # heads that a process takes at a time

_maker = None  # of this process


@contextlib.contextmanager
def working(maker: HeadMaker, processes: int) -> Generator[Callable, None, None]:
  """Gives a function (work, numbers) -> results in order, made where there is room.

  `work` is a function (maker, number) at the top of a module. With one process all is done in this
  one.

  Args:
    maker: of the heads.
    processes: how many.

  Yields:
    The function; its results come one by one.

  Raises:
    DataError: `processes` is below 1, or a process was killed.
  """
  if processes < 1:
    raise DataError(f'processes={processes}: expected a number of at least 1')
  if processes == 1:
    yield lambda work, numbers: (work(maker, number) for number in numbers)
    return
  context = multiprocessing.get_context('spawn')  # threads of other libraries survive no fork
  with ProcessPoolExecutor(processes, context, _start, (maker,)) as pool:

    def all_of(work, numbers: Iterable[int]):
      return pool.map(_work, ((work, number) for number in numbers), chunksize=_CHUNK)

    try:
      yield all_of
    except BrokenProcessPool:
      raise DataError('a process that made heads was killed (out of memory?)') from None
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def _start(maker):
  global _maker
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one tells it
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _maker = maker


def _end_with_parent():
  """Ends this process where the one that waits for it was killed."""
  parent = multiprocessing.parent_process()
  assert parent is not None  # this runs in workers alone
  multiprocessing.connection.wait([parent.sentinel])
  os._exit(1)


def _work(task):
  work, number = task
  return work(_maker, number)
