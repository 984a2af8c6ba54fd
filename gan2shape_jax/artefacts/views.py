"""Views of the results, and the factors rendered in them at display size.

Images are channels last in [-1, 1], depths in camera units, views [6] in radians and camera units.
Depth and texture are first upsampled smoothly (bicubic, corners aligned as the camera has it), so
that a shape found at 64 px can be looked at. One view compiles once for a size, whatever is shown.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.reconstruction.state import Array, Factors
from gan2shape_jax.renderer import (
  Camera,
  depth_in_view,
  inverse_grid,
  lambertian,
  light_from_code,
  normals_from_depth,
  rotation_matrix,
  sample_bilinear,
)

_STRETCHED = 3.0  # pixels of a view over which one of the depth map may spread
_POOR = 0.2  # part of a view that may be spread more
_COVERED = 0.75  # part of the front's area that a view must show: what has a back would show more
_LEAST_YAW = 20.0
_WALL = 0.05  # surfaces whose normal's z is below this are not the object's


class ViewPath(NamedTuple):
  """Views of a turntable and the order in which a video shows them.

  Attributes:
    views: [n, 6] yaws from -max_yaw to max_yaw, then pitches from -max_pitch to max_pitch.
    order: [m] indices into the views: back and forth, starting and ending near the front.
    yaws: how many of the views are yaws.
  """

  views: Array
  order: Array
  yaws: int


class Surface(NamedTuple):
  """Upsampled canonical maps, [size, size, ...].

  Attributes:
    depth: [size, size] canonical depth.
    layers: [size, size, 10] texture 0-2, albedo 3-5, normal 6-8, mask 9.
  """

  depth: Array
  layers: Array


class ViewFrame(NamedTuple):
  """What one view shows; `render_views` adds a leading axis.

  Attributes:
    texture: [size, size, 3] shaded colour in [-1, 1]; 0 where nothing is seen.
    albedo: [size, size, 3] unshaded colour in [-1, 1].
    normal: [size, size, 3] unit normals in the view's frame, z away from the camera.
    canonical_normal: [size, size, 3] the same normals in the canonical frame.
    mask: [size, size] the object's mask in [0, 1].
    depth: [size, size] depth in the view.
    valid: [size, size] 1.0 where a surface is seen.
  """

  texture: Array
  albedo: Array
  normal: Array
  canonical_normal: Array
  mask: Array
  depth: Array
  valid: Array


def rotation_path(max_yaw=70.0, max_pitch=20.0, *, yaws=25, pitches=13, hold=2) -> ViewPath:
  """A turntable that swings left and right, then down and up.

  With the default counts every third view is one of the 9 yaws and 5 pitches of the contact
  sheets.

  Args:
    max_yaw: largest yaw in degrees.
    max_pitch: largest pitch in degrees.
    yaws: number of different yaws, odd.
    pitches: number of different pitches, odd.
    hold: how many frames longer the video stays at the ends of a swing.

  Returns:
    A `ViewPath`.

  Raises:
    ValueError: a count is even or below 3.
  """
  if min(yaws, pitches) < 3 or yaws % 2 == 0 or pitches % 2 == 0:
    raise ValueError(f'yaws and pitches must be odd and at least 3, got {yaws} and {pitches}')
  views = np.zeros((yaws + pitches, 6), np.float32)
  views[:yaws, 1] = np.deg2rad(np.linspace(-max_yaw, max_yaw, yaws))
  views[yaws:, 0] = np.deg2rad(np.linspace(-max_pitch, max_pitch, pitches))
  swing = _swing(yaws, hold), _swing(pitches, hold) + yaws
  return ViewPath(views, np.concatenate(swing), yaws)


def _swing(count, hold):
  # From the middle to one end, to the other, and back to the middle.
  middle = count // 2
  ends = [count - 1] * hold, [0] * hold
  there = [*range(middle, count), *ends[0], *range(count - 2, -1, -1), *ends[1]]
  return np.array([*there, *range(1, middle)])


def sheet_indices(path: ViewPath, *, yaws=9, pitches=5) -> tuple[np.ndarray, np.ndarray]:
  """The views of a path that the contact sheets show, evenly spread.

  Args:
    path: the path.
    yaws: columns of yaws.
    pitches: columns of pitches.

  Returns:
    Indices of the yaws and of the pitches into `path.views`.
  """
  first = np.linspace(0, path.yaws - 1, yaws).round().astype(int)
  rest = np.linspace(path.yaws, len(path.views) - 1, pitches).round().astype(int)
  return first, rest


def supported_yaw(factors: Factors, camera: Camera, max_yaw: float) -> float:
  """How far a surface may be turned before too much of what is seen is missing.

  A depth map has no back and only a few pixels on its flanks. Turned too far it shows those few
  stretched out, or nothing.

  Args:
    factors: their depth and the object's mask, a whole one (see `result_from_factors`).
    camera: camera of the canonical maps.
    max_yaw: degrees that are never exceeded.

  Returns:
    Degrees, the largest yaw to both sides (in steps of 2.5, at least 20 where max_yaw is no less)
    at which at most a fifth of the object's view is stretched more than threefold, and the
    object covers at least three quarters of the area it covers from the front (half a ball: to
    60 degrees; a flat picture: to 40).
  """
  surface = surface_from_factors(factors, camera, size=display_size(len(factors.depth)))
  layers, depth = np.asarray(surface.layers), np.asarray(surface.depth)
  inside = layers[..., 9] >= 0.5
  normal, depth = layers[inside][:, 6:9], depth[inside]
  if not len(normal):
    return float(max_yaw)
  rays = np.argwhere(inside)[:, 1] / (len(inside) - 1) - 0.5
  rays = 2 * np.tan(np.deg2rad(camera.fov) / 2) * rays  # slopes to the right
  area = depth**2  # of a pixel's cone, facing the camera
  facing = np.maximum(normal[:, 0] * rays + normal[:, 2], 0.02)
  supported = 0.0
  for yaw in np.arange(2.5, max_yaw + 2.4, 2.5):
    for angle in np.deg2rad([yaw, -yaw]):
      turned = np.cos(angle) * normal[:, 2] - np.sin(angle) * normal[:, 0]
      stretch = np.maximum(turned, 0) / facing
      seen = area * stretch
      poor = seen[stretch > _STRETCHED].sum() > _POOR * seen.sum()
      if poor or seen.sum() < _COVERED * area.sum():
        return float(min(max(supported, _LEAST_YAW), max_yaw))
    supported = yaw
  return float(max_yaw)


def display_size(size: int, photo: int = 0) -> int:
  """Pixels at which maps are rendered to be looked at.

  Args:
    size: pixels along a side of the maps.
    photo: pixels along a side of the picture at its own resolution.

  Returns:
    3 times 64, else twice `size`; more for finer pictures, up to 320.
  """
  return max(192, 2 * size, min(photo, 320))


def upsample(maps, size: int):
  """Bicubic resizing that keeps the corner pixels' centres where they are.

  Args:
    maps: [height, width, channels].
    size: new height and width.

  Returns:
    [size, size, channels].
  """
  old = jnp.array(maps.shape[:2], jnp.float32)
  scale = (size - 1) / (old - 1)
  shape = (size, size, maps.shape[2])
  return jax.image.scale_and_translate(
    maps, shape, (0, 1), scale, 0.5 - 0.5 * scale, 'cubic', antialias=False
  )


@partial(jax.jit, static_argnames='size')
def surface_from_factors(factors: Factors, camera: Camera, *, size: int) -> Surface:
  """Shades and upsamples the canonical maps.

  Args:
    factors: what the networks see in one picture.
    camera: camera of the canonical maps.
    size: pixels of the result's sides.

  Returns:
    A `Surface`.
  """
  normal = normals_from_depth(factors.depth, camera)
  texture = lambertian(factors.albedo, normal, light_from_code(factors.light))
  depth = factors.depth[..., None]
  maps = jnp.concatenate([depth, texture, factors.albedo, factors.mask], axis=-1)
  maps = upsample(maps.astype(jnp.float32), size)
  normal = normals_from_depth(maps[..., 0], camera)
  colours, mask = jnp.clip(maps[..., 1:7], -1, 1), jnp.clip(maps[..., 7:], 0, 1)
  # Walls between the object and what lies behind it belong to neither.
  mask = mask * jnp.clip((normal[..., 2:] - _WALL) / _WALL, 0, 1)
  return Surface(maps[..., 0], jnp.concatenate([colours, normal, mask], axis=-1))


@partial(jax.jit, static_argnames=('steps', 'margin'))
def _render_view(surface: Surface, view, camera: Camera, *, steps: int, margin: float):
  near, far = surface.depth.min() - margin, surface.depth.max() + margin
  depth, valid = depth_in_view(surface.depth, view, camera, near=near, far=far, steps=steps)
  seen = sample_bilinear(surface.layers, inverse_grid(depth, view, camera)) * valid[..., None]
  canonical = seen[..., 6:9]
  canonical = canonical / jnp.maximum(jnp.linalg.norm(canonical, axis=-1, keepdims=True), 1e-6)
  rows = rotation_matrix(view[:3])
  normal = jnp.einsum('hwc,dc->hwd', canonical, rows, precision='highest')
  return ViewFrame(seen[..., :3], seen[..., 3:6], normal, canonical, seen[..., 9], depth, valid)


def render_view(surface: Surface, view, camera: Camera) -> ViewFrame:
  """Renders an upsampled surface in one view.

  Args:
    surface: from `surface_from_factors`.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of the surface and of the view.

  Returns:
    A `ViewFrame` of numpy arrays of the surface's size.
  """
  steps = max(48, surface.depth.shape[0] // 6)
  frame = _render_view(surface, jnp.asarray(view, jnp.float32), camera, steps=steps, margin=0.1)
  return jax.tree.map(np.asarray, frame)


def render_views(factors: Factors, camera: Camera, views, size: int | None = None) -> ViewFrame:
  """Renders a picture's factors in many views.

  Args:
    factors: what the networks see in one picture.
    camera: camera of the canonical maps and of the views.
    views: [n, 6] rotations in radians, translations in camera units.
    size: pixels of the frames' sides; by default `display_size` of the factors.

  Returns:
    A `ViewFrame` of numpy arrays with a leading axis of n.
  """
  size = size or display_size(factors.depth.shape[0])
  surface = surface_from_factors(factors, camera, size=size)
  frames = [render_view(surface, view, camera) for view in np.asarray(views)]
  return jax.tree.map(lambda *arrays: np.stack(arrays), *frames)
