"""The one loop of all trainings: runs their iterations and decides when to save, show and stop."""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from gan2shape_jax.errors import Preempted
from gan2shape_jax.runtime.last_state import LastState
from gan2shape_jax.runtime.progress import Progress

LONGEST = 60.0  # seconds between checkpoints: under whatever load, little is ever lost


class Iteration(NamedTuple):
  """What an iteration made; a training may have events of its own with at least these fields.

  Attributes:
    state: pytree of arrays; valid until the next iteration, which may consume them.
    terms: the losses, as arrays on the device.
    boundary: whether a checkpoint must hold this state.
  """

  state: Any
  terms: dict[str, Any]
  boundary: bool = False


class Course(NamedTuple):
  """Where a training stands, and what is its own in how it is followed.

  Attributes:
    label: what is trained, for people.
    done: iterations that are behind.
    total: iterations of the whole training.
    iteration: (done) -> a context around the iteration that comes after so many, with its report;
      it gives whether programs are compiled in it.
    saves_at: (done) -> whether to save after so many, beside boundaries.
    stopped: (done) -> what `Preempted` tells when everything up to there is saved.
    reports_at: (done) -> whether to report after so many, beside all other occasions.
    saving: a context around the saving.
    results_follow: whether what comes after the last iteration is long enough to stop before it.
  """

  label: str
  done: int
  total: int
  iteration: Callable[[int], AbstractContextManager[bool]]
  saves_at: Callable[[int], bool]
  stopped: Callable[[int], str]
  reports_at: Callable[[int], bool] = lambda done: False
  saving: Callable[[], AbstractContextManager] = contextlib.nullcontext
  results_follow: bool = False


def compiling(
  programs: Callable[[int], Iterable[Hashable]],
) -> Callable[[int], AbstractContextManager[bool]]:
  """A context for `Course.iteration`: an iteration compiles the programs that none took before.

  Args:
    programs: (done) -> names of those that the iteration after so many takes.
  """
  seen = set()

  @contextlib.contextmanager
  def iteration(done):
    taken = set(programs(done))
    yield not taken <= seen
    seen.update(taken)

  return iteration


def follow(
  events: Iterator[Any],
  course: Course,
  *,
  save: Callable[[Any, int], tuple[Any, Callable[[Any], None]]] | None,
  report: Callable[[Any, int], None],
  stop: Callable[[], bool],
  progress: Progress,
) -> Any:
  """Runs a training from where it stands to its end.

  After each iteration `stop` is asked once. The state is saved at boundaries, when `course` says
  so, before stopping, and when the last time is a minute ago; between these a copy is kept where
  `stop` can ask for it (`LastState`). Losses are only fetched, in `report`, before a state is saved
  or kept, after a compilation, when a line is due, or when `course` says so. Speed is measured
  anew after a compilation and after the first iteration behind a boundary.

  Args:
    events: one an iteration.
    course: of the training.
    save: (event, done) -> the tree of arrays to save, and a function that writes such a tree; None
      where nothing is saved.
    report: (event, done); raises what ends the training, such as losses that are no numbers.
    stop: whether to save and stop.
    progress: takes the speed; `report` shows the losses in it.

  Returns:
    The last event, or None where nothing was left to do.

  Raises:
    Preempted: `stop` said so; the state is saved.
  """
  done, event, begins = course.done, None, True
  last = LastState(stop, course.label, done, course.total)
  saved_at = time.monotonic()
  progress.restart(done)
  while done < course.total:
    with course.iteration(done) as compiles:
      event = next(events)
      done += 1
      stopping = stop()
      late = time.monotonic() - saved_at > LONGEST
      saves = stopping or late or event.boundary or course.saves_at(done)
      keeps = not saves and save is not None and last.due()
      if saves or keeps or compiles or course.reports_at(done) or progress.due():
        report(event, done)
    if compiles or begins or event.boundary:
      progress.restart(done)
    begins = event.boundary
    last.finished(done)
    if save is not None and (saves or keeps):
      with course.saving():
        tree, write = save(event, done)
        if keeps:
          last.keep(done, tree, write)
        else:
          with last.saving(done):
            write(tree)
    if saves:
      saved_at = time.monotonic()
    if stopping and (done < course.total or course.results_follow):
      unsaved = f'{course.label}: stopped at iteration {done}/{course.total}, nothing is saved'
      raise Preempted(unsaved if save is None else course.stopped(done))
  return event
