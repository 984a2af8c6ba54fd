"""Adaptive discriminator augmentation: random transforms, each with a probability that adapts.

Both real and made images are transformed before the discriminator sees them, so that it cannot
learn a small data set by heart. The probability rises while it is too sure of real images and
falls while it is not. Differences from the source: bilinear sampling without a wider filter
(strong shrinking may alias), and only the groups named here.

Source:
  Karras et al., Training Generative Adversarial Networks with Limited Data, NeurIPS 2020.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.gan_training import transforms
from gan2shape_jax.gan_training.gan_settings import GanSettings

_SHIFT = 0.125  # of the size: range of whole-pixel shifts, spread of fractional ones
_SCALE = 0.2  # spread of scales, powers of two
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0  # spreads; the latter two powers of two


class Strength(NamedTuple):
  """The adapted probability and what it follows.

  Attributes:
    probability: of each transform.
    signs: sum of the batches' means of the signs of real images' scores since it last changed.
    batches: how many these were.
  """

  probability: jax.Array
  signs: jax.Array
  batches: jax.Array


def initial_strength(settings: GanSettings) -> Strength:
  """The strength that training starts with."""
  return Strength(jnp.float32(settings.augment_start), jnp.float32(0), jnp.float32(0))


def adapted(strength: Strength, signs: jax.Array, settings: GanSettings) -> Strength:
  """The strength after a batch of real images.

  Args:
    strength: before it.
    signs: the mean of the signs of its scores.
    settings: the target of that mean, after how many batches to adapt, and how many images it
      takes to go from 0 to 1.

  Returns:
    The strength after it, its probability in [0, 1].
  """
  signs, batches = strength.signs + signs, strength.batches + 1
  due = batches >= settings.augment_every
  images = settings.augment_every * settings.batch_size
  step = jnp.sign(signs / batches - settings.augment_target) * (images / settings.augment_images)
  probability = jnp.clip(strength.probability + jnp.where(due, step, 0.0), 0.0, 1.0)
  cleared = lambda value: jnp.where(due, 0.0, value)
  return Strength(probability, cleared(signs), cleared(batches))


def augment(
  key: jax.Array,
  images: jax.Array,
  numbers: jax.Array,
  probability: jax.Array,
  groups: tuple[str, ...],
) -> jax.Array:
  """Transforms each image by its own random transforms.

  Args:
    key: of the step.
    images: [B, H, W, 3] in [-1, 1].
    numbers: [B] the images' places in the whole batch.
    probability: of each transform.
    groups: 'blit' (flips, quarter turns, shifts by whole pixels), 'geometric' (scales, rotations,
      shifts), 'colour' (brightness, contrast, luma flip, hue, saturation); none leaves the images.

  Returns:
    [B, H, W, 3].
  """
  if not groups:
    return images
  height, width = images.shape[1:3]

  def one(image, number):
    own = jax.random.fold_in(key, number)
    if 'blit' in groups or 'geometric' in groups:
      image = transforms.warp(image, geometric_matrix(own, probability, (height, width), groups))
    if 'colour' in groups:
      image = transforms.recolour(image, colour_matrix(own, probability))
    return image

  return jax.vmap(one)(images, numbers)


def geometric_matrix(
  key: jax.Array, probability: jax.Array, size: tuple[int, int], groups: tuple[str, ...]
) -> jax.Array:
  """A random geometric transform.

  Args:
    key: of the image.
    probability: of each part.
    size: height and width in pixels.
    groups: see `augment`.

  Returns:
    [3, 3], see `transforms`.
  """
  height, width = size
  of = _Draws(key, 0)
  matrix = jnp.eye(3)

  def apply(transform, matrix, probability=probability):
    together = jnp.matmul(transform, matrix, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(of.happens(probability), together, matrix)

  if 'blit' in groups:
    matrix = apply(transforms.scaling(1.0 - 2.0 * of.integer(2), 1.0), matrix)
    matrix = apply(transforms.quarter_turns(of.integer(4)), matrix)
    x, y = of.uniform(-_SHIFT, _SHIFT), of.uniform(-_SHIFT, _SHIFT)
    matrix = apply(transforms.translation(jnp.round(x * width), jnp.round(y * height)), matrix)
  if 'geometric' in groups:
    either = 1 - jnp.sqrt(1 - probability)  # two rotations, one of which happens with p
    scale = 2 ** (_SCALE * of.normal())
    matrix = apply(transforms.scaling(scale, scale), matrix)
    matrix = apply(transforms.rotation(of.uniform(-math.pi, math.pi)), matrix, either)
    scale = 2 ** (_SCALE * of.normal())
    matrix = apply(transforms.scaling(scale, 1 / scale), matrix)
    matrix = apply(transforms.rotation(of.uniform(-math.pi, math.pi)), matrix, either)
    x, y = _SHIFT * width * of.normal(), _SHIFT * height * of.normal()
    matrix = apply(transforms.translation(x, y), matrix)
  return matrix


def colour_matrix(key: jax.Array, probability: jax.Array) -> jax.Array:
  """A random colour transform: [4, 4], see `transforms`."""
  of = _Draws(key, 1)
  matrix = jnp.eye(4)
  for transform in (
    transforms.brightness(_BRIGHTNESS * of.normal()),
    transforms.contrast(2 ** (_CONTRAST * of.normal())),
    transforms.luma_flip(1.0 * of.integer(2)),
    transforms.hue(of.uniform(-math.pi, math.pi)),
    transforms.saturation(2 ** (_SATURATION * of.normal())),
  ):
    together = jnp.matmul(transform, matrix, precision=jax.lax.Precision.HIGHEST)
    matrix = jnp.where(of.happens(probability), together, matrix)
  return matrix


class _Draws:
  """Numbers from one key, one after another: at most 16 of each kind, drawn at once."""

  def __init__(self, key, part):
    values = jax.random.normal(jax.random.fold_in(key, part), (32,))
    self._normal = iter(values[:16])
    self._uniform = iter(jax.scipy.special.ndtr(values[16:]))

  def happens(self, probability):
    return next(self._uniform) < probability

  def uniform(self, low, high):
    return low + (high - low) * next(self._uniform)

  def normal(self):
    return next(self._normal)

  def integer(self, count):
    return jnp.floor(count * next(self._uniform)).astype(jnp.int32)
