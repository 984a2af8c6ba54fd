"""The perceptual distance: laws of a distance, gradients where features vanish, weights' names."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import lpips
from gan2shape_jax.weights import perceptual

WIDTHS = (2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6)


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(0)
  result, channels = {}, 3
  for i, width in enumerate(WIDTHS):
    kernel = rng.standard_normal((3, 3, channels, width)) / np.sqrt(4 * channels)
    result[f'conv_{i}'] = {
      'kernel': jnp.asarray(kernel, jnp.float32),
      'bias': jnp.asarray(0.1 * rng.standard_normal(width), jnp.float32),
    }
    channels = width
  for level, index in enumerate((1, 3, 6, 9, 12)):
    weight = rng.uniform(size=WIDTHS[index])
    result[f'head_{level}'] = {'weight': jnp.asarray(weight, jnp.float32)}
  return result


def images(seed, batch=2, size=16):
  values = np.random.default_rng(seed).uniform(-1, 1, (batch, size, size, 3))
  return jnp.asarray(values, jnp.float32)


def test_distance_laws(params):
  distance = jax.jit(lpips.lpips)
  a, b = images(0), images(1)
  np.testing.assert_allclose(distance(params, a, a), np.zeros(2), atol=1e-12)
  np.testing.assert_allclose(distance(params, a, b), distance(params, b, a), rtol=1e-5)
  assert (np.asarray(distance(params, a, b)) > 0).all()


def test_features_halve_level_by_level(params):
  features = jax.eval_shape(lpips.vgg_features, params, images(0, size=48))
  expected = [(2, 48 >> k, 48 >> k, c) for k, c in enumerate((2, 3, 4, 5, 6))]
  assert [f.shape for f in features] == expected


def test_one_target_serves_a_batch(params):
  a, b = images(0), images(1, batch=1)
  target = jax.jit(lpips.vgg_features)(params, b)
  ours = jax.jit(lpips.lpips_to_features)(params, a, target)
  both = jax.jit(lpips.lpips)(params, a, jnp.concatenate([b, b]))
  np.testing.assert_allclose(ours, both, rtol=1e-5)


def test_gradient_is_finite_where_features_vanish(params):
  last = {'kernel': 0 * params['conv_12']['kernel'], 'bias': -jnp.ones(WIDTHS[-1])}
  dead = params | {'conv_12': last}
  distance = lambda a: lpips.lpips(dead, a, images(1)).sum()
  gradient = jax.jit(jax.grad(distance))(images(0))
  assert np.isfinite(gradient).all()


def test_published_names(testdata):
  manifests = json.loads((testdata / 'manifests.json').read_text())
  zeros = lambda name: {
    k: np.broadcast_to(np.float32(0), shape) for k, shape in manifests[name].items()
  }
  vgg, heads = zeros('vgg16'), zeros('lpips_vgg_lin')
  ours = perceptual.perceptual_from_state_dicts(vgg, heads)
  assert ours['conv_12']['kernel'].shape == (3, 3, 512, 512)
  assert ours['head_4']['weight'].shape == (512,)

  del vgg['features.7.bias']
  heads['lin5.model.1.weight'] = np.zeros((1, 512, 1, 1), np.float32)
  with pytest.raises(WeightsError, match=r'features\.7\.bias.*lin5\.model\.1\.weight'):
    perceptual.perceptual_from_state_dicts(vgg, heads)


def test_images_that_do_not_fit_are_named(params):
  with pytest.raises(ValueError, match=r'\[B, H, W, 3\]'):
    lpips.lpips(params, jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 8, 3)))
