"""One picture, mask or depth map from a file of any common format, size and mode.

All are cropped to the middle square and brought to the size wanted; a file that has that size
already is not resampled. Rotations noted by cameras (EXIF) are applied first. A `cut` takes the
place of crop and resizing, as the alignment of faces does.
"""

import functools
import os
import sys
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from gan2shape_jax.data.decoding import MOST_PIXELS, Source, decode, in_srgb
from gan2shape_jax.errors import DataError

_SMALLEST = 8  # pixels; less is no picture of anything
_WORKED_ON = 2048  # pixels of a side that are always kept
_NEARLY_BLACK = 1 / 16
_FAR, _RANGE = 1.1, 0.2  # depth = 1.1 - 0.2 v

# The mean of the head masks of 100 rendered heads (gan2shape_jax/embedded/heads), fitted with
# 1 / (1 + exp((r - 1) / softness)), r the distance from the centre in semi-axes: root mean square
# error 0.078. In parts of the image's size.
_ELLIPSE_CENTER = (0.500, 0.517)
_ELLIPSE_SEMI_AXES = (0.270, 0.451)
_ELLIPSE_SOFTNESS = 0.091


Cut = Callable[[np.ndarray], np.ndarray]  # [height, width, c] -> [size, size, c], both in [0, 1]


def read_image(
  path: Source, size: int, cut: Cut | None = None, *, most_pixels: int = MOST_PIXELS
) -> np.ndarray:
  """Reads a picture.

  Shrinking is by a Lanczos filter (antialiased), growing bicubic; both are clamped to the range.
  Transparent pictures are laid over white. Of an animation the first frame is read. Colours are
  brought to sRGB by the embedded profile. What is very large is shrunk before it becomes floats.

  Args:
    path: a picture of any size and of any mode that PIL reads: colour, grey (1, 8, 16 bit),
      palette, CMYK, with or without transparency.
    size: height and width wanted, in pixels.
    cut: makes [size, size, c] out of the whole picture, instead of the middle square.
    most_pixels: more are refused.

  Returns:
    float32 [size, size, 3] in [-1, 1].

  Raises:
    DataError: the file is missing, damaged, no picture, or smaller than 8 pixels.
  """
  whole = cut is not None
  picture = _open(path, size, most_pixels, whole=whole)
  unit = _composited(picture, path, background=1.0, whole=whole, size=size, shown=True)
  if unit.shape[-1] == 1:
    unit = np.repeat(unit, 3, axis=-1)
  if cut is not None:
    unit = _cut_out(cut, unit, path)
  smooth = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC)
  return _resized(unit, size, *smooth) * np.float32(2) - np.float32(1)


def read_photo(
  path: Source,
  largest: int,
  cut: Callable[..., np.ndarray] | None = None,
  *,
  most_pixels: int = MOST_PIXELS,
) -> np.ndarray:
  """Reads what `read_image` reads at the picture's own resolution.

  Args:
    path: as for `read_image`.
    largest: height and width that are never exceeded, in pixels.
    cut: makes [n, n, c] out of the whole picture and of `largest`, instead of the middle square.
    most_pixels: more are refused.

  Returns:
    uint8 [n, n, 3].

  Raises:
    DataError: as for `read_image`.
  """
  whole = cut is not None
  picture = _open(path, largest, most_pixels, whole=whole)
  unit = _composited(picture, path, background=1.0, whole=whole, size=largest, shown=True)
  if unit.shape[-1] == 1:
    unit = np.repeat(unit, 3, axis=-1)
  if cut is not None:
    unit = _cut_out(functools.partial(cut, largest=largest), unit, path)
  if len(unit) > largest:
    unit = _resized(unit, largest, Image.Resampling.LANCZOS, Image.Resampling.BICUBIC)
  return np.round(unit * 255).astype(np.uint8)


def read_mask(path: Source, size: int, cut: Cut | None = None) -> np.ndarray:
  """Reads a mask, white on the object.

  Colours count by their luminance, transparent pixels as outside. Shrinking averages areas,
  growing is bilinear.

  Args:
    path: a picture as for `read_image`.
    size: height and width wanted, in pixels.
    cut: as for `read_image`.

  Returns:
    float32 [size, size, 1] in [0, 1].

  Raises:
    DataError: as for `read_image`, or no pixel reaches half of white (an empty mask, or a map of
      class numbers).
  """
  whole = cut is not None
  picture = _open(path, size, whole=whole)
  unit = _composited(picture, path, background=0.0, whole=whole, size=size)
  if unit.shape[-1] == 3:
    unit = (unit @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
  if cut is not None:
    unit = _cut_out(cut, unit, path)
  mask = _resized(unit, size, Image.Resampling.BOX, Image.Resampling.BILINEAR)
  if mask.max() < 0.5:
    raise DataError(
      f'{path}: expected a mask that is white on the object, its brightest value is '
      f'{mask.max():.2g} of 1'
    )
  return mask


def read_depth(path: str | os.PathLike, size: int) -> np.ndarray:
  """Reads a depth map: depth = 1.1 - 0.2 v with v the grey value in [0, 1].

  Resampling takes the nearest pixel, so that no surface appears between object and background.

  Args:
    path: a grey picture of 8 or 16 bits; 0 is the background (or anything beyond 1.1).
    size: height and width wanted, in pixels.

  Returns:
    float32 [size, size] in [0.9, 1.1] camera units.

  Raises:
    DataError: as for `read_image`, or the picture is not grey.
  """
  picture = _open(path)
  if picture.mode not in ('1', 'L', 'I') and not picture.mode.startswith('I;16'):
    raise DataError(
      f'{path}: expected a grey depth map of 8 or 16 bits, its mode is {picture.mode}'
    )
  unit = _composited(picture, path, background=0.0)
  nearest = Image.Resampling.NEAREST
  return np.float32(_FAR) - np.float32(_RANGE) * _resized(unit, size, nearest, nearest)[..., 0]


def picture_shape(path: str | os.PathLike) -> tuple[int, int]:
  """Height and width of an upright picture in pixels; raises `DataError` as `read_image` does."""
  width, height = _open(path).size
  return height, width


def elliptic_mask(size: int) -> np.ndarray:
  """The mask for a picture without one: a soft ellipse in the middle, where a head is expected.

  Its centre is (0.500, 0.517) of the width and height, its semi-axes 0.270 and 0.451 of them at
  the value 0.5, with a logistic edge of width 0.091 semi-axes: the mean of 100 head masks.

  Args:
    size: height and width, in pixels.

  Returns:
    float32 [size, size, 1] in [0, 1].
  """
  position = (np.arange(size) + 0.5) / size
  x = (position - _ELLIPSE_CENTER[0]) / _ELLIPSE_SEMI_AXES[0]
  y = (position - _ELLIPSE_CENTER[1]) / _ELLIPSE_SEMI_AXES[1]
  distance = np.hypot(x[None, :], y[:, None])
  mask = 1 / (1 + np.exp((distance - 1) / _ELLIPSE_SOFTNESS))
  return mask.astype(np.float32)[..., None]


def _open(path, size=0, most_pixels=MOST_PIXELS, *, whole=False):
  """The decoded picture, upright, with a shorter side that is enough for `size` pixels.

  Of an `Opened` one the array of floats, if it is one.
  """
  if isinstance(content := getattr(path, 'content', None), np.ndarray):
    return _large_enough(content, content.shape[1::-1], path)
  picture = decode(path, needed=_enough(size, whole) if size else 0, most_pixels=most_pixels)
  return _large_enough(picture, picture.size, path)


def _large_enough(picture, size, path):
  if min(size) < _SMALLEST:
    raise DataError(
      f'{path}: expected a picture of at least {_SMALLEST}x{_SMALLEST} pixels, '
      f'this is {size[0]}x{size[1]}'
    )
  return picture


def _enough(size, whole):
  """Pixels of a side of which more only cost memory, where `size` are wanted of them.

  In a whole picture the part that is wanted may be small.
  """
  return max(_WORKED_ON, 2 * size) * (4 if whole else 1)


def _reduced(picture, box, size, whole):
  """A box of a picture, as it is or, where it is far larger than `size`, as means of its blocks."""
  factor = min(box[2] - box[0], box[3] - box[1]) // _enough(size, whole) if size else 1
  if factor < 2:
    return picture.crop(box)
  if picture.mode in ('1', 'P', 'PA'):
    picture = picture.crop(box).convert('RGBA' if 'transparency' in picture.info else 'RGB')
    return picture.reduce(factor)
  if not picture.mode.startswith('I;16'):
    return picture.reduce(factor, box)
  values = np.asarray(picture)[box[1] : box[3], box[0] : box[2]]
  rows, columns = (n // factor * factor for n in values.shape)
  blocks = values[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
  return Image.fromarray(np.round(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint16))


def _cut_out(cut, unit, path):
  try:
    return cut(unit)
  except ValueError as error:
    raise DataError(f'{path}: {error}') from None


def _composited(picture, path, *, background, whole=False, size=0, shown=False):
  """The middle square, or all, as float32 [h, w, 1 or 3] in [0, 1] over a grey background.

  `shown` ones are photographs: their colours are brought to sRGB and their range is looked at.
  """
  is_array = isinstance(picture, np.ndarray)
  width, height = picture.shape[1::-1] if is_array else picture.size
  box = (0, 0, width, height)
  if not whole:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
  if is_array:
    return picture[box[1] : box[3], box[0] : box[2]]
  info = picture.info
  picture = _reduced(picture, box, size, whole)
  picture.info = info
  if shown:
    picture = in_srgb(picture)
  mode = picture.mode
  if mode.startswith('I'):  # 16 bits, also where PIL holds them in 32
    values = np.asarray(picture).astype(np.float32)[..., None]
    if values.min() < 0 or values.max() > 65535:
      raise DataError(f'{path}: expected grey values of at most 16 bits')
    return values / np.float32(_largest(values, path) if shown else 65535)
  if mode == 'F':
    raise DataError(f'{path}: expected whole-number pixels, these are floating-point')
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    if 'transparency' in picture.info or mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa'):
      picture = picture.convert('RGBA')
    elif mode in ('1', 'L'):
      picture = picture.convert('L')
    else:
      picture = picture.convert('RGB')
  unit = np.asarray(picture).astype(np.float32) / np.float32(255)
  if unit.ndim == 2:
    unit = unit[..., None]
  if unit.shape[-1] == 4:
    alpha = unit[..., 3:]
    unit = unit[..., :3] * alpha + np.float32(background) * (1 - alpha)
  if shown and 0 < unit.max() < _NEARLY_BLACK:
    _say(f'{path}: nearly black, its largest value is {unit.max() * 255:.0f} of 255')
  return unit


def _largest(values, path):
  """What white is in a picture of 16 bits: cameras put 10 or 12 into them."""
  largest = values.max()
  for bits in (10, 12):
    if _NEARLY_BLACK * 1023 < largest < 2**bits:
      _say(f'{path}: its values of 16 bits are at most {largest:.0f}, read as {bits} bits')
      return 2**bits - 1
  return 65535


@functools.lru_cache(maxsize=4096)
def _say(text):
  """Shows a line, the same one only once."""
  print(text, file=sys.stderr)


def _resized(unit, size, shrinking, growing):
  """Brings [n, n, c] in [0, 1] to [size, size, c] in [0, 1]."""
  if unit.shape[0] == size:
    return unit
  method = shrinking if size < unit.shape[0] else growing
  channels = [
    np.asarray(Image.fromarray(np.ascontiguousarray(unit[..., k])).resize((size, size), method))
    for k in range(unit.shape[-1])
  ]
  return np.clip(np.stack(channels, axis=-1), 0, 1)
