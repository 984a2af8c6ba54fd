"""Pictures, masks, latents, true depths and the prior of views and lights, read from files."""

from gan2shape_jax.data.embedded import embedded_path, load_prior, locate
from gan2shape_jax.data.errors import DataError
from gan2shape_jax.data.images import elliptic_mask, read_depth, read_image, read_mask
from gan2shape_jax.data.latents import read_latents
from gan2shape_jax.data.pictures import Picture, Pictures, load_pictures

__all__ = [
  'DataError',
  'Picture',
  'Pictures',
  'elliptic_mask',
  'embedded_path',
  'load_pictures',
  'load_prior',
  'locate',
  'read_depth',
  'read_image',
  'read_latents',
  'read_mask',
]
