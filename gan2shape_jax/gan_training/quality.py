"""How good a GAN is: its images beside real ones that it never saw, as sets; its path lengths."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import evaluation
from gan2shape_jax.artefacts.image_files import to_uint8
from gan2shape_jax.errors import DataError
from gan2shape_jax.gan_training import gan_losses
from gan2shape_jax.gan_training.training_images import TrainingImages
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import setup, sources
from gan2shape_jax.pipeline.frozen_weights import load_frozen

_CHUNK = 512  # images in floating point at once
_PATHS = 256  # latents, of path lengths


def measure_gan(
  config: ConfigDict,
  real: TrainingImages,
  count: int,
  *,
  judge: dict | None = None,
  tell: Callable[[str], None] = lambda text: None,
) -> list[dict]:
  """Compares a GAN's images with real ones.

  Args:
    config: a whole configuration; `gan`, `image_size` and `data.spread` count.
    real: images of that size that the GAN was not trained on; where there are twice `count`, the
      second half is judged too, as what perfect images would reach.
    count: how many of the GAN's are compared with how many of them.
    judge: a discriminator whose features judge as well as random ones.
    tell: called with what is being done.

  Returns:
    Rows with `images` ('GAN' or 'real'), `features` ('random' or 'discriminator'), `fid`, `kid`,
    `precision`, `recall`; the GAN's with `path_length` and `path_length_std`.

  Raises:
    DataError: there are fewer real images.
  """
  if not 2 <= count <= len(real):
    raise DataError(f'expected at least 2 and at most all {len(real)} real images, not {count}')
  judges: dict[str, Callable[[Any], np.ndarray]] = {'random': evaluation.random_features}
  if judge is not None:
    judges['discriminator'] = lambda images: evaluation.discriminator_means(judge, images)

  def features(name, images_at, numbers):
    parts = {judge_name: [] for judge_name in judges}
    for start in range(0, len(numbers), _CHUNK):
      tell(f'{name} {start}/{len(numbers)}')
      images = images_at(numbers[start : start + _CHUNK])
      for judge_name, function in judges.items():
        parts[judge_name].append(function(images))
    return {judge_name: np.concatenate(found) for judge_name, found in parts.items()}

  scaled = lambda images: images.astype(np.float32) / 127.5 - 1
  real_at = lambda numbers: scaled(real.batch(numbers))
  frozen, settings = load_frozen(config, critic=False), setup.settings_from_config(config)

  def drawn_at(seeds):
    drawn = sources.draw_samples(
      frozen, settings, config.image_size, seeds, spread=config.data.spread
    )
    return scaled(to_uint8(drawn.images))  # real ones are rounded to bytes as well

  reference = features('real', real_at, range(count))
  sets = {'GAN': features('GAN', drawn_at, range(count))}
  if len(real) >= 2 * count:
    sets['real'] = features('real', real_at, range(count, 2 * count))
  rows = []
  for name, found in sets.items():
    for judge_name, of_judge in found.items():
      tell(f'{name}, {judge_name} features')
      precision, recall = evaluation.precision_recall(reference[judge_name], of_judge)
      rows.append(
        {
          'images': name,
          'features': judge_name,
          'fid': evaluation.frechet_distance(reference[judge_name], of_judge),
          'kid': evaluation.kernel_distance(reference[judge_name], of_judge),
          'precision': precision,
          'recall': recall,
        }
      )
  tell('path lengths')
  lengths = path_lengths(frozen.generator, _PATHS)
  rows[0] |= {'path_length': float(lengths.mean()), 'path_length_std': float(lengths.std())}
  return rows


def path_lengths(generator: dict, count: int, *, batch: int = 16) -> np.ndarray:
  """Lengths of random steps in the image for steps of w (StyleGAN2, section 3.2).

  Args:
    generator: plain weights.
    count: of the latents, a multiple of `batch`.
    batch: latents at once.

  Returns:
    [count]; even lengths tell of a smooth generator.
  """
  layers, size = stylegan2.num_layers(generator), stylegan2.resolution(generator)
  shape = (batch, size, size, 3)

  @jax.jit
  def lengths(generator, key):
    of_latents, of_directions = jax.random.split(key)
    z = jax.random.normal(of_latents, (batch, stylegan2.latent_size(generator)))
    w = stylegan2.mapping(generator, z)
    w = jnp.broadcast_to(w[:, None], (batch, layers, w.shape[1]))
    synthesize = lambda latents: stylegan2.synthesize(generator, latents)
    return gan_losses.path_lengths(synthesize, w, jax.random.normal(of_directions, shape))

  keys = jax.random.split(jax.random.key(0), count // batch)
  return np.concatenate([np.asarray(lengths(generator, key)) for key in keys])
