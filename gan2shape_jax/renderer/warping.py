"""From a canonical depth map to the depth in a view, and the sampling grids between the two.

The canonical depth map is a mesh: its pixels are vertices and every cell of four is two triangles,
(i, j), (i+1, j), (i, j+1) and (i, j+1), (i+1, j), (i+1, j+1). Over a triangle the inverse depth is
affine in the pixel coordinates, so the mesh is a height field over the canonical image, and the
surface seen through a pixel of another view is where that pixel's ray first crosses it.
"""

from functools import partial

import jax
import jax.numpy as jnp

from gan2shape_jax.renderer.camera import (
  Camera,
  as_float,
  bounded_depth,
  focal_length,
  move_points,
  move_points_back,
  project,
  rigid_transform,
  unproject,
)

_EDGE = 1e-4  # pixels: rays this close to the outermost vertices still meet the mesh
_MISSED = 100.0


def _cell_corners(inverse_depth):
  # [height * width, 4]: one gather fetches a cell's corners (top left, top right, below both).
  right = jnp.concatenate([inverse_depth[:, 1:], inverse_depth[:, -1:]], axis=1)
  below = jnp.concatenate([inverse_depth[1:], inverse_depth[-1:]], axis=0)
  both = jnp.concatenate([right[1:], right[-1:]], axis=0)
  return jnp.stack([inverse_depth, right, below, both], axis=-1).reshape(-1, 4)


def _interpolate(corners, u, v, height, width):
  """Inverse depth of the mesh at pixel coordinates inside the grid, affine in each triangle."""
  i = jnp.clip(jnp.floor(u), 0, width - 2)
  j = jnp.clip(jnp.floor(v), 0, height - 2)
  cell = corners[(j * width + i).astype(jnp.int32)]
  a, b = u - i, v - j
  here, right, below, both = (cell[..., k] for k in range(4))
  upper = here + a * (right - here) + b * (below - here)
  lower = both + (1 - a) * (below - both) + (1 - b) * (right - both)
  return jnp.where(a + b <= 1, upper, lower)


def _rays(view, camera, sample_u, sample_v, height, width):
  """Rays of view pixels in canonical homogeneous pixels: (u z, v z, z) = origin + s * direction.

  s is the depth in the view. In these coordinates the frame of the canonical image, its range of
  depths and every triangle's plane are linear in s.
  """
  focal = focal_length(camera, width)
  center_u, center_v = (width - 1) / 2, (height - 1) / 2
  rotation, offset = rigid_transform(view, camera)
  back = rotation.T
  x, y = (sample_u - center_u) / focal, (sample_v - center_v) / focal

  def homogeneous(px, py, pz):
    return focal * px + center_u * pz, focal * py + center_v * pz, pz

  direction = homogeneous(*(row[0] * x + row[1] * y + row[2] for row in back))
  start = [-(row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2]) for row in back]
  origin = homogeneous(*start)
  return origin, direction


def _clip_to_mesh(origin, direction, nearest, farthest, height, width):
  """The interval of s in which a ray is inside the canonical frustum and range of depths."""
  low = jnp.full(direction[2].shape, 1e-4, direction[2].dtype)
  high = jnp.full(direction[2].shape, 1e4, direction[2].dtype)
  uz, vz, z = zip(origin, direction, strict=True)
  planes = [
    (uz[0] + _EDGE * z[0], uz[1] + _EDGE * z[1]),
    ((width - 1 + _EDGE) * z[0] - uz[0], (width - 1 + _EDGE) * z[1] - uz[1]),
    (vz[0] + _EDGE * z[0], vz[1] + _EDGE * z[1]),
    ((height - 1 + _EDGE) * z[0] - vz[0], (height - 1 + _EDGE) * z[1] - vz[1]),
    (z[0] - nearest, z[1]),
    (farthest - z[0], -z[1]),
  ]
  for constant, slope in planes:
    parallel = jnp.abs(slope) < 1e-9
    crossing = -constant / jnp.where(parallel, 1.0, slope)
    low = jnp.where(~parallel & (slope > 0), jnp.maximum(low, crossing), low)
    high = jnp.where(~parallel & (slope < 0), jnp.minimum(high, crossing), high)
    high = jnp.where(parallel & (constant < 0), -jnp.inf, high)
  return low, high


def _first_crossing(height_above, low, high, steps, refinements):
  """Marches from `low` to `high`, brackets the first change of sign and refines it.

  Args:
    height_above: function s -> h(s), piecewise linear, zero on the surface.
    low: [...] start of each ray.
    high: [...] end of each ray (below the start: the ray misses).
    steps: number of equal steps.
    refinements: number of regula-falsi steps (Illinois) inside the bracket.

  Returns:
    s [...] near the crossing (anywhere on the ray where there is none) and hit [...] booleans.
  """
  inside = high > low
  span = jnp.where(inside, high - low, 0.0)
  low = jnp.where(inside, low, 1.0)

  def march(k, carry):
    s0, h0, s1, h1, found = carry
    s = low + span * (k / steps)
    h = height_above(s)
    crosses = ~found & ((h1 > 0) != (h > 0))
    moving = ~found
    s0, h0 = jnp.where(moving, s1, s0), jnp.where(moving, h1, h0)
    s1, h1 = jnp.where(moving, s, s1), jnp.where(moving, h, h1)
    return s0, h0, s1, h1, found | crosses

  first = height_above(low)
  carry = (low, first, low, first, jnp.zeros_like(first, dtype=bool))
  s0, h0, s1, h1, found = jax.lax.fori_loop(1, steps + 1, march, carry)
  hit = found & inside

  def refine(_, carry):
    s0, h0, s1, h1 = carry
    slope = h1 - h0
    weight = jnp.where(jnp.abs(slope) > 0, h1 / jnp.where(slope == 0, 1.0, slope), 0.5)
    s = s1 - jnp.clip(weight, 0.0, 1.0) * (s1 - s0)
    h = height_above(s)
    changes = (h > 0) != (h1 > 0)
    s0, h0 = jnp.where(changes, s1, s0), jnp.where(changes, h1, h0 / 2)
    return s0, h0, s, h

  # A loop, not written out: XLA on CPUs would fuse the steps and compute each many times over.
  _, _, s1, _ = jax.lax.fori_loop(0, refinements, refine, (s0, h0, s1, h1))
  return s1, hit


def visible_surface(
  depth, view, camera: Camera, *, pixel_offset=0.0, supersample=1, steps=None, refinements=6
):
  """Depth of the first surface seen through each pixel of a view, before any clamping.

  The hit is found by marching each ray through the height field. Its gradient is the exact
  derivative for fixed visibility: one Newton step of the ray against its triangle's plane. Rays
  that miss read 100.

  Args:
    depth: [height, width] canonical depth, positive, in camera units; at least 2 x 2.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.
    pixel_offset: pixels by which the samples lie right of and below the pixel centres. 0 is
      geometrically right; the published rasteriser has 0.5.
    supersample: samples along each side of a pixel, averaged.
    steps: marching steps along a ray; by default half the image's longer side, so that even rays
      that cross the whole image move by about two canonical pixels a step.
    refinements: root-finding steps after the march.

  Returns:
    [height, width] depth in the view, in camera units.
  """
  depth = bounded_depth(depth)
  height, width = depth.shape
  if height < 2 or width < 2:
    raise ValueError(f'depth must be at least 2 x 2 pixels, got {depth.shape}')
  steps = steps or max(height, width) // 2
  shift = pixel_offset + (jnp.arange(supersample) + 0.5) / supersample - 0.5
  sample_u = (jnp.arange(width)[:, None] + shift[None, :]).reshape(1, -1).astype(depth.dtype)
  sample_v = (jnp.arange(height)[:, None] + shift[None, :]).reshape(-1, 1).astype(depth.dtype)
  shape = (sample_v.size, sample_u.size)
  sample_u, sample_v = jnp.broadcast_to(sample_u, shape), jnp.broadcast_to(sample_v, shape)

  def height_above(corners, origin, direction, s):
    # (depth of the ray's point) / (depth of the mesh there) - 1: linear in s over a triangle.
    uz, vz, z = (o + s * d for o, d in zip(origin, direction, strict=True))
    z = jnp.maximum(z, 1e-6)
    u, v = jnp.clip(uz / z, 0, width - 1), jnp.clip(vz / z, 0, height - 1)
    return z * _interpolate(corners, u, v, height, width) - 1

  rays = partial(_rays, camera=camera, sample_u=sample_u, sample_v=sample_v)
  corners = _cell_corners(1 / depth)
  origin, direction = rays(view, height=height, width=width)

  fixed = jax.lax.stop_gradient((corners, origin, direction, depth))
  fixed_corners, fixed_origin, fixed_direction, fixed_depth = fixed
  pad = 1e-4
  low, high = _clip_to_mesh(
    fixed_origin,
    fixed_direction,
    fixed_depth.min() * (1 - pad),
    fixed_depth.max() * (1 + pad),
    height,
    width,
  )
  surface = partial(height_above, fixed_corners, fixed_origin, fixed_direction)
  near, hit = _first_crossing(surface, low, high, steps, refinements)

  near = jax.lax.stop_gradient(near)
  above, slope = jax.jvp(surface, (near,), (jnp.ones_like(near),))
  slope = jnp.where(jnp.abs(slope) < 1e-4, jnp.where(slope < 0, -1e-4, 1e-4), slope)
  newton = near - jnp.clip(above / slope, -1e-2 * near, 1e-2 * near)
  with_gradient = height_above(corners, origin, direction, near)
  exact = jax.lax.stop_gradient(newton) - (
    with_gradient - jax.lax.stop_gradient(with_gradient)
  ) / jax.lax.stop_gradient(slope)
  samples = jnp.where(hit, exact, _MISSED)
  return samples.reshape(height, supersample, width, supersample).mean(axis=(1, 3))


def depth_in_view(
  depth, view, camera: Camera, *, near=0.8, far=1.2, pixel_offset=0.0, supersample=1, steps=None
):
  """The canonical depth map seen from a view, as the first visible surface.

  Args:
    depth: [height, width] canonical depth, positive, in camera units.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.
    near: smallest depth returned; surfaces in front of it read `near`.
    far: largest depth returned, where a pixel sees no surface or not only surface.
    pixel_offset: see `visible_surface`.
    supersample: see `visible_surface`.
    steps: see `visible_surface`.

  Returns:
    depth [height, width] in [near, far] and valid [height, width], 1.0 where a surface nearer
    than `far` fills the pixel, else 0.0 (no gradient).
  """
  seen = visible_surface(
    depth, view, camera, pixel_offset=pixel_offset, supersample=supersample, steps=steps
  )
  seen = jnp.clip(seen, near, far)
  return seen, jax.lax.stop_gradient(seen < far).astype(seen.dtype)


def inverse_grid(view_depth, view, camera: Camera):
  """Where each pixel of a view lies in the canonical image.

  Args:
    view_depth: [height, width] depth in the view.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.

  Returns:
    [height, width, 2] canonical pixel coordinates (u, v), possibly outside the image.
  """
  height, width = view_depth.shape
  points = move_points_back(unproject(view_depth, camera), view, camera)
  return project(points, camera, height, width)


def forward_grid(depth, view, camera: Camera):
  """Where each canonical pixel lies in a view, whether it is visible there or not.

  Args:
    depth: [height, width] canonical depth.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.

  Returns:
    [height, width, 2] pixel coordinates (u, v) in the view, possibly outside the image.
  """
  height, width = depth.shape
  points = move_points(unproject(depth, camera), view, camera)
  return project(points, camera, height, width)


def sample_bilinear(image, grid):
  """Samples an image between its pixels; zeros outside.

  Args:
    image: [height, width, channels].
    grid: [..., 2] pixel coordinates (u, v); pixel centres are whole numbers.

  Returns:
    [..., channels] of the image's type.
  """
  image = jnp.asarray(image)
  height, width, channels = image.shape
  grid = as_float(grid)
  # Two pixels outside everything is zero: bounded coordinates keep whole-number conversion safe.
  u = jnp.clip(grid[..., 0], -2, width + 1)
  v = jnp.clip(grid[..., 1], -2, height + 1)
  i, j = jnp.floor(u), jnp.floor(v)
  a, b = u - i, v - j
  padded = jnp.pad(as_float(image), ((2, 3), (2, 3), (0, 0)))
  stride = width + 5
  index = (j.astype(jnp.int32) + 2) * stride + i.astype(jnp.int32) + 2
  # Horizontal neighbours side by side: two gathers of two pixels each.
  flat = padded.reshape(-1, channels)
  pairs = jnp.concatenate([flat, jnp.roll(flat, -1, axis=0)], axis=-1)
  top, bottom = pairs[index], pairs[index + stride]
  rows = top + b[..., None] * (bottom - top)
  left, right = rows[..., :channels], rows[..., channels:]
  return (left + a[..., None] * (right - left)).astype(image.dtype)


def sample_nearest(image, grid):
  """Samples the nearest pixel (halves round to even); zeros outside. No gradient to the grid.

  Args:
    image: [height, width, channels].
    grid: [..., 2] pixel coordinates (u, v).

  Returns:
    [..., channels] of the image's type.
  """
  image = jnp.asarray(image)
  height, width, channels = image.shape
  grid = jax.lax.stop_gradient(as_float(grid))
  i = jnp.round(jnp.clip(grid[..., 0], -2, width + 1)).astype(jnp.int32)
  j = jnp.round(jnp.clip(grid[..., 1], -2, height + 1)).astype(jnp.int32)
  inside = (i >= 0) & (i < width) & (j >= 0) & (j < height)
  index = jnp.clip(j, 0, height - 1) * width + jnp.clip(i, 0, width - 1)
  return jnp.where(inside[..., None], image.reshape(-1, channels)[index], 0)
