"""Pictures, masks and latents that a caller hands over: paths, PIL images or arrays.

A picture in memory goes the way of a file: the middle square, brought to the size of the fit.
Arrays are channels last; images of floats are in [-1, 1], masks of floats in [0, 1], bytes are 0 to
255 in both.
"""

import functools
import logging
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from gan2shape_jax.data.decoding import Opened
from gan2shape_jax.data.images import read_image, read_mask, read_photo
from gan2shape_jax.data.latents import read_latent
from gan2shape_jax.data.pictures import Picture, load_pictures
from gan2shape_jax.errors import DataError

_EMBEDDED = 'embedded:'
_ROUNDING = 1e-3  # by which floats may leave their range


def given_picture(
  image: Any, size: int, config_data, *, mask: Any = None, latent: Any = None
) -> Picture:
  """A picture of what a caller has.

  Args:
    image: a path of any picture; 'embedded:heads/000', an embedded picture with its mask, latent
      and true depth; a PIL image; or an array [height, width] or [height, width, c]: uint8 with c
      of 1, 3 or 4 (the last is opacity, over white), or floats in [-1, 1] with c of 1 or 3. A float
      array [size, size, 3] is taken as it is.
    size: height and width to bring it to, pixels.
    config_data: `config.data`, for embedded pictures alone.
    mask: of the object: a path, a PIL image, or an array [height, width] or [height, width, 1]:
      bool, uint8 (255 on the object) or floats in [0, 1]; None where it is not known. Its middle
      square is the image's.
    latent: an array [w_dim] or [layers, w_dim], or a path (.npy, .pt); None where it is not known.

  Returns:
    A `Picture`, named after its file or 'image'.

  Raises:
    DataError: one line that says what was expected.
  """
  if isinstance(image, str) and image.startswith(_EMBEDDED):
    picture = _embedded(image, size, config_data)
  elif isinstance(image, str | os.PathLike):
    path = pathlib.Path(image).expanduser()
    picture = _picture(path, read_image(path, size), path)
  else:
    picture = _in_memory(image, size)
  if mask is not None:
    picture = picture._replace(mask=_mask(mask, size))
  if latent is not None:
    picture = picture._replace(latent=_latent(latent))
  return picture


def _picture(source, image, path):
  photo = functools.partial(read_photo, source)
  return Picture(path.stem, image, None, None, None, None, path, photo)


def _embedded(given, size, config_data):
  place, _, name = given.partition('/')
  chosen = config_data.copy_and_resolve_references()
  for setting in ('masks', 'latents', 'depths', 'regions', 'landmarks'):
    chosen[setting] = ''
  chosen.images, chosen.start, chosen.num = place, 0, 0
  pictures = load_pictures(chosen, size)
  if name not in pictures.names:
    raise DataError(f'{given}: expected {place}/NAME, NAME one of {", ".join(pictures.names)}')
  return pictures[pictures.names.index(name)]


def _in_memory(image, size):
  path = pathlib.Path('image')
  if isinstance(image, Image.Image):
    opened = Opened(image, 'image')
    return _picture(opened, read_image(opened, size), path)
  array = _array(image, 'image', 'a path, a PIL image or an array')
  if array.dtype == np.uint8:
    opened = Opened(_from_bytes(array, 'image', (1, 3, 4)), 'image')
    return _picture(opened, read_image(opened, size), path)
  array = _floats(array, 'image', -1.0, (1, 3))
  if array.min() >= 0:
    logging.getLogger('gan2shape_jax').warning(
      'image: no value is below 0; arrays of floats are taken as -1 (black) to 1 (white)'
    )
  if array.shape == (size, size, 3):
    # To the bit, and all that is known: what the package itself made comes back as it was.
    return Picture('image', array, None, None, None, None, path)
  opened = Opened((array + 1) / 2, 'image')
  return _picture(opened, read_image(opened, size), path)


def _mask(mask, size):
  if isinstance(mask, str | os.PathLike):
    return read_mask(mask, size)
  if isinstance(mask, Image.Image):
    return read_mask(Opened(mask, 'mask'), size)
  array = _array(mask, 'mask', 'a path, a PIL image or an array')
  if array.dtype == bool:
    array = array.astype(np.uint8) * np.uint8(255)
  if array.dtype == np.uint8:
    return read_mask(Opened(_from_bytes(array, 'mask', (1,)), 'mask'), size)
  return read_mask(Opened(_floats(array, 'mask', 0.0, (1,)), 'mask'), size)


def _latent(latent):
  if isinstance(latent, str | os.PathLike):
    return read_latent(latent)
  array = _array(latent, 'latent', 'a path or an array')
  if array.ndim not in (1, 2) or array.dtype.kind != 'f' or not np.isfinite(array).all():
    raise DataError(
      'latent: expected finite floats [w_dim] or [layers, w_dim], this is '
      f'{list(array.shape)} of {array.dtype}'
    )
  return array.astype(np.float32)


def _array(value, what, expected):
  array = np.asarray(value)
  if array.dtype.kind not in 'bfiu':
    raise DataError(f'{what}: expected {expected}, this is {type(value).__name__}')
  return array


def _from_bytes(array, what, channels):
  array = _with_channels(array, what, channels)
  return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def _floats(array, what, least, channels):
  """float32 [height, width, c] within [least, 1]."""
  if array.dtype.kind != 'f':
    raise DataError(f'{what}: expected uint8 or floats in [{least:g}, 1], this is {array.dtype}')
  array = _with_channels(array, what, channels)
  if not (array.min() >= least - _ROUNDING and array.max() <= 1 + _ROUNDING):
    raise DataError(
      f'{what}: expected floats in [{least:g}, 1], these are {array.min():.4g} to '
      f'{array.max():.4g} (bytes are given as uint8)'
    )
  return np.clip(array.astype(np.float32), least, 1)


def _with_channels(array, what, channels):
  shaped = array[..., None] if array.ndim == 2 else array
  if shaped.ndim != 3 or shaped.shape[2] not in channels or not shaped.size:
    wanted = ' or '.join(map(str, channels))
    raise DataError(
      f'{what}: expected an array [height, width] or [height, width, {wanted}], its shape is '
      f'{list(array.shape)}'
    )
  return shaped
