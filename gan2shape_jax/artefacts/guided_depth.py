"""Depth upsampled with a picture as its guide, so that depth edges follow the picture's.

Joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) of local planes instead of values, and only
of what it changes: the result is the bicubic enlargement plus the difference that the picture's
colours make, weighted by how far neighbouring planes disagree. On a smooth shape they agree, so
that no pattern of the picture is copied into it.
"""

import numpy as np
from scipy import ndimage

from gan2shape_jax.artefacts.resizing import enlarged
from gan2shape_jax.renderer import Camera

_SPACE = 0.5  # standard deviations: distance in pixels of the depth map ...
_COLOUR = 0.15  # ... and colour on the scale -1 to 1
_STEP = 4.0  # disagreement of neighbouring planes, in pixel widths, at which half is taken


def guided_depth(depth, smooth, guide, camera: Camera) -> np.ndarray:
  """Moves the edges of an enlarged depth map to those of a picture.

  Args:
    depth: [n, n] camera units.
    smooth: [size, size] its smooth enlargement, corner pixels' centres kept.
    guide: [size, size, 3] what the picture shows of the same surface, in [-1, 1].
    camera: camera of the depth map.

  Returns:
    float32 [size, size], within the range of depths of each pixel's neighbours.
  """
  depth, smooth = np.asarray(depth, np.float32), np.asarray(smooth, np.float32)
  guide = np.asarray(guide, np.float32)
  n, size = len(depth), len(smooth)
  slopes = np.stack([_gentle_slope(depth, axis) for axis in (0, 1)], axis=-1)
  at = np.linspace(0, n - 1, size, dtype=np.float32)
  nearest = np.clip(np.round(np.linspace(0, size - 1, n)).astype(int), 0, size - 1)
  coarse = _box(guide, size // n)[nearest][:, nearest]

  base = np.floor(at).astype(int)
  predictions, near, alike = [], [], []
  for i in range(-1, 3):
    for j in range(-1, 3):
      rows, columns = base + i, base + j
      inside = ((rows >= 0) & (rows < n))[:, None] & ((columns >= 0) & (columns < n))[None]
      rows, columns = np.clip(rows, 0, n - 1), np.clip(columns, 0, n - 1)
      pick = np.ix_(rows, columns)
      dy, dx = (at - rows)[:, None], (at - columns)[None]
      predictions.append(depth[pick] + slopes[pick][..., 0] * dy + slopes[pick][..., 1] * dx)
      near.append(np.exp(-(dy * dy + dx * dx) / (2 * _SPACE**2)) * inside)
      colour = np.square(guide - coarse[pick]).sum(axis=-1)
      alike.append(np.exp(-colour / (2 * _COLOUR**2)) + 1e-6)
  predictions, near, alike = (np.stack(part) for part in (predictions, near, alike))
  plain = (near * predictions).sum(0) / near.sum(0)
  both = near * alike
  guided = (both * predictions).sum(0) / both.sum(0)
  spread = (near * np.square(predictions - plain)).sum(0) / near.sum(0)
  pixel = 2 * np.tan(np.deg2rad(camera.fov) / 2) * float(depth.mean()) / (n - 1)
  gate = spread / (spread + (_STEP * pixel) ** 2)
  moved = smooth + gate * (guided - plain)
  low = np.minimum.reduce([enlarged(depth[..., None], size)[..., 0], smooth, guided, plain])
  high = np.maximum.reduce([enlarged(depth[..., None], size)[..., 0], smooth, guided, plain])
  return np.clip(moved, low, high).astype(np.float32)


def _gentle_slope(depth, axis):
  """Central differences; at an edge the gentler of both sides'."""
  depth = np.moveaxis(depth, axis, 0)
  step = np.diff(depth, axis=0)
  before, after = np.concatenate([step[:1], step]), np.concatenate([step, step[-1:]])
  mean, least = (before + after) / 2, np.minimum(np.abs(before), np.abs(after))
  slope = np.where(before * after > 0, np.sign(mean) * np.minimum(np.abs(mean), 2 * least), 0)
  return np.moveaxis(slope, 0, axis)


def _box(picture, width):
  return ndimage.uniform_filter(picture, (max(width, 1), max(width, 1), 1), mode='nearest')
