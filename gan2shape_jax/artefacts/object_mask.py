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
from gan2shape_jax.renderer import Camera

_SPIKE = 1.25  # details: where no disk of this radius fits, the object is too thin to be one
_BEHIND = 0.1  # trust in the object's being right behind an outline
_RIM_SLOPE = 2.0  # pixel widths of depth a pixel at the very rim
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
  # Right behind an outline of the shape, what the picture shows of the object may be that before
  # it: believed only where the other side does not say otherwise.
  trust = _BEHIND + (1 - _BEHIND) * np.maximum(seen.clear, 1 - own)
  weight = seen.weight * trust
  other = 0.5 * (1 - weight) * weight[:, ::-1]
  total = weight + other
  mean = (weight * own + other * own[:, ::-1]) / np.maximum(total, 1e-6)
  return np.clip(smooth_fill(mean[..., None], np.minimum(8 * total, 1))[..., 0], 0, 1)


def solid_mask(mask, *, detail: float = 1.0) -> np.ndarray:
  """Makes one piece without holes and spikes of a mask.

  Args:
    mask: [size, size] in [0, 1]; where it reaches 0.5 nowhere, all is object.
    detail: pixels of the mask for one of the resolution that it was found at.

  Returns:
    float32 [size, size] in [0, 1]: at least 0.5 on one piece without holes and less elsewhere,
    with a smooth rim.
  """
  mask = ndimage.gaussian_filter(np.asarray(mask, np.float32), 0.8 * detail, mode='nearest')
  inside = mask >= 0.5
  if not inside.any():
    return np.ones_like(mask)
  smooth = opened(inside, _SPIKE * detail)
  inside = one_piece(smooth if smooth.any() else inside)
  soft = np.where(inside, np.maximum(mask, 0.5), np.minimum(mask, 0.49))
  depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
  # Holes of the carried mask are none of the object's: inside, the distance to the rim decides.
  soft = np.where(depth > 2 * detail, 1.0, np.where(depth < -2 * detail, 0.0, soft))
  soft = ndimage.gaussian_filter(soft, 0.6 * detail, mode='nearest')
  return as_one_piece(soft)


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


def with_clean_rim(depth, mask, camera: Camera, *, detail: float) -> np.ndarray:
  """Takes out of an object's rim what slopes to the background behind it.

  Between the outermost pixel of an object and the next an enlarged depth map descends to what lies
  behind; the mask's edge runs through that slope.

  Args:
    depth: [size, size] camera units.
    mask: [size, size] in [0, 1]; at least 0.5 on the object.
    camera: camera of the depth map.
    detail: pixels of the depth map for one of the resolution that it was found at.

  Returns:
    float32 [size, size]: the depth, nearer by what exceeds two pixel widths a pixel within one
    detail inside the rim and one and a half beyond it.
  """
  depth, inside = np.asarray(depth, np.float32), np.asarray(mask) >= 0.5
  core = ndimage.distance_transform_edt(np.pad(inside, 1, mode='edge'))[1:-1, 1:-1] > detail
  if not core.any():
    return depth
  distance, nearest = ndimage.distance_transform_edt(~core, return_indices=True)
  pixel = 2 * np.tan(np.deg2rad(camera.fov) / 2) * depth.mean() / (len(depth) - 1)
  limit = depth[tuple(nearest)] + _RIM_SLOPE * pixel * distance
  limit = ndimage.gaussian_filter(limit, 0.7 * detail, mode='nearest')
  # A little beyond the mask too, or its soft edge would show the wall to the background.
  band = ~core & (distance <= 2.5 * detail)
  return np.where(band, np.minimum(depth, limit), depth).astype(np.float32)
