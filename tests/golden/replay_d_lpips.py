"""Replay of the perceptual distance (`d_lpips`)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models import lpips
from gan2shape_jax.weights import perceptual
from tests.golden import Fixture, replays


def lpips_params(folder):
  """Parameters from the folder's file of weights."""
  path = next(iter(sorted(folder.glob('d_lpips_vgg16*.npz'))))
  arrays = Fixture(path).arrays
  vgg = {k: v for k, v in arrays.items() if k.startswith('features.')}
  heads = {k: v for k, v in arrays.items() if not k.startswith('features.')}
  return perceptual.perceptual_from_state_dicts(vgg, heads, path=str(path))


@replays('d_lpips.npz')
def replay_lpips(fixture, report):
  params = lpips_params(fixture.path.parent)
  last = lambda name: jnp.asarray(fixture[name].transpose(0, 2, 3, 1))
  pred, target, mask = last('pred'), last('target'), last('mask')

  features = jax.jit(lpips.vgg_features)(params, target)
  for level in range(5):
    name = f'target_feature_{level}_relu'
    if name in fixture:
      report.check(name, np.asarray(features[level][:1]).transpose(0, 3, 1, 2), fixture[name], 1e-5)

  per_level = jax.jit(lambda p, a, f: lpips.distance_per_level(p, lpips.vgg_features(p, a), f))
  terms = per_level(params, pred, features)
  report.check('lpips_per_layer', terms, fixture['lpips_per_layer'], 1e-5, relative_to='value')
  check = functools.partial(report.check, tolerance=1e-5, relative_to='value')
  distance = jax.jit(lpips.lpips)
  check('lpips', actual=distance(params, pred, target), expected=fixture['lpips'][:, 0, 0, 0])
  masked = distance(params, pred * mask, target * mask)
  check('lpips_masked_inputs', actual=masked, expected=fixture['lpips_masked_inputs'][:, 0, 0, 0])

  mean = lambda a: lpips.lpips_to_features(params, a, features).mean()
  gradient = np.asarray(jax.jit(jax.grad(mean))(pred)).transpose(0, 3, 1, 2)
  report.check('grad_pred_of_mean', gradient, fixture['grad_pred_of_mean'], 1e-4)
