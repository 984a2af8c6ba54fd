"""Latents themselves as variables, so that projections follow the views and lights drawn.

An encoder trained for a few hundred iterations follows the pseudo samples only half of the way
(docs/experiments_log.md). Some steps on each latent do the rest. They are taken in the principal
directions of w, each divided by w's deviation along it, so that one rate serves all and the pull to
where the encoder put the latent is that of the GAN's own distribution.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Frozen, Method, Settings

EXPLAINED = 0.995  # part of w's variance that the directions hold together


class Refinement(NamedTuple):
  """A batch of latents being refined.

  Attributes:
    coefficients: [batch, n] along the basis; zero is where the encoder put the latent.
    optimizer: optax state.
    latents: [batch, w_dim] or [batch, layers, w_dim] where the encoder put them.
    images: [batch, size, size, 3] pseudo samples to follow.
    masks: [batch, size, size, 1] what counts.
  """

  coefficients: jax.Array
  optimizer: Any
  latents: jax.Array
  images: jax.Array
  masks: jax.Array


def principal_directions(latents, explained: float = EXPLAINED):
  """The basis in which latents are refined.

  Args:
    latents: [n, w_dim] of the GAN's own distribution.
    explained: part of the variance that the directions hold together.

  Returns:
    [w_dim, k]: principal directions, each as long as the standard deviation along it.
  """
  # On the host, once a run: the basis' shape depends on the values.
  latents = np.asarray(latents, np.float64)
  covariance = np.cov(latents, rowvar=False)
  variances, directions = np.linalg.eigh(covariance)
  variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
  count = int(np.searchsorted(np.cumsum(variances) / variances.sum(), explained)) + 1
  return np.float32(directions[:, :count] * np.sqrt(variances[:count]))


def view_light_directions(latents, views, lights, prior):
  """How w changes with views and lights, by least squares over the GAN's own images.

  The view network's pitch has less spread than the pictures' (docs/experiments_log.md), so a pitch
  is measured in deviations. Rolls and shifts spread too little to be determined: they move nothing.

  Args:
    latents: [n, w_dim] of the GAN's own distribution.
    views: [n, 6] the view network's codes of their images.
    lights: [n, 4] the light network's.
    prior: a `ViewLightPrior`.

  Returns:
    [9, w_dim] float32, changes of w a unit of the codes.
  """
  latents, views, lights = (np.asarray(x, np.float64) for x in (latents, views, lights))
  codes = np.concatenate([views[:, :2], lights], axis=1)
  spread = np.maximum(codes.std(axis=0), 1e-6)
  known = np.c_[(codes - codes.mean(axis=0)) / spread, np.ones(len(codes))]
  slopes = np.linalg.lstsq(known, latents, rcond=None)[0][:-1]
  spread[0] = np.sqrt(np.asarray(prior.view_cov)[0, 0])
  slopes = slopes / spread[:, None]
  still = np.zeros((3, latents.shape[1]))
  return np.concatenate([slopes[:2], still, slopes[2:]]).astype(np.float32)


def directed_offsets(views, lights, own_view, own_light, frozen: Frozen):
  """Offsets of w that the directions give for drawn views and lights.

  Args:
    views: [batch, 6] network units.
    lights: [batch, 4] light codes.
    own_view: [1, 6] of the picture.
    own_light: [1, 4] of the picture.
    frozen: holds the directions.

  Returns:
    [batch, w_dim].
  """
  change = jnp.concatenate([(views - own_view)[:, :5], lights - own_light], axis=1)
  return jnp.matmul(change, frozen.latent_directions, precision='highest')


def _optimizer(settings: Settings):
  return optax.adam(settings.fit.refine_rate)


def begin(method: Method, latents, images, masks) -> Refinement:
  """Starts at the encoder's latents.

  Args:
    method: holds the basis and `settings.fit.refine_rate`.
    latents: [batch, w_dim] or [batch, layers, w_dim].
    images: [batch, size, size, 3] pseudo samples in [-1, 1].
    masks: [batch, size, size, 1] in [0, 1], what counts.

  Returns:
    A `Refinement` before its first step.
  """
  coefficients = jnp.zeros((len(latents), method.frozen.latent_basis.shape[1]))
  state = _optimizer(method.settings).init(coefficients)
  return Refinement(coefficients, state, latents, images, masks)


def refined_latents(refinement: Refinement, frozen: Frozen):
  """The latents as they now are, of the shape of `Refinement.latents`."""
  # precision: on TPUs the default product would round offsets to bfloat16.
  offsets = jnp.matmul(refinement.coefficients, frozen.latent_basis.T, precision='highest')
  latents = refinement.latents
  return latents + (offsets if latents.ndim == 2 else offsets[:, None])


def loss(coefficients, method: Method, refinement: Refinement):
  """Masked L1 to the pseudo samples and the pull to the encoder's latents, mean over the batch.

  Args:
    coefficients: [batch, n] along the basis.
    method: the GAN, the basis and `settings.fit.lam_latent`.
    refinement: latents, pseudo samples and masks of the same batch.

  Returns:
    The total and a dict of all terms.
  """
  latents = refined_latents(refinement._replace(coefficients=coefficients), method.frozen)
  made = gan_images(method.gan, latents, refinement.images.shape[1])
  error = jnp.sum(jnp.abs(made - refinement.images) * refinement.masks, axis=(1, 2, 3))
  l1 = jnp.mean(error / (3 * refinement.masks.sum((1, 2, 3)) + 1e-6))
  pull = jnp.mean(coefficients**2)
  total = l1 + method.settings.fit.lam_latent * pull
  return total, {'l1': l1, 'latent': pull, 'total': total}


def step(method: Method, refinement: Refinement, *, part, mean):
  """One step of all latents of the batch.

  Args:
    method: the GAN and the basis.
    refinement: the whole batch.
    part: picks this device's share of the batch.
    mean: over devices.

  Returns:
    The `Refinement` after it, and the terms before it.
  """

  def objective(coefficients):
    own = part((coefficients, refinement.latents, refinement.images, refinement.masks))
    return loss(own[0], method, Refinement(own[0], None, *own[1:]))

  (_, terms), grads = jax.value_and_grad(objective, has_aux=True)(refinement.coefficients)
  grads, terms = mean((grads, terms))
  updates, state = _optimizer(method.settings).update(grads, refinement.optimizer)
  coefficients = optax.apply_updates(refinement.coefficients, updates)
  return refinement._replace(coefficients=coefficients, optimizer=state), terms
