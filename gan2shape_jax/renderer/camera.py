"""Pinhole camera, rigid views, back-projection and projection.

Frames: x points right, y down, z away from the camera. Pixels are (u, v) with (0, 0) at the centre
of the top-left pixel; a depth map holds z, not the length of a ray. A view is six numbers:
rotations about x, y, z in radians, then a translation in camera units.
"""

from typing import NamedTuple

import jax.numpy as jnp

_LARGEST = 1e4  # coordinates are clamped to this many camera units: gradients stay finite
_NEAREST = 1e-4


class Camera(NamedTuple):
  """A pinhole camera, centre-aligned: the optical axis meets the middle of the image.

  Attributes:
    fov: field of view over the image's width, in degrees, in (0, 180).
    rotation_center: depth of the point (0, 0, z) about which views rotate, in camera units.
  """

  fov: float = 10.0
  rotation_center: float = 1.0


def as_float(x):
  """Converts to at least single precision: geometry in half precision is of no use."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def bounded_depth(depth):
  """Depth [...] as float, kept within (0, 1e4]: a surface lies in front of the camera."""
  return jnp.clip(as_float(depth), _NEAREST, _LARGEST)


def focal_length(camera: Camera, width: int):
  """Focal length of a camera.

  Args:
    camera: gives the field of view.
    width: image width in pixels.

  Returns:
    [] focal length in pixels.
  """
  half_angle = jnp.deg2rad(as_float(camera.fov)) / 2
  return max(width - 1, 1) / (2 * jnp.tan(half_angle))


def rotation_matrix(angles):
  """Rotation about x, then y, then z: Rz Ry Rx.

  Args:
    angles: [3] radians.

  Returns:
    [3, 3] rotation matrix.
  """
  sx, sy, sz = jnp.sin(as_float(angles))
  cx, cy, cz = jnp.cos(as_float(angles))
  return jnp.stack(
    [
      jnp.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]),
      jnp.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx]),
      jnp.stack([-sy, cy * sx, cy * cx]),
    ]
  )


def rigid_transform(view, camera: Camera):
  """The view as x -> x @ rotation.T + offset.

  Args:
    view: [6] rotations in radians, translation in camera units.
    camera: gives the centre of rotation.

  Returns:
    rotation [3, 3] and offset [3].
  """
  view = as_float(view)
  rotation = rotation_matrix(view[:3])
  zero = jnp.zeros((), view.dtype)
  center = jnp.stack([zero, zero, as_float(camera.rotation_center).astype(view.dtype)])
  translation = jnp.clip(view[3:], -_LARGEST, _LARGEST)
  return rotation, center + translation - rotation @ center


def _times(points, matrix):
  # Sums of products written out: matrix units would round to half precision on accelerators.
  x, y, z = points[..., 0], points[..., 1], points[..., 2]
  return jnp.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix], axis=-1)


def move_points(points, view, camera: Camera):
  """Moves canonical points into the view: p -> R (p - c) + c + t.

  Args:
    points: [..., 3] camera units.
    view: [6] rotations in radians, translation in camera units.
    camera: gives the centre of rotation c.

  Returns:
    [..., 3] points in the view's frame.
  """
  rotation, offset = rigid_transform(view, camera)
  moved = _times(as_float(points), rotation)
  return moved + jnp.broadcast_to(offset, moved.shape)


def move_points_back(points, view, camera: Camera):
  """Inverse of `move_points`: p -> R^T (p - t - c) + c.

  Args:
    points: [..., 3] points in the view's frame.
    view: [6] rotations in radians, translation in camera units.
    camera: gives the centre of rotation c.

  Returns:
    [..., 3] canonical points.
  """
  rotation, offset = rigid_transform(view, camera)
  points = as_float(points)
  return _times(points - jnp.broadcast_to(offset, points.shape), rotation.T)


def pixel_grid(height: int, width: int):
  """Pixel coordinates (u, v) of every pixel centre, [height, width, 2]."""
  u, v = jnp.meshgrid(jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32))
  return jnp.stack([u, v], axis=-1)


def unproject(depth, camera: Camera):
  """Back-projects a depth map to points.

  Args:
    depth: [height, width] positive z in camera units.
    camera: the camera that sees it.

  Returns:
    [height, width, 3] points in camera units.
  """
  depth = bounded_depth(depth)
  height, width = depth.shape
  focal = focal_length(camera, width)
  grid = pixel_grid(height, width).astype(depth.dtype)
  x = (grid[..., 0] - (width - 1) / 2) / focal * depth
  y = (grid[..., 1] - (height - 1) / 2) / focal * depth
  return jnp.stack([x, y, depth], axis=-1)


def project(points, camera: Camera, height: int, width: int):
  """Projects points into an image.

  Args:
    points: [..., 3] in camera units; points at or behind the camera land at far away pixels.
    camera: the camera that sees them.
    height: image height in pixels.
    width: image width in pixels.

  Returns:
    [..., 2] pixel coordinates (u, v), unbounded.
  """
  points = as_float(points)
  focal = focal_length(camera, width)
  z = jnp.maximum(points[..., 2], _NEAREST)
  u = focal * (points[..., 0] / z) + (width - 1) / 2
  v = focal * (points[..., 1] / z) + (height - 1) / 2
  return jnp.stack([u, v], axis=-1)
