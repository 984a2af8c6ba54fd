"""The training of a StyleGAN2 as a function of (config, workdir): resumable, seen in TensorBoard.

Folder: `config.json`, `checkpoints/`, `events/`, `samples/NNNNNNNN.png` (the averaged generator at
fixed latents, after so many images) beside `samples/real.png`, and
`snapshots/NNNNNNNN.safetensors`, each of which `gan.weights` takes. All that is random follows from
the seed and the iteration, so a resumed training equals an unbroken one.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.errors import FitError, SettingsError
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
from gan2shape_jax.runtime.following import Course, Iteration, compiling, follow
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
  with batches, Events(workdir / 'events') as curves:
    shown = _Shown(settings, own, workdir, curves, progress)
    last = follow(
      _iterations(programs, settings, state, batches, range(done, total)),
      Course(
        'the training',
        done,
        total,
        shown.iteration,
        saves_at=lambda done: shown.crosses(done, own.checkpoint_every),
        stopped=lambda done: (
          f'{workdir}: stopped by SIGTERM after {done * settings.batch_size} images; saved'
        ),
        reports_at=shown.is_due,
      ),
      save=lambda event, done: (
        {'state': jax.tree.leaves(event.state)},
        functools.partial(checkpoints.save, done),
      ),
      report=shown.report,
      stop=stop,
      progress=progress,
    )
  progress.close()
  state = state if last is None else last.state
  count = max(done, total) * settings.batch_size
  path = _snapshot_path(workdir, count)
  if not path.exists():
    outputs.write_snapshot(path, _one_copy(state), settings, count)
  return path


class _Shown:
  """What a training shows on the way: curves, a line of progress, sheets, snapshots."""

  def __init__(self, settings, own, workdir, curves, progress):
    self._settings, self._own, self._workdir = settings, own, workdir
    self._curves, self._progress = curves, progress
    self._compiling = compiling(lambda done: enumerate(_regularised(settings, done)))
    self._since = None  # (iterations, time) at the last point of the curves, or the compilation

  @contextlib.contextmanager
  def iteration(self, done):
    """Around an iteration; speed is measured from the last compilation on."""
    with self._compiling(done) as compiles:
      if compiles:
        self._since = None
      yield compiles
      if compiles:
        self._since = done + 1, time.monotonic()

  def crosses(self, done, images_each):
    """Whether the last batch reached the next multiple of so many images."""
    shown, batch = done * self._settings.batch_size, self._settings.batch_size
    return shown // images_each > (shown - batch) // images_each

  def is_due(self, done):
    """Whether anything but a line of progress is."""
    own = self._own
    images_each = (own.samples_every, own.snapshot_every)
    return done % own.events_every == 0 or any(self.crosses(done, each) for each in images_each)

  def report(self, event, done):
    """Refuses losses that are no numbers and writes what is due."""
    own, settings, shown = self._own, self._settings, done * self._settings.batch_size
    values = {name: float(value) for name, value in event.terms.items()}
    _check_finite(values, self._workdir, done)
    if done % own.events_every == 0:
      if self._since is not None:
        before, begin = self._since
        seconds = max(time.monotonic() - begin, 1e-9)
        values['images a second'] = (done - before) * settings.batch_size / seconds
        self._since = done, time.monotonic()
      self._curves.write(values, shown, time.time())
    self._progress.update(done, _text(values), values['generator'])
    if self.crosses(done, own.samples_every) or event.boundary:
      sheet = outputs.sheet(outputs.sample_images(_one_copy(event.state.average), own.samples))
      image_files.write_png(self._workdir / 'samples' / f'{shown:08d}.png', sheet)
    if self.crosses(done, own.snapshot_every):
      path = _snapshot_path(self._workdir, shown)
      outputs.write_snapshot(path, _one_copy(event.state), settings, shown)


def _iterations(programs, settings, state, batches, numbers):
  """The iterations of the training; the last is a boundary."""
  terms = {}
  for number in numbers:
    state, new = step(programs, settings, state, next(batches), number)
    terms = terms | new  # a regulariser's stay until it takes part again
    yield Iteration(state, terms, boundary=number + 1 == numbers.stop)


def _regularised(settings: GanSettings, iteration: int) -> tuple[bool, bool]:
  """Whether the regularisers of the discriminator and of the generator take part."""
  r1 = settings.r1_weight > 0 and iteration % settings.r1_every == 0
  path = settings.path_weight > 0 and iteration % settings.path_every == 0
  return r1, path


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
  r1, path = _regularised(settings, iteration)
  update = programs.discriminator_r1 if r1 else programs.discriminator
  state, terms = update(state, images, number)
  update = programs.generator_path if path else programs.generator
  state, more = update(state, number)
  return state, terms | more


def _restored(checkpoints, number, state):
  leaves, structure = jax.tree.flatten(state)
  restored = checkpoints.restore(number, {'state': leaves})['state']
  return jax.tree.unflatten(structure, restored)


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
