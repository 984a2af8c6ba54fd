"""Images drawn from a GAN as pictures of a run, and as a folder for other commands."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import sample
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import ArtefactError, DataError, Preempted
from gan2shape_jax.instruments import depth_table
from gan2shape_jax.pipeline import collection, sources
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Gan, Settings
from tests.conftest import TESTDATA
from tests.support import command


@pytest.fixture(scope='module')
def config(request):
  """A run on images of a tiny GAN of 32 px."""
  config = get_default_config()
  path = TESTDATA / 'golden' / 'a_stylegan2_32.pt'
  config.gan.weights = str(path)
  config.loss.discriminator_features = 3
  config.data.source = 'samples'
  config.data.num = 3
  return config


@pytest.fixture(scope='module')
def frozen(config):
  return load_frozen(config)


def changed(config, **settings):
  config = config.copy_and_resolve_references()
  config.data.update(settings)
  return config


def test_a_seed_always_gives_the_same_image(frozen):
  settings = Settings(truncation=0.7)
  some = sources.draw_samples(frozen, settings, 32, range(11))
  other = sources.draw_samples(frozen, dataclasses.replace(settings, lam_smooth=3), 32, [9, 2])
  assert some.images.shape == (11, 32, 32, 3)
  np.testing.assert_allclose(some.latents[[9, 2]], other.latents, atol=1e-5)
  np.testing.assert_allclose(some.images[[9, 2]], other.images, atol=1e-4)
  assert np.abs(np.diff(some.images, axis=0)).mean((1, 2, 3)).min() > 0.01
  gan = Gan.of(frozen, settings)
  expected = jax.jit(gan_images, static_argnums=2)(gan, jnp.asarray(some.latents), 32)
  np.testing.assert_allclose(some.images, expected, atol=1e-4)


def test_the_spread_pulls_latents_to_the_mean(frozen):
  full = sources.draw_samples(frozen, Settings(), 32, [4]).latents
  half = sources.draw_samples(frozen, Settings(), 32, [4], spread=0.5).latents
  mean = np.asarray(frozen.mean_latent)
  np.testing.assert_allclose(half - mean, (full - mean) / 2, atol=1e-5)


def test_samples_are_a_runs_pictures(config, frozen):
  pictures = sources.load_pictures(changed(config, start=5))
  assert (len(pictures), pictures.names, pictures.size) == (3, ['005', '006', '007'], 64)
  drawn = sources.draw_samples(frozen, Settings(), 64, [6])
  np.testing.assert_allclose(pictures[1].image, drawn.images[0], atol=1e-4)
  np.testing.assert_allclose(pictures[1].latent, drawn.latents[0], atol=1e-5)
  assert pictures[1:].names == ['006', '007']
  assert (pictures[0].mask, pictures[0].depth, pictures[0].region) == (None, None, None)


def test_a_run_starts_on_samples(config, frozen, monkeypatch, tmp_path):
  seen = []

  class First:
    layout = SimpleNamespace(pictures=1)

    def __init__(self, *_):
      pass

    def fit(self, jobs):
      for job in jobs:
        seen.append((job.picture.name, job.instance.latent.shape, job.folder.name))
      raise Preempted('enough')

  monkeypatch.setattr(collection, 'Fitter', First)
  shared = SimpleNamespace(frozen=frozen, plan=SimpleNamespace(prior_iterations=0))
  monkeypatch.setattr(collection, 'assemble', lambda _: shared)
  config.parallel.devices = 1
  with pytest.raises(Preempted):
    collection.reconstruct_all(config, tmp_path)
  assert seen == [('000', frozen.mean_latent.shape, '000')]
  with pytest.raises(DataError, match=r"data.source='samples': .*samples have none"):
    depth_table.evaluate_all(config, tmp_path / 'other')


@pytest.mark.parametrize(
  ('settings', 'expected'),
  [
    ({'source': 'webcam'}, r"data.source='webcam': expected one of images, samples"),
    ({'num': 0}, 'data.num=0.*expected how many samples'),
    ({'start': -1}, 'data.start=-1: expected how many samples'),
  ],
)
def test_sources_that_give_nothing(config, settings, expected):
  with pytest.raises(DataError, match=expected) as caught:
    sources.load_pictures(changed(config, **settings))
  assert '\n' not in str(caught.value)


def test_a_folder_of_samples_is_a_data_set(config, frozen, tmp_path):
  sheet = sample.write_samples(config, tmp_path, [12, 0, 5])
  with Image.open(sheet) as picture:
    assert picture.size[0] > 3 * 64
  written = changed(config, source='images', images=str(tmp_path), num=0)
  pictures = sources.load_pictures(written)
  drawn = sources.draw_samples(frozen, Settings(), 64, [0, 5, 12])
  assert pictures.names == ['000', '005', '012']
  for picture, image, latent in zip(pictures, drawn.images, drawn.latents, strict=True):
    np.testing.assert_allclose(picture.image, image, atol=1 / 255 + 1e-6)
    np.testing.assert_allclose(picture.latent, latent, atol=1e-5)
  assert sources.load_pictures(changed(written, start=1, num=1))[0].name == '005'
  with pytest.raises(ArtefactError, match='it holds 2 other pictures'):
    sample.write_samples(config, tmp_path, [12])


def test_seeds():
  assert sample.parse_seeds('3, 7,5-8') == [3, 7, 5, 6, 8]
  for text in ('', '3,x', '-1', '5-3', '0-9999999', '1.5'):
    with pytest.raises(DataError, match='expected whole numbers'):
      sample.parse_seeds(text)


def test_the_command(tmp_path):
  def call(*arguments):
    script = command.ROOT / 'experiments' / 'sample.py'
    return subprocess.run(
      [sys.executable, str(script), f'--workdir={tmp_path}', *arguments],
      env=command.environment(),
      capture_output=True,
      text=True,
      timeout=300,
    )

  done = call('--seeds=3,8', '--truncation=0.5')
  assert done.returncode == 0, done.stderr
  assert f'--config.data.images={tmp_path}' in done.stdout
  assert {path.name for path in tmp_path.rglob('*.png')} == {'003.png', '008.png', 'samples.png'}
  with np.load(tmp_path / 'latents.npz') as arrays:
    assert arrays['names'].tolist() == ['003', '008']
    assert arrays['spread'] == np.float32(0.5)
    assert arrays['w'].shape == (2, 256)
  refused = call('--seeds=a')
  assert refused.returncode == 1
  assert refused.stderr.startswith('error: --seeds=a: expected whole numbers')
