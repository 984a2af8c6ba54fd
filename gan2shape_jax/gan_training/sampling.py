"""What is drawn for the generator's images: latents, style mixing and noise, a key a sample.

Everything of a sample comes from the step's key and the sample's number in the whole batch, so
that the same images are made however the batch is spread over devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.gan_training.gan_settings import GanSettings
from gan2shape_jax.models import stylegan2


class Draws(NamedTuple):
  """What the images of a batch are made of.

  Attributes:
    z: [B, 2, w_dim] two latents for each image.
    crossover: [B] the layers from this one on take the second latent's style.
    noise: num_layers - 1 maps [B, H, W, 1].
  """

  z: jax.Array
  crossover: jax.Array
  noise: list[jax.Array]


def draw(key: jax.Array, numbers: jax.Array, settings: GanSettings) -> Draws:
  """Draws for some samples of a batch.

  Args:
    key: of the step.
    numbers: [B] whole numbers, the samples' places in the whole batch.
    settings: sizes and the probability of mixing.

  Returns:
    `Draws`; a sample is mixed with probability `style_mixing`, from a layer that is uniform among
    all but the first.
  """
  layers, width = settings.num_layers, settings.latent_size
  sizes = [4 * 2 ** ((k + 1) // 2) for k in range(layers - 1)]
  of_values, of_mixing = jax.random.split(key)

  def one(number):
    # Two calls for all of it: each random call costs seconds of compilation.
    count = 2 * width + sum(size**2 for size in sizes)
    values = jax.random.normal(jax.random.fold_in(of_values, number), (count,))
    chance, place = jax.random.uniform(jax.random.fold_in(of_mixing, number), (2,))
    layer = 1 + jnp.floor(place * (layers - 1)).astype(jnp.int32)
    noise, start = [], 2 * width
    for size in sizes:
      noise.append(values[start : start + size**2].reshape(size, size, 1))
      start += size**2
    crossover = jnp.where(chance < settings.style_mixing, layer, layers)
    return Draws(values[: 2 * width].reshape(2, width), crossover, noise)

  return jax.vmap(one)(numbers)


def mixed_latents(params: dict, draws: Draws) -> jax.Array:
  """The latents of every layer: [B, num_layers, w_dim].

  Args:
    params: plain weights of a generator.
    draws: of the batch.
  """
  batch, _, width = draws.z.shape
  layers = stylegan2.num_layers(params)
  w = stylegan2.mapping(params, draws.z.reshape(-1, width)).reshape(batch, 2, 1, width)
  second = jnp.arange(layers)[None] >= draws.crossover[:, None]
  return jnp.where(second[..., None], w[:, 1], w[:, 0])


def generate(
  params: dict, latents: jax.Array, noise: list[jax.Array], settings: GanSettings
) -> jax.Array:
  """Images [B, H, W, 3] in float32, computed in the settings' type."""
  dtype = jnp.dtype(settings.dtype)
  return stylegan2.synthesize(params, latents.astype(dtype), noise=noise).astype(jnp.float32)
