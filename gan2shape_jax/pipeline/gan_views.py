"""Rotations and relightings of a reconstruction passed through encoder and GAN (paper, fig. 5)."""

import jax
import numpy as np

from gan2shape_jax import artefacts
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import step2_projection
from gan2shape_jax.reconstruction.state import Factors, Instance

_BATCH = 8


def gan_frames(
  shared: Assembly, params, instance: Instance, factors: Factors, max_yaw: float, max_pitch: float
) -> dict[str, np.ndarray]:
  """What the GAN makes of a reconstruction under other views and lights.

  Args:
    shared: the run's assembly.
    params: the networks' parameters after the fit.
    instance: the picture.
    factors: its factors.
    max_yaw: degrees, of `artefacts.rotation_path`.
    max_pitch: degrees.

  Returns:
    gan_rotate, gan_relight and gan_relight_grid, [n, size, size, 3] each in [-1, 1].
  """
  settings = shared.settings
  size = instance.image.shape[0]
  alpha = settings.random_light.ambient
  views = artefacts.rotation_path(max_yaw, max_pitch).views
  turned = artefacts.render_views(factors, settings.camera, views, size=size).texture
  front = artefacts.render_views(factors, settings.camera, np.zeros((1, 6)), size=size)
  front = jax.tree.map(lambda leaf: leaf[0], front)
  pictures = {
    'gan_rotate': turned,
    'gan_relight': artefacts.relit(front, artefacts.light_path(factors.light, alpha=alpha)),
    'gan_relight_grid': artefacts.relit(
      front, artefacts.relight_lights(factors.light, alpha=alpha)
    ),
  }
  images = np.concatenate(list(pictures.values()))
  padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % _BATCH, axis=0)])
  batches = padded.reshape(-1, _BATCH, *images.shape[1:])
  origin = _origin(shared.method, factors, instance)
  # Not a loop within one program: on CPUs XLA runs such bodies many times slower.
  given = origin, instance.latent
  projected = [_project(params, shared.method, batch, *given) for batch in batches]
  ends = np.cumsum([len(images) for images in pictures.values()])
  parts = np.split(np.concatenate(projected)[: ends[-1]], ends[:-1])
  return dict(zip(pictures, parts, strict=True))


_origin = jax.jit(step2_projection.origin)


@jax.jit
def _project(params, method, images, origin, latent):
  return step2_projection.project(params, method, images, origin, latent)[0]
