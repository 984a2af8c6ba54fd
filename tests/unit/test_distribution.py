"""Distances of sets of features against closed forms."""

import itertools

import jax
import numpy as np
import pytest
import scipy.linalg

from gan2shape_jax import evaluation, weights
from gan2shape_jax.models import discriminator


def exactly(mean, covariance, count, seed):
  """Samples [count, d] whose own mean and covariance are those given."""
  x = np.random.default_rng(seed).standard_normal((count, len(mean)))
  x -= x.mean(0)
  x = scipy.linalg.solve_triangular(np.linalg.cholesky(np.cov(x.T)), x.T, lower=True).T
  return x @ np.linalg.cholesky(covariance).T + mean


def covariance(width, seed):
  x = np.random.default_rng(seed).standard_normal((width, 2 * width))
  return x @ x.T / width


def test_fid_of_two_gaussians():
  first, second = covariance(6, 1), covariance(6, 2)
  means = np.linspace(-1, 1, 6), np.linspace(2, 0, 6)
  root = scipy.linalg.sqrtm(first @ second).real
  expected = np.square(means[0] - means[1]).sum() + np.trace(first + second - 2 * root)
  sets = exactly(means[0], first, 50, 3), exactly(means[1], second, 70, 4)
  assert evaluation.frechet_distance(*sets) == pytest.approx(expected, rel=1e-9)
  assert evaluation.frechet_distance(*sets[::-1]) == pytest.approx(expected, rel=1e-9)


def test_fid_of_covariances_that_commute_and_of_few_samples():
  sets = exactly(np.zeros(3), np.diag([1.0, 4.0, 9.0]), 20, 0), exactly(np.ones(3), np.eye(3), 9, 1)
  assert evaluation.frechet_distance(*sets) == pytest.approx(3 + 0 + 1 + 4)
  few = np.random.default_rng(0).standard_normal((5, 40))
  assert evaluation.frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
  assert evaluation.frechet_distance(few, few + 1) == pytest.approx(40)


def test_kid_against_the_sum_over_pairs():
  random = np.random.default_rng(0)
  first, second = random.standard_normal((7, 4)), random.standard_normal((5, 4)) + 1
  kernel = lambda a, b: (a @ b / 4 + 1) ** 3
  own = lambda x: np.mean([kernel(a, b) for a, b in itertools.permutations(x, 2)])
  both = np.mean([kernel(a, b) for a, b in itertools.product(first, second)])
  expected = own(first) + own(second) - 2 * both
  assert evaluation.kernel_distance(first, second) == pytest.approx(expected)


def test_kid_is_unbiased():
  random = np.random.default_rng(0)
  draw = lambda mean: random.standard_normal((30, 8)) + mean
  same = [evaluation.kernel_distance(draw(0), draw(0)) for _ in range(100)]
  assert abs(np.mean(same)) < 4 * np.std(same) / 10
  assert min(same) < 0 < max(same)
  assert evaluation.kernel_distance(draw(0), draw(1)) > max(same)


def test_many_rows_are_summed_in_parts():
  random = np.random.default_rng(0)
  first, second = random.standard_normal((1100, 2)), random.standard_normal((700, 2))
  kernel = lambda a, b: (a @ b.T / 2 + 1) ** 3
  own = lambda x: (kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1))
  expected = own(first) + own(second) - 2 * kernel(first, second).mean()
  assert evaluation.kernel_distance(first, second) == pytest.approx(expected)
  assert min(evaluation.precision_recall(first, second)) > 0.9


def test_precision_and_recall():
  random = np.random.default_rng(0)
  real = random.standard_normal((40, 3))
  assert evaluation.precision_recall(real, real) == (1, 1)
  assert evaluation.precision_recall(real, real + 100) == (0, 0)
  half = np.concatenate([real[:20], real[20:] + 100])
  assert evaluation.precision_recall(real[:20], half) == (0.5, 1)
  assert evaluation.precision_recall(half, real[:20]) == (1, 0.5)


def test_reach_is_the_distance_to_the_kth_neighbour():
  line = np.array([[0.0], [1.0], [3.0], [7.0]])  # reaches with k = 1: 1, 1, 2, 4
  points = lambda *values: np.array(values)[:, None]
  measure = lambda *x, k: evaluation.precision_recall(line, points(*x), neighbours=k)[0]
  assert measure(-1.1, 5.5, 11.0, -1.0, k=1) == 0.75
  assert measure(-1.1, 13.0, 13.1, 20.0, k=2) == 0.5  # reaches 3, 2, 3, 6


@pytest.mark.parametrize('shapes', [((3,), (3,)), ((5, 2), (5, 3)), ((1, 2), (5, 2))])
@pytest.mark.parametrize('name', ['frechet_distance', 'kernel_distance', 'precision_recall'])
def test_wrong_features_are_refused(name, shapes):
  with pytest.raises(ValueError, match='expected'):
    getattr(evaluation, name)(*(np.ones(shape) for shape in shapes))
  with pytest.raises(ValueError, match='not finite'):
    getattr(evaluation, name)(np.full((5, 2), np.nan), np.ones((5, 2)))


def test_features_of_the_discriminator(testdata):
  _, params = weights.load_stylegan2(testdata / 'golden' / 'a_stylegan2_32.pt')
  images = np.random.default_rng(0).uniform(-1, 1, (5, 32, 32, 3)).astype(np.float32)
  features = evaluation.discriminator_means(params, images, batch=4)
  count = discriminator.num_features(params) - 1
  reference = jax.jit(discriminator.discriminator_features, static_argnames='count')
  last = np.asarray(reference(params, images, count=count)[-1])
  np.testing.assert_allclose(features, last.mean((1, 2)), rtol=1e-4, atol=1e-5)
