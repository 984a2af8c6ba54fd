"""A GAN's latents for refinement: their spread, and how they change with views and lights."""

import jax
import numpy as np

from gan2shape_jax.models import stylegan2
from gan2shape_jax.reconstruction import autoencoder, refinement, step2_projection
from gan2shape_jax.reconstruction.state import Frozen, Networks, Settings

_SAMPLES, _BATCH = 2048, 64  # images in which views and lights are looked at


def basis(generator, samples: int):
  """The principal directions of w.

  Args:
    generator: the GAN's parameters.
    samples: how many latents are drawn.

  Returns:
    [w_dim, n], see `Frozen.latent_basis`.
  """

  def draw(generator, key):
    z = jax.random.normal(key, (samples, stylegan2.latent_size(generator)))
    return stylegan2.mapping(generator, z)

  return refinement.principal_directions(jax.jit(draw)(generator, jax.random.key(1)))


def view_light_directions(
  frozen: Frozen, networks: Networks, params, settings: Settings, size: int
) -> np.ndarray:
  """How w changes with the views and lights that networks see in the GAN's images.

  Args:
    frozen: the GAN and the prior of views and lights.
    networks: apply functions.
    params: trained parameters of `view` and `light` among others.
    settings: of the method.
    size: height and width of the images, pixels.

  Returns:
    [9, w_dim], see `Frozen.latent_directions`.
  """

  @jax.jit
  def look(frozen, params, key):
    z = jax.random.normal(key, (_BATCH, stylegan2.latent_size(frozen.generator)))
    latents = stylegan2.mapping(frozen.generator, z)
    images = step2_projection.gan_images(latents, frozen, settings, size)
    views = autoencoder.predict_views(networks, params['view'], images, frozen, settings)
    lights = autoencoder.predict_lights(networks, params['light'], images, frozen, settings)
    return latents, views, lights

  keys = jax.random.split(jax.random.key(2), _SAMPLES // _BATCH)
  seen = [jax.device_get(look(frozen, params, key)) for key in keys]
  latents, views, lights = (np.concatenate(part) for part in zip(*seen, strict=True))
  return refinement.view_light_directions(latents, views, lights, frozen.prior)
