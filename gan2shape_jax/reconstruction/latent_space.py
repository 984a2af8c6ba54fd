"""A GAN's latents for refinement: their spread, and how they change with views and lights."""

import jax
import numpy as np

from gan2shape_jax.models import stylegan2
from gan2shape_jax.reconstruction import autoencoder, refinement
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Method

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


def view_light_directions(method: Method, params, size: int) -> np.ndarray:
  """How w changes with the views and lights that networks see in the GAN's images.

  Args:
    method: networks, the GAN and the prior of views and lights.
    params: trained parameters of `view` and `light` among others.
    size: height and width of the images, pixels.

  Returns:
    [9, w_dim], see `Frozen.latent_directions`.
  """

  @jax.jit
  def look(method, params, key):
    z = jax.random.normal(key, (_BATCH, stylegan2.latent_size(method.gan.generator)))
    latents = stylegan2.mapping(method.gan.generator, z)
    images = gan_images(method.gan, latents, size)
    views = autoencoder.predict_views(method, params['view'], images)
    lights = autoencoder.predict_lights(method, params['light'], images)
    return latents, views, lights

  keys = jax.random.split(jax.random.key(2), _SAMPLES // _BATCH)
  seen = [jax.device_get(look(method, params, key)) for key in keys]
  latents, views, lights = (np.concatenate(part) for part in zip(*seen, strict=True))
  return refinement.view_light_directions(latents, views, lights, method.frozen.prior)
