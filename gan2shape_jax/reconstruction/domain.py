"""Whether a picture looks like what a GAN makes.

Judged by the discriminator's deepest feature map (4x4 for a picture of the GAN's size; its last
layers, which compare a batch's images, are left out). The GAN's own images fill few directions of
that space: the principal ones of some of them span it, and a picture's distance is the length of
what they leave unexplained, in parts of the 99th percentile over others of the GAN's own images. So
one of a hundred of the GAN's own images is beyond 1.

On the embedded heads' GAN (64 px, 256 + 256 images), beyond 1 are 3 of 100 heads that it never saw
(the largest 1.05), all photographs, noise, flat colours, gradients, checkerboards, negatives, grey
heads, heads on their side, off centre or twice too large, and 87 of 100 heads upside down. The
inversion's error does not separate them (a flat colour is matched five times better than a head),
nor does a found latent's distance from the mean, which is as large for unseen heads as for noise.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Frozen, Gan, Settings

_BATCH = 32
_FIT = 256  # images that span the space, and as many that set the scale
_DIRECTIONS = 64
_PERCENTILE = 99.0


class Domain(NamedTuple):
  """What the GAN's own images look like.

  Attributes:
    mean: [d] of the features.
    directions: [k, d] orthonormal principal directions.
    scale: [] the distance that counts as 1.
  """

  mean: jax.Array
  directions: jax.Array
  scale: jax.Array


def own_domain(frozen: Frozen, settings: Settings, size: int, *, count: int = _FIT) -> Domain:
  """Learns from the GAN's own images, drawn without truncation and cropped as pictures are.

  Args:
    frozen: generator, discriminator and mean latent are used.
    settings: `crop` and `origin_size`.
    size: height and width of the pictures.
    count: images that span the space, and as many that set the scale.

  Returns:
    A `Domain`; the same for the same arguments.
  """
  gan = dataclasses.replace(Gan.of(frozen, settings).exact(), truncation=1.0)
  key = jax.random.key(0)
  batches = -(-2 * count // _BATCH)
  features = [
    _own_features(jax.random.fold_in(key, k), gan, frozen.discriminator, size)
    for k in range(batches)
  ]
  features = jnp.concatenate(features)[: 2 * count]
  fit, rest = features[:count], features[count:]
  mean = fit.mean(axis=0)
  # No more than a quarter: what many directions of few images span fits those images alone.
  kept = max(1, min(_DIRECTIONS, count // 4))
  directions = jnp.linalg.svd(fit - mean[None], full_matrices=False)[2][:kept]
  distances = _unexplained(rest, mean, directions)
  return Domain(mean, directions, jnp.percentile(distances, _PERCENTILE))


def domain_distance(domain: Domain, frozen: Frozen, images) -> jax.Array:
  """How far pictures are from what the GAN makes.

  Args:
    domain: from `own_domain`.
    frozen: the same GAN.
    images: [batch, size, size, 3] in [-1, 1].

  Returns:
    [batch]; 1 is the 99th percentile of the GAN's own images.
  """
  features = _features(frozen.discriminator, jnp.asarray(images, jnp.float32))
  return _unexplained(features, domain.mean, domain.directions) / domain.scale


@functools.partial(jax.jit, static_argnames='size')
def _own_features(key, gan, critic, size):
  z = jax.random.normal(key, (_BATCH, stylegan2.latent_size(gan.generator)))
  return _features(critic, gan_images(gan, stylegan2.mapping(gan.generator, z), size))


@jax.jit
def _features(params, images):
  # Down to 4x4, or as far as the blocks reach.
  levels = max(1, images.shape[1].bit_length() - 3)
  count = min(levels, discriminator.num_features(params) - 1)
  deepest = discriminator.discriminator_features(params, images, count=count)[-1]
  return deepest.reshape(images.shape[0], -1)


def _unexplained(features, mean, directions):
  centred = features - mean[None]
  explained = centred @ directions.T
  # Subtracting vectors, not squares: the rest may be small beside the whole.
  return jnp.linalg.norm(centred - explained @ directions, axis=-1)
