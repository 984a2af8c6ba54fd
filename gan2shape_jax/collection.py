"""Reconstructs a collection of pictures into a folder: resumable, one picture after another."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import artefacts, data, evaluation, sources
from gan2shape_jax.artefacts.events import Events
from gan2shape_jax.assembly import Assembly, assemble
from gan2shape_jax.checkpoints import Checkpoints
from gan2shape_jax.gan_views import gan_frames
from gan2shape_jax.masks import FindMask, check_category, mask_finder
from gan2shape_jax.picture_latents import Found, LatentFinder, check_latents
from gan2shape_jax.progress import Progress, Stopwatch
from gan2shape_jax.reconstruction import driver, setup
from gan2shape_jax.reconstruction.state import FitState, Instance, Projections
from gan2shape_jax.workdir import FitError, Preempted, check_workdir, read_json

_STEP_NAMES = ('prior fit', 'step 1', 'step 2', 'step 3')
_DONE = 'timing.json'  # written last of all: the picture is done


class _Run(NamedTuple):
  """What the pictures of one call share."""

  config: ConfigDict
  shared: Assembly
  finder: LatentFinder
  find_mask: FindMask
  events: Events
  stop: Callable[[], bool]
  compiled: set  # kinds of iterations whose programs have run


def reconstruct_all(
  config: ConfigDict, workdir, *, stop: Callable[[], bool] = lambda: False
) -> list[dict]:
  """Reconstructs all pictures that a configuration names.

  A picture whose results are written is passed over, so that the same call after an interruption
  goes on where it stopped and ends with the same arrays.

  Args:
    config: a whole configuration.
    workdir: folder for the results, one subfolder a picture; made if missing.
    stop: asked after every iteration whether to save and stop.

  Returns:
    A row for each reconstructed picture: its name and metrics. With data.on_error=skip, pictures
    that could not be are left out; failed.json tells why.

  Raises:
    SettingsError, DataError, WeightsError, CheckpointError, ArtefactError, FitError: one line that
      names the setting or the file.
    Preempted: `stop` said so; a checkpoint was written.
  """
  workdir = pathlib.Path(workdir)
  setup.check_config(config)
  check_category(config)
  pictures = sources.load_pictures(config)
  waiting = [number for number, name in enumerate(pictures.names) if not _is_done(workdir / name)]
  latents, failed = {}, {}
  for number in waiting:  # a damaged file is told before hours of work, not after
    with _passed_over(config, failed, pictures.names[number]):
      picture = pictures[number]
      latents[picture.path] = None if picture.latent is None else picture.latent.shape
  waiting = [number for number in waiting if pictures.names[number] not in failed]
  text = check_workdir(workdir, config)
  if waiting:
    clock = Stopwatch()
    with clock.part('load'):
      shared = assemble(config)
      find_mask = mask_finder(config)
    check_latents(latents, shared.frozen.generator)
    # Only now: a run that could not begin leaves no claim on the folder.
    artefacts.write_text(workdir / 'config.json', text)
    finder = LatentFinder(config, shared.frozen, stop=stop)
    with Events(workdir / 'events') as events:
      run = _Run(config, shared, finder, find_mask, events, stop, set())
      for number in waiting:
        name = pictures.names[number]
        with _passed_over(config, failed, name):
          _reconstruct_one(run, pictures[number], number, workdir / name, clock)
        clock = Stopwatch()
  names = [name for name in pictures.names if name not in failed]
  if failed:
    print(f'{len(names)} done, {len(failed)} failed: {", ".join(failed)}', file=sys.stderr)
    artefacts.write_json(workdir / 'failed.json', failed)
  else:
    (workdir / 'failed.json').unlink(missing_ok=True)
  if not names:
    raise data.DataError(f'{config.data.images}: no picture could be reconstructed')
  rows = [_row(name, workdir / name) for name in names]
  if waiting or not _is_current(workdir, names):
    try:
      evaluation.write_metrics(workdir / 'metrics.csv', rows)
    except OSError as error:
      raise artefacts.ArtefactError(
        f'cannot write {workdir / "metrics.csv"}: {error.strerror or error}'
      ) from error
    artefacts.write_page(workdir, names)
  return rows


@contextlib.contextmanager
def _passed_over(config, failed, name):
  """With data.on_error=skip, notes what is wrong with a picture in place of raising it."""
  try:
    yield
  except (data.DataError, FitError) as error:
    if config.data.on_error != 'skip':
      raise
    failed[name] = str(error)
    print(f'passed over: {error}', file=sys.stderr)


def _is_done(folder):
  """Whether all results of a picture are there; removes what was only needed to get there."""
  if not all((folder / name).is_file() for name in (_DONE, 'metrics.json', 'factors.npz')):
    return False
  if (folder / 'checkpoints').exists():  # killed between the last file and their removal
    Checkpoints(folder / 'checkpoints').remove()
  return True


def _is_current(workdir, names):
  """Whether table and page were written after the results of all pictures."""
  written = [workdir / 'metrics.csv', workdir / 'index.html']
  if not all(path.is_file() for path in written):
    return False
  with open(written[0], encoding='utf-8') as table:
    listed = [line.split(',')[0] for line in table][1:]
  newest = max((workdir / name / _DONE).stat().st_mtime for name in names)
  return listed[: len(names)] == names and min(p.stat().st_mtime for p in written) >= newest


def _row(name, folder):
  metrics, seconds = read_json(folder / 'metrics.json'), read_json(folder / _DONE)
  return {'name': name} | metrics | {'seconds': round(sum(seconds.values()), 1)}


def _reconstruct_one(run: _Run, picture, number, folder, clock):
  plan, programs, frozen = run.shared.plan, run.shared.programs, run.shared.frozen
  progress = Progress(plan.total(), label=picture.name)
  with clock.part('inversion'):
    if run.config.mode == 'predict':  # the networks look at nothing but the picture
      found = Found(frozen.mean_latent, {})
    else:
      found = run.finder.find(picture, folder, progress)
  with clock.part('mask'):
    mask, origin = run.find_mask(picture)
  if picture.mask is None:
    progress.note(f'mask: {origin}')
  instance = Instance(*(jnp.asarray(x) for x in (picture.image, mask, found.latent)))
  prior_depth = None
  if plan.prior_iterations:
    prior_depth = jnp.asarray(_prior_depth(run.config, picture, mask))
  if found.changed:  # what an earlier run saved began from another latent
    Checkpoints(folder / 'checkpoints').remove()
  checkpoints = Checkpoints(folder / 'checkpoints', keep=run.config.checkpoint.keep)
  state, position, projections, seconds = _resume(checkpoints, run.shared, instance)
  if seconds:
    clock.seconds['earlier runs'] = seconds
    progress.note(f'goes on at iteration {plan.done_before(position)}/{plan.total()}')
  events = driver.reconstruct(
    programs,
    state,
    instance,
    frozen,
    plan,
    jax.random.fold_in(jax.random.key(run.config.seed), number),
    prior_depth=prior_depth,
    position=position,
    projections=projections,
  )
  try:
    state = _fit(run, picture, events, state, position, checkpoints, clock, progress)
  finally:
    progress.close()
  progress.note('writing results')
  with clock.part('results'):
    _write_results(run, picture, instance, state, folder, found.metrics)
  seconds = {name: round(value, 2) for name, value in clock.seconds.items()}
  artefacts.write_json(folder / _DONE, seconds)
  checkpoints.remove()


def _fit(run: _Run, picture, events, state, position, checkpoints, clock, progress) -> FitState:
  """Runs the driver to its end, saving and showing on the way; returns the last state."""
  plan = run.shared.plan
  saved_stage = position.stage if position.step == driver.STEP3 and position.iteration else -1
  progress.restart(plan.done_before(position))
  while (kind := _kind(plan, position)) is not None:
    part = _STEP_NAMES[kind[0]]
    compiles = kind not in run.compiled
    if compiles:
      progress.note(f'compiling {part}')
    with clock.part(f'compile {part}' if compiles else part):
      event = next(events)
      position, state = event.position, event.state
      done = plan.done_before(position)
      stopping = run.stop()
      saves = stopping or event.boundary or done % run.config.checkpoint.every == 0
      if saves or compiles or progress.due():
        _report(run, event, done, picture, progress)
    if compiles or event.boundary:
      run.compiled.add(kind)
      progress.restart(done)
    if saves:
      with clock.part('checkpoints'):
        # Projections are only needed to go on within step 3.
        if position.iteration and event.projections is not None and saved_stage != position.stage:
          saved_stage = position.stage
          checkpoints.save_projections(saved_stage, event.projections._asdict())
        checkpoints.save(done, _tree(state, position, clock.total()))
    if stopping:
      raise Preempted(f'{picture.name}: stopped at iteration {done}/{plan.total()}, saved')
  return state


def _kind(plan, position):
  """What a position's iteration compiles: its step and flips; None at the end."""
  for stage in range(position.stage, len(plan.stages)):
    for step in range(4):
      if (stage, step) < (position.stage, position.step) or not plan.length(stage, step):
        continue
      flips = plan.stages[stage]
      return step, {1: flips.flip1, 3: flips.flip3}.get(step)
  return None


def _tree(state: FitState, position: driver.Position, seconds: float):
  # Between two steps there is no optimiser to keep: the next step makes its own.
  optimizer = jax.tree.leaves(state.optimizer) if position.iteration else []
  return {'params': state.params, 'optimizer': optimizer, 'seconds': float(seconds)}


def _resume(checkpoints, shared: Assembly, instance: Instance):
  """State, position, projections and seconds of the newest checkpoint, or of the beginning."""
  # Copies: the programs consume the state they are given.
  params = jax.tree.map(jnp.copy, shared.params)
  newest = checkpoints.latest()
  if newest is None:
    return FitState(params, None), driver.Position(), None, 0.0
  position = shared.plan.position(newest)
  state = FitState(params, None)
  if position.iteration:
    state = shared.programs.fresh(params, position.step)
  tree = checkpoints.restore(newest, _tree(state, position, 0.0))
  optimizer = state.optimizer
  if position.iteration:
    optimizer = jax.tree.unflatten(jax.tree.structure(optimizer), tree['optimizer'])
  state = FitState(tree['params'], optimizer)
  projections = None
  if position.step == driver.STEP3 and position.iteration:
    like = jax.eval_shape(
      lambda state: driver.collect(
        shared.programs, state, instance, shared.frozen, shared.plan, jax.random.key(0)
      ),
      state._replace(optimizer=None),
    )
    saved = checkpoints.restore_projections(position.stage, like._asdict())
    projections = Projections(**jax.tree.map(jnp.asarray, saved))
  return state, position, projections, tree['seconds']


def _report(run: _Run, event, done, picture, progress):
  """Refuses losses that are no numbers, shows the total and writes all."""
  terms = {name: float(value) for name, value in event.terms.items()}
  stage, step = event.finished
  where = f'stage {stage + 1}/{len(run.shared.plan.stages)} {_STEP_NAMES[step]}'
  bad = [name for name, value in terms.items() if not np.isfinite(value)]
  if bad:
    raise FitError(
      f'{picture.path}: {where}, iteration {done}: {", ".join(bad)} is not finite, expected a '
      'number (a smaller optimizer.learning_rate may help)'
    )
  progress.update(done, where, terms['total'])
  prefix = f'{picture.name}/{_STEP_NAMES[step]}'.replace(' ', '_')
  run.events.write({f'{prefix}/{name}': v for name, v in terms.items()}, done, time.time())


def _prior_depth(config, picture, mask):
  try:
    return setup.prior_depth(config, mask)
  except ValueError as error:
    raise FitError(f'{picture.path}: {error}') from error


def _write_results(run: _Run, picture, instance, state, folder, inversion_metrics):
  config, shared = run.config, run.shared
  settings = shared.settings
  factors = shared.programs.factors(state.params, instance, shared.frozen)
  if config.mode == 'predict':
    inversion_metrics = {'milliseconds': _milliseconds(shared, state, instance)}
  bad = [name for name, leaf in factors._asdict().items() if not np.isfinite(leaf).all()]
  if bad:
    raise FitError(
      f'{picture.path}: after the last step {", ".join(bad)} is not finite, expected numbers '
      '(a smaller optimizer.learning_rate may help)'
    )
  alpha = settings.rand_light[6]
  frames = {}
  if config.results.videos and config.mode != 'predict':
    frames = gan_frames(
      shared, state.params, instance, factors, config.results.max_yaw, config.results.max_pitch
    )
  result = artefacts.result_from_factors(
    picture.name,
    picture.image,
    factors,
    settings.camera,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
    latent=None if config.mode == 'predict' else np.asarray(instance.latent),
    **frames,
  )
  metrics = {'image_l1': _masked_error(result)} | inversion_metrics
  if picture.depth is not None:
    metrics |= evaluation.evaluate(
      result.view_depth, result.valid, picture.depth, picture.region, settings.camera
    )
  artefacts.write_results(
    folder,
    result._replace(metrics=metrics),
    camera=settings.camera,
    max_yaw=config.results.max_yaw,
    max_pitch=config.results.max_pitch,
    alpha=alpha,
    make_videos=config.results.videos,
    make_mesh=config.results.mesh,
  )


def _milliseconds(shared: Assembly, state, instance, rounds: int = 10) -> float:
  """The median time of a prediction after its compilation, milliseconds."""
  seconds = []
  for _ in range(rounds):
    begin = time.perf_counter()
    jax.block_until_ready(shared.programs.factors(state.params, instance, shared.frozen))
    seconds.append(time.perf_counter() - begin)
  return round(1000 * float(np.median(seconds)), 2)


def _masked_error(result):
  """Mean absolute error of the reconstruction where the surface is seen, [-1, 1] scale."""
  valid = result.valid > 0
  return float(np.abs(result.reconstruction - result.image)[valid].mean()) if valid.any() else 2.0
