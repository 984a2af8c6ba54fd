"""Reconstructs a collection of pictures into a folder: resumable, one picture after another."""

import json
import pathlib
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from gan2shape_jax import artefacts, data, evaluation
from gan2shape_jax.assembly import Assembly, assemble
from gan2shape_jax.checkpoints import Checkpoints
from gan2shape_jax.gan_views import gan_frames
from gan2shape_jax.progress import Progress, Stopwatch
from gan2shape_jax.reconstruction import driver, inversion, priors
from gan2shape_jax.reconstruction.state import FitState, Instance, Projections

_STEP_NAMES = ('prior fit', 'step 1', 'step 2', 'step 3')
_DONE = 'timing.json'  # written last of all: the picture is done


class FitError(RuntimeError):
  """A reconstruction went wrong; the message is one line that names the picture and the step."""


class Preempted(RuntimeError):
  """The process was asked to stop; everything up to here is saved."""


def reconstruct_all(config: ConfigDict, workdir) -> list[dict]:
  """Reconstructs all pictures that a configuration names.

  A picture whose results are written is passed over, so that the same call after an interruption
  goes on where it stopped and ends with the same arrays.

  Args:
    config: a whole configuration.
    workdir: folder for the results, one subfolder a picture; made if missing.

  Returns:
    A row for each picture: its name and metrics.

  Raises:
    DataError, WeightsError, CheckpointError, ArtefactError, FitError: one line that names the file.
    Preempted: SIGTERM came; a checkpoint was written.
  """
  workdir = pathlib.Path(workdir)
  pictures = data.load_pictures(config.data, config.image_size)
  claim_workdir(workdir, config)
  stop = _watch_for_termination()
  clock = Stopwatch()
  with clock.part('load'):
    shared = assemble(config)
  logging.info('%d pictures into %s', len(pictures), workdir)
  rows = []
  with SummaryWriter(str(workdir / 'events')) as writer:
    for number, name in enumerate(pictures.names):
      folder = workdir / name
      done = folder / _DONE
      if not done.exists():
        picture = pictures[number]
        clock = clock if not number else Stopwatch()
        _reconstruct_one(config, shared, picture, number, folder, writer, clock, stop)
      rows.append(_row(name, folder))
  evaluation.write_metrics(workdir / 'metrics.csv', rows)
  artefacts.write_page(workdir, pictures.names)
  return rows


def _row(name, folder):
  metrics = json.loads((folder / 'metrics.json').read_text())
  seconds = json.loads((folder / _DONE).read_text())
  return {'name': name} | metrics | {'seconds': round(sum(seconds.values()), 1)}


def claim_workdir(workdir: pathlib.Path, config: ConfigDict):
  """Writes the configuration into the folder, or checks that it is the one already there.

  Raises:
    ArtefactError: the folder cannot be written.
    FitError: the folder belongs to a run with other settings.
  """
  path = workdir / 'config.json'
  text = json.dumps(json.loads(config.to_json_best_effort()), indent=2, sort_keys=True)
  if path.exists():
    changed = _differences(json.loads(path.read_text()), json.loads(text))
    if changed:
      raise FitError(
        f'{path}: this folder holds a run with other settings ({"; ".join(changed[:5])}): choose '
        'another --workdir, or the settings of that run'
      )
    return
  artefacts.write_text(path, text)


def _differences(old, new, prefix=''):
  changed = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      changed += _differences(a, b, f'{prefix}{key}.')
    elif a != b:
      changed.append(f'{prefix}{key} {a!r} there, {b!r} here')
  return changed


def _watch_for_termination():
  """Returns a function that tells whether SIGTERM has come."""
  received = []
  try:
    signal.signal(signal.SIGTERM, lambda *_: received.append(time.monotonic()))
  except ValueError:  # not in the main thread: the caller handles signals itself
    logging.info('not in the main thread: SIGTERM is left to the caller')
  return lambda: bool(received)


def find_latents(config: ConfigDict, shared: Assembly, picture, folder: pathlib.Path, progress):
  """The picture's latent: given, found by an earlier call, or by inversion.

  Args:
    config: the inversion's settings.
    shared: the run's assembly.
    picture: a `data.Picture`.
    folder: where `latent.npz` is kept.
    progress: shows how far the inversion is.

  Returns:
    latent [w_dim] or [layers, w_dim] and the inversion's mean absolute image error, or None where
    the latent was given.
  """
  if picture.latent is not None:
    return picture.latent, None
  path = folder / 'latent.npz'
  if path.exists():
    with np.load(path, allow_pickle=False) as kept:
      return kept['latent'], float(kept['image_l1'])
  settings = config.inversion

  def show(done, total, mean_l1):
    if progress.due():
      progress.note(f'inversion {done}/{total} | image error {float(mean_l1):.4f}')

  found = inversion.invert(
    picture.image[None],
    shared.frozen,
    iterations=settings.iterations,
    space=settings.space,
    learning_rate=settings.learning_rate,
    lam_features=settings.lam_features,
    lam_mean=settings.lam_mean,
    truncation=config.gan.truncation,
    crop=config.gan.crop,
    origin_size=config.gan.origin_size,
    batch_size=1,
    progress=show,
  )
  latent, error = np.asarray(found.latents[0]), float(found.image_l1[0])
  artefacts.write_arrays(path, {'latent': latent, 'image_l1': np.float32(error)})
  return latent, error


def _reconstruct_one(config, shared: Assembly, picture, number, folder, writer, clock, stop):
  folder.mkdir(parents=True, exist_ok=True)
  plan, programs, frozen = shared.plan, shared.programs, shared.frozen
  progress = Progress(plan.total(), label=picture.name)
  with clock.part('inversion'):
    latent, inversion_l1 = find_latents(config, shared, picture, folder, progress)
  mask = picture.mask
  if mask is None:
    progress.note('no mask given: an ellipse in the middle stands in')
    mask = data.elliptic_mask(config.image_size)
  instance = Instance(*(jnp.asarray(x) for x in (picture.image, mask, latent)))
  prior_depth = None
  if plan.prior_iterations:
    prior_depth = jnp.asarray(_prior_depth(config, picture, mask))

  checkpoints = Checkpoints(folder / 'checkpoints', keep=config.checkpoint.keep)
  state, position, projections = _resume(checkpoints, shared, config, latent.shape, instance)
  key = jax.random.fold_in(jax.random.key(config.seed), number)
  seen = set()
  events = driver.reconstruct(
    programs,
    state,
    instance,
    frozen,
    plan,
    key,
    prior_depth=prior_depth,
    position=position,
    projections=projections,
  )
  progress.done = plan.done_before(position)
  progress.total = plan.total()
  saved_stage = position.stage if projections is not None else -1
  while True:
    kind = _kind(plan, position)
    part = _STEP_NAMES[kind[0]] if kind else 'end'
    compiles = kind not in seen
    if compiles and kind:
      progress.note(f'compiling {part}')
    seen.add(kind)
    with clock.part(f'compile {part}' if compiles else part):
      event = next(events, None)
      if event is None:
        break
      if compiles or event.boundary:
        jax.block_until_ready(event.state)
    position, state = event.position, event.state
    done = plan.done_before(position)
    if progress.due() or event.boundary:
      _report(event, done, picture, progress, writer, plan)
    due = event.boundary or done % config.checkpoint.every == 0
    if due or stop():
      with clock.part('checkpoints'):
        if event.projections is not None and saved_stage != event.finished[0]:
          saved_stage = event.finished[0]
          checkpoints.save_projections(saved_stage, event.projections._asdict())
        checkpoints.save(done, _tree(state, position))
    if stop():
      raise Preempted(f'{picture.name}: stopped by SIGTERM at iteration {done}; saved')
  progress.close()
  with clock.part('results'):
    _write_results(config, shared, picture, instance, state, folder, inversion_l1)
  seconds = {name: round(value, 2) for name, value in clock.seconds.items()}
  artefacts.write_json(folder / _DONE, seconds)
  checkpoints.remove()


def _kind(plan, position):
  """What a position's iteration compiles: its step and flips; None at the end."""
  for stage in range(position.stage, len(plan.stages)):
    for step in range(4):
      if (stage, step) < (position.stage, position.step) or not plan.length(stage, step):
        continue
      flips = plan.stages[stage]
      return step, {1: flips.flip1, 3: flips.flip3}.get(step)
  return None


def _tree(state: FitState, position: driver.Position):
  # Between two steps there is no optimiser to keep: the next step makes its own.
  optimizer = jax.tree.leaves(state.optimizer) if position.iteration else []
  return {'params': state.params, 'optimizer': optimizer}


def _resume(checkpoints, shared: Assembly, config, latent_shape, instance):
  """State, position and projections of the newest checkpoint, or those of the beginning."""
  # Copies: the programs consume the state they are given.
  params = jax.tree.map(jnp.copy, shared.params)
  newest = checkpoints.latest()
  if newest is None:
    return FitState(params, None), driver.Position(), None
  position = shared.plan.position(newest)
  state = FitState(params, None)
  if position.iteration:
    state = shared.programs.fresh(params, position.step)
  tree = checkpoints.restore(newest, _tree(state, position))
  optimizer = state.optimizer
  if position.iteration:
    optimizer = jax.tree.unflatten(jax.tree.structure(optimizer), tree['optimizer'])
  state = FitState(tree['params'], optimizer)
  projections = None
  if position.step == driver.STEP3 and position.iteration:
    lead = (config.sampling.collect_iters, config.sampling.batch_size)
    size = config.image_size
    like = Projections(
      *(jnp.zeros((*lead, *shape)) for shape in ((size, size, 3), (size, size, 1), (6,), (4,)))
    )
    projections = Projections(**checkpoints.restore_projections(position.stage, like._asdict()))
  return state, position, projections


def _report(event, done, picture, progress, writer, plan):
  terms = {name: float(value) for name, value in event.terms.items()}
  stage, step = event.finished
  where = f'stage {stage + 1}/{len(plan.stages)} {_STEP_NAMES[step]}'
  bad = [name for name, value in terms.items() if not np.isfinite(value)]
  if bad:
    raise FitError(f'{picture.path}: {where}: {", ".join(bad)} is not finite: expected a number')
  progress.update(done, where, terms['total'])
  for name, value in terms.items():
    writer.add_scalar(f'{picture.name}/{_STEP_NAMES[step]}/{name}', value, done)


def _prior_depth(config, picture, mask):
  try:
    return priors.prior_depth(
      mask,
      shape=config.prior.shape,
      category=config.prior.category,
      near=config.prior.near,
      far=config.prior.far,
      image_centered=config.published or config.prior.image_centered,
    )
  except ValueError as error:
    raise FitError(f'{picture.path}: {error}') from error


def _write_results(config, shared, picture, instance, state, folder, inversion_l1):
  settings = shared.settings
  factors = shared.programs.factors(state.params, instance, shared.frozen)
  alpha = settings.rand_light[6]
  frames = {}
  if config.results.videos:
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
    latent=np.asarray(instance.latent),
    **frames,
  )
  metrics = {'image_l1': _masked_error(result)}
  if inversion_l1 is not None:
    metrics['inversion_l1'] = inversion_l1
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


def _masked_error(result):
  """Mean absolute error of the reconstruction where the surface is seen, [-1, 1] scale."""
  valid = result.valid > 0
  return float(np.abs(result.reconstruction - result.image)[valid].mean()) if valid.any() else 2.0
