"""Projections of a run's pictures, made by the first stage's steps 1 and 2, and their table."""

import csv
import functools
import hashlib
import io
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.errors import FitError, Preempted, SettingsError
from gan2shape_jax.instruments import projections, view_judge
from gan2shape_jax.instruments.projections import Identities, Measured
from gan2shape_jax.models import discriminator
from gan2shape_jax.pipeline import config_checks, sources
from gan2shape_jax.pipeline.assembly import Assembly, assemble
from gan2shape_jax.pipeline.masks import check_category, mask_finder
from gan2shape_jax.pipeline.picture_latents import LatentFinder
from gan2shape_jax.pipeline.preparation import Preparation, prepare
from gan2shape_jax.reconstruction import autoencoder, driver
from gan2shape_jax.reconstruction.state import Factors, FitState, Instance, Projections, Settings
from gan2shape_jax.renderer import lambertian, light_from_code, normals_from_depth, sample_bilinear
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.workdir import check_workdir
from gan2shape_jax.weights.array_files import read_bytes

_OTHERS = 128  # images of the GAN that stand for other heads
_BATCH = 32


class Collected(NamedTuple):
  """Projections after step 2 and what they were made from.

  Attributes:
    projections: [batches, batch, ...].
    pseudo: [batches, batch, size, size, 3] the pseudo samples.
    own_image: [size, size, 3] the GAN's image of the picture's latent.
  """

  projections: Projections
  pseudo: jax.Array
  own_image: jax.Array


def collect(
  shared: Assembly,
  instance: Instance,
  key,
  *,
  prior_depth=None,
  stop: Callable[[], bool] = lambda: False,
) -> Collected:
  """Runs the first stage of the method to the end of step 2 and collects projections.

  Args:
    shared: an assembly whose plan has a step 2.
    instance: the picture.
    key: random key of the picture.
    prior_depth: [size, size] shape to start from, where the networks are not trained.
    stop: asked after every iteration whether to end.

  Returns:
    `Collected`: what step 3 would get.

  Raises:
    Preempted: `stop` said so.
  """
  programs, frozen, plan = shared.programs, shared.frozen, shared.plan
  # The programs consume states; the starting networks serve all pictures.
  params = jax.tree.map(jnp.array, shared.params)
  if programs.begin is not None:
    params = jax.tree.map(jnp.copy, programs.begin(params, instance, prior_depth, frozen))
  start = driver.Start(FitState(params, None))
  events = driver.reconstruct(programs, start, instance, frozen, plan, key, prior_depth=prior_depth)
  for event in events:
    if stop():
      raise Preempted('stopped: the pictures finished are saved')
    if event.finished == (0, driver.STEP2) and event.boundary:
      break
  state = event.state
  step_key = jax.random.fold_in(jax.random.fold_in(key, 0), driver.STEP3)
  made = driver.collect(programs, state, instance, frozen, plan, step_key)
  origin = programs.origin(state.params, instance, frozen)
  pseudo = pseudo_samples(origin.factors, made.views, made.lights, shared.settings)
  return Collected(made, pseudo, origin.own_image)


@functools.partial(jax.jit, static_argnames='settings')
def pseudo_samples(factors: Factors, views, lights, settings: Settings):
  """Renders a shape again as it was before projection.

  Args:
    factors: of the picture.
    views: [batches, batch, 6] drawn, network units.
    lights: [batches, batch, 4] light codes drawn.
    settings: of the method.

  Returns:
    [batches, batch, size, size, 3] in [-1, 1].
  """
  normals = normals_from_depth(factors.depth, settings.camera)

  def one(sample):
    view, light = sample
    shape = autoencoder.geometry(
      factors.depth, autoencoder.view_from_code(view, settings), settings
    )
    texture = lambertian(factors.albedo, normals, light_from_code(light))
    return jnp.clip(sample_bilinear(texture, shape.grid), -1, 1)

  return jax.lax.map(jax.vmap(one), (views, lights))


def measure_all(
  config: ConfigDict,
  workdir: pathlib.Path,
  judge_path: str,
  *,
  tell: Callable[[str], None] = lambda text: None,
  stop: Callable[[], bool] = lambda: False,
) -> list[dict]:
  """Measures the projections of all pictures of a configuration.

  Args:
    config: a whole configuration, whose first stage has a step 2.
    workdir: finished pictures are kept in its folder projections.
    judge_path: file of `view_judge.save_judge`.
    tell: takes a line after each picture.
    stop: asked whether to end.

  Returns:
    Rows of `projections.table`.

  Raises:
    SettingsError, DataError, WeightsError, ArtefactError: one line that names setting or file.
    FitError: the folder holds other measurements, or projections are no numbers.
    Preempted: `stop` said so.
  """
  config_checks.check_config(config)
  check_category(config)
  if config.mode == 'predict' or config.stages.first.step2 < 1:
    raise SettingsError('--table=projections: expected mode=fit and stages.first.step2 > 0')
  judge = view_judge.load_judge(judge_path)
  if judge.size != config.image_size:
    raise SettingsError(
      f'image_size={config.image_size}: expected {judge.size}, the size of --judge={judge_path}'
    )
  digest = hashlib.sha256(read_bytes(judge_path)).hexdigest()
  pictures = sources.load_pictures(config)
  folder = pathlib.Path(workdir) / 'projections'
  claim = check_workdir(folder, config)
  # What is judged are the views drawn; the fit may start from others that the network tells.
  config = config.copy_and_resolve_references()
  config.fit.views = 'drawn'
  shared = assemble(config)
  finder = LatentFinder(config, shared.frozen, stop=stop)
  preparation = Preparation(config, folder, pictures, shared, finder, mask_finder(config))
  atomic_files.write_text(folder / 'config.json', claim)
  features = functools.partial(deepest_features, shared.frozen.discriminator)
  strangers = sources.draw_samples(
    shared.frozen, shared.settings, config.image_size, range(2**20, 2**20 + _OTHERS)
  )
  others, heads, seed = features(strangers.images), [], jax.random.key(config.seed)
  for number, name in enumerate(pictures.names):
    path = folder / name / 'projections.npz'
    if path.exists():
      heads.append(_kept(path, digest))
      continue
    job = prepare(preparation, number)
    collected = collect(
      shared,
      jax.tree.map(jnp.asarray, job.instance),
      jax.random.fold_in(seed, number),
      prior_depth=job.prior_depth,
      stop=stop,
    )
    flat = lambda x: np.asarray(x).reshape(-1, *x.shape[2:])
    made = collected.projections
    own = features(collected.own_image[None])[0]
    heads.append(
      projections.measure(
        flat(made.images),
        flat(made.views),
        flat(collected.pseudo),
        flat(made.masks),
        judge=judge,
        identities=Identities(features, others.mean(0), own, others),
        rotation_range=shared.settings.rotation_range,
      )
    )
    if not np.isfinite(made.images).all():
      raise FitError(f'{job.picture.path}: projections are not finite, expected numbers')
    atomic_files.write_arrays(path, heads[-1]._asdict() | {'judge': np.array(digest)})
    row = projections.table([name], heads[-1:])[0]
    tell(
      f'{name}: slope of yaw {row["yaw_slope"]:.2f}, of pitch {row["pitch_slope"]:.2f}, '
      f'L1 {row["l1"]:.3f}, identity {row["identity"]:.2f}'
    )
  return projections.table(pictures.names, heads)


def write_tables(workdir: pathlib.Path, rows: list[dict]) -> pathlib.Path:
  """Writes projections.csv and projections.md; returns the second's path.

  Raises:
    ArtefactError: the folder cannot be written.
  """
  text = io.StringIO()
  writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  workdir = pathlib.Path(workdir)
  atomic_files.write_text(workdir / 'projections.csv', text.getvalue())
  path = workdir / 'projections.md'
  atomic_files.write_text(path, projections.format_markdown(rows))
  return path


def deepest_features(params: dict, images) -> np.ndarray:
  """The discriminator's deepest features of single images, flattened.

  Its last convolution, which compares a batch's images, is left out.

  Args:
    params: a discriminator.
    images: [n, size, size, 3] in [-1, 1].

  Returns:
    float32 [n, d].
  """
  images, features = np.asarray(images, np.float32), []
  for start in range(0, len(images), _BATCH):
    part = images[start : start + _BATCH]
    filled = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), 0)])
    features.append(np.asarray(_features(params, filled))[: len(part)])
  return np.concatenate(features)


@jax.jit
def _features(params, images):
  levels = images.shape[1].bit_length() - 3  # down to 4x4, or as far as the blocks reach
  count = min(max(1, levels), discriminator.num_features(params) - 1)
  deepest = discriminator.discriminator_features(params, images, count=count)[-1]
  return deepest.reshape(images.shape[0], -1)


def _kept(path, digest):
  """Measurements that an earlier call made."""
  arrays = read_arrays(path, (*Measured._fields, 'judge'))
  if str(arrays.pop('judge')) != digest:
    raise FitError(f'{path}: measured by another judge: choose another --workdir')
  return Measured(**arrays)
