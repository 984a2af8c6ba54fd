"""Latents for pictures that have none: gradient descent through the frozen generator.

Adam on the latent of each picture, starting at the mean latent, with a learning rate that warms
up and decays. The loss is the picture's L1, the L1 of the discriminator's features and a pull to
the mean, as in GAN2Shape (Pan et al., ICLR 2021, section 3.2), and LPIPS where its weights are
given; the schedule follows Karras et al., Analyzing and Improving the Image Quality of StyleGAN,
2020, appendix D.

The loop runs on the host around one jitted step: on CPUs a scan over convolutions is many times
slower.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.models import discriminator, lpips, resampling, stylegan2
from gan2shape_jax.reconstruction.losses import discriminator_feature_loss
from gan2shape_jax.reconstruction.state import Frozen

_FEATURES = 4  # block outputs compared
_WARM_UP = 0.05  # part of the iterations with a rising learning rate


class Inversion(NamedTuple):
  """What the optimisation found.

  Attributes:
    latents: [n, w_dim], or [n, layers, w_dim] in the space w+.
    image_l1: [n] mean absolute difference between picture and GAN's image, both in [-1, 1].
  """

  latents: jax.Array
  image_l1: jax.Array


class _Task(NamedTuple):
  """What stays the same over the iterations of a batch."""

  images: jax.Array
  features: list[jax.Array]  # of the pictures; none where they do not count
  levels: list[jax.Array]  # VGG16's of the pictures, likewise
  frozen: Frozen
  lam_features: jax.Array
  lam_perceptual: jax.Array
  lam_mean: jax.Array


def invert(
  images,
  frozen: Frozen,
  *,
  iterations: int = 250,
  space: str = 'w',
  learning_rate: float = 0.2,
  lam_features: float = 0.25,
  lam_perceptual: float = 0.0,
  lam_mean: float = 0.01,
  truncation: float = 1.0,
  crop: int = 0,
  origin_size: int = 0,
  batch_size: int = 4,
  progress: Callable[[int, int, float], None] | None = None,
) -> Inversion:
  """Finds the latents whose images are nearest to pictures.

  Each picture is optimised independently, up to `batch_size` of them at a time, in one compiled
  step whatever their number. Nothing is random.

  Args:
    images: [n, size, size, 3] pictures in [-1, 1]; the GAN's images are brought to their size.
    frozen: generator, discriminator and mean latent are used, for `lam_perceptual` also the
      weights of VGG16 and the LPIPS heads.
    iterations: Adam steps.
    space: 'w' (one latent for all layers) or 'w+' (one for each layer).
    learning_rate: the largest; it rises over the first twentieth and falls to zero by a cosine.
    lam_features: weight of the features' L1; 0 spares the discriminator, as does one that is None.
    lam_perceptual: weight of LPIPS; 0 spares VGG16.
    lam_mean: weight of the mean squared distance to the mean latent.
    truncation: as reconstruction will use it: images are made of mean + truncation * (w - mean).
    crop: as reconstruction will use it: centre crop of the GAN's image, 0 for none.
    origin_size: the size the GAN's image is brought to before the crop; 0 is `size`.
    batch_size: pictures optimised at a time.
    progress: called after every iteration with (iterations done, iterations in all, mean L1 of
      the batch's images).

  Returns:
    An `Inversion` for all pictures, in their order.

  Raises:
    ValueError: images or space are not as expected, or LPIPS has a weight but `frozen` no
      perceptual parameters.
    FloatingPointError: the optimisation left the finite numbers.
  """
  images = jnp.asarray(images, jnp.float32)
  if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
    raise ValueError(f'images {images.shape}: expected [n, size, size, 3]')
  if space not in ('w', 'w+'):
    raise ValueError(f"unknown latent space {space!r}: expected 'w' or 'w+'")
  layers = stylegan2.num_layers(frozen.generator) if space == 'w+' else 0
  if lam_perceptual and frozen.perceptual is None:
    raise ValueError('lam_perceptual needs the weights of VGG16 and the LPIPS heads')
  frozen = frozen._replace(perceptual=frozen.perceptual if lam_perceptual else None, prior=None)
  start = jnp.asarray(frozen.mean_latent, jnp.float32)
  start = jnp.tile(start[None], (layers, 1)) if layers else start
  picture = (float(truncation), crop, origin_size)
  count = images.shape[0]
  batch_size = max(1, min(batch_size, count))
  batches = -(-count // batch_size)
  latents, errors = [], []
  for index in range(batches):
    chosen = jnp.arange(index * batch_size, (index + 1) * batch_size)
    batch = images[
      jnp.minimum(chosen, count - 1)
    ]  # the last one is filled up with the last picture
    compares = lam_features and frozen.discriminator is not None
    features = _features(batch, frozen) if compares else []
    levels = jax.jit(lpips.vgg_features)(frozen.perceptual, batch) if lam_perceptual else []
    weights = (jnp.float32(lam) for lam in (lam_features, lam_perceptual, lam_mean))
    task = _Task(batch, features, levels, frozen, *weights)
    latent = jnp.tile(start[None], (batch_size,) + (1,) * start.ndim)
    state = optax.scale_by_adam().init(latent)
    for k in range(iterations):
      rate = learning_rate * _relative_rate(k, iterations)
      latent, state, error = _step(latent, state, jnp.float32(rate), task, picture)
      if progress is not None:
        progress(index * iterations + k + 1, batches * iterations, float(error.mean()))
    latents.append(latent)
    errors.append(_image_errors(latent, task, picture))
  if not count:
    return Inversion(jnp.zeros((0, *start.shape)), jnp.zeros(0))
  found = Inversion(jnp.concatenate(latents)[:count], jnp.concatenate(errors)[:count])
  if not jnp.isfinite(found.image_l1).all():
    raise FloatingPointError('the inversion left the finite numbers: try a smaller learning rate')
  return found


def _relative_rate(k, iterations):
  """The learning rate of iteration k in parts of the largest: up in a line, down by a cosine."""
  warm_up = max(1, round(_WARM_UP * iterations))
  if k < warm_up:
    return (k + 1) / warm_up
  return 0.5 + 0.5 * math.cos(math.pi * (k - warm_up) / max(1, iterations - warm_up))


@functools.partial(jax.jit, static_argnames='picture', donate_argnames=('latents', 'state'))
def _step(latents, state, rate, task, picture):
  """One Adam step of a batch -> latents, optimiser state, [batch] image L1 before the step."""
  gradients, errors = jax.grad(_loss, has_aux=True)(latents, task, picture)
  updates, state = optax.scale_by_adam().update(gradients, state)
  return latents - rate * updates, state, errors


def _loss(latents, task: _Task, picture):
  """The sum over the batch, so that no picture feels another -> loss, [batch] image L1."""
  images = _images(latents, task.frozen, picture, task.images.shape[1])
  errors = jnp.abs(images - task.images).mean((1, 2, 3))
  total = errors.sum()
  if task.features:
    features = _features(images, task.frozen)
    # The loss is a mean over the batch: times its size, each picture counts as if alone.
    distance = discriminator_feature_loss(features, task.features) * images.shape[0]
    total = total + task.lam_features * distance
  if task.levels:
    distances = lpips.lpips_to_features(task.frozen.perceptual, images, task.levels)
    total = total + task.lam_perceptual * distances.sum()
  away = latents - jnp.broadcast_to(task.frozen.mean_latent, latents.shape)
  axes = tuple(range(1, latents.ndim))
  return total + task.lam_mean * jnp.square(away).mean(axes).sum(), errors


def _images(latents, frozen, picture, size):
  """The GAN's images as large as the pictures, not clamped: clamping would stop gradients."""
  truncation, crop, origin_size = picture
  if truncation != 1:
    latents = stylegan2.truncate(latents, frozen.mean_latent, truncation)
  images = stylegan2.synthesize(frozen.generator, latents)
  if crop:
    images = resampling.center_crop(resampling.resize(images, origin_size or size), crop)
  return resampling.resize(images, size)


@jax.jit
def _features(images, frozen):
  """The discriminator's first block outputs, short of the one that mixes the batch's pictures."""
  count = min(_FEATURES, discriminator.num_features(frozen.discriminator) - 1)
  return discriminator.discriminator_features(frozen.discriminator, images, count=count)


@functools.partial(jax.jit, static_argnames='picture')
def _image_errors(latents, task, picture):
  images = jnp.clip(_images(latents, task.frozen, picture, task.images.shape[1]), -1, 1)
  return jnp.abs(images - task.images).mean((1, 2, 3))
