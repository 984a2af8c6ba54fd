"""Normals of a depth map and Lambertian shading.

Images are channels last in [-1, 1]; normals point away from the camera side (z positive), as the
method's axes have them.
"""

from typing import NamedTuple

import jax.numpy as jnp

from gan2shape_jax.renderer.camera import Camera, as_float, unproject

_LARGEST = 1e4


class Light(NamedTuple):
  """Ambient and one directional light.

  Attributes:
    ambient: [] strength of the ambient light, 0 to 1.
    diffuse: [] strength of the directional light, 0 to 1.
    direction: [3] unit vector; (0, 0, 1) shines from the camera.
  """

  ambient: jnp.ndarray
  diffuse: jnp.ndarray
  direction: jnp.ndarray


def _bounded(x):
  """As float, kept within what can be multiplied without overflow; lights are of size 1."""
  return jnp.clip(as_float(x), -_LARGEST, _LARGEST)


def light_direction(dx, dy):
  """Unit vector along (dx, dy, 1).

  Args:
    dx: [...] slope to the right.
    dy: [...] slope downwards.

  Returns:
    [..., 3] unit vector.
  """
  dx, dy = _bounded(dx), _bounded(dy)
  vector = jnp.stack([dx, dy, jnp.ones_like(dx)], axis=-1)
  # The largest entry is taken out first, so that squares neither overflow nor lose the gradient.
  vector = vector / jnp.max(jnp.abs(vector), axis=-1, keepdims=True)
  return vector / jnp.sqrt(jnp.sum(vector**2, axis=-1, keepdims=True))


def light_from_code(code):
  """A light from the four numbers in [-1, 1] that the light network predicts.

  Args:
    code: [4] ambient, diffuse (each mapped to [0, 1]), dx, dy.

  Returns:
    A `Light`.
  """
  code = _bounded(code)
  return Light(code[0] / 2 + 0.5, code[1] / 2 + 0.5, light_direction(code[2], code[3]))


def normals_from_depth(depth, camera: Camera, *, epsilon: float = 1e-7):
  """Normals by central differences of the back-projected grid (GAN2Shape, section 3.1).

  Args:
    depth: [height, width] in camera units.
    camera: the camera that sees it.
    epsilon: added to the length before dividing, in squared camera units.

  Returns:
    [height, width, 3] unit normals; the one-pixel border is (0, 0, 1).
  """
  points = unproject(depth, camera)
  along_u = points[1:-1, 2:] - points[1:-1, :-2]
  along_v = points[2:, 1:-1] - points[:-2, 1:-1]
  normal = jnp.cross(along_u, along_v)
  squared = jnp.sum(normal**2, axis=-1, keepdims=True)
  positive = squared > 0
  length = jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
  normal = normal / (length + epsilon)
  border = jnp.zeros(points.shape, points.dtype).at[..., 2].set(1.0)
  return border.at[1:-1, 1:-1].set(normal)


def diffuse_shading(normals, light: Light):
  """Cosine between normals and the light, not below zero.

  Args:
    normals: [height, width, 3] unit normals.
    light: gives the direction.

  Returns:
    [height, width] in [0, 1].
  """
  normals = as_float(normals)
  x, y, z = light.direction
  return jnp.maximum(normals[..., 0] * x + normals[..., 1] * y + normals[..., 2] * z, 0.0)


def lambertian(albedo, normals, light: Light):
  """Shades an albedo map: texture = albedo * (ambient + diffuse * max(0, n . d)).

  Args:
    albedo: [height, width, channels] in [-1, 1] (black to white).
    normals: [height, width, 3] unit normals.
    light: the light.

  Returns:
    [height, width, channels] texture, -1 is black; above 1 where the light is strong.
  """
  albedo = jnp.asarray(albedo)
  shading = light.ambient + light.diffuse * diffuse_shading(normals, light)
  texture = (albedo / 2 + 0.5) * shading[..., None] * 2 - 1
  return texture.astype(albedo.dtype)
