"""Fits a group of pictures side by side: the driver's loop, checkpoints, progress and curves."""

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import FitError
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.jobs import Fit, Job
from gan2shape_jax.reconstruction import driver, parallel, programs
from gan2shape_jax.reconstruction.parallel import Layout
from gan2shape_jax.reconstruction.state import FitState, Projections
from gan2shape_jax.runtime.following import Course, follow
from gan2shape_jax.runtime.profiling import Traces
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage.curves import Events


class Fitter:
  """Fits groups of up to `layout.pictures` pictures, each by itself, on the layout's devices."""

  def __init__(
    self,
    config: ConfigDict,
    shared: Assembly,
    layout: Layout,
    events: Events | None,
    stop: Callable[[], bool],
    traces: Traces,
    make_progress: Callable = Progress,
  ):
    """Compiles nothing yet.

    Args:
      config: a whole configuration.
      shared: frozen weights, networks and starting parameters.
      layout: of the pictures on devices.
      events: takes the curves; None for none.
      stop: asked after every iteration whether to save and stop.
      traces: takes profiles of the steps.
      make_progress: (total, label=...) -> a `Progress`, or what stands for one.
    """
    self._make_progress = make_progress
    self._config, self._plan, self.layout = config, shared.plan, layout
    self._events, self._stop, self._traces = events, stop, traces
    self._one = programs.functions(shared.networks, shared.settings)
    self._programs = parallel.build(shared.networks, shared.settings, layout)
    self._frozen = layout.shared(shared.frozen)
    self._params = jax.tree.map(np.asarray, shared.params)
    self._compiled = set()  # kinds of iterations whose programs have run

  def renewed(self, config: ConfigDict, shared: Assembly, make_progress: Callable) -> 'Fitter':
    """A fitter that has the programs and frozen weights of this one, compiled ones too.

    Args:
      config: as this one's but for the seed.
      shared: as this one's but for the starting parameters.
      make_progress: as of the constructor.
    """
    other = copy.copy(self)
    other._config, other._make_progress = config, make_progress
    other._params = jax.tree.map(np.asarray, shared.params)
    return other

  def fit(self, jobs: Sequence[Job]) -> list[Fit]:
    """Runs the method on a group from its pictures' newest checkpoints to the end.

    Args:
      jobs: up to `layout.pictures`, of one `Job.kind()`.

    Returns:
      A `Fit` for each.

    Raises:
      FitError: a picture's losses became no numbers; with data.on_error=skip it is in its `Fit`.
      CheckpointError: a checkpoint cannot be read or written.
      Preempted: `stop` said so; all is saved.
    """
    progress = self._make_progress(self._plan.total(), label=_label(jobs))
    # Places that are left over work on the last picture again; nobody looks at them.
    padded = [*jobs, *[jobs[-1]] * (self.layout.pictures - len(jobs))]
    instances = self.layout.stacked([job.instance for job in padded])
    given = padded[0].prior_depth is not None
    prior_depth = self.layout.stacked([job.prior_depth for job in padded]) if given else None
    state, position, projections, seconds = self._resume(padded, instances, prior_depth)
    if position != driver.BEGINNING:
      progress.note(f'goes on at iteration {self._plan.done_before(position)}/{progress.total}')
    for job, earlier in zip(jobs, seconds, strict=False):
      if earlier:
        job.clock.seconds['earlier runs'] = earlier
    key = functools.partial(jax.random.fold_in, jax.random.key(self._config.seed))
    keys = self.layout.stacked([key(job.number) for job in padded])
    events = driver.reconstruct(
      self._programs,
      driver.Start(state, position, projections),
      instances,
      self._frozen,
      self._plan,
      keys,
      prior_depth=prior_depth,
    )
    errors = {}
    try:
      last = follow(
        self._traced(events, position),
        self._course(jobs, position, progress),
        save=None if jobs[0].checkpoints is None else _Saver(self._plan, jobs, position, errors),
        report=functools.partial(self._report, jobs, progress, errors),
        stop=self._stop,
        progress=progress,
      )
    except FitError:
      if self._config.data.on_error != 'skip' or len(errors) < len(jobs):
        raise
      return [Fit({}, None, errors[k]) for k in range(len(jobs))]
    finally:
      progress.close()
    state = state if last is None else last.state
    progress.note('writing results')
    with _shared_clock(jobs, 'factors'):
      factors = jax.device_get(self._programs.factors(state.params, instances, self._frozen))
      params = jax.device_get(state.params)
    return [Fit(_picked(params, k), _picked(factors, k), errors.get(k)) for k in range(len(jobs))]

  def _course(self, jobs, position, progress) -> Course:
    """How the driver of a group is followed."""
    plan, total, every = self._plan, self._plan.total(), self._config.checkpoint.every

    @contextlib.contextmanager
    def iteration(done):
      part, kind = self._ahead(done)
      compiles = kind not in self._compiled
      if compiles:
        progress.note(f'compiling {part}')
      with _shared_clock(jobs, f'compile {part}' if compiles else part):
        yield compiles
      self._compiled.add(kind)

    return Course(
      progress.label,
      plan.done_before(position),
      total,
      iteration,
      saves_at=lambda done: done % every == 0,
      stopped=lambda done: f'{progress.label}: stopped at iteration {done}/{total}, saved',
      saving=lambda: _shared_clock(jobs, 'checkpoints'),
      results_follow=True,
    )

  def _ahead(self, done) -> tuple:
    """The name of the step that comes after so many iterations, and what it has compiled."""
    segment = next(self._plan.segments(self._plan.position(done)))
    return driver.STEP_NAMES[segment.step], segment.kind

  def _traced(self, events, position):
    """The driver's events, a few of each step made under a profiler."""
    for done in range(self._plan.done_before(position), self._plan.total()):
      part, kind = self._ahead(done)
      yield self._traces.call(part, kind not in self._compiled, events.__next__)

  def _resume(self, jobs, instances, prior_depth):
    """State, position, projections and seconds of the newest checkpoints, or of the beginning."""
    newest = jobs[0].newest()
    if newest is None:
      params = self.layout.stacked([self._params] * len(jobs))
      if self._programs.begin is not None:
        params = self._programs.begin(params, instances, prior_depth, self._frozen)
      return FitState(params, None), driver.BEGINNING, None, []
    position = self._plan.position(newest)
    like = FitState(self._params, None)
    if self._one.begin is not None:
      given = (self._params, jobs[0].instance, jobs[0].prior_depth, self._frozen)
      like = FitState(jax.eval_shape(self._one.begin, *given), None)
    if position.iteration:
      like = jax.eval_shape(functools.partial(self._one.fresh, step=position.step), like.params)
    states, seconds, projections = [], [], []
    for job in jobs:
      tree = job.checkpoints.restore(newest, driver.saved(like, position) | {'seconds': 0.0})
      states.append(driver.restored(tree, like))
      seconds.append(tree['seconds'])
      if position.step == driver.STEP3 and position.iteration:
        saved = job.checkpoints.restore_projections(
          position.stage, self._projections_like(like.params, job)._asdict()
        )
        projections.append(Projections(**saved))
    stacked = self.layout.stacked(projections) if projections else None
    return self.layout.stacked(states), position, stacked, seconds

  def _projections_like(self, params, job):
    state = FitState(params, None)
    collect = lambda state, instance: driver.collect(
      self._one, state, instance, self._frozen, self._plan, jax.random.key(0)
    )
    like = jax.eval_shape(collect, state, job.instance)
    # Without the frozen weights' devices: restored arrays are numpy's.
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)

  def _report(self, jobs, progress, errors, event, done):
    """Refuses losses that are no numbers, shows the total and writes all."""
    terms, (stage, step) = jax.device_get(event.terms), event.finished
    where = driver.place(self._plan, stage, step)
    for k, job in enumerate(jobs):
      bad = [name for name, values in terms.items() if not np.isfinite(values[k])]
      if k in errors:
        continue
      if bad:
        errors[k] = FitError(
          f'{job.picture.path}: {where}, iteration {done}: {", ".join(bad)} is not finite, '
          f'expected a number (smaller {_rates(self._programs, step)} may help)'
        )
        if self._config.data.on_error != 'skip':
          raise errors[k]
        continue
      prefix = f'{job.picture.name}/{driver.STEP_NAMES[step]}'.replace(' ', '_')
      values = {f'{prefix}/{name}': float(values[k]) for name, values in terms.items()}
      if self._events is not None:
        self._events.write(values, done, time.time())
    good = [k for k in range(len(jobs)) if k not in errors]
    if not good:
      raise errors[0]
    progress.update(done, where, float(np.mean(terms['total'][good])))


class _Saver:
  """Writes the states of a group; the projections of a stage, which do not change, only once."""

  def __init__(self, plan, jobs, position, errors):
    """Args: `errors` are of jobs by their places, which are not saved any more."""
    self._plan, self._jobs, self._errors = plan, jobs, errors
    in_step3 = position.step == driver.STEP3 and position.iteration
    self._stage = position.stage if in_step3 else -1  # whose projections are on disk

  def __call__(self, event, done):
    position, projections = event.position, event.projections
    # Projections are only needed to go on within step 3.
    if not position.iteration or position.stage == self._stage:
      projections = None
    good = [k for k in range(len(self._jobs)) if k not in self._errors]
    write = functools.partial(self._write, done, position, projections, good)
    return event.state, write

  def _write(self, done, position, projections, good, state):
    state, projections = jax.device_get((state, projections))
    for k in good:
      job = self._jobs[k]
      if projections is not None:
        job.checkpoints.save_projections(position.stage, _picked(projections, k)._asdict())
      tree = driver.saved(_picked(state, k), position) | {'seconds': float(job.clock.total())}
      job.checkpoints.save(done, tree)
    if projections is not None:
      self._stage = position.stage


def _rates(programs, step):
  """The settings of what a step moves by."""
  by_networks = programs.begin is None or step == driver.STEP2
  return 'optimizer.learning_rate' if by_networks else 'rates under fit'


def _label(jobs):
  first, last = jobs[0].picture.name, jobs[-1].picture.name
  return first if len(jobs) == 1 else f'{first} to {last} ({len(jobs)})'


def _picked(tree, index):
  """One picture's part of a stack."""
  return jax.tree.map(lambda leaf: leaf[index], tree)


@contextlib.contextmanager
def _shared_clock(jobs, part):
  """Adds the time spent in the block to the jobs' clocks, an equal share to each."""
  begin = time.monotonic()
  try:
    yield
  finally:
    for job in jobs:
      job.clock.add(part, (time.monotonic() - begin) / len(jobs))
