"""Depth metrics: scale-invariant error (SIDE), angle of normals (MAD), MAE and MSE.

Depth maps are numpy arrays [size, size] in camera units, masks [size, size] (or [size, size, 1])
counting where above 0.5. Sources: Eigen et al., Depth Map Prediction from a Single Image, 2014
(SIDE); Wu et al., Unsupervised Learning of Probably Symmetric Deformable 3D Objects, CVPR 2020
(MAD, the protocol).
"""

import csv
import io
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from gan2shape_jax.renderer import Camera, normals_from_depth

METRICS = ('side_x100', 'mad', 'mae', 'mse')
BACKGROUND = 1.1  # depth behind the object in the true depth maps
_normals = jax.jit(normals_from_depth)


class ErrorMaps(NamedTuple):
  """Errors of each pixel, 0 outside the mask.

  Attributes:
    scale_invariant: [size, size] squared difference of log depths, their mean taken out.
    angle: [size, size] angle between the normals, degrees.
  """

  scale_invariant: np.ndarray
  angle: np.ndarray


def scale_invariant_depth_error(pred, truth, mask=None) -> float:
  """SIDE: the standard deviation of log(pred) - log(truth) over the mask (not times 100).

  Args:
    pred: [size, size] positive depth.
    truth: [size, size] positive depth.
    mask: [size, size] where to compare, None for everywhere.

  Returns:
    The error; NaN where the mask is empty.

  Raises:
    ValueError: a depth inside the mask is not positive.
  """
  return _mean(scale_invariant_map(pred, truth, mask), mask) ** 0.5


def mean_angle_deviation(pred, truth, mask, camera: Camera) -> float:
  """MAD: the mean angle between the normals of two depth maps over the mask, degrees.

  Args:
    pred: [size, size] depth.
    truth: [size, size] depth.
    mask: [size, size] where to compare, None for everywhere.
    camera: the camera that sees both.

  Returns:
    The angle in degrees, 0 to 180; NaN where the mask is empty.
  """
  return _mean(angle_map(pred, truth, mask, camera), mask)


def mean_absolute_error(pred, truth, mask=None) -> float:
  """Mean |pred - truth| over the mask, camera units; NaN where the mask is empty."""
  return _mean(np.abs(_float(pred) - _float(truth)), mask)


def mean_squared_error(pred, truth, mask=None) -> float:
  """Mean (pred - truth)^2 over the mask, squared camera units; NaN where the mask is empty."""
  return _mean((_float(pred) - _float(truth)) ** 2, mask)


def scale_invariant_map(pred, truth, mask=None) -> np.ndarray:
  """The squared differences of log depth, their mean over the mask taken out, 0 outside it.

  Args:
    pred: [size, size] positive depth.
    truth: [size, size] positive depth.
    mask: [size, size] where to compare, None for everywhere.

  Returns:
    float64 [size, size]; SIDE is the root of its mean over the mask.

  Raises:
    ValueError: a depth inside the mask is not positive.
  """
  pred, truth, inside = _float(pred), _float(truth), _inside(mask, np.shape(pred))
  if not (pred[inside] > 0).all() or not (truth[inside] > 0).all():
    raise ValueError('depths are expected to be positive inside the mask')
  difference = np.log(np.where(inside, pred, 1)) - np.log(np.where(inside, truth, 1))
  centered = difference - (difference[inside].mean() if inside.any() else 0)
  return np.where(inside, centered**2, 0.0)


def angle_map(pred, truth, mask, camera: Camera) -> np.ndarray:
  """The angle between the normals of two depth maps in degrees, 0 outside the mask.

  Args:
    pred: [size, size] depth.
    truth: [size, size] depth.
    mask: [size, size] where to compare, None for everywhere.
    camera: the camera that sees both.

  Returns:
    float64 [size, size].
  """
  first = np.asarray(_normals(np.float32(pred), camera), np.float64)
  second = np.asarray(_normals(np.float32(truth), camera), np.float64)
  # The angle by its tangent: the arc cosine would lose half of the digits near zero.
  sine = np.linalg.norm(np.cross(first, second), axis=-1)
  angle = np.rad2deg(np.arctan2(sine, (first * second).sum(-1)))
  return np.where(_inside(mask, angle.shape), angle, 0.0)


def erode(mask) -> np.ndarray:
  """Keeps the pixels whose 3x3 neighbourhood lies in the mask; beyond the image is outside.

  Args:
    mask: [size, size] or [size, size, 1], counting where above 0.5.

  Returns:
    bool [size, size].
  """
  padded = np.pad(_plane(mask) > 0.5, 1)
  height, width = padded.shape[0] - 2, padded.shape[1] - 2
  shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
  return np.logical_and.reduce(shifted)


def confine(truth, region, background: float = BACKGROUND) -> np.ndarray:
  """True depth with everything outside a region set to the background's depth.

  Args:
    truth: [size, size] depth.
    region: [size, size] mask, or None to change nothing.
    background: the depth to set.

  Returns:
    float64 [size, size].
  """
  truth = _float(truth)
  return truth if region is None else np.where(_inside(region, truth.shape), truth, background)


def evaluation_mask(truth, valid, region=None) -> np.ndarray:
  """Where a prediction is compared with the truth.

  Args:
    truth: [size, size] true depth; pixels at its largest value are background.
    valid: [size, size] where the prediction sees a surface.
    region: [size, size] mask outside which the truth counts as background, or None.

  Returns:
    bool [size, size]: the true surface eroded by 3x3, times `valid` eroded by 3x3.
  """
  truth = confine(truth, region)
  return erode(truth < truth.max()) & erode(valid)


def evaluate(view_depth, valid, truth, region, camera: Camera) -> dict[str, float]:
  """All depth metrics of one picture.

  Args:
    view_depth: [size, size] predicted depth, in the picture's view.
    valid: [size, size] where the prediction sees a surface.
    truth: [size, size] true depth in the picture's view.
    region: [size, size] mask to which the comparison is confined, or None.
    camera: the camera that sees both.

  Returns:
    side_x100, mad (degrees), mae, mse, and pixels, the number compared. The metrics are NaN where
    there is no pixel to compare.

  Raises:
    ValueError: a depth to be compared is not positive.
  """
  mask = evaluation_mask(truth, valid, region)
  truth = confine(truth, region)
  return {
    'side_x100': 100 * scale_invariant_depth_error(view_depth, truth, mask),
    'mad': mean_angle_deviation(view_depth, truth, mask, camera),
    'mae': mean_absolute_error(view_depth, truth, mask),
    'mse': mean_squared_error(view_depth, truth, mask),
    'pixels': int(mask.sum()),
  }


def baseline_depths(truths: Sequence) -> dict[str, np.ndarray]:
  """Predictions that look at no picture, to measure the others against.

  Args:
    truths: [n, size, size] true depth maps (as they are, not confined to a region).

  Returns:
    'constant': depth 1 everywhere, and 'mean': the mean of the true maps; [size, size] each, to be
    evaluated as seen everywhere.
  """
  truths = np.stack([_float(truth) for truth in truths])
  return {'constant': np.ones(truths.shape[1:]), 'mean': truths.mean(axis=0)}


def summarize(rows: Sequence[Mapping]) -> list[dict]:
  """The mean and the standard deviation (population) of each metric, as two more rows.

  Args:
    rows: dicts with 'name' and numbers; pictures without a value (NaN) are left out of it.

  Returns:
    Two dicts, named 'mean' and 'std', with the numeric columns of the rows.
  """
  means, deviations = {'name': 'mean'}, {'name': 'std'}
  for column in _columns(rows)[1:]:
    values = np.array([row[column] for row in rows if _is_number(row.get(column))], np.float64)
    values = values[np.isfinite(values)]
    means[column] = float(values.mean()) if values.size else float('nan')
    deviations[column] = float(values.std()) if values.size else float('nan')
  return [means, deviations]


def write_metrics(path: str | os.PathLike, rows: Sequence[Mapping]):
  """Writes rows and their mean and deviation as CSV; the file appears complete or not at all.

  Args:
    path: the file, an existing one is replaced.
    rows: dicts with 'name' first and the same columns.

  Raises:
    OSError: the folder cannot be written.
  """
  text = io.StringIO()
  writer = csv.DictWriter(text, _columns(rows), lineterminator='\n', restval='')
  writer.writeheader()
  writer.writerows([*rows, *summarize(rows)])
  path = pathlib.Path(path)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  try:
    with os.fdopen(handle, 'w', encoding='utf-8') as file:
      file.write(text.getvalue())
    pathlib.Path(temporary).chmod(0o644)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise


def format_table(rows: Sequence[Mapping]) -> str:
  """Rows as an aligned table for a terminal, with mean and deviation where there are several.

  Args:
    rows: dicts with 'name' and numbers.

  Returns:
    Lines joined by newlines, without one at the end.
  """
  columns = _columns(rows)
  body = [*rows, *(summarize(rows) if len(rows) > 1 else [])]
  cells = [columns, *([_cell(row.get(column, '')) for column in columns] for row in body)]
  widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
  lines = []
  for line in cells:
    first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    lines.append('  '.join([first.strip().ljust(widths[0]), *others]).rstrip())
  return '\n'.join(lines)


def _float(array):
  return np.asarray(array, np.float64)


def _plane(mask):
  mask = np.asarray(mask)
  return mask[..., 0] if mask.ndim == 3 else mask


def _inside(mask, shape):
  """A mask as bool [size, size]; None is everywhere."""
  return np.ones(shape, bool) if mask is None else _plane(mask) > 0.5


def _mean(values, mask):
  values = np.asarray(values)[_inside(mask, np.shape(values))]
  return float(values.mean()) if values.size else float('nan')


def _columns(rows):
  """All columns in the order in which they appear, 'name' first."""
  found = dict.fromkeys(column for row in rows for column in row)
  return ['name', *(column for column in found if column != 'name')]


def _is_number(value):
  return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value):
  if not _is_number(value):
    return str(value)
  return f'{value:.0f}' if float(value).is_integer() and abs(value) >= 1 else f'{value:.4g}'
