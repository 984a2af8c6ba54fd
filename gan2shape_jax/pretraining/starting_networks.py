"""Training of starting networks, resumable, as a function of (config, workdir)."""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import FitError
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import config_checks, network_modules, setup
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.pretraining import symmetric_autoencoder
from gan2shape_jax.reconstruction import region
from gan2shape_jax.reconstruction.state import FitState
from gan2shape_jax.runtime.following import Course, Iteration, compiling, follow
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.checkpoints import Checkpoints
from gan2shape_jax.storage.folder_lock import locked
from gan2shape_jax.storage.workdir import check_workdir
from gan2shape_jax.weights import save_safetensors


def pretrain(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  every: int,
  dtype: str,
  stop: Callable[[], bool] = lambda: False,
  images: np.ndarray | None = None,
) -> pathlib.Path:
  """Trains the starting networks and writes the networks.

  Args:
    config: a whole configuration; `config.pretraining` sets the training.
    workdir: folder for checkpoints and result.
    every: iterations between checkpoints.
    dtype: of the written weights.
    stop: tells whether to save and stop.
    images: [n, size, size, 3] pictures to train on in place of the GAN's, with their mirror images.

  Returns:
    The path of the written file.

  Raises:
    ArtefactError, CheckpointError, DataError, FitError, SettingsError, WeightsError: one line that
      names the file or the setting.
    Preempted: `stop` said so; a checkpoint was written.
  """
  config_checks.check_config(config)
  claim = check_workdir(workdir, config)
  with locked(workdir):
    return _train(config, workdir, claim, every, dtype, stop, images)


def _train(config, workdir, claim, every, dtype, stop, images):
  """Trains into a folder that is this run's alone; returns the path of the networks."""
  settings = setup.settings_from_config(config)
  own = config.pretraining
  numbers = symmetric_autoencoder.PretrainingSettings(
    **{name: own[name] for name in symmetric_autoencoder.PretrainingSettings.__dataclass_fields__}
  )
  frozen = load_frozen(config)
  modules = network_modules.build_modules(config, stylegan2.latent_size(frozen.generator))
  networks = network_modules.build_networks(modules)
  programs = symmetric_autoencoder.build(networks, settings, numbers, config.image_size)
  key = jax.random.key(config.seed)
  state = FitState(
    network_modules.initial_params(
      modules, config.image_size, key, names=symmetric_autoencoder.TRAINED
    ),
    None,
  )

  atomic_files.write_text(workdir / 'config.json', claim)
  checkpoints = Checkpoints(workdir / 'checkpoints', keep=1)
  total = own.prior_iterations + own.iterations
  done = checkpoints.latest() or 0
  phase = lambda count: 0 if count < own.prior_iterations else 1
  if done:
    state = programs.fresh(state.params, phase(done - 1))
    leaves, structure = jax.tree.flatten(state)
    restored = checkpoints.restore(done, {'state': leaves})
    state = jax.tree.unflatten(structure, restored['state'])
  target = jnp.asarray(setup.prior_depth(config, region.box_mask(own.box, config.image_size)))
  progress = Progress(total, done=done, label='pretraining')

  def iterations():
    nonlocal state
    for k in range(done, total):
      if k in (0, own.prior_iterations):
        state = programs.fresh(state.params, phase(k))
      draw = jax.random.fold_in(key, k)
      batch = None if images is None else _batch(images, own.batch_size, config.seed, k)
      if phase(k) == 0:
        state, terms = programs.fit_prior(state, target, frozen, draw, batch)
      else:
        number = k - own.prior_iterations
        state, terms = programs.step(state, number, target, frozen, draw, batch)
      yield Iteration(state, terms, boundary=k + 1 == total)

  def report(event, done):
    value = float(event.terms['total'])
    if not np.isfinite(value):
      raise FitError(f'{workdir}: iteration {done}: the loss is not finite, expected a number')
    progress.update(done, ('prior fit', 'networks')[phase(done - 1)], value)

  follow(
    iterations(),
    Course(
      'the training',
      done,
      total,
      compiling(lambda done: [phase(done)]),
      saves_at=lambda done: done % every == 0,
      stopped=lambda done: f'{workdir}: stopped by SIGTERM at iteration {done}; saved',
    ),
    save=lambda event, done: (
      {'state': jax.tree.leaves(event.state)},
      functools.partial(checkpoints.save, done),
    ),
    report=report,
    stop=stop,
    progress=progress,
  )
  progress.close()
  path = workdir / 'networks.safetensors'
  kept = {
    name: jax.tree.map(lambda x: np.asarray(x, dtype), state.params[name])
    for name in symmetric_autoencoder.TRAINED
  }
  save_safetensors(path, kept, {'iterations': str(own.iterations), 'seed': str(config.seed)})
  return path


def _batch(images, count, seed, iteration):
  """Pictures of an iteration, each mirrored or not; a resumed run draws the same."""
  random = np.random.default_rng((seed, iteration))
  chosen = images[random.integers(len(images), size=count)]
  mirrored = random.random(count) < 0.5
  return jnp.asarray(np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen))
