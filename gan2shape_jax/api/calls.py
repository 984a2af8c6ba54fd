"""What is done with a model: reconstruct a picture, look at it once, invert it, draw samples.

An image is a path, a PIL image or an array; `data.given` has the conventions: arrays are channels
last, uint8 or floats in [-1, 1], and the middle square is brought to the model's size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan2shape_jax import data
from gan2shape_jax.api.loading import Model
from gan2shape_jax.api.reconstructed import Made, Reconstruction
from gan2shape_jax.errors import DataError
from gan2shape_jax.pipeline import setup, sources
from gan2shape_jax.pipeline.jobs import Job
from gan2shape_jax.pipeline.picture_latents import Found, check_latents
from gan2shape_jax.pipeline.picture_results import picture_photo, picture_result
from gan2shape_jax.pipeline.preparation import make_instance
from gan2shape_jax.runtime.progress import CalledProgress, Stopwatch

ProgressFunction = Callable[[int, int, str, float], None]
"""(iterations done, iterations in all, step, loss), called after every iteration."""

_NUMBER = 0  # of the picture among those of a run, folded into the random key


class InvertedLatent(NamedTuple):
  """What an inversion found.

  Attributes:
    latent: float32 [w_dim], or [layers, w_dim] with inversion.space='w+'.
    image_l1: mean absolute difference between the picture and the GAN's image of the latent, on
      the scale of [-1, 1].
    gan_distance: how unlike the GAN's own images the picture is; 1 is their 99th percentile. NaN
      where the GAN has no discriminator to tell it.
    image: [size, size, 3] the GAN's image of the latent, in [-1, 1].
  """

  latent: np.ndarray
  image_l1: float
  gan_distance: float
  image: np.ndarray


def reconstruct(
  image: Any,
  model: Model,
  *,
  mask: Any = None,
  latent: Any = None,
  seed: int | None = None,
  progress: ProgressFunction | None = None,
) -> Reconstruction:
  """Fits the shape of the object in a picture.

  The result equals, to the bit, that of `gan2shape-jax run` with the same settings and seed on this
  picture alone, on the same devices.

  Args:
    image: the picture: a path, 'embedded:heads/000', a PIL image, or an array [height, width, 3]
      of uint8 or of floats in [-1, 1] (see `data.given_picture`).
    model: from `load`.
    mask: the object's mask: a path, a PIL image or an array [height, width] of bool, uint8 or
      floats in [0, 1]; without it, parsed or found in the picture.
    latent: the GAN's latent of the picture, [w_dim] or [layers, w_dim], or a file of it; without
      it, found by inversion first.
    seed: of all that is random; None is the model's setting `seed`, 0 unless it was changed.
    progress: called after every iteration with (done, total, step, loss): step is 'inversion'
      (total and loss are the inversion's) and then 'stage 1/2 step 1' and so on. What it raises
      ends the fit.

  Returns:
    A `Reconstruction`.

  Raises:
    DataError: image, mask or latent are not as expected.
    FitError: the losses left the finite numbers; a smaller rate may help.
    SettingsError, WeightsError: as `load`, for what is needed here only.
  """
  return _made('fit', image, model, mask, latent, seed, progress)


def predict(image: Any, model: Model, *, mask: Any = None) -> Reconstruction:
  """Takes one look at a picture by trained networks, without a fit.

  Args:
    image: as of `reconstruct`.
    model: from `load`, with the setting networks.pretrained.
    mask: as of `reconstruct`.

  Returns:
    A `Reconstruction` without a latent.

  Raises:
    DataError: image or mask are not as expected.
    SettingsError: the model has no trained networks.
    WeightsError: as `load`, for what is needed here only.
  """
  return _made('predict', image, model, mask, None, None, None)


def invert(image: Any, model: Model, *, progress: ProgressFunction | None = None) -> InvertedLatent:
  """Finds the GAN's latent of a picture.

  Args:
    image: as of `reconstruct`.
    model: from `load`; its settings `inversion` count.
    progress: called after every iteration with (done, total, 'inversion', mean absolute error).

  Returns:
    An `InvertedLatent`; its `latent` is one for `reconstruct`.

  Raises:
    DataError: the image is not as expected.
    FitError: the inversion left the finite numbers.
  """
  picture = data.given_picture(image, model.size, model.config.data)
  found = model.latent_finder.invert(picture, _progress(picture, progress))
  made = model.latent_finder.image_of(found.latent)
  metrics = found.metrics
  return InvertedLatent(
    found.latent, metrics['inversion_l1'], metrics.get('gan_distance', np.nan), made
  )


def sample(model: Model, n: int, *, seed: int = 0, truncation: float = 1.0) -> sources.Drawn:
  """Draws images of the GAN.

  Args:
    model: from `load`.
    n: how many.
    seed: image k is that of the seed `seed` + k, whatever n is.
    truncation: of the latents: mean + truncation * (w - mean).

  Returns:
    `images` [n, size, size, 3] in [-1, 1] and `latents` [n, w_dim], of which `reconstruct` takes
    any as image and latent.

  Raises:
    DataError: n is below 1, or a seed is not within 0 and 2**32 - 1.
  """
  if n < 1:
    raise DataError(f'n={n}: expected how many, at least 1')
  settings = setup.settings_from_config(model.config)
  seeds = range(seed, seed + n)
  return sources.draw_samples(model.frozen, settings, model.size, seeds, spread=truncation)


def _made(mode, image, model, mask, latent, seed, progress) -> Reconstruction:
  """One picture through the same functions as those of a run."""
  clock = Stopwatch()
  picture = data.given_picture(image, model.size, model.config.data, mask=mask, latent=latent)
  if picture.latent is not None:
    check_latents({picture.path: picture.latent.shape}, model.frozen.generator)
  with clock.part('load'):
    config, shared, fitter = model.ready(mode, seed, progress)
  shown, inverted = _progress(picture, progress), None
  with clock.part('inversion'):
    if mode == 'predict':
      found = Found(np.asarray(shared.frozen.mean_latent), {})
    elif picture.latent is not None:
      found = Found(picture.latent, {})
    else:
      found = inverted = model.latent_finder.invert(picture, shown)
  with clock.part('mask'):
    instance, prior_depth = make_instance(config, shared, picture, found, model.find_mask, shown)
  job = Job(_NUMBER, picture, None, instance, prior_depth, found.metrics, None, clock)
  (fit,) = fitter.fit([job])
  if fit.error:
    raise fit.error
  photo = picture_photo(config, picture)
  with clock.part('results'):
    result = picture_result(config, shared, job, fit, shown, photo=photo)
  return Reconstruction.of(Made(config, shared, job, fit, result, model.latent_finder, inverted))


def _progress(picture, function):
  return CalledProgress(0, label=picture.name, call=function)
