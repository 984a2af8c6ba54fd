"""A picture's pixels from its file: decoded first, then what the metadata say of them.

Cameras, editors and messengers leave metadata of all kinds; whatever is wrong with those, whole
pixels are read. Only formats are opened that PIL decodes by itself: for others it starts programs.
"""

import contextlib
import functools
import io
import os
import pathlib
import struct
import warnings
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from gan2shape_jax.data.errors import check_regular
from gan2shape_jax.errors import DataError

MOST_PIXELS = 178_956_970
"""More are refused, unless a setting allows them: some files of a few bytes claim billions."""

# They start Ghostscript (EPS) or hand over to whatever is registered for them.
_FOREIGN = ('BUFR', 'EPS', 'FPX', 'GRIB', 'HDF5', 'MIC', 'MPEG', 'PDF', 'WMF')
_PHOTOGRAPHIC = (
  'AVIF', 'BMP', 'DIB', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'JXL', 'MPO', 'PNG', 'PPM', 'QOI', 'SGI',
  'TGA', 'TIFF', 'WEBP',
)  # fmt: skip
_NO_PICTURES = ('.pfm',)  # floating-point
_ORIENTATION = 0x0112
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


_PLAIN = FileNotFoundError, IsADirectoryError, PermissionError, Image.DecompressionBombError
_COPIED = 1 << 24  # pixels of a picture that is taken off its file; beyond, memory counts


class Encoded(NamedTuple):
  """A picture's file that lies in a record; functions here take it in a path's place.

  Attributes:
    content: the bytes of the file.
    where: what messages call it.
  """

  content: bytes
  where: str

  def __str__(self):
    return self.where


class Opened(NamedTuple):
  """A picture in memory; functions here take it in a path's place.

  Attributes:
    content: a PIL image; `data.images` also takes float32 [height, width, 1 or 3] in [0, 1].
    where: what messages call it.
  """

  content: Any
  where: str

  def __str__(self):
    return self.where


Source = str | os.PathLike | Encoded | Opened
"""Where a picture is read from."""


def decode(path: Source, *, needed: int = 0, most_pixels: int = MOST_PIXELS) -> Image.Image:
  """The decoded picture, upright.

  Args:
    path: a file, `Encoded` or `Opened`.
    needed: pixels of the shorter side that are enough; a JPEG is decoded at a part of its size
      where at least these are left. 0 is all.
    most_pixels: more are refused.

  Returns:
    The picture in the mode of its file.

  Raises:
    DataError: the file is missing, damaged, no picture, or has too many pixels.
  """
  if not isinstance(path, Encoded | Opened):
    check_regular(path, 'expected a picture')
  try:
    if isinstance(path, Opened):  # not closed here: it is the caller's
      path.content.load()
      return _upright(path.content)
    try:
      source = io.BytesIO(path.content) if isinstance(path, Encoded) else pathlib.Path(path)
      return _upright(_loaded(source, needed, most_pixels))
    except _PLAIN:
      raise
    except Exception:  # perhaps of the metadata
      content = path.content if isinstance(path, Encoded) else pathlib.Path(path).read_bytes()
      bare = without_metadata(content)
      if bare is None:
        raise
      return _loaded(io.BytesIO(bare), needed, most_pixels)
  except FileNotFoundError:
    raise DataError(f'{path}: no such file, expected a picture') from None
  except IsADirectoryError:
    raise DataError(f'{path}: expected a picture, this is a folder') from None
  except Image.UnidentifiedImageError:
    raise DataError(f'{path}: expected a picture, the content is of no known format') from None
  except Image.DecompressionBombError:
    raise DataError(
      f'{path}: expected a picture of fewer than {most_pixels / 1e6:.0f} million pixels '
      '(data.most_pixels)'
    ) from None
  except MemoryError:
    raise
  except Exception as error:  # decoders fail on damaged files in many ways
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise DataError(f'{path}: expected a complete picture ({reason})') from None


def in_srgb(picture: Image.Image) -> Image.Image:
  """A picture's colours by its embedded profile as sRGB; without a usable profile as it is."""
  profile = picture.info.get('icc_profile')
  if not profile or ('transparency' in picture.info and picture.mode != 'P'):
    return picture
  with contextlib.suppress(Exception):  # damaged, or of another number of channels
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if 'srgb' in ImageCms.getProfileDescription(given).lower():
      return picture
    if picture.mode == 'P':
      picture = picture.convert('RGBA' if 'transparency' in picture.info else 'RGB')
    if picture.mode in ('RGB', 'RGBA', 'CMYK', 'L'):
      mode = 'RGBA' if picture.mode == 'RGBA' else 'RGB'
      srgb = ImageCms.createProfile('sRGB')
      return ImageCms.profileToProfile(picture, given, srgb, outputMode=mode) or picture
  return picture


@functools.cache
def formats() -> tuple[str, ...]:
  """The formats that PIL decodes here without starting another program."""
  with contextlib.suppress(Exception):  # where the plug-in is installed
    import pillow_heif

    pillow_heif.register_heif_opener()
  Image.init()
  return tuple(name for name in Image.OPEN if name not in _FOREIGN)


@functools.cache
def endings() -> frozenset[str]:
  """The endings, in lower case, of files that are pictures."""
  known = {name for name in formats() if name in _PHOTOGRAPHIC}
  found = {ending for ending, name in Image.registered_extensions().items() if name in known}
  return frozenset(found - set(_NO_PICTURES))


def without_metadata(content: bytes) -> bytes | None:
  """A PNG or JPEG with its pixels alone; None for other formats, or where it is cut off.

  Args:
    content: of the file.
  """
  with contextlib.suppress(struct.error, IndexError):
    if content.startswith(b'\x89PNG\r\n\x1a\n'):
      return _bare_png(content)
    if content.startswith(b'\xff\xd8'):
      return _bare_jpeg(content)
  return None


def _loaded(source, needed, most_pixels):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # large pictures and odd metadata are no reason to stop
    with _limit(most_pixels), Image.open(source, formats=formats()) as file:
      if needed:
        file.draft(None, (needed, needed))
      file.load()
      return file.copy() if file.size[0] * file.size[1] < _COPIED else file


@contextlib.contextmanager
def _limit(pixels):
  """PIL refuses twice as many as its limit, and warns of the half."""
  before = Image.MAX_IMAGE_PIXELS
  Image.MAX_IMAGE_PIXELS = -(-pixels // 2)
  try:
    yield
  finally:
    Image.MAX_IMAGE_PIXELS = before


def _upright(picture):
  """A picture turned as its camera noted; as it is where the note cannot be read."""
  turn = None
  with contextlib.suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter('ignore')
    turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
  if turn is None:
    return picture
  turned = picture.transpose(turn)
  turned.info = picture.info
  return turned


def _bare_png(content):
  parts, place = [content[:8]], 8
  while True:
    (length,) = struct.unpack_from('>I', content, place)
    kind, end = content[place + 4 : place + 8], place + 12 + length
    if end > len(content):
      return None
    if kind in (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND'):
      parts.append(content[place:end])
    if kind == b'IEND':
      return b''.join(parts)
    place = end


def _bare_jpeg(content):
  parts, place = [content[:2]], 2
  while content[place] == 0xFF:
    marker = content[place + 1]
    if marker == 0xDA:  # the pixels follow
      return b''.join([*parts, content[place:]])
    (length,) = struct.unpack_from('>H', content, place + 2)
    # APP14 tells how colours are stored.
    if not (0xE1 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
      parts.append(content[place : place + 2 + length])
    place += 2 + length
  return None


def is_picture(path: str | os.PathLike) -> bool:
  """Whether a file's name is that of a picture, hidden files left out."""
  path = pathlib.Path(path)
  return path.suffix.lower() in endings() and not path.name.startswith('.')
