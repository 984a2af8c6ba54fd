"""The estimated prior: a Gaussian of predictions, written and sane; too few pictures refused."""

import jax
import numpy as np
import pytest

from configs import heads
from gan2shape_jax import data
from gan2shape_jax.errors import DataError
from gan2shape_jax.pipeline import network_modules
from gan2shape_jax.pretraining import prior_estimation, starting_networks
from gan2shape_jax.weights import save_safetensors

COUNT = 16


@pytest.fixture
def config(tmp_path):
  from PIL import Image

  config = heads.get_config()
  config.networks.width = 4
  config.networks.bottleneck = 8
  config.networks.encoder_width = 4
  config.pretraining.batch_size = 2
  config.pretraining.prior_iterations = 1
  config.pretraining.iterations = 2
  source = data.embedded_path('heads') / 'image'
  folder = tmp_path / 'pictures'
  folder.mkdir()
  for k in range(COUNT):
    picture = Image.open(sorted(source.glob('*.png'))[k % 4])
    picture.save(folder / f'{k:03d}.png')
  config.data.images = str(folder)
  return config


@pytest.fixture
def untrained(monkeypatch):
  """Training, which has its own test, hands over the networks it would start from."""
  calls = []

  def pretrain(config, workdir, *, images, **_):
    calls.append((config, images))
    modules = network_modules.build_modules(config, 256)
    params = network_modules.initial_params(
      modules, config.image_size, jax.random.key(0), names=('view', 'light')
    )
    workdir.mkdir(parents=True)
    save_safetensors(workdir / 'networks.safetensors', params)
    return workdir / 'networks.safetensors'

  monkeypatch.setattr(starting_networks, 'pretrain', pretrain)
  return calls


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


def test_an_estimate_is_written_and_read_as_a_prior(config, untrained, tmp_path):
  workdir = tmp_path / 'run'
  prior = prior_estimation.estimate(config, workdir, rounds=2)
  kept = data.load_prior(workdir / 'prior.npz')
  for name, array in prior._asdict().items():
    np.testing.assert_array_equal(array, getattr(kept, name))
  assert 'yaw' in prior_estimation.describe(prior, config)
  (first, images), (second, _) = untrained
  assert images.shape == (COUNT, 64, 64, 3)
  assert first.pretraining.lam_view < second.pretraining.lam_view == config.pretraining.lam_view
  broad, fitted = (data.load_prior(own.prior.view_light) for own in (first, second))
  assert broad.view_cov[1, 1] > 0.2
  assert not np.array_equal(broad.view_cov, fitted.view_cov)


def test_batches_are_pictures_or_their_mirror_images_and_drawn_again_on_resume():
  images = np.random.default_rng(0).random((5, 4, 4, 3)).astype(np.float32)
  batch = np.asarray(starting_networks._batch(images, 32, seed=1, iteration=7))
  np.testing.assert_array_equal(batch, starting_networks._batch(images, 32, seed=1, iteration=7))
  assert not np.array_equal(batch, starting_networks._batch(images, 32, seed=1, iteration=8))
  both = [*images, *images[:, :, ::-1]]
  found = {next(k for k, image in enumerate(both) if np.array_equal(image, b)) for b in batch}
  assert len(found) > 5


def test_too_few_pictures_are_refused(config, tmp_path):
  config.data.num = 3
  with pytest.raises(DataError, match='at least 16 pictures'):
    prior_estimation.estimate(config, tmp_path / 'run', rounds=1)
