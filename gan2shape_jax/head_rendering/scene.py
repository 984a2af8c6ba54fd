"""Where a head stands, how it is turned and lit, and what is behind it."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from gan2shape_jax.renderer.camera import Camera

CAMERA = Camera(fov=10.0, rotation_center=1.0)
HEAD_HEIGHT, HEAD_DEPTH = 0.160, 1.03  # camera units: crown to collar, and where its middle lies

_ROTATION_SD = np.radians((7.0, 22.0, 2.5))  # pitch, yaw, roll
_LARGEST_YAW = np.radians(55.0)
_SHIFT_SD, _SHIFT_MEAN = 0.003, (0.0, 0.004)
_AMBIENT, _DIFFUSE, _DX, _DY = (0.35, 0.60), (0.35, 0.70), (-1.0, 1.0), (-0.8, 0.3)
_GREY, _TINT_SD, _CORNER_SD = (0.15, 0.85), 0.07, 0.077  # of the background's colours


class Scene(NamedTuple):
  """What is random about a picture beside the head.

  Attributes:
    view: float64 [6], rotations in radians and translation in camera units, as the renderer's.
    light: float64 [4]: ambient, diffuse, dx, dy; the direction (dx, dy, 1) is in the view's frame.
    background: float64 [2, 2, 3] colours of the corners in [0, 1], (top or bottom, left or right).
  """

  view: np.ndarray
  light: np.ndarray
  background: np.ndarray


def draw_scene(random: np.random.Generator, *, view_scale: float = 1.0) -> Scene:
  """Draws view, light and background.

  Args:
    random: consumed, by the same amount whatever the scale.
    view_scale: multiplies pitch and yaw.
  """
  rotation = random.normal(0, _ROTATION_SD)
  while abs(rotation[1]) > _LARGEST_YAW:
    rotation[1] = random.normal(0, _ROTATION_SD[1])
  shift = random.normal(_SHIFT_MEAN, _SHIFT_SD)
  view = np.concatenate([rotation * (view_scale, view_scale, 1.0), shift, [0.0]])
  light = np.array([random.uniform(*bounds) for bounds in (_AMBIENT, _DIFFUSE, _DX, _DY)])
  mean = random.uniform(*_GREY) + random.normal(0, _TINT_SD, 3)
  corners = mean + random.normal(0, _CORNER_SD, (2, 2, 3))
  return Scene(view, light, np.clip(corners, 0, 1))


def place(vertices: np.ndarray, head: np.ndarray) -> np.ndarray:
  """Brings a head to its size and place before the camera, looking into it.

  Args:
    vertices: [n, 3] any unit, camera's axes.
    head: int [m], which of them belong to the head.

  Returns:
    float64 [n, 3] camera units: the head's box is `HEAD_HEIGHT` high and its middle lies at
    (0, 0, `HEAD_DEPTH`).
  """
  low, high = vertices[head].min(0), vertices[head].max(0)
  scale = HEAD_HEIGHT / (high[1] - low[1])
  return (vertices - (low + high) / 2) * scale + (0, 0, HEAD_DEPTH)


def turn(points: np.ndarray, view: np.ndarray) -> np.ndarray:
  """Moves points [n, 3] into a view, as `renderer.move_points` does, in double precision."""
  center = np.array([0, 0, CAMERA.rotation_center])
  return Rotation.from_euler('xyz', view[:3]).apply(points - center) + center + view[3:]


def background_at(corners: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
  """The background's colour, bilinear between its corners.

  Args:
    corners: [2, 2, 3].
    u: [...] to the right, 0 at the left edge and 1 at the right one.
    v: [...] downwards.

  Returns:
    [..., 3].
  """
  u, v = np.clip(u, 0, 1)[..., None], np.clip(v, 0, 1)[..., None]
  upper = corners[0, 0] * (1 - u) + corners[0, 1] * u
  lower = corners[1, 0] * (1 - u) + corners[1, 1] * u
  return upper * (1 - v) + lower * v
