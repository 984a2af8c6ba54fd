"""Latents for pictures that have none: gradient descent through the frozen generator.

Adam on the latent of each picture, starting at the mean latent, with a learning rate that warms
up and decays. The loss is the picture's L1, the L1 of the discriminator's features and a pull to
the mean, as in GAN2Shape (Pan et al., ICLR 2021, section 3.2), and LPIPS where its weights are
given; the schedule follows Karras et al., Analyzing and Improving the Image Quality of StyleGAN,
2020, appendix D.

The loop runs on the host around one jitted step: on CPUs a scan over convolutions is many times
slower.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.models import discriminator, lpips, stylegan2
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.losses import discriminator_feature_loss
from gan2shape_jax.reconstruction.state import Frozen, Gan, Settings

_FEATURES = 4  # block outputs compared
_WARM_UP = 0.05  # part of the iterations with a rising learning rate


@dataclasses.dataclass(frozen=True)
class InversionSettings:
  """Numbers of the optimisation; explained in `config.py` under `inversion`.

  Attributes:
    iterations: Adam steps.
    space: 'w' (one latent for all layers) or 'w+' (one for each layer).
    learning_rate: the largest; it rises over the first twentieth and falls to zero by a cosine.
    lam_features: weight of the features' L1; 0 spares the discriminator.
    lam_perceptual: weight of LPIPS; 0 spares VGG16.
    lam_mean: weight of the mean squared distance to the mean latent.
  """

  iterations: int
  space: str
  learning_rate: float
  lam_features: float
  lam_perceptual: float
  lam_mean: float


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
  gan: Gan
  critic: Any  # the discriminator, or None
  perceptual: Any  # VGG16 and the LPIPS heads, or None
  lam_features: jax.Array
  lam_perceptual: jax.Array
  lam_mean: jax.Array


def invert(
  images,
  frozen: Frozen,
  numbers: InversionSettings,
  settings: Settings,
  *,
  batch_size: int = 4,
  progress: Callable[[int, int, float], None] | None = None,
) -> Inversion:
  """Finds the latents whose images are nearest to pictures.

  Each picture is optimised independently, up to `batch_size` of them at a time, in one compiled
  step whatever their number. Nothing is random.

  Args:
    images: [n, size, size, 3] pictures in [-1, 1]; the GAN's images are brought to their size.
    frozen: generator, discriminator and mean latent are used, for `lam_perceptual` also the
      weights of VGG16 and the LPIPS heads. Without a discriminator its features do not count.
    numbers: of the optimisation.
    settings: truncation, crop and origin_size as reconstruction will use them.
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
  if numbers.space not in ('w', 'w+'):
    raise ValueError(f"unknown latent space {numbers.space!r}: expected 'w' or 'w+'")
  layers = stylegan2.num_layers(frozen.generator) if numbers.space == 'w+' else 0
  if numbers.lam_perceptual and frozen.perceptual is None:
    raise ValueError('lam_perceptual needs the weights of VGG16 and the LPIPS heads')
  gan = Gan.of(frozen, settings).exact()
  critic = frozen.discriminator if numbers.lam_features else None
  vgg = frozen.perceptual if numbers.lam_perceptual else None
  weights = (numbers.lam_features, numbers.lam_perceptual, numbers.lam_mean)
  start = jnp.asarray(frozen.mean_latent, jnp.float32)
  start = jnp.tile(start[None], (layers, 1)) if layers else start
  count = images.shape[0]
  batch_size = max(1, min(batch_size, count))
  batches = -(-count // batch_size)
  latents, errors = [], []
  for index in range(batches):
    chosen = jnp.arange(index * batch_size, (index + 1) * batch_size)
    # The last one is filled up with the last picture.
    batch = images[jnp.minimum(chosen, count - 1)]
    features = [] if critic is None else _features(batch, critic)
    levels = [] if vgg is None else jax.jit(lpips.vgg_features)(vgg, batch)
    task = _Task(batch, features, levels, gan, critic, vgg, *map(jnp.float32, weights))
    latent = jnp.tile(start[None], (batch_size,) + (1,) * start.ndim)
    state = optax.scale_by_adam().init(latent)
    iterations = numbers.iterations
    for k in range(iterations):
      rate = numbers.learning_rate * _relative_rate(k, iterations)
      latent, state, error = _step(latent, state, jnp.float32(rate), task)
      if progress is not None:
        progress(index * iterations + k + 1, batches * iterations, float(error.mean()))
    latents.append(latent)
    errors.append(_image_errors(latent, task))
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


@functools.partial(jax.jit, donate_argnames=('latents', 'state'))
def _step(latents, state, rate, task):
  """One Adam step of a batch -> latents, optimiser state, [batch] image L1 before the step."""
  gradients, errors = jax.grad(_loss, has_aux=True)(latents, task)
  updates, state = optax.scale_by_adam().update(gradients, state)
  return latents - rate * updates, state, errors


def _loss(latents, task: _Task):
  """The sum over the batch, so that no picture feels another -> loss, [batch] image L1."""
  # Not clamped: clamping would stop gradients.
  images = gan_images(task.gan, latents, task.images.shape[1], clamp=False)
  errors = jnp.abs(images - task.images).mean((1, 2, 3))
  total = errors.sum()
  if task.features:
    features = _features(images, task.critic)
    # The loss is a mean over the batch: times its size, each picture counts as if alone.
    distance = discriminator_feature_loss(features, task.features) * images.shape[0]
    total = total + task.lam_features * distance
  if task.levels:
    distances = lpips.lpips_to_features(task.perceptual, images, task.levels)
    total = total + task.lam_perceptual * distances.sum()
  away = latents - jnp.broadcast_to(task.gan.mean_latent, latents.shape)
  axes = tuple(range(1, latents.ndim))
  return total + task.lam_mean * jnp.square(away).mean(axes).sum(), errors


@jax.jit
def _features(images, critic):
  """The discriminator's first block outputs, short of the one that mixes the batch's pictures."""
  count = min(_FEATURES, discriminator.num_features(critic) - 1)
  return discriminator.discriminator_features(critic, images, count=count)


@jax.jit
def _image_errors(latents, task):
  images = gan_images(task.gan, latents, task.images.shape[1], clamp=False)
  images = jnp.clip(images, -1, 1)
  return jnp.abs(images - task.images).mean((1, 2, 3))
