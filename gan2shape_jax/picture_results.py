"""From a picture's fit to its files: factors, metrics, videos, sheets, mesh."""

import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import artefacts, data, evaluation, masks, object_masks
from gan2shape_jax.assembly import Assembly
from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.fitting import Fit, Job
from gan2shape_jax.gan_views import gan_frames
from gan2shape_jax.progress import Progress
from gan2shape_jax.reconstruction import setup
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.workdir import FitError

# What tells that a kind of results is there.
_WRITTEN = {
  'sheets': ('picture.png', 'sheet.png', 'views.png', 'relight.png'),
  'videos': tuple(
    f'{name}.{ending}'
    for name in ('rotate_3d', 'rotate_3d_object', 'relight_3d')
    for ending in ('mp4', 'gif')
  ),
  'mesh': ('mesh.glb', 'mesh.obj', 'mesh.mtl', 'mesh.png'),
}
# Arrays of factors.npz -> fields.
_FACTORS = {
  'canonical_depth': 'depth',
  'albedo': 'albedo',
  'mask': 'mask',
  'view': 'view',
  'light': 'light',
}
_LARGEST_TEXTURE = 2048  # pixels, where results.texture_size says nothing


def write_picture(config: ConfigDict, shared: Assembly, job: Job, fit: Fit) -> None:
  """Writes the results of a picture into its folder (docs/results.md).

  Args:
    config: a whole configuration.
    shared: the run's assembly.
    job: the picture.
    fit: what came of it.

  Raises:
    FitError: the factors are no numbers.
    DataError: the picture cannot be read any more.
    ArtefactError: the system refused.
  """
  picture, factors, settings = job.picture, fit.factors, shared.settings
  bad = [name for name, leaf in factors._asdict().items() if not np.isfinite(leaf).all()]
  if bad:
    raise FitError(
      f'{picture.path}: after the last step {", ".join(bad)} is not finite, expected numbers '
      '(a smaller optimizer.learning_rate may help)'
    )
  predicts = config.mode == 'predict'
  params, instance = jax.device_put((fit.params, job.instance))
  latent = None if predicts else np.asarray(instance.latent)
  result = _result(config, settings, picture, factors, np.asarray(job.instance.mask), latent)
  max_yaw = artefacts.supported_yaw(result.factors, settings.camera, config.results.max_yaw)
  known = job.metrics
  if predicts:
    known = {'milliseconds': _milliseconds(shared, params, instance)}
  elif config.results.videos:
    frames = gan_frames(shared, params, instance, result.factors, max_yaw, config.results.max_pitch)
    result = result._replace(**frames)
  metrics = {'image_l1': _masked_error(result)} | known
  if picture.depth is not None:
    metrics |= evaluation.evaluate(
      result.view_depth, result.valid, picture.depth, picture.region, settings.camera
    )
  artefacts.write_results(
    job.folder,
    result._replace(metrics=metrics),
    camera=settings.camera,
    max_yaw=max_yaw,
    max_pitch=config.results.max_pitch,
    alpha=settings.rand_light[6],
    make_sheets=config.results.sheets,
    make_videos=config.results.videos,
    make_mesh=config.results.mesh,
  )


def write_missing(
  config: ConfigDict, picture: data.Picture, folder: pathlib.Path, find_mask: masks.FindMask
) -> list[str]:
  """Writes what a finished picture's results lack of what is now asked for, from its factors.

  The views and lights that went through the GAN are not among it: their networks are not kept.

  Args:
    config: a whole configuration; `results` tells what is wanted.
    picture: the picture.
    folder: of its results.
    find_mask: of the run.

  Returns:
    What was written: some of sheets, videos, mesh.

  Raises:
    DataError: the factors are damaged or of an earlier version, or the mask is not found.
    ArtefactError: the system refused.
  """
  wanted = missing_kinds(config, folder)
  if not wanted:
    return []
  settings = setup.settings_from_config(config)
  arrays = read_arrays(folder / 'factors.npz', (*_FACTORS, 'turned'))
  factors = Factors(**{field: arrays[name] for name, field in _FACTORS.items()})
  result = _result(config, settings, picture, factors, find_mask(picture)[0], None)
  artefacts.write_results(
    folder,
    result,
    camera=settings.camera,
    max_yaw=float(arrays['turned'][0]),
    max_pitch=float(arrays['turned'][1]),
    alpha=settings.rand_light[6],
    make_arrays=False,
    make_sheets='sheets' in wanted,
    make_videos='videos' in wanted,
    make_mesh='mesh' in wanted,
  )
  return wanted


def missing_kinds(config: ConfigDict, folder: pathlib.Path) -> list[str]:
  """Which of sheets, videos and mesh are asked for and not in a folder."""
  return [
    kind
    for kind, names in _WRITTEN.items()
    if config.results[kind] and not all((folder / name).is_file() for name in names)
  ]


def _result(config, settings, picture, factors, mask, latent):
  """What is known of a picture: its factors as they are shown and, for that, its pixels."""
  photo = None
  shown = config.results.sheets or config.results.videos or config.results.mesh
  if shown and config.results.texture == 'photo':
    largest = config.results.texture_size or _LARGEST_TEXTURE
    photo = picture.image if picture.photo is None else picture.photo(largest)
  return artefacts.result_from_factors(
    picture.name,
    picture.image,
    factors,
    settings.camera,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
    mask=_mask(config, settings, picture, mask, factors),
    latent=latent,
    photo=photo,
  )


def _mask(config, settings, picture, mask, factors):
  """The picture's mask [size, size, 1]: that of the fit, unless it was a guess."""
  if not masks.is_guessed(config, picture):
    return mask
  found, origin = object_masks.mask_of_picture(
    picture.image,
    factors,
    settings.camera,
    start=mask,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
  )
  Progress(1, label=picture.name).note(f'mask of the results: {origin}')
  return found


def _milliseconds(shared: Assembly, params, instance, rounds: int = 10) -> float:
  """The median time of a prediction after its compilation, milliseconds."""
  predict = lambda: jax.block_until_ready(shared.programs.factors(params, instance, shared.frozen))
  predict()
  seconds = []
  for _ in range(rounds):
    begin = time.perf_counter()
    predict()
    seconds.append(time.perf_counter() - begin)
  return round(1000 * float(np.median(seconds)), 2)


def _masked_error(result):
  """Mean absolute error of the reconstruction where the surface is seen, [-1, 1] scale."""
  valid = result.valid > 0
  return float(np.abs(result.reconstruction - result.image)[valid].mean()) if valid.any() else 2.0
