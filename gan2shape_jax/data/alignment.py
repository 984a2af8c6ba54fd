"""Faces brought to where a GAN expects them, by five points: eyes, nose, mouth corners.

The shift, turn and scale that bring the points nearest to their targets in the least-squares sense
(a similarity; nothing is mirrored or sheared). Points are x, y in the picture's pixels, x right, y
down, (0, 0) the centre of the top-left pixel, in the order: the eye at the left, the eye at the
right (as one sees them in an upright picture), tip of the nose, left and right corner of the mouth.

A file of points is a table, one picture a line, or an .npz archive:

  me.jpg 120.5 88 160 86.5 141 112 125 131 157 130      (or with commas; lines with # are notes)
  names [n] and points [n, 5, 2]
"""

import math
import os
import pathlib

import numpy as np
from PIL import Image

from gan2shape_jax.data.errors import check_regular, read_arrays
from gan2shape_jax.errors import DataError

# Where the five points lie in the aligned pictures that StyleGAN's face model (FFHQ) was trained
# on, in parts of the picture's sides. The numbers are those in public use for face restoration
# (facexlib's template of 512 px, divided by 512 and rounded to a tenth of a percent).
_FFHQ = ((0.377, 0.469), (0.623, 0.469), (0.501, 0.613), (0.393, 0.725), (0.611, 0.725))
_TARGETS = {'ffhq': _FFHQ}

_FARTHEST = 1.5  # of a target from the middle of the picture, in parts of its width
_NEAREST = 0.01  # width of all targets together; less is a face of a pixel or two
_LARGEST = 4096  # pixels of the intermediate picture
# Root mean square, in parts of the picture's width. A face turned by 75 degrees and tilted by 25
# gives 0.098; a wrong order of the points gives 0.12 to 0.15 (0.02 for both pairs exchanged and
# upside down, which is a face on its head).
_LARGEST_MISFIT = 0.11


def alignment_targets(value: str) -> np.ndarray:
  """The places that a setting means.

  Args:
    value: 'ffhq', or ten numbers x1,y1,...,x5,y5 in parts of the picture's width and height.

  Returns:
    [5, 2].

  Raises:
    DataError: it is neither.
  """
  if value in _TARGETS:
    return np.array(_TARGETS[value])
  try:
    numbers = np.array([float(part) for part in value.strip('()[] ').split(',')])
  except ValueError:
    numbers = np.zeros(0)
  if (
    numbers.size != 10
    or not (np.abs(numbers - 0.5) <= _FARTHEST).all()  # nor nan
    or _spread(numbers.reshape(5, 2)) < _NEAREST
  ):
    raise DataError(
      f'data.align_to={value!r}: expected one of {", ".join(_TARGETS)}, or ten numbers '
      f'x1,y1,...,x5,y5 in parts of the width, from {0.5 - _FARTHEST:g} to {0.5 + _FARTHEST:g} and '
      f'at least {_NEAREST:g} apart'
    )
  return numbers.reshape(5, 2)


def read_landmarks(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the five points of pictures.

  Args:
    path: an .npz archive or a table (see the module's docstring).

  Returns:
    The picture's name without its ending -> [5, 2] float64.

  Raises:
    DataError: the file is missing or damaged, a line is no name and ten numbers, a name comes
      twice, or five points are one.
  """
  path = pathlib.Path(path)
  found = {}
  for where, name, numbers in _archive(path) if path.suffix == '.npz' else _table(path):
    points = np.asarray(numbers, np.float64).reshape(5, 2)
    stem = pathlib.PurePath(name).stem
    if not np.isfinite(points).all() or _spread(points) == 0:
      raise DataError(f'{where}: expected five different points of {name}')
    if stem in found:
      raise DataError(f'{where}: expected one row for each picture, {stem} has two')
    found[stem] = points
  if not found:
    raise DataError(f'{path}: expected rows of a name and ten numbers, there are none')
  return found


def similarity(points, targets) -> np.ndarray:
  """The similarity that brings points nearest to targets.

  Args:
    points: [n, 2], not all the same.
    targets: [n, 2].

  Returns:
    [2, 3] float64 m: m[:, :2] @ point + m[:, 2] is the point's image.
  """
  # As complex numbers a similarity is z -> a z + b: a linear regression with one coefficient.
  z = np.asarray(points, np.float64) @ (1, 1j)
  t = np.asarray(targets, np.float64) @ (1, 1j)
  centred = z - z.mean()
  a = np.vdot(centred, t - t.mean()) / np.vdot(centred, centred)
  b = t.mean() - a * z.mean()
  return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
  picture: np.ndarray, points, targets, size: int, *, points_of: tuple[int, int] | None = None
) -> np.ndarray:
  """Cuts the square out of a picture in which its points are nearest to their targets.

  What lies outside the picture continues its border. Shrinking averages (it samples more finely,
  then filters), growing is bilinear.

  Args:
    picture: [height, width, channels] in [0, 1].
    points: [5, 2] in pixels.
    targets: [5, 2] in parts of the square.
    size: height and width of the result, in pixels.
    points_of: height and width of the picture that the points are meant for, where this one (its
      mask) may have another resolution.

  Returns:
    float32 [size, size, channels] in [0, 1].

  Raises:
    ValueError: the points are far from any view of a face (a wrong order, or a mirrored one).
  """
  height, width = picture.shape[:2]
  points = np.asarray(points, np.float64)
  if points_of is not None:
    scale = np.array([width / points_of[1], height / points_of[0]])
    points = (points + 0.5) * scale - 0.5
  matrix = similarity(points, targets)
  misfit = points @ matrix[:, :2].T + matrix[:, 2] - targets
  misfit = float(np.sqrt(np.square(misfit).sum(-1).mean()))
  if misfit > _LARGEST_MISFIT:
    raise ValueError(
      'expected the points in the order left eye, right eye, nose, left and right corner of the '
      f'mouth; they miss their places by {misfit:.2f} of the width'
    )
  step = 1 / (np.sqrt(abs(np.linalg.det(matrix[:, :2]))) * size)  # source pixels a target pixel
  finer = max(1, min(math.ceil(step), _LARGEST // size))
  sampled = _sampled(np.asarray(picture, np.float32), matrix, size * finer)
  if finer == 1:
    return sampled
  channels = [
    np.asarray(
      Image.fromarray(np.ascontiguousarray(sampled[..., k])).resize(
        (size, size), Image.Resampling.LANCZOS
      )
    )
    for k in range(sampled.shape[-1])
  ]
  return np.clip(np.stack(channels, axis=-1), 0, 1)


def aligned_size(points, targets, largest: int) -> int:
  """Pixels along a side of an aligned picture that keeps the picture's own resolution.

  Args:
    points: [5, 2] in pixels.
    targets: [5, 2] in parts of the square.
    largest: pixels that are never exceeded.

  Returns:
    Pixels, at least 1.
  """
  matrix = similarity(points, targets)
  side = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
  return int(np.clip(round(side), 1, largest))


def _sampled(picture, matrix, count):
  """Bilinear samples of [height, width, c] at the count x count centres of the unit square."""
  inverse = np.linalg.inv(matrix[:, :2])
  centres = (np.arange(count) + 0.5) / count
  square = np.stack(np.meshgrid(centres, centres), axis=-1)
  places = (square - matrix[:, 2]) @ inverse.T
  height, width = picture.shape[:2]
  x, y = np.clip(places[..., 0], 0, width - 1), np.clip(places[..., 1], 0, height - 1)
  left, top = (np.minimum(v.astype(int), n - 2) for v, n in ((x, width), (y, height)))
  x, y = (x - left)[..., None].astype(np.float32), (y - top)[..., None].astype(np.float32)
  upper = picture[top, left] * (1 - x) + picture[top, left + 1] * x
  lower = picture[top + 1, left] * (1 - x) + picture[top + 1, left + 1] * x
  return upper * (1 - y) + lower * y


def _spread(points):
  return float(np.ptp(points, axis=0).max())


def _archive(path):
  arrays = read_arrays(path, ('names', 'points'))
  names, points = arrays['names'], arrays['points']
  if points.dtype.kind not in 'fiu' or names.dtype.kind != 'U' or names.ndim != 1:
    raise DataError(f'{path}: expected names of text and points of numbers')
  if points.shape != (len(names), 5, 2):
    raise DataError(
      f'{path}: expected points [{len(names)}, 5, 2], one row for each of names, '
      f'this is {list(points.shape)}'
    )
  return [(path, str(name), of_name) for name, of_name in zip(names, points, strict=True)]


def _table(path):
  expected = 'expected a table of a name and ten numbers a line, or an .npz archive'
  check_regular(path, expected)
  try:
    text = path.read_text(encoding='utf-8-sig')
  except OSError as error:
    reason = error.strerror or 'it cannot be read'
    raise DataError(f'{path}: {expected} ({reason})') from None
  except UnicodeDecodeError:
    raise DataError(f'{path}: {expected} (it is no text)') from None
  rows = []
  lines = [line.partition('#')[0].strip() for line in text.splitlines()]
  filled = [(number, line) for number, line in enumerate(lines, 1) if line]
  for number, line in filled:
    fields = [field.strip() for field in line.split(',')] if ',' in line else line.split()
    try:
      numbers = [float(field) for field in fields[1:]]
    except ValueError:
      if number == filled[0][0]:
        continue  # the columns' names
      numbers = []
    if len(numbers) != 10:
      raise DataError(f'{path}, line {number}: expected a name and ten numbers')
    rows.append((f'{path}, line {number}', fields[0], numbers))
  return rows
