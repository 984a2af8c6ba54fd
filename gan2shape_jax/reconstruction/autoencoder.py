"""The photo-geometric autoencoder: picture -> factors -> reconstruction (Unsup3d, section 3.1).

Functions of one example, to be vmapped; raw network outputs come in, physical values go out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax import renderer
from gan2shape_jax.reconstruction.state import Method, Networks, Settings

_BORDER_COLUMNS = 2


class Geometry(NamedTuple):
  """Everything about a reconstruction that does not depend on its colours.

  Attributes:
    normals: [size, size, 3] of the canonical depth.
    view_depth: [size, size] depth in the view.
    valid: [size, size, 1] 1.0 where the view sees the surface.
    grid: [size, size, 2] where each pixel of the view lies in the canonical image.
  """

  normals: jax.Array
  view_depth: jax.Array
  valid: jax.Array
  grid: jax.Array


def depth_from_raw(raw, settings: Settings):
  """Canonical depth from the depth net's raw output.

  Args:
    raw: [size, size] unbounded.
    settings: range of depths, depth and weight of the border columns.

  Returns:
    [size, size] in camera units.
  """
  depth = depth_from_unit(jnp.tanh(raw - raw.mean()), settings)
  column = jnp.arange(raw.shape[1])
  at_border = (column < _BORDER_COLUMNS) | (column >= raw.shape[1] - _BORDER_COLUMNS)
  weight = jnp.where(at_border, settings.border_weight, 0.0).astype(depth.dtype)[None, :]
  return depth * (1 - weight) + weight * settings.border_depth


def depth_from_unit(unit, settings: Settings):
  """Depth in camera units from values in [-1, 1], 1 at `max_depth`."""
  return (1 + unit) / 2 * settings.max_depth + (1 - unit) / 2 * settings.min_depth


def view_from_code(code, settings: Settings):
  """Radians and camera units from a view [6] in network units."""
  rotation = settings.rotation_range * jnp.pi / 180
  xy, z = settings.xy_translation_range, settings.z_translation_range
  return code * jnp.array([rotation] * 3 + [xy, xy, z], code.dtype)


def predict_depth(networks: Networks, params, image, settings: Settings):
  """Canonical depth [size, size] of one picture [size, size, 3]."""
  return depth_from_raw(networks.depth(params, image[None])[0], settings)


def predict_views(method: Method, params, images):
  """View codes [batch, 6] in network units of pictures [batch, size, size, 3], mean added."""
  codes = method.networks.view(params, images)
  return codes + method.frozen.prior.view_mean[None] if method.settings.add_mean_view else codes


def predict_lights(method: Method, params, images):
  """Light codes [batch, 4] in network units of pictures [batch, size, size, 3], mean added."""
  codes = method.networks.light(params, images)
  return codes + method.frozen.prior.light_mean[None] if method.settings.add_mean_light else codes


def geometry(depth, view, settings: Settings) -> Geometry:
  """Normals, depth in the view and the sampling grid of a canonical depth map.

  Args:
    depth: [size, size] canonical depth.
    view: [6] radians and camera units.
    settings: camera, clamping and rasterisation.

  Returns:
    A `Geometry`.
  """
  view_depth, valid = renderer.depth_in_view(
    depth,
    view,
    settings.camera,
    near=settings.min_depth - settings.depth_margin,
    far=settings.max_depth + settings.depth_margin,
    pixel_offset=settings.pixel_offset,
    supersample=settings.supersample,
    steps=settings.march_steps or None,
  )
  normals = renderer.normals_from_depth(depth, settings.camera)
  grid = renderer.inverse_grid(view_depth, view, settings.camera)
  return Geometry(normals, view_depth, valid[..., None], grid)


def shade_and_sample(albedo, light, shape: Geometry):
  """Shades the canonical albedo and samples it into the view.

  Args:
    albedo: [size, size, 3] in [-1, 1].
    light: [4] light code.
    shape: from `geometry`.

  Returns:
    [size, size, 3] image in [-1, 1].
  """
  texture = renderer.lambertian(albedo, shape.normals, renderer.light_from_code(light))
  return jnp.clip(renderer.sample_bilinear(texture, shape.grid), -1, 1)


def canonical_mask(mask, depth, view, settings: Settings):
  """Brings the picture's mask into the canonical frame.

  Args:
    mask: [size, size, 1] of the picture.
    depth: [size, size] canonical depth.
    view: [6] radians and camera units.
    settings: the camera.

  Returns:
    [size, size, 1].
  """
  grid = renderer.forward_grid(depth, view, settings.camera)
  return jax.lax.stop_gradient(renderer.sample_bilinear(mask, grid))


def mirror(maps):
  """Mirrors [height, width, ...] left to right: the probable symmetry of the canonical frame."""
  return maps[:, ::-1]
