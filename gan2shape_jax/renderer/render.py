"""Render albedo, depth and light in a view; turntables and relighting as vmaps of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.renderer.camera import Camera
from gan2shape_jax.renderer.shading import Light, lambertian, light_direction, normals_from_depth
from gan2shape_jax.renderer.warping import depth_in_view, inverse_grid, sample_bilinear


class Rendering(NamedTuple):
  """What a view shows.

  Attributes:
    image: [height, width, channels] in [-1, 1]; 0 (grey) where the view's ray leaves the image.
    depth: [height, width] depth in the view, camera units; `far` where nothing is seen.
    valid: [height, width] 1.0 where a surface is seen.
  """

  image: jax.Array
  depth: jax.Array
  valid: jax.Array


def render_texture(texture, depth, view, camera: Camera, **options) -> Rendering:
  """Renders a textured canonical depth map in a view.

  Args:
    texture: [height, width, channels] in [-1, 1], aligned with `depth`.
    depth: [height, width] canonical depth in camera units.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.
    **options: passed on to `depth_in_view`.

  Returns:
    A `Rendering`.
  """
  seen, valid = depth_in_view(depth, view, camera, **options)
  image = sample_bilinear(texture, inverse_grid(seen, view, camera))
  return Rendering(jnp.clip(image, -1, 1), seen, valid)


def render(albedo, depth, light: Light, view, camera: Camera, **options) -> Rendering:
  """Shades a canonical albedo and depth map and renders it in a view (GAN2Shape, equation 1).

  Args:
    albedo: [height, width, channels] in [-1, 1].
    depth: [height, width] canonical depth in camera units.
    light: the light, in the canonical frame.
    view: [6] rotations in radians, translation in camera units.
    camera: camera of both images.
    **options: passed on to `depth_in_view`.

  Returns:
    A `Rendering`.
  """
  texture = lambertian(albedo, normals_from_depth(depth, camera), light)
  return render_texture(texture, depth, view, camera, **options)


def turntable_views(max_yaw: float, yaws: int, max_pitch: float, pitches: int):
  """Views of a turntable: evenly spaced yaws, then evenly spaced pitches.

  Args:
    max_yaw: largest yaw in degrees; yaws run from -max_yaw to max_yaw.
    yaws: number of yaws.
    max_pitch: largest pitch in degrees.
    pitches: number of pitches.

  Returns:
    [yaws + pitches, 6] views.
  """
  yaw = jnp.deg2rad(jnp.linspace(-max_yaw, max_yaw, yaws))
  pitch = jnp.deg2rad(jnp.linspace(-max_pitch, max_pitch, pitches))
  views = jnp.zeros((yaws + pitches, 6))
  return views.at[:yaws, 1].set(yaw).at[yaws:, 0].set(pitch)


def turntable(texture, depth, views, camera: Camera, **options) -> Rendering:
  """Renders a textured canonical depth map in many views.

  Args:
    texture: [height, width, channels] in [-1, 1].
    depth: [height, width] canonical depth.
    views: [n, 6] rotations in radians, translations in camera units.
    camera: camera of all images.
    **options: passed on to `depth_in_view`.

  Returns:
    A `Rendering` with a leading axis of n.
  """
  return jax.vmap(lambda view: render_texture(texture, depth, view, camera, **options))(views)


def relight(albedo, depth, ambient, diffuse, directions, view, camera: Camera, **options):
  """Renders one view under many lights.

  Args:
    albedo: [height, width, channels] in [-1, 1].
    depth: [height, width] canonical depth.
    ambient: [n] ambient strengths.
    diffuse: [n] diffuse strengths.
    directions: [n, 2] slopes (dx, dy) of the lights.
    view: [6] the view.
    camera: camera of both images.
    **options: passed on to `depth_in_view`.

  Returns:
    [n, height, width, channels] images in [-1, 1].
  """
  seen, _ = depth_in_view(depth, view, camera, **options)
  grid = inverse_grid(seen, view, camera)
  normals = normals_from_depth(depth, camera)

  def one(ambient, diffuse, direction):
    light = Light(ambient, diffuse, light_direction(direction[0], direction[1]))
    return jnp.clip(sample_bilinear(lambertian(albedo, normals, light), grid), -1, 1)

  return jax.vmap(one)(ambient, diffuse, directions)
