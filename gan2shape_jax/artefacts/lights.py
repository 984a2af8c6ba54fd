"""Lights of the results, and a rendered view under them."""

from typing import NamedTuple

import numpy as np

from gan2shape_jax.artefacts.views import ViewFrame

_RELIGHT_DX = (-1.5, -0.7, 0.0, 0.7, 1.5)
_RELIGHT_DY = (0.0, 0.6)
_RELIGHT_INCREMENTS = (0.3, 0.6)


class Lights(NamedTuple):
  """Many lights.

  Attributes:
    ambient: [n] strengths of the ambient light.
    diffuse: [n] strengths of the directional light.
    directions: [n, 2] slopes (dx, dy) along which the light travels: dx > 0 comes from the left.
  """

  ambient: np.ndarray
  diffuse: np.ndarray
  directions: np.ndarray


def relight_lights(light, *, alpha=-0.6) -> Lights:
  """The grid of lights under which an object is shown (section 6 of the method's notes).

  Directions dx in -1.5, -0.7, 0, 0.7, 1.5 (fastest), dy in 0, 0.6, increments k of the diffuse
  light in 0.3, 0.6 (slowest); as for pseudo samples, k is added to the diffuse strength and
  alpha * k to the ambient one.

  Args:
    light: [4] the object's own light, as the light network has it.
    alpha: what the ambient light gives for one unit of increment.

  Returns:
    `Lights` of 20.
  """
  increments, dy, dx = np.meshgrid(_RELIGHT_INCREMENTS, _RELIGHT_DY, _RELIGHT_DX, indexing='ij')
  directions = np.stack([dx.ravel(), dy.ravel()], axis=-1)
  return _brightened(light, increments.ravel(), directions, alpha)


def light_path(light, *, frames=48, alpha=-0.6) -> Lights:
  """A closed path of lights around the object, within the range of `relight_lights`.

  Args:
    light: [4] the object's own light, as the light network has it.
    frames: number of lights.
    alpha: see `relight_lights`.

  Returns:
    `Lights` of `frames`, whose last leads smoothly to its first.
  """
  angle = 2 * np.pi * np.arange(frames) / frames
  directions = np.stack([1.5 * np.sin(angle), 0.3 - 0.3 * np.cos(angle)], axis=-1)
  return _brightened(light, np.full(frames, 0.5), directions, alpha)


def _brightened(light, increments, directions, alpha):
  ambient, diffuse = np.asarray(light, np.float64)[:2] / 2 + 0.5
  return Lights(
    np.clip(ambient + alpha * increments, 0, None).astype(np.float32),
    (diffuse + increments).astype(np.float32),
    directions.astype(np.float32),
  )


def relit(frame: ViewFrame, lights: Lights) -> np.ndarray:
  """One view under many lights, which are fixed to the canonical frame.

  Args:
    frame: the view.
    lights: n lights.

  Returns:
    [n, size, size, 3] in [-1, 1]; as the frame where nothing is seen.
  """
  directions = np.concatenate([lights.directions, np.ones((len(lights.ambient), 1))], axis=-1)
  directions = (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)
  images = []
  for ambient, diffuse, direction in zip(lights.ambient, lights.diffuse, directions, strict=True):
    shading = ambient + diffuse * np.maximum(frame.canonical_normal @ direction, 0)
    image = (frame.albedo / 2 + 0.5) * shading[..., None] * 2 - 1
    images.append(np.clip(image, -1, 1))
  return np.stack(images)
