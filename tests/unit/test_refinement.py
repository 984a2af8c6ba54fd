"""Latents refined in the principal directions of w, and lights drawn as the prior has them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.reconstruction import driver, priors, programs, refinement, step2_projection
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.reconstruction.state import FitState, Method
from tests.support.small_fit import DIRECT, GAN, frozen, frozen_with_directions, instance, setting

NETWORKS = dataclasses.replace(
  DIRECT, fit=dataclasses.replace(DIRECT.fit, factors='networks', lam_latent=0.01)
)


# The basis.


def test_principal_directions_are_those_of_a_known_covariance():
  rng = np.random.default_rng(0)
  axes, _ = np.linalg.qr(rng.normal(size=(5, 5)))
  deviations = np.array([4.0, 2.0, 1.0, 0.1, 0.01])
  latents = 3 + rng.normal(size=(200_000, 5)) * deviations @ axes.T
  basis = refinement.principal_directions(latents, explained=0.995)
  assert basis.dtype == np.float32
  assert basis.shape == (5, 3)  # 20 of 21.01 without the third, 0.952
  np.testing.assert_allclose(np.linalg.norm(basis, axis=0), deviations[:3], rtol=0.01)
  aligned = np.abs(np.sum(basis / np.linalg.norm(basis, axis=0) * axes[:, :3], axis=0))
  np.testing.assert_allclose(aligned, 1, atol=1e-3)


def test_all_directions_together_make_the_covariance():
  latents = np.random.default_rng(1).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
  basis = refinement.principal_directions(latents, explained=1 - 1e-12)
  np.testing.assert_allclose(basis @ basis.T, np.cov(latents, rowvar=False), rtol=1e-4, atol=1e-5)


def test_latents_that_vary_along_a_line_have_one_direction():
  line = np.random.default_rng(2).normal(size=(30, 1)) * np.array([[3.0, 4.0, 0.0]])
  basis = refinement.principal_directions(line)
  assert basis.shape == (3, 1)
  np.testing.assert_allclose(np.abs(basis[:, 0]) / np.linalg.norm(basis), [0.6, 0.8, 0], atol=1e-6)


# The programs.


def layered(latent):
  """The same latent in w+, a layer at a time."""
  return jnp.tile(latent[None], (GAN.num_layers, 1))


@pytest.fixture(scope='module')
def built():
  return programs.build(setting()[0], NETWORKS)


def batch(built, latent):
  """A collected batch and its refinement at the encoder's latents."""
  params = jax.tree.map(jnp.asarray, setting()[1])
  fixed, picture = frozen_with_directions(), instance()
  origin = built.origin(params, picture, fixed)
  given = params, origin, latent, jax.random.key(4), fixed, 1
  return built.collect(*given), built.refine_begin(*given)


@pytest.mark.parametrize('space', ['w', 'w+'])
def test_latents_refined_come_nearer_to_the_pseudo_samples(built, space):
  latent = instance().latent if space == 'w' else layered(instance().latent)
  projections, state = batch(built, latent)
  assert state.latents.shape == (NETWORKS.batch_size, *latent.shape)
  fixed = frozen_with_directions()
  # No step: the encoder's projections.
  unmoved = built.refined(projections, state, setting()[1], fixed)
  np.testing.assert_array_equal(refinement.refined_latents(state, fixed), state.latents)
  np.testing.assert_allclose(unmoved.images, projections.images, atol=1e-5)

  errors = []
  for _ in range(15):
    state, terms = built.refine(state, fixed)
    errors.append(float(terms['l1']))
  images = built.refined(projections, state, setting()[1], fixed)
  weight = 3 * state.masks.sum((1, 2, 3))
  error = jnp.mean(jnp.sum(jnp.abs(images.images - state.images) * state.masks, (1, 2, 3)) / weight)
  assert error < 0.95 * errors[0]
  assert errors[-1] < errors[0]
  # Everything but the images is as it was.
  for name in set(projections._fields) - {'images'}:
    np.testing.assert_array_equal(getattr(images, name), getattr(projections, name))
  # The same offset for each layer.
  moved = np.asarray(refinement.refined_latents(state, fixed) - state.latents)
  expected = np.asarray(state.coefficients) @ np.asarray(fixed.latent_basis).T
  if space == 'w+':
    expected = np.broadcast_to(expected[:, None], moved.shape)
  np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_the_total_is_the_error_and_the_pull(built):
  _, state = batch(built, instance().latent)
  coefficients = jnp.full_like(state.coefficients, 0.5)
  method = Method(None, NETWORKS, frozen_with_directions())
  loss = jax.jit(refinement.loss)
  total, terms = loss(coefficients, method, state)
  np.testing.assert_allclose(terms['latent'], 0.25)
  np.testing.assert_allclose(total, terms['l1'] + 0.01 * 0.25, rtol=1e-6)
  # What the mask leaves out does not count.
  nothing = state._replace(masks=jnp.zeros_like(state.masks))
  assert loss(coefficients, method, nothing)[1]['l1'] == 0


def test_the_driver_refines_every_batch_as_often_as_the_plan_says(built):
  params, fixed = jax.tree.map(jnp.asarray, setting()[1]), frozen_with_directions()
  calls = []

  def noting(name):
    program = getattr(built, name)
    return lambda *given: calls.append(name) or program(*given)

  counted = built._replace(**{n: noting(n) for n in ('collect', 'refine', 'refined')})
  stage = StagePlan(0, 0, 1, flip1=False, flip3=False)
  collected = {}
  for steps in (0, 2):
    calls.clear()
    collected[steps] = driver.collect(
      counted, FitState(params, None), instance(), fixed,
      Plan((stage,), 0, 2, refine_iterations=steps), jax.random.key(0),
    )  # fmt: skip
    refining = ['refine'] * steps + ['refined'] if steps else []
    assert calls == ['collect', *refining] * 2
  assert np.abs(collected[0].images - collected[2].images).max() > 1e-4
  np.testing.assert_array_equal(collected[0].views, collected[2].views)


# Lights.


def drawn(settings, count):
  keys = jax.random.split(jax.random.key(7), count)
  method = Method(None, settings, frozen())
  return jax.jit(jax.vmap(lambda key: step2_projection.draw(key, method)))(keys)


def test_lights_of_the_prior_have_its_mean_and_covariance():
  draws, prior = drawn(DIRECT, 40_000), frozen().prior
  deviations = np.sqrt(np.diagonal(prior.light_cov))
  np.testing.assert_allclose(
    (draws.light.mean(0) - prior.light_mean) / deviations, np.zeros(4), atol=0.03
  )
  covariance = np.cov(np.asarray(draws.light), rowvar=False)
  scale = np.outer(deviations, deviations)
  np.testing.assert_allclose(covariance / scale, prior.light_cov / scale, atol=0.04)
  code = step2_projection.drawn_light_code(
    jnp.zeros(4), jax.tree.map(lambda x: x[0], draws), DIRECT
  )
  np.testing.assert_array_equal(code, draws.light[0])


def test_lights_of_a_range_are_drawn_as_ever():
  settings = dataclasses.replace(DIRECT, lights='range')
  (x0, x1), (y0, y1), (k0, k1), _ = settings.random_light
  key = jax.random.key(11)
  found = step2_projection.draw(key, Method(None, settings, frozen()))
  view_key, x_key, y_key, strength_key = jax.random.split(key, 4)
  np.testing.assert_array_equal(found.view, priors.sample_view(view_key, frozen().prior, settings))
  direction = [
    jax.random.uniform(x_key, minval=x0, maxval=x1),
    jax.random.uniform(y_key, minval=y0, maxval=y1),
  ]
  np.testing.assert_array_equal(found.direction, direction)
  np.testing.assert_array_equal(
    found.strength, jax.random.uniform(strength_key, minval=k0, maxval=k1)
  )
  assert found.light is None
  # The views are the same whichever way lights are drawn.
  of_prior = step2_projection.draw(key, Method(None, DIRECT, frozen()))
  np.testing.assert_array_equal(found.view, of_prior.view)
