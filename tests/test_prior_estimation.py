"""The estimated prior: a Gaussian of predictions, written and sane; too few pictures refused."""

import jax
import numpy as np
import pytest

from configs import heads
from gan2shape_jax import data, prior_estimation

COUNT = 16


@pytest.fixture
def config(tmp_path):
  from PIL import Image

  config = heads.get_config()
  config.networks.width = 4
  config.networks.bottleneck = 8
  config.networks.encoder_width = 4
  config.joint.batch_size = 2
  config.joint.prior_iterations = 1
  config.joint.iterations = 2
  source = data.embedded_path('heads') / 'image'
  folder = tmp_path / 'pictures'
  folder.mkdir()
  for k in range(COUNT):
    picture = Image.open(sorted(source.glob('*.png'))[k % 4])
    picture.save(folder / f'{k:03d}.png')
  config.data.images = str(folder)
  return config


@pytest.fixture
def compiled_once(tmp_path):
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path / 'cache'), 0.3), strict=True):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


def test_gaussian_of_known_samples():
  random = np.random.default_rng(0)
  factor = np.array([[0.3, 0, 0], [0.1, 0.2, 0], [0, 0, 0]])
  mean, covariance = prior_estimation.gaussian_of(
    random.normal(size=(200_000, 3)) @ factor.T + np.array([1.0, -2.0, 3.0])
  )
  np.testing.assert_allclose(mean, [1, -2, 3], atol=5e-3)
  np.testing.assert_allclose(covariance, factor @ factor.T, atol=2e-3)
  assert np.linalg.eigvalsh(covariance).min() > 0  # also where nothing varies


def test_the_broad_prior_is_one():
  data.check_prior(prior_estimation.broad_prior()._asdict(), 'the broad prior')


@pytest.mark.usefixtures('compiled_once')
def test_an_estimate_is_written_and_read_as_a_prior(config, tmp_path):
  workdir = tmp_path / 'run'
  prior = prior_estimation.estimate(config, workdir, rounds=1)
  kept = data.load_prior(workdir / 'prior.npz')
  for name, array in prior._asdict().items():
    np.testing.assert_array_equal(array, getattr(kept, name))
  assert 'yaw' in prior_estimation.describe(prior, config)


def test_too_few_pictures_are_refused(config, tmp_path):
  config.data.num = 3
  with pytest.raises(data.DataError, match='at least 16 pictures'):
    prior_estimation.estimate(config, tmp_path / 'run', rounds=1)
