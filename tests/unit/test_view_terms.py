"""Turned pictures against renderings, moments against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import renderer
from gan2shape_jax.pretraining import view_terms
from gan2shape_jax.reconstruction import autoencoder, priors, region
from gan2shape_jax.reconstruction.state import Settings

SIZE = 64
SETTINGS = Settings()


@pytest.fixture(scope='module')
def dome():
  mask = region.box_mask((0.1, 0.9, 0.2, 0.8), SIZE)
  return jnp.asarray(priors.prior_depth(mask, shape='dome', category='head', near=0.97, far=1.03))


def textured(depth, code):
  """A smooth texture on the shape, seen in a view, and where that view sees it."""
  v, u = jnp.meshgrid(jnp.linspace(-3, 3, SIZE), jnp.linspace(-3, 3, SIZE), indexing='ij')
  texture = jnp.stack([jnp.sin(u), jnp.cos(v), jnp.sin(u + v)], -1)
  shape = autoencoder.geometry(depth, autoencoder.view_from_code(code, SETTINGS), SETTINGS)
  return renderer.sample_bilinear(texture, shape.grid), shape


def test_a_turned_picture_is_the_rendering_in_the_other_view(dome):
  code = jnp.array([0.02, 0.1, 0.0, 0.0, 0.0, 0.0])
  picture, _ = textured(dome, code)
  turned, turns = view_terms.turned_pictures(
    jax.random.key(3), picture[None], dome, code[None], SETTINGS, spread=(0.03, 0.08)
  )
  expected, shape = textured(dome, code + turns[0])
  # In the middle of the front both views see the surface.
  seen = np.asarray(shape.valid[..., 0] > 0) & (np.asarray(shape.view_depth) < 1.0)
  assert np.abs(np.asarray(turns[0])).max() > 0.02
  assert seen.sum() > 500
  assert np.abs(np.asarray(turned[0] - expected))[seen].mean() < 0.02
  unmoved = np.abs(np.asarray(picture - expected))[seen].mean()
  assert unmoved > 3 * np.abs(np.asarray(turned[0] - expected))[seen].mean()


def test_no_gradient_passes_through_turned_pictures(dome):
  def total(images):
    pictures, turns = view_terms.turned_pictures(
      jax.random.key(0), images, dome, jnp.zeros((1, 6)), SETTINGS, spread=(0.1, 0.1)
    )
    return pictures.sum() + turns.sum()

  assert not jax.grad(total)(jnp.ones((1, SIZE, SIZE, 3))).any()


def test_turn_distance_is_zero_for_right_answers_and_counts_in_deviations():
  codes = jnp.arange(12.0).reshape(2, 6) / 100
  turns = codes[::-1]
  covariance = jnp.diag(jnp.array([4.0, 9.0, 1.0, 1.0, 1.0, 0.0]))
  assert view_terms.turn_distance(codes, codes + turns, turns, covariance) < 1e-12
  wrong = codes + turns + jnp.array([50.0, 3.0, 50.0, 50.0, 50.0, 50.0])[None]
  np.testing.assert_allclose(view_terms.turn_distance(codes, wrong, turns, covariance), 1.0)


def test_moment_distance_in_closed_form():
  samples = jnp.array([[1.0], [3.0]])  # mean 2, standard deviation 1
  distance = view_terms.moment_distance(samples, jnp.array([0.0]), jnp.array([[4.0]]))
  np.testing.assert_allclose(distance, 1.0**2 + (0.5 - 1) ** 2, rtol=1e-5)


def test_region_is_one_in_the_middle_and_zero_at_the_corners():
  weight = np.asarray(region.region_weight((0.1, 0.9, 0.2, 0.8), SIZE))[..., 0]
  assert weight[32, 32] == 1
  assert weight[0, 0] == weight[-1, -1] == weight[32, 0] == 0
  np.testing.assert_allclose(weight, weight[:, ::-1], atol=1e-6)
