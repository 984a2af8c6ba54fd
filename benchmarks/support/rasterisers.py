"""Other ways to the depth seen in a view, beside which `benchmarks.renderer` puts ours.

Each takes a canonical depth map [height, width] and a view [6], and gives the depth in the view,
infinite where nothing is seen. `splat` and `fragments` are z-buffers in JAX: a scatter keeps the
nearest depth of each pixel, a second one the number of the point or triangle that it belongs to,
and what is returned is computed again from that one, which gives the derivative for fixed
visibility that ours has too. `raycast` asks a ray caster in C.
"""

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from gan2shape_jax import renderer

_INSIDE = -1e-5  # barycentric coordinates of pixels that count as inside


def caster() -> str:
  """Which of trimesh's ray casters is used: 'embree' where embreex is installed."""
  return 'embree' if trimesh.ray.has_embree else 'rtree'


def faces(height: int, width: int) -> np.ndarray:
  """The triangles of the mesh of pixels, int [2 * cells, 3]."""
  index = np.arange(height * width).reshape(height, width)
  here, right, below, both = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
  halves = (here, right, below), (right, both, below)
  return np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in halves])


def _projected(depth, view, camera):
  """Where the mesh's vertices lie in the view, [n, 2], and their depths there, [n]."""
  points = renderer.move_points(renderer.unproject(depth, camera), view, camera)
  return renderer.project(points, camera, *depth.shape).reshape(-1, 2), points[..., 2].reshape(-1)


def box_size(depth, views, camera) -> int:
  """The most pixel centres that a triangle's box has along a side in any of the views [n, 6]."""
  corners = jax.jit(jax.vmap(lambda view: _projected(depth, view, camera)[0]))(views)
  corners = np.asarray(corners)[:, faces(*depth.shape)]
  return int(np.floor(np.ptp(corners, axis=2).max())) + 1


def _nearest(index, inside, depths, pixels):
  """Z-buffer: which of the rows is nearest in each pixel.

  Args:
    index: int [n, k] the pixel that each fragment falls on.
    inside: bool [n, k] whether it falls on the image.
    depths: [n, k] of the fragments, or [n, 1].
    pixels: how many pixels there are.

  Returns:
    int [pixels] the row, 0 where there is none, and bool [pixels] whether there is one.
  """
  depths = jax.lax.stop_gradient(jnp.broadcast_to(depths, index.shape))
  index = jnp.where(inside, index, pixels)
  buffer = jnp.full(pixels, jnp.inf).at[index].min(depths, mode='drop')
  wins = inside & (depths <= buffer.at[index].get(mode='fill', fill_value=-jnp.inf))
  rows = jnp.broadcast_to(jnp.arange(len(index))[:, None], index.shape)
  row = jnp.full(pixels, len(index)).at[jnp.where(wins, index, pixels)].min(rows, mode='drop')
  hit = row < len(index)
  return jnp.where(hit, row, 0), hit


def splat(depth, view, camera: renderer.Camera) -> jax.Array:
  """Every canonical pixel is a point that covers the four pixels around it: holes stay rare.

  Args:
    depth: [height, width] camera units.
    view: [6].
    camera: of both images.

  Returns:
    [height, width], infinite where no point falls.
  """
  height, width = depth.shape
  uv, z = _projected(depth, view, camera)
  corner = jnp.clip(jnp.floor(jax.lax.stop_gradient(uv)), -2, max(height, width)).astype(jnp.int32)
  u = corner[:, :1] + jnp.array([[0, 1, 0, 1]])
  v = corner[:, 1:] + jnp.array([[0, 0, 1, 1]])
  inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
  row, hit = _nearest(v * width + u, inside, z[:, None], height * width)
  return jnp.where(hit, z[row], jnp.inf).reshape(height, width)


def fragments(depth, view, camera: renderer.Camera, *, box: int) -> jax.Array:
  """Every triangle's box of pixels is tested against it.

  Args:
    depth: [height, width] camera units.
    view: [6].
    camera: of both images.
    box: pixels along the side of a box, see `box_size`; triangles larger than that are cut off.

  Returns:
    [height, width], infinite where no triangle is seen.
  """
  height, width = depth.shape
  uv, z = _projected(depth, view, camera)
  triangles = faces(height, width)
  corners, inverse = uv[triangles], 1 / z[triangles]
  fixed = jax.lax.stop_gradient(corners)
  low = jnp.clip(jnp.ceil(fixed.min(1)), -box, max(height, width)).astype(jnp.int32)
  step_v, step_u = np.divmod(np.arange(box * box, dtype=np.int32)[None], box)
  u, v = low[:, :1] + step_u, low[:, 1:] + step_v
  weights = _barycentric(fixed[:, None], u.astype(z.dtype), v.astype(z.dtype))
  depths = 1 / (weights * jax.lax.stop_gradient(inverse)[:, None]).sum(-1)
  inside = (weights >= _INSIDE).all(-1)
  inside &= (u >= 0) & (u < width) & (v >= 0) & (v < height)
  row, hit = _nearest(v * width + u, inside, depths, height * width)
  grid_v, grid_u = jnp.divmod(jnp.arange(height * width), width)
  weights = _barycentric(corners[row], grid_u.astype(z.dtype), grid_v.astype(z.dtype))
  sums = jnp.where(hit, (weights * inverse[row]).sum(-1), 1.0)
  return jnp.where(hit, 1 / sums, jnp.inf).reshape(height, width)


def _barycentric(corners, u, v):
  """Coordinates [..., 3] of pixels in triangles [..., 3, 2]; degenerate ones hold nothing."""
  x, y = corners[..., 0] - u[..., None], corners[..., 1] - v[..., None]
  after, last = (jnp.roll(a, -1, -1) for a in (x, y))
  areas = jnp.roll(x * last - y * after, -1, -1)
  total = areas.sum(-1, keepdims=True)
  return jnp.where(total == 0, -1.0, areas / jnp.where(total == 0, 1.0, total))


def raycast(depth, view, camera: renderer.Camera) -> np.ndarray:
  """A ray through every pixel's centre against the mesh, the hit exact in double precision.

  Args:
    depth: [height, width] camera units.
    view: [6].
    camera: of both images.

  Returns:
    float64 [height, width], infinite where no triangle is hit.
  """
  height, width = depth.shape
  focal = (width - 1) / 2 / np.tan(np.radians(camera.fov) / 2)
  v, u = np.indices((height, width)).reshape(2, -1)
  rays = np.stack([u - (width - 1) / 2, v - (height - 1) / 2, np.full(u.shape, focal)], -1) / focal
  center, view = np.array([0, 0, camera.rotation_center]), np.float64(view)
  points = rays * np.float64(depth).reshape(-1, 1) - center
  points = Rotation.from_euler('xyz', view[:3]).apply(points) + center + view[3:]
  mesh = trimesh.Trimesh(points, faces(height, width), process=False)
  first = mesh.ray.intersects_first(np.zeros_like(rays), rays)
  a, b, c = np.moveaxis(mesh.triangles[np.maximum(first, 0)], 1, 0)
  normals = np.cross(b - a, c - a)
  with np.errstate(divide='ignore', invalid='ignore'):
    seen = (normals * a).sum(-1) / (normals * rays).sum(-1)
  return np.where(first >= 0, seen, np.inf).reshape(height, width)
