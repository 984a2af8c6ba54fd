"""From a picture's fit to its files: factors, metrics, videos, sheets, mesh."""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import artefacts, data, evaluation
from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.errors import FitError
from gan2shape_jax.pipeline import masks, object_masks, setup
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.gan_views import gan_frames
from gan2shape_jax.pipeline.jobs import Fit, Job
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.runtime.progress import CalledProgress, Progress

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
  if config.mode == 'predict':
    params, instance = jax.device_put((fit.params, job.instance))
    took = {'milliseconds': _milliseconds(shared, params, instance)}
    job = dataclasses.replace(job, metrics=took)
  shown = config.results.sheets or config.results.videos or config.results.mesh
  photo = picture_photo(config, job.picture) if shown else None
  progress = Progress(1, label=job.picture.name)
  result = picture_result(config, shared, job, fit, progress, photo=photo)
  write_picture_result(config, shared, job, fit, result)


def picture_photo(config: ConfigDict, picture: data.Picture) -> np.ndarray | None:
  """The pixels that a surface carries: the picture at its own resolution.

  Args:
    config: `results.texture` and `results.texture_size`.
    picture: the picture.

  Returns:
    [n, n, 3], uint8 or in [-1, 1]; None where the texture is the fitted albedo.

  Raises:
    DataError: the picture cannot be read any more.
  """
  if config.results.texture != 'photo':
    return None
  if picture.photo is None:
    return picture.image
  return picture.photo(config.results.texture_size or _LARGEST_TEXTURE)


def picture_result(
  config: ConfigDict,
  shared: Assembly,
  job: Job,
  fit: Fit,
  progress: Progress | CalledProgress,
  *,
  photo=None,
) -> artefacts.Result:
  """What is known of a picture after its fit, without the frames that only files have.

  Args:
    config: a whole configuration.
    shared: the run's assembly.
    job: the picture.
    fit: what came of it.
    progress: is told where the mask of the results is from.
    photo: from `picture_photo`, or None.

  Returns:
    A `Result` with metrics.

  Raises:
    FitError: the factors are no numbers.
  """
  picture, factors, settings = job.picture, fit.factors, shared.settings
  assert factors is not None, 'only a fit without an error has a result'
  bad = [name for name, leaf in factors._asdict().items() if not np.isfinite(leaf).all()]
  if bad:
    raise FitError(
      f'{picture.path}: after the last step {", ".join(bad)} is not finite, expected numbers '
      '(a smaller optimizer.learning_rate may help)'
    )
  # A prediction looks at nothing but the picture.
  latent = None if config.mode == 'predict' else np.asarray(job.instance.latent)
  given = np.asarray(job.instance.mask)
  mask = _mask(config, settings, picture, given, factors, progress)
  result = _result(settings, picture, factors, mask, latent, photo)
  metrics = {'image_l1': _masked_error(result)} | job.metrics
  if picture.depth is not None:
    metrics |= evaluation.evaluate(
      result.view_depth, result.valid, picture.depth, picture.region, settings.camera
    )
  return result._replace(metrics=metrics)


def write_picture_result(
  config: ConfigDict, shared: Assembly, job: Job, fit: Fit, result: artefacts.Result
) -> None:
  """Writes a picture's result into the job's folder, with the frames that the GAN makes of it.

  Args:
    config: a whole configuration; `results` says what is written.
    shared: the run's assembly.
    job: the picture.
    fit: what came of it.
    result: from `picture_result`.

  Raises:
    ArtefactError: the system refused.
  """
  settings, max_pitch = shared.settings, config.results.max_pitch
  max_yaw = artefacts.supported_yaw(result.factors, settings.camera, config.results.max_yaw)
  if config.results.videos and config.mode != 'predict':
    params, instance = jax.device_put((fit.params, job.instance))
    frames: dict[str, Any] = gan_frames(
      shared, params, instance, result.factors, max_yaw, max_pitch
    )
    result = result._replace(**frames)
  artefacts.write_results(
    job.folder,
    result,
    camera=settings.camera,
    max_yaw=max_yaw,
    max_pitch=max_pitch,
    alpha=settings.random_light.ambient,
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
  progress = Progress(1, label=picture.name)
  mask = _mask(config, settings, picture, find_mask(picture)[0], factors, progress)
  result = _result(settings, picture, factors, mask, None, picture_photo(config, picture))
  artefacts.write_results(
    folder,
    result,
    camera=settings.camera,
    max_yaw=float(arrays['turned'][0]),
    max_pitch=float(arrays['turned'][1]),
    alpha=settings.random_light.ambient,
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


def lacks_gan_videos(config: ConfigDict, folder: pathlib.Path) -> bool:
  """Whether a fit would make videos through the GAN that are not in a folder."""
  return config.mode != 'predict' and not (folder / 'rotate_gan.mp4').is_file()


def _result(settings, picture, factors, mask, latent, photo):
  """What is known of a picture: its factors as they are shown and, for that, its pixels."""
  return artefacts.result_from_factors(
    picture.name,
    picture.image,
    factors,
    settings.camera,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
    mask=mask,
    latent=latent,
    photo=photo,
  )


def _mask(config, settings, picture, mask, factors, progress):
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
  progress.note(f'mask of the results: {origin}')
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
