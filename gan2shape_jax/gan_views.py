"""Rotations and relightings of a reconstruction passed through encoder and GAN (paper, fig. 5)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import artefacts
from gan2shape_jax.assembly import Assembly
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
  alpha = settings.rand_light[6]
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
  source = step2_projection.source(factors, instance, shared.frozen, settings)
  project = _projector(shared.networks, settings)
  frames = {}
  for name, images in pictures.items():
    count = len(images)
    padded = np.concatenate([images, np.repeat(images[-1:], -count % _BATCH, axis=0)])
    batches = padded.reshape(-1, _BATCH, *images.shape[1:])
    projected = [
      project(params, jnp.asarray(batch), source, instance.latent, shared.frozen)
      for batch in batches
    ]
    frames[name] = np.concatenate(projected)[:count]
  return frames


@functools.cache
def _projector(networks, settings):
  return jax.jit(
    lambda params, images, source, latent, frozen: step2_projection.project(
      params, networks, images, source, latent, frozen, settings
    )[0]
  )
