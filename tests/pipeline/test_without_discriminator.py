"""A GAN without its discriminator: sampling, inversion and fits that do not compare by it."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import gan2shape_jax
from gan2shape_jax import data, weights
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.pipeline import fitting, sources
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.pipeline.picture_latents import LatentFinder
from gan2shape_jax.reconstruction import parallel
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.runtime.profiling import Traces
from gan2shape_jax.runtime.progress import Progress, Stopwatch
from gan2shape_jax.storage.checkpoints import Checkpoints
from tests.conftest import TESTDATA
from tests.support.small_fit import SETTINGS, SIZE, frozen, instance, setting


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('gan') / 'generator.safetensors'
  generator = weights.read_stylegan2(TESTDATA / 'golden' / 'a_stylegan2_32.pt').generator
  weights.save_safetensors(path, {'generator': generator})
  config = get_default_config()
  config.gan.weights = str(path)
  config.data.source, config.data.num = 'samples', 2
  config.image_size = 32
  return config


def test_only_what_compares_by_it_asks_for_it(config):
  with pytest.raises(WeightsError, match='expected a discriminator') as caught:
    load_frozen(config)
  assert 'loss.perceptual' in str(caught.value)
  assert load_frozen(config, critic=False).discriminator is None
  config = config.copy_and_resolve_references()
  config.loss.perceptual = 'none'
  assert load_frozen(config).discriminator is None
  config.loss.perceptual, config.mode = 'discriminator', 'predict'
  assert load_frozen(config).discriminator is None


def test_from_python_too(config):
  model = gan2shape_jax.load(config, image_size=64)
  assert gan2shape_jax.sample(model, 1).images.shape == (1, 64, 64, 3)
  image = np.zeros((64, 64, 3), np.uint8)
  with pytest.raises(WeightsError, match=r'generator\.safetensors: expected a discrim'):
    gan2shape_jax.reconstruct(image, model, latent=model.frozen.mean_latent)


def test_samples(config):
  pictures = sources.load_pictures(config)
  assert pictures[1].image.shape == (32, 32, 3)


def test_inversion(config, tmp_path):
  config = config.copy_and_resolve_references()
  config.loss.perceptual, config.inversion.iterations = 'none', 3
  picture = sources.load_pictures(config)[0]
  finder = LatentFinder(config, load_frozen(config))
  found = finder.find(picture._replace(latent=None), tmp_path, Progress(1))
  assert set(found.metrics) == {'inversion_l1'}
  assert np.isfinite(found.latent).all()
  again = finder.find(picture._replace(latent=None), tmp_path, Progress(1))
  np.testing.assert_array_equal(again.latent, found.latent)


def test_a_fit(tmp_path):
  plan = Plan((StagePlan(0, 1, 0, flip1=False, flip3=False),), 0, 2)  # step 2 alone
  networks, params = setting()
  settings = dataclasses.replace(SETTINGS, perceptual='none')
  shared = Assembly(
    settings, plan, networks, frozen()._replace(discriminator=None), None, params, False
  )
  layout = parallel.make_layout(jax.devices()[:1])
  curves, terms = SimpleNamespace(write=lambda values, *_: terms.update(values)), {}
  config = get_default_config()
  config.checkpoint.every = 1
  fitter = fitting.Fitter(config, shared, layout, curves, lambda: False, Traces(None))
  own = jax.tree.map(np.array, instance(1))
  picture = data.Picture('a', own.image, own.mask, None, None, None, 'a.png')
  job = fitting.Job(
    0, picture, tmp_path, own, np.full((SIZE, SIZE), 0.96, np.float32), {},
    Checkpoints(tmp_path / 'checkpoints'), Stopwatch(),
  )  # fmt: skip
  (fit,) = fitter.fit([job])
  assert fit.error is None
  assert terms['a/step_2/features'] == 0
  assert terms['a/step_2/l1'] > 0
  assert all(np.isfinite(leaf).all() for leaf in fit.factors)
