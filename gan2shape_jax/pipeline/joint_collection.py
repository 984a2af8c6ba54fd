"""Joint training over a collection of pictures into a folder, resumable at any moment.

Beside checkpoints, the folder holds `collected/` while the training goes on: pictures as the
networks see them, the origins of step 2 and the projections of step 3, read one at a time. What
stays is `networks.safetensors`, from which the reconstruction of single pictures starts.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import ArtefactError, FitError, Preempted
from gan2shape_jax.pipeline import config_checks, network_modules, picture_inputs, setup, sources
from gan2shape_jax.pipeline.assembly import Assembly, assemble
from gan2shape_jax.pipeline.masks import check_category, mask_finder
from gan2shape_jax.pipeline.picture_latents import LatentFinder, check_latents
from gan2shape_jax.reconstruction import driver, joint_driver
from gan2shape_jax.reconstruction.state import Factors, FitState, Instance, Projections
from gan2shape_jax.reconstruction.step2_projection import Origin
from gan2shape_jax.runtime.following import Course, follow
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.array_store import ArrayStore
from gan2shape_jax.storage.checkpoints import Checkpoints
from gan2shape_jax.storage.curves import Events
from gan2shape_jax.storage.folder_lock import locked
from gan2shape_jax.storage.workdir import check_names, check_workdir, read_json
from gan2shape_jax.weights import save_safetensors

NETWORKS = 'networks.safetensors'

_LISTED = 'pictures.txt'
_INPUTS = 'inputs.json'  # digests by picture
_LEAF = np.zeros(())  # of a pytree of which only the structure counts


class _Run(NamedTuple):
  """What the parts of one call share."""

  config: ConfigDict
  workdir: pathlib.Path
  names: list[str]
  shared: Assembly
  key: jax.Array
  progress: Progress
  stop: Callable[[], bool]


def train_jointly(
  config: ConfigDict, workdir, *, stop: Callable[[], bool] = lambda: False
) -> pathlib.Path:
  """Trains the five networks jointly on all pictures that a configuration names.

  The same call after an interruption goes on where it stopped and ends with the same networks; one
  after the end does nothing.

  Args:
    config: a whole configuration. Lengths of the stages are iterations over all pictures together,
      `sampling.collect_iters` is of each picture.
    workdir: folder for the result, made if missing.
    stop: asked after every iteration, and for every batch collected, whether to save and stop.

  Returns:
    The path of the written networks.

  Raises:
    SettingsError, DataError, WeightsError, CheckpointError, ArtefactError, FitError: one line that
      names the setting or the file.
    Preempted: `stop` said so; everything up to there is saved.
  """
  workdir = pathlib.Path(workdir)
  config_checks.check_config(config)
  check_category(config)
  pictures = sources.load_pictures(config)
  check_names(pictures.names, config)
  claim = check_workdir(workdir, config)
  with locked(workdir):
    return _in_folder(config, workdir, pictures, claim, stop)


def _in_folder(config, workdir, pictures, claim, stop):
  names, path = pictures.names, workdir / NETWORKS
  inputs = {name: picture_inputs.digests(pictures, k) for k, name in enumerate(names)}
  _check_pictures(workdir, inputs)
  if not path.exists():
    shared = assemble(config)
    # Only now: a training that could not begin leaves no claim on the folder.
    atomic_files.write_text(workdir / 'config.json', claim)
    atomic_files.write_json(workdir / _INPUTS, inputs)
    atomic_files.write_text(workdir / _LISTED, ''.join(f'{name}\n' for name in names))
    # Numbers before this one made the networks' first parameters.
    key = jax.random.fold_in(jax.random.key(config.seed), len(network_modules.NETWORKS))
    progress = Progress(shared.plan.total(), label='joint')
    run = _Run(config, workdir, names, shared, key, progress, stop)
    try:
      params = _train(run, pictures)
    finally:
      progress.close()
    about = {'pictures': len(names), 'iterations': shared.plan.total(), 'seed': config.seed}
    save_safetensors(path, params, {name: str(value) for name, value in about.items()})
  _forget_collected(workdir)
  if (workdir / 'checkpoints').exists():
    Checkpoints(workdir / 'checkpoints').remove()
  return path


def _check_pictures(workdir, inputs):
  """Refuses other pictures than those that a training in this folder began with."""
  path = workdir / _LISTED
  begun = (workdir / NETWORKS).exists() or any((workdir / 'checkpoints' / 'steps').glob('[0-9]*'))
  if not begun or not path.exists():
    return
  try:
    listed = path.read_text(encoding='utf-8').splitlines()
  except (OSError, ValueError) as error:
    raise ArtefactError(f'cannot read {path}: expected names ({error})') from error
  choose = 'choose another --workdir, or the pictures of that training'
  if listed != list(inputs):
    raise FitError(
      f'{path}: this folder holds a joint training on other pictures ({len(listed)} there, '
      f'{len(inputs)} here): {choose}'
    )
  path = workdir / _INPUTS
  before = read_json(path) if path.exists() else {}  # there is none of an earlier version
  for name, now in inputs.items():
    if changed := picture_inputs.differences(before.get(name, {}), now):
      raise FitError(f'{path}: {", ".join(changed)} of {name} changed since then: {choose}')


def _shelf(run: _Run, kind, like, **options):
  return ArrayStore(run.workdir / 'collected' / kind, like, run.names, **options)


def _forget_collected(workdir):
  ArrayStore(workdir / 'collected', like=(), names=()).clear()


def _train(run: _Run, pictures: Sequence) -> dict:
  """Trains from the newest checkpoint, or the beginning, to the end; returns the parameters."""
  plan, progress = run.shared.plan, run.progress
  checkpoints = Checkpoints(run.workdir / 'checkpoints', keep=run.config.checkpoint.keep)
  checkpoints.recover(progress.note, anew=False)
  state, position = _resume(checkpoints, run.shared)
  if checkpoints.latest() is None:  # what a training without one collected is of unknown origin
    _forget_collected(run.workdir)
  else:
    progress.note(f'goes on at iteration {plan.done_before(position)}/{plan.total()}')
  prepared = _prepare(run, pictures)

  def collecting(what):
    def before_put(number):
      if run.stop():
        raise Preempted(f'{run.workdir}: stopped while collecting {what}, after a checkpoint')
      progress.show(f'collecting {what}, picture {number + 1}/{len(run.names)}')

    return before_put

  factors = Factors(*(_LEAF for _ in Factors._fields))
  projections = Projections(*(_LEAF for _ in Projections._fields))
  collected = {'origins': Origin(_LEAF, factors, _LEAF, _LEAF), 'projections': projections}
  stores = joint_driver.Stores(
    *(_shelf(run, kind, like, before_put=collecting(kind)) for kind, like in collected.items())
  )
  events = joint_driver.train(
    run.shared.programs,
    driver.Start(state, position),
    joint_driver.Pictures(
      len(run.names),
      lambda number: prepared.get(0, number)['instance'],
      lambda number: prepared.get(0, number)['prior_depth'],
    ),
    run.shared.frozen,
    plan,
    run.key,
    stores,
  )
  with Events(run.workdir / 'events') as curves:
    last = follow(
      events,
      _course(run, position),
      save=lambda event, done: (
        driver.saved(event.state, event.position),
        functools.partial(checkpoints.save, done),
      ),
      report=functools.partial(_report, run, curves),
      stop=run.stop,
      progress=progress,
    )
  params = (state if last is None else last.state).params
  if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
    raise FitError(
      f'{run.workdir}: after the last step the networks are not finite, expected numbers '
      '(a smaller optimizer.learning_rate may help)'
    )
  return params


def _prepare(run: _Run, pictures: Sequence) -> ArrayStore:
  """Keeps every picture as the networks see it; a damaged file is told before hours of work."""
  like: dict[str, Any] = {'instance': Instance(_LEAF, _LEAF, _LEAF)}
  if run.shared.plan.prior_iterations:
    like['prior_depth'] = _LEAF
  shelf = _shelf(run, 'pictures', like)
  waiting = [number for number in range(len(run.names)) if not shelf.has(0, number)]
  if not waiting:
    return shelf
  find_mask = mask_finder(run.config)
  find_latent = LatentFinder(run.config, run.shared.frozen, stop=run.stop).find
  told = set()
  for number in waiting:
    if run.stop():
      raise Preempted(f'{run.workdir}: stopped while preparing the pictures')
    picture = pictures[number]
    if picture.latent is not None:
      check_latents({picture.path: picture.latent.shape}, run.shared.frozen.generator)
    mask, origin = find_mask(picture)
    if origin not in told:
      told.add(origin)
      run.progress.note(f'{picture.name}: the mask is {origin}')
    one = Progress(1, label=picture.name)
    latent = find_latent(picture, run.workdir / picture.name, one).latent
    tree: dict[str, Any] = {'instance': Instance(picture.image, mask, latent)}
    if 'prior_depth' in like:
      tree['prior_depth'] = _prior_depth(run.config, picture, mask)
    shelf.put(0, number, [tree], 1)
    run.progress.show(f'preparing pictures, {number + 1}/{len(run.names)}')
  return shelf


def _prior_depth(config, picture, mask):
  try:
    return setup.prior_depth(config, mask)
  except ValueError as error:
    raise FitError(f'{picture.path}: {error}') from error


def _course(run: _Run, position) -> Course:
  """How the driver is followed."""
  plan, every, ran = run.shared.plan, run.config.checkpoint.every, set()
  start, total = plan.done_before(position), plan.total()

  @contextlib.contextmanager
  def iteration(done):
    stage, step, number = plan.position(done)
    compiles = step not in ran
    if not number or done == start:
      then = ', compiling' if compiles else ''
      run.progress.note(f'{driver.place(plan, stage, step)} begins{then}')
    yield compiles
    ran.add(step)

  return Course(
    'the training',
    start,
    total,
    iteration,
    saves_at=lambda done: done % every == 0,
    stopped=lambda done: f'{run.workdir}: stopped at iteration {done}/{total}, saved',
  )


def _resume(checkpoints, shared: Assembly):
  """State and position of the newest checkpoint, or of the beginning."""
  # Copies: the programs consume the state they are given.
  params = jax.tree.map(jnp.copy, shared.params)
  newest = checkpoints.latest()
  if newest is None:
    return FitState(params, None), driver.BEGINNING
  position = shared.plan.position(newest)
  state = FitState(params, None)
  if position.iteration:
    state = shared.programs.fresh(params, position.step)
  tree = checkpoints.restore(newest, driver.saved(state, position))
  return driver.restored(tree, state), position


def _report(run: _Run, curves, event, done):
  """Refuses losses that are no numbers, shows the total and writes all."""
  plan, names = run.shared.plan, run.names
  terms = {name: float(value) for name, value in event.terms.items()}
  stage, step = event.finished
  where = driver.place(plan, stage, step)
  bad = [name for name, value in terms.items() if not np.isfinite(value)]
  if bad:
    seen = joint_driver.visit(run.key, *plan.position(done - 1), len(names))
    raise FitError(
      f'{run.workdir}: {where}, iteration {done}, picture {names[seen.number]}: {", ".join(bad)} '
      'is not finite, expected a number (a smaller optimizer.learning_rate may help)'
    )
  run.progress.update(done, where, terms['total'])
  prefix = f'joint/{driver.STEP_NAMES[step]}'.replace(' ', '_')
  curves.write({f'{prefix}/{name}': value for name, value in terms.items()}, done, time.time())
