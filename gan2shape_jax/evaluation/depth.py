"""Depth metrics: scale-invariant error (SIDE), angle of normals (MAD), MAE and MSE.

Depth maps are numpy arrays [size, size] in camera units, masks [size, size] (or [size, size, 1])
counting where above 0.5. Sources: Eigen et al., Depth Map Prediction from a Single Image, 2014
(SIDE); Wu et al., Unsupervised Learning of Probably Symmetric Deformable 3D Objects, CVPR 2020
(MAD, the protocol).
"""

from collections.abc import Sequence

import jax
import numpy as np

from gan2shape_jax.renderer import Camera, normals_from_depth

BACKGROUND = 1.1  # depth behind the object in the true depth maps
# Of two of the published border normals, (0, 0, 1) / (1 + 1e-7) in single precision.
_LARGEST_COSINE = 1 - 2**-22
_normals = jax.jit(normals_from_depth)


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


def mean_angle_deviation(pred, truth, mask, camera: Camera, *, renormalize: bool = False) -> float:
  """MAD: the mean angle between the normals of two depth maps over the mask, degrees.

  Args:
    pred: [size, size] depth.
    truth: [size, size] depth.
    mask: [size, size] where to compare, None for everywhere.
    camera: the camera that sees both.
    renormalize: see `angle_map`.

  Returns:
    The angle in degrees, 0 to 180; NaN where the mask is empty.
  """
  return _mean(angle_map(pred, truth, mask, camera, renormalize=renormalize), mask)


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


def angle_map(pred, truth, mask, camera: Camera, *, renormalize: bool = False) -> np.ndarray:
  """The angle between the normals of two depth maps in degrees, 0 outside the mask.

  Args:
    pred: [size, size] depth.
    truth: [size, size] depth.
    mask: [size, size] where to compare, None for everywhere.
    camera: the camera that sees both.
    renormalize: the published metric takes the arc cosine of normals that their epsilon leaves
      shorter than 1 (by 0.3% at 64 pixels, 1.3% at 128), which reads angles near zero as about 6
      degrees (13 at 128) and large ones nearly right. False measures so, comparable with published
      figures; True makes the normals unit vectors first and gives the true angle.

  Returns:
    float64 [size, size].
  """
  first = np.asarray(_normals(np.float32(pred), camera), np.float64)
  second = np.asarray(_normals(np.float32(truth), camera), np.float64)
  cosine = (first * second).sum(-1)
  if renormalize:  # by the tangent: the arc cosine would lose half of the digits near zero
    angle = np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), cosine)
  else:
    angle = np.arccos(np.clip(cosine, -1, _LARGEST_COSINE))
  return np.where(_inside(mask, angle.shape), np.rad2deg(angle), 0.0)


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


def baseline_depths(truths: Sequence, regions: Sequence | None = None) -> dict[str, np.ndarray]:
  """Predictions that look at no picture, to measure the others against.

  Args:
    truths: [n, size, size] true depth maps.
    regions: [n, size, size] masks to which the comparison will be confined, or None: what lies
      outside counts as background in the mean too.

  Returns:
    'constant': depth 1 everywhere, and 'mean': the mean of the true maps; [size, size] each, to be
    evaluated as seen everywhere.
  """
  regions = [None] * len(truths) if regions is None else regions
  confined = [confine(truth, region) for truth, region in zip(truths, regions, strict=True)]
  mean = np.mean(confined, axis=0)
  return {'constant': np.ones(mean.shape), 'mean': mean}


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
