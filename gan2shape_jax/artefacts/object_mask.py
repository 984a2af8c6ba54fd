"""The object in the canonical frame as one piece without holes.

Carried from the picture by the grid alone a mask has holes where the picture hides the far side,
and strips of background where the object hides what lies behind it. So only what the picture sees
counts; its mirror image tells the rest (probable symmetry), and what both hide is filled.
"""

import numpy as np
from scipy import ndimage

from gan2shape_jax.artefacts.resizing import sampled
from gan2shape_jax.artefacts.smooth_fill import smooth_fill
from gan2shape_jax.artefacts.visibility import Seen

_WALL = 0.2  # at the rim, surfaces whose normal's z is below this are cut off: steeper than 78 deg
_SPIKE = 1.25  # details: what is narrower than about three of them is no part of the object
_STRIP = 4.0  # ... or than about eight, where only a cut wall made it so
_KEPT = 0.5  # part of the object that cutting walls must leave, else the depth is too rough for it
# Neighbours along the edges of the mesh's triangles (see `renderer.warping`).
NEIGHBOURS = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]], bool)


def carried_mask(mask, seen: Seen) -> np.ndarray:
  """The picture's mask in the canonical frame, from what the picture sees and its mirror image.

  Args:
    mask: [n, n, 1] of the picture, in [0, 1].
    seen: the picture's view of the canonical depth map.

  Returns:
    [size, size] in [0, 1].
  """
  own = sampled(mask, seen.grid, size=len(mask))[..., 0]
  weight = seen.weight
  other = 0.5 * (1 - weight) * weight[:, ::-1]
  total = weight + other
  mean = (weight * own + other * own[:, ::-1]) / np.maximum(total, 1e-6)
  return np.clip(smooth_fill(mean[..., None], np.minimum(4 * total, 1))[..., 0], 0, 1)


def solid_mask(mask, normal, *, pixel: float = 1.0) -> np.ndarray:
  """Makes one piece without holes of a mask, without the steep walls at its rim.

  Args:
    mask: [size, size] in [0, 1]; where it reaches 0.5 nowhere, all is object.
    normal: [size, size, 3] canonical unit normals.
    pixel: width of the mask's details: pixels of `size` for one of the resolution it was found at.

  Returns:
    float32 [size, size] in [0, 1]: at least 0.5 on one piece without holes and less elsewhere,
    with a smooth rim.
  """
  mask = ndimage.gaussian_filter(np.asarray(mask, np.float32), 0.6 * pixel, mode='nearest')
  inside = mask >= 0.5
  if not inside.any():
    return np.ones_like(mask)
  slope = ndimage.gaussian_filter(np.asarray(normal)[..., 2], 0.5 * pixel, mode='nearest')
  gentle = _without_strips(inside, inside & (slope >= _WALL), _STRIP * pixel)
  candidates = [opened(gentle, _SPIKE * pixel), opened(inside, _SPIKE * pixel), inside]
  large_enough = (one_piece(c).sum() >= _KEPT * inside.sum() for c in candidates)
  inside = candidates[next((k for k, large in enumerate(large_enough) if large), -1)]
  inside = one_piece(inside)
  soft = np.where(inside, np.maximum(mask, 0.5), np.minimum(mask, 0.49))
  depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
  # Holes of the carried mask are none of the object's: inside, the distance to the rim decides.
  soft = np.where(depth > 2 * pixel, 1.0, np.where(depth < -2 * pixel, 0.0, soft))
  soft = ndimage.gaussian_filter(soft, 0.6 * pixel, mode='nearest')
  return as_one_piece(soft)


def _without_strips(inside, gentle, radius):
  """Takes off what hangs on the object as a strip once the walls are cut, but is none without."""
  core = opened(gentle, radius)
  reached = ndimage.binary_dilation(core, iterations=round(2 * radius), mask=gentle)
  return gentle & (reached | ~opened(inside, radius))


def opened(inside, radius: float) -> np.ndarray:
  """Takes off what no disk fits into.

  Args:
    inside: bool [height, width]; beyond the image it goes on.
    radius: of the disk, in pixels.

  Returns:
    bool [height, width].
  """
  pad = round(radius) + 1
  padded = np.pad(inside, pad, mode='edge')
  if padded.all() or not padded.any():
    return inside
  eroded = ndimage.distance_transform_edt(padded) > radius
  if not eroded.any():
    return np.zeros_like(inside)
  return (ndimage.distance_transform_edt(~eroded) <= radius)[pad:-pad, pad:-pad]


def one_piece(inside) -> np.ndarray:
  """The largest piece of a mask with its holes filled.

  Args:
    inside: bool [height, width]; pieces hang together along the edges of the mesh's triangles.

  Returns:
    bool [height, width], empty where `inside` is.
  """
  labels, count = ndimage.label(inside, NEIGHBOURS)
  if count > 1:
    inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
  return ndimage.binary_fill_holes(inside, NEIGHBOURS)


def as_one_piece(mask) -> np.ndarray:
  """Changes a soft mask as little as makes its level of 0.5 one piece without holes."""
  mask = np.asarray(mask, np.float32)
  piece = one_piece(mask >= 0.5)
  return np.where(piece, np.maximum(mask, np.float32(0.5)), np.minimum(mask, np.float32(0.49)))
