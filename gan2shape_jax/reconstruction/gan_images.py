"""Pictures that the GAN makes of latents."""

import jax.numpy as jnp

from gan2shape_jax.models import stylegan2
from gan2shape_jax.models.resampling import center_crop, resize
from gan2shape_jax.reconstruction.state import Gan, in_precision


def gan_images(gan: Gan, latents, size: int, *, clamp: bool = True):
  """The GAN's images of latents, as large as the pictures.

  Args:
    gan: generator, centre of truncation, crop.
    latents: [batch, w_dim] or [batch, layers, w_dim].
    size: of the images, pixels.
    clamp: to [-1, 1]; gradients pass through what lies outside only without.

  Returns:
    [batch, size, size, 3].
  """
  if gan.truncation != 1:
    latents = stylegan2.truncate(latents, gan.mean_latent, gan.truncation)
  images = stylegan2.synthesize(gan.generator, in_precision(latents, gan.precision))
  images = images.astype(latents.dtype)
  if clamp:
    images = jnp.clip(images, -1, 1)
  if gan.crop:
    images = center_crop(resize(images, gan.origin_size or size), gan.crop)
  return resize(images, size)
