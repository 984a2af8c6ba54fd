"""The training of a StyleGAN2 as a function of (config, workdir): resumable, seen in TensorBoard.

Folder: `config.json`, `checkpoints/`, `events/`, `samples/NNNNNNNN.png` (the averaged generator at
fixed latents, after so many images) beside `samples/real.png`, and
`snapshots/NNNNNNNN.safetensors`, each of which `gan.weights` takes. All that is random follows from
the seed and the iteration, so a resumed training equals an unbroken one.
"""

import functools
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.errors import FitError, Preempted, SettingsError
from gan2shape_jax.gan_training import outputs, updates
from gan2shape_jax.gan_training.batches import Batches
from gan2shape_jax.gan_training.gan_settings import (
  GanSettings,
  check_devices,
  most_devices,
  settings_from_config,
)
from gan2shape_jax.gan_training.gan_state import TrainState, initial_state
from gan2shape_jax.gan_training.training_images import TrainingImages, load_images
from gan2shape_jax.pipeline.setup import chosen_devices
from gan2shape_jax.reconstruction.parallel import data_mesh
from gan2shape_jax.runtime import cpu_devices
from gan2shape_jax.runtime.last_state import LastState
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.checkpoints import Checkpoints
from gan2shape_jax.storage.curves import Events
from gan2shape_jax.storage.folder_lock import locked
from gan2shape_jax.storage.workdir import check_workdir

_EVERY = ('images_shown', 'events_every', 'checkpoint_every', 'samples_every', 'snapshot_every')


def train(config: ConfigDict, workdir, *, stop: Callable[[], bool] = lambda: False) -> pathlib.Path:
  """Trains a StyleGAN2 and writes snapshots of it.

  Args:
    config: a whole configuration; `seed`, `image_size` and `gan_training` count.
    workdir: folder of the results; a training that it holds goes on.
    stop: asked after every iteration whether to save and stop.

  Returns:
    The path of the last snapshot.

  Raises:
    ArtefactError, CheckpointError, DataError, FitError, SettingsError, WeightsError: one line that
      names the file or the setting.
    Preempted: `stop` said so; a checkpoint was written.
  """
  workdir, own = pathlib.Path(workdir), config.gan_training
  settings = settings_from_config(config)
  for name in _EVERY:
    if own[name] < 1:
      raise SettingsError(f'gan_training.{name}={own[name]!r}: expected at least 1')
  cpu_devices.divide(own.cpu_devices or most_devices(settings, cpu_devices.device_count()))
  devices = chosen_devices('gan_training.devices', own.devices)
  check_devices(settings, len(devices))
  images = load_images(config)
  claim = check_workdir(workdir, config)
  try:
    with locked(workdir):
      atomic_files.write_text(workdir / 'config.json', claim)
      return _train(settings, own, workdir, images, devices, stop)
  finally:
    images.close()


def _train(settings: GanSettings, own, workdir, images: TrainingImages, devices, stop):
  mesh = data_mesh(devices)
  programs = updates.build(settings, mesh)
  checkpoints = Checkpoints(workdir / 'checkpoints', keep=2)
  state = updates.place_state(initial_state(settings), mesh)
  checkpoints.recover(Progress(1, label='GAN').note, anew=False)
  done = checkpoints.latest() or 0
  if done:
    state = _restored(checkpoints, done, state)
  total = -(-own.images_shown // settings.batch_size)
  due = lambda images_each: _crosses(done, settings.batch_size, images_each)
  if not done:
    _write_real(workdir, images, own.samples)
  progress = Progress(total, done=done, label='GAN')
  progress.note(f'{len(images)} images, {len(devices)} device(s); compiling')
  batches = Batches(
    images,
    batch_size=settings.batch_size,
    seed=settings.seed,
    start=done,
    mirror=settings.mirror,
    place=lambda batch: updates.place_images(batch, mesh, settings),
  )
  last = LastState(stop, 'the training', done, total)
  with batches, Events(workdir / 'events') as events:
    before, since, terms = done, None, {}
    while done < total:
      state, new = step(programs, settings, state, next(batches), done)
      terms |= new
      done += 1
      if done == before + 2 and since is None:  # every program that this takes is compiled
        progress.restart(done)
        before, since = done, time.monotonic()
      ends = done == total or stop()
      saves = ends or due(own.checkpoint_every)
      keeps = not saves and last.due()
      if saves or keeps or progress.due() or done % own.events_every == 0:
        values = {name: float(value) for name, value in terms.items()}
        _check_finite(values, workdir, done)
        if done % own.events_every == 0:
          if since is not None and done > before:
            seconds = max(time.monotonic() - since, 1e-9)
            values['images a second'] = (done - before) * settings.batch_size / seconds
            before, since = done, time.monotonic()
          events.write(values, done * settings.batch_size, time.time())
        progress.update(done, _text(values), values['generator'])
      shown = done * settings.batch_size
      if due(own.samples_every) or done == total:
        sheet = outputs.sheet(outputs.sample_images(_one_copy(state.average), own.samples))
        image_files.write_png(workdir / 'samples' / f'{shown:08d}.png', sheet)
      if due(own.snapshot_every):
        outputs.write_snapshot(_snapshot_path(workdir, shown), _one_copy(state), settings, shown)
      last.finished(done)
      tree = {'state': jax.tree.leaves(state)}
      if saves:
        with last.saving(done):
          checkpoints.save(done, tree)
      elif keeps:
        last.keep(done, tree, functools.partial(checkpoints.save, done))
      if ends and done < total:
        raise Preempted(f'{workdir}: stopped by SIGTERM after {shown} images; saved')
  progress.close()
  shown = done * settings.batch_size
  path = _snapshot_path(workdir, shown)
  if not path.exists():
    outputs.write_snapshot(path, _one_copy(state), settings, shown)
  return path


def step(
  programs: updates.Updates, settings: GanSettings, state: TrainState, images, iteration: int
) -> tuple[TrainState, dict]:
  """One iteration: an update of the discriminator and one of the generator.

  Args:
    programs: the updates.
    settings: of the training.
    state: consumed.
    images: as `updates.place_images` lays them out.
    iteration: from 0 on; it says whether the regularisers take part.

  Returns:
    The new state, and the terms of both updates.
  """
  number = np.uint32(iteration)
  r1 = settings.r1_weight > 0 and iteration % settings.r1_every == 0
  path = settings.path_weight > 0 and iteration % settings.path_every == 0
  update = programs.discriminator_r1 if r1 else programs.discriminator
  state, terms = update(state, images, number)
  update = programs.generator_path if path else programs.generator
  state, more = update(state, number)
  return state, terms | more


def _restored(checkpoints, number, state):
  leaves, structure = jax.tree.flatten(state)
  restored = checkpoints.restore(number, {'state': leaves})['state']
  return jax.tree.unflatten(structure, restored)


def _crosses(done, batch_size, images_each):
  """Whether the last batch reached the next multiple of so many images."""
  return done * batch_size // images_each > (done - 1) * batch_size // images_each


def _one_copy(tree):
  """The state on the host: programs over one device take it, whatever the mesh."""
  return jax.tree.map(np.asarray, tree)


def _write_real(workdir, images, count):
  numbers = np.arange(min(count, len(images)))
  image_files.write_png(workdir / 'samples' / 'real.png', outputs.sheet(images.batch(numbers)))


def _snapshot_path(workdir, shown):
  return workdir / 'snapshots' / f'{shown:08d}.safetensors'


def _check_finite(values, workdir, done):
  wrong = [name for name, value in values.items() if not np.isfinite(value)]
  if wrong:
    raise FitError(f'{workdir}: iteration {done}: {wrong[0]} is not finite, expected a number')


def _text(values):
  parts = [f'D {values["discriminator"]:.3f}', f'real {values["real score"]:+.2f}']
  return ' '.join([*parts, f'fake {values["fake score"]:+.2f}', f'p {values["augment"]:.3f}'])
