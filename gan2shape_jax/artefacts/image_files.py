"""Arrays as pictures: depth and normals in colour, cut-outs, resizing, labelled contact sheets.

Colours are floats in [-1, 1], channels last, as everywhere; `to_uint8` ends the chain.
"""

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gan2shape_jax.storage.atomic_files import write_bytes

# From far to near, lightness rising evenly: ink, indigo, sea, leaf, straw, cream.
_GRADIENT = np.array(
  [(18, 14, 42), (52, 48, 122), (40, 104, 146), (58, 156, 124), (166, 202, 88), (253, 244, 190)],
  np.float32,
)
_SIDE_LIGHT = np.array([0.65, 0.35, 1.0], np.float32)  # travels right, down and away
_INK, _PAPER = (38, 42, 48), (255, 255, 255)


def colour_depth(depth, near: float, far: float) -> np.ndarray:
  """Depth as colour, near is bright.

  Args:
    depth: [...] camera units.
    near: depth shown brightest.
    far: depth shown darkest; depths outside the two are clamped.

  Returns:
    [..., 3] in [-1, 1].
  """
  closeness = np.clip((far - np.asarray(depth)) / max(far - near, 1e-9), 0, 1)
  position = closeness * (len(_GRADIENT) - 1)
  index = np.clip(position.astype(int), 0, len(_GRADIENT) - 2)
  weight = (position - index)[..., None].astype(np.float32)
  colour = _GRADIENT[index] * (1 - weight) + _GRADIENT[index + 1] * weight
  return colour / 127.5 - 1


def depth_range(depth, mask) -> tuple[float, float]:
  """The range of depths of an object, without the outermost percent on either side.

  Args:
    depth: [...] camera units.
    mask: [...] at least 0.5 on the object; where it is nowhere, everything counts.

  Returns:
    near and far.
  """
  depth, mask = np.asarray(depth), np.asarray(mask) >= 0.5
  near, far = np.percentile(depth[mask] if mask.any() else depth, (1, 99))
  return float(near), float(far)


def colour_normals(normal) -> np.ndarray:
  """Normals as the usual colours: red to the right, green up, blue towards the viewer.

  Args:
    normal: [..., 3] unit normals, x right, y down, z away, pointing away from the viewer.

  Returns:
    [..., 3] in [-1, 1].
  """
  return np.asarray(normal) * np.array([-1, 1, 1], np.float32)


def shade(normal) -> np.ndarray:
  """An untextured surface under a light from the upper left that stays with the viewer.

  Args:
    normal: [..., 3] unit normals in the view's frame.

  Returns:
    [..., 3] grey in [-1, 1].
  """
  direction = _SIDE_LIGHT / np.linalg.norm(_SIDE_LIGHT)
  diffuse = np.maximum(np.asarray(normal) @ direction, 0)
  grey = (0.1 + 0.75 * diffuse) * 2 - 1
  return np.repeat(grey[..., None], 3, axis=-1)


def cut_out(colour, alpha, background: float = 1.0) -> np.ndarray:
  """Lays a picture over a plain background, with a soft edge one pixel wide.

  Args:
    colour: [height, width, 3] in [-1, 1].
    alpha: [height, width] in [0, 1], how much is seen of it.
    background: grey level in [-1, 1]; 1 is white.

  Returns:
    [height, width, 3] in [-1, 1].
  """
  alpha = np.asarray(alpha, np.float32)
  padded = np.pad(alpha, 1, mode='edge')
  rows = padded[:-2] + padded[1:-1] + padded[2:]
  mean = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
  soft = (alpha * np.clip(1.5 * mean - 0.5, 0, 1))[..., None]
  return background + soft * (colour - background)


def object_alpha(mask, valid) -> np.ndarray:
  """Opacity of the object in a view.

  Args:
    mask: [...] the object's mask in the view, in [0, 1].
    valid: [...] 1 where a surface is seen.

  Returns:
    [...] in [0, 1]: the mask with its edge at 0.5 made steeper.
  """
  return np.clip(4 * np.asarray(mask) - 1.5, 0, 1) * valid


def to_uint8(picture) -> np.ndarray:
  """Colours in [-1, 1] as bytes, rounded; NaN becomes grey, what is bytes stays as it is."""
  picture = np.asarray(picture)
  if picture.dtype == np.uint8:
    return picture
  picture = np.nan_to_num(picture.astype(np.float32), nan=0.0)
  return np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8)


def resize(picture: np.ndarray, size: int) -> np.ndarray:
  """Bicubic resizing of a picture of bytes to [size, size, 3]."""
  if picture.shape[:2] == (size, size):
    return picture
  return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def png(picture: np.ndarray) -> bytes:
  """A picture of bytes [height, width, 3 or 4 with opacity] as a PNG file's content."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, 'PNG')
  return buffer.getvalue()


def jpeg(content: bytes) -> tuple[bytes, int, int]:
  """A picture file's content as JPEG of good quality, and its width and height."""
  buffer = io.BytesIO()
  with Image.open(io.BytesIO(content)) as picture:
    picture.convert('RGB').save(buffer, 'JPEG', quality=88, subsampling=0)
    return buffer.getvalue(), picture.width, picture.height


def write_png(path, picture: np.ndarray) -> None:
  """Writes bytes [height, width, 3] as PNG; raises `ArtefactError` as `files.write_bytes` does."""
  write_bytes(path, png(picture))


@functools.lru_cache(maxsize=8)
def _font(size):
  return ImageFont.load_default(size)


def contact_sheet(
  rows: Sequence[Sequence[np.ndarray]],
  columns: Sequence[str],
  row_names: Sequence[str] = (),
  *,
  cell: int = 192,
) -> np.ndarray:
  """Lays pictures out in a labelled grid on white.

  Args:
    rows: rows of pictures [n, n, 3] in [-1, 1] of any sizes; rows may be shorter than `columns`.
    columns: the columns' labels, above the first row.
    row_names: the rows' labels, at the left; none for no such column.
    cell: pixels of a picture's sides.

  Returns:
    [height, width, 3] bytes.
  """
  gap, text = 6, max(12, cell // 13)
  font = _font(text)
  left = gap
  if row_names:
    left += int(max(font.getlength(name) for name in row_names)) + 2 * gap
  top = text + 3 * gap
  width = left + len(columns) * (cell + gap)
  height = top + len(rows) * (cell + gap)
  sheet = Image.new('RGB', (width, height), _PAPER)
  draw = ImageDraw.Draw(sheet)
  for index, name in enumerate(columns):
    middle = left + index * (cell + gap) + cell // 2
    draw.text((middle, top // 2), name, fill=_INK, font=font, anchor='mm')
  for number, row in enumerate(rows):
    y = top + number * (cell + gap)
    if row_names:
      draw.text((gap, y + cell // 2), row_names[number], fill=_INK, font=font, anchor='lm')
    for index, picture in enumerate(row):
      tile = Image.fromarray(resize(to_uint8(picture), cell))
      sheet.paste(tile, (left + index * (cell + gap), y))
  return np.asarray(sheet)
