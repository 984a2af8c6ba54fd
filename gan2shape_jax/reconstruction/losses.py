"""Losses: photometric, smoothness, discriminator features, perceptual distances.

Images are [batch, height, width, channels] in [-1, 1].
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.models.discriminator import discriminator_features
from gan2shape_jax.models.lpips import lpips_to_features, vgg_features
from gan2shape_jax.models.resampling import resize
from gan2shape_jax.reconstruction.state import Method, in_precision

_EPSILON = 1e-7


def photometric_loss(images, targets, mask=None, sigma=None):
  """Mean absolute difference, over the mask where one is given.

  Args:
    images: [batch, height, width, channels].
    targets: like `images`.
    mask: [batch, height, width, 1] weights, or None.
    sigma: [batch, height, width, 1] scale of a Laplace likelihood (Unsup3d, equation 3), or None.

  Returns:
    [] loss.
  """
  loss = jnp.abs(images - targets)
  if sigma is not None:
    loss = loss * 2**0.5 / (sigma + _EPSILON) + jnp.log(sigma + _EPSILON)
  if mask is None:
    return loss.mean()
  weights = jnp.broadcast_to(mask, loss.shape)
  # An empty mask gives no loss, not a division by zero.
  return jnp.sum(loss * weights) / jnp.maximum(weights.sum(), _EPSILON)


def smoothness_loss(maps, *, huber: float = 0.0):
  """Mean absolute second differences: xx, xy, yx and yy (GAN2Shape, section 3.2).

  Args:
    maps: [batch, height, width] or [batch, height, width, channels].
    huber: second differences below this count quadratically; 0 for the plain absolute value,
      whose gradient on smooth maps is the sign of rounding noise.

  Returns:
    [] loss.
  """

  def size(x):
    if not huber:
      return jnp.abs(x).mean()
    small = jnp.minimum(jnp.abs(x), huber)
    return (jnp.abs(x) - small + small**2 / (2 * huber)).mean()

  along_x, along_y = maps[:, :, 1:] - maps[:, :, :-1], maps[:, 1:] - maps[:, :-1]
  xx, xy = along_x[:, :, 1:] - along_x[:, :, :-1], along_x[:, 1:] - along_x[:, :-1]
  yx, yy = along_y[:, :, 1:] - along_y[:, :, :-1], along_y[:, 1:] - along_y[:, :-1]
  return size(xx) + size(xy) + size(yx) + size(yy)


def discriminator_feature_loss(features, targets, mask=None):
  """Summed mean absolute difference of discriminator features (GAN2Shape, equation 4).

  Args:
    features: list of [batch, h, w, channels], with gradient.
    targets: like `features`; no gradient passes.
    mask: [batch, height, width, 1] weights, area-pooled to each size, or None.

  Returns:
    [] loss.
  """
  total = jnp.zeros(())
  for feature, target in zip(features, targets, strict=True):
    pooled = None if mask is None else resize(mask, feature.shape[1:3])
    total = total + photometric_loss(feature, jax.lax.stop_gradient(target), pooled)
  return total


def perceptual_references(method: Method, targets, mask) -> list:
  """What `perceptual_distance` compares with; constant for constant targets and masks.

  Args:
    method: `settings.perceptual` is 'lpips', 'discriminator' or 'none'; `frozen` holds the weights.
    targets: [batch, height, width, 3] in [-1, 1]; no gradient passes.
    mask: [batch, height, width, 1] pixels that count.

  Returns:
    Features of the targets, a list of [batch, h, w, channels]; empty for 'none'.

  Raises:
    ValueError: the kind is unknown.
  """
  kind = method.settings.perceptual
  if kind == 'none':
    return []
  if kind == 'lpips':
    seen = in_precision(targets * mask, method.settings.precision)
    return jax.lax.stop_gradient(vgg_features(method.frozen.perceptual, seen))
  if kind == 'discriminator':
    return jax.lax.stop_gradient(image_features(method, targets))
  raise ValueError(f'unknown perceptual loss {kind!r}: expected lpips, discriminator or none')


def perceptual_distance(method: Method, images, targets, mask, references: list):
  """The perceptual term for each image, of the kind that the settings name, inside a mask.

  Args:
    method: as of `perceptual_references`.
    images: [batch, height, width, 3] in [-1, 1].
    targets: like `images`, or one for all of them; no gradient passes.
    mask: [batch, height, width, 1] pixels that count, or one for all.
    references: `perceptual_references` of targets and mask.

  Returns:
    [batch] distances.
  """
  targets = jax.lax.stop_gradient(targets)
  kind = method.settings.perceptual
  if kind == 'none':
    return jnp.zeros(images.shape[0])
  if kind == 'lpips':
    seen = in_precision(images * mask, method.settings.precision)
    return lpips_to_features(method.frozen.perceptual, seen, references).astype(images.dtype)
  # Outside the mask both show the target: the features see no edge that the mask made.
  features = image_features(method, images * mask + targets * (1 - mask))
  distance = jnp.zeros(images.shape[0])
  for feature, reference in zip(features, references, strict=True):
    distance = distance + jnp.abs(feature - reference).mean((1, 2, 3))
  return distance


def image_features(method: Method, images):
  """The discriminator's first block outputs for images in [-1, 1]."""
  features = discriminator_features(
    method.frozen.discriminator,
    in_precision(images, method.settings.precision),
    count=method.settings.discriminator_features,
  )
  return [feature.astype(images.dtype) for feature in features]


def relief_distance(depths, prior_depth, *, cell: int = 8, scale: float = 0.02):
  """How far the coarse relief is from another one; finer shape is free.

  Args:
    depths: [batch, size, size] canonical depths.
    prior_depth: [size, size].
    cell: depths are compared as means over cells of so many pixels.
    scale: difference that counts as 1, camera units.

  Returns:
    [] mean squared difference.
  """
  size = prior_depth.shape[0] // cell
  coarse = resize((depths - prior_depth[None])[..., None], size)
  return jnp.mean((coarse / scale) ** 2)
