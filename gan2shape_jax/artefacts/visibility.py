"""What a view shows of a canonical depth map: where each pixel lies and how well it is seen.

A shadow map's test: a point is seen where nothing lies before it in the depth map of the view.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from gan2shape_jax.renderer import (
  Camera,
  depth_in_view,
  move_points,
  normals_from_depth,
  project,
  rotation_matrix,
  unproject,
)

_MARGIN = 0.1  # camera units between the surface and the planes that clip a view
_TOLERANCE = 2.0  # pixel widths behind the first surface within which a point still counts as it
_OUTLINE = 2.5  # pixels of the fit by which its outlines may miss the picture's
_STEP = (2.5, 4.0)  # depth per width of that neighbourhood: steeper is another surface's outline
# Cosines between the surface and the ray: below the first a pixel is smeared over more than five
# pixels of the surface, above the second over fewer than two and a half.
_GRAZING = (0.2, 0.4)


class Seen(NamedTuple):
  """A view's look at a canonical depth map; maps are [size, size, ...] of that map.

  Attributes:
    grid: [size, size, 2] where each canonical pixel lies in the view, in parts of the view's
      width and height from its first pixel's centre (0) to its last's (1).
    visible: [size, size] 1 where the view sees the pixel, 0 where something hides it or it lies
      outside the view; softly in between.
    clear: [size, size] 1 where nothing much nearer is seen right beside the pixel. A picture's
      outlines miss those of the fitted shape by a few pixels, so that right behind one it may be
      the object before it that the picture shows.
    facing: [size, size] cosine between the surface and the view's ray, negative for back sides.
  """

  grid: np.ndarray
  visible: np.ndarray
  clear: np.ndarray
  facing: np.ndarray

  @property
  def weight(self) -> np.ndarray:
    """[size, size] in [0, 1]: how well the view shows each pixel."""
    return self.visible * smooth_step(self.facing, *_GRAZING)


@jax.jit
def _cast(depth, view, camera):
  near, far = depth.min() - _MARGIN, depth.max() + _MARGIN
  steps = max(48, depth.shape[0] // 6)
  first, _ = depth_in_view(depth, view, camera, near=near, far=far, steps=steps)
  points = move_points(unproject(depth, camera), view, camera)
  rays = points / jnp.linalg.norm(points, axis=-1, keepdims=True)
  normals = normals_from_depth(depth, camera)
  rows = rotation_matrix(view[:3])
  facing = jnp.einsum('hwc,dc,hwd->hw', normals, rows, rays, precision='highest')
  return first, points[..., 2], project(points, camera, *depth.shape), facing


def seen_from(depth, view, camera: Camera, *, detail: float = 1.0) -> Seen:
  """Looks at a canonical depth map from a view.

  Args:
    depth: [size, size] canonical depth, camera units.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both.
    detail: pixels of the depth map for one of the resolution that it was fitted at.

  Returns:
    A `Seen` of numpy arrays.
  """
  depth = np.asarray(depth, np.float32)
  size = len(depth)
  cast = _cast(depth, jnp.asarray(view, jnp.float32), Camera(*map(jnp.float32, camera)))
  first, z, grid, facing = map(np.asarray, cast)
  pixel = 2 * np.tan(np.deg2rad(camera.fov) / 2) * depth.mean() / (size - 1)
  where = np.stack([grid[..., 1], grid[..., 0]])

  def behind(nearest):
    return (z - ndimage.map_coordinates(nearest, where, order=1, mode='nearest')) / pixel

  # Slopes change the depth within a pixel: the farthest of its neighbours is what counts.
  visible = np.clip(2 - behind(ndimage.maximum_filter(first, 3, mode='nearest')) / _TOLERANCE, 0, 1)
  reach = round(_OUTLINE * detail)
  beside = behind(ndimage.minimum_filter(first, 2 * reach + 1, mode='nearest')) / max(reach, 1)
  clear = 1 - smooth_step(beside, *_STEP)
  inside = ((grid >= 0) & (grid <= size - 1)).all(axis=-1)
  visible = visible * inside * (facing > 0)
  # ... which lets in a pixel beside each edge; taken back here.
  visible = ndimage.minimum_filter(visible, 3, mode='nearest')
  visible = ndimage.gaussian_filter(visible, max(0.7, size / 160), mode='nearest')
  return Seen(grid / np.float32(size - 1), visible, clear, facing)


def smooth_step(x, low: float, high: float) -> np.ndarray:
  """0 below `low`, 1 above `high`, a cubic without kinks in between."""
  t = np.clip((np.asarray(x) - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)
