"""Pictures, masks, latents, true depths and the prior of views and lights, read from files."""

from gan2shape_jax.data.embedded import check_prior, embedded_path, load_prior, locate
from gan2shape_jax.data.given import given_picture
from gan2shape_jax.data.images import elliptic_mask, read_depth, read_image, read_mask, read_photo
from gan2shape_jax.data.latents import read_latents
from gan2shape_jax.data.mvn_files import read_mvn_files
from gan2shape_jax.data.pictures import Picture, Pictures, load_pictures
from gan2shape_jax.data.tfds_source import TFDS, TfdsPictures, load_tfds_pictures
from gan2shape_jax.errors import DataError

__all__ = [
  'TFDS',
  'DataError',
  'Picture',
  'Pictures',
  'TfdsPictures',
  'check_prior',
  'elliptic_mask',
  'embedded_path',
  'given_picture',
  'load_pictures',
  'load_prior',
  'load_tfds_pictures',
  'locate',
  'read_depth',
  'read_image',
  'read_latents',
  'read_mask',
  'read_mvn_files',
  'read_photo',
]
