"""Measures of a GAN: features that need no download, and the command."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from gan2shape_jax import evaluation, weights
from gan2shape_jax.artefacts.image_files import to_uint8
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError
from gan2shape_jax.gan_training import quality, training_images
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.pipeline.sources import draw_samples
from gan2shape_jax.reconstruction.state import Settings
from tests.support import command


@pytest.fixture
def config(testdata):
  config = get_default_config()
  config.gan.weights = str(testdata / 'golden' / 'a_stylegan2_32.pt')
  config.loss.discriminator_features = 3
  config.image_size = 32
  return config


def test_random_features_are_the_same_in_any_batch_and_tell_where_things_are():
  random = np.random.default_rng(0)
  pictures = random.uniform(-1, 1, (5, 32, 32, 3)).astype(np.float32)
  features = evaluation.random_features(pictures, batch=2)
  assert features.shape == (5, 752)
  np.testing.assert_allclose(
    features, evaluation.random_features(pictures, batch=4), rtol=1e-4, atol=1e-5
  )
  mirrored = evaluation.random_features(pictures[:, :, ::-1], batch=4)
  assert np.abs(features - mirrored).max() > 0.01
  with pytest.raises(ValueError, match='at least one'):
    evaluation.random_features(pictures[:0])


def test_the_gans_own_images_are_near_and_others_far(config):
  drawn = draw_samples(load_frozen(config), Settings(), 32, range(100, 148))
  own = to_uint8(drawn.images)
  noise = np.random.default_rng(0).integers(0, 256, own.shape, np.uint8)
  judge = weights.load_stylegan2(config.gan.weights)[1]
  near, near_judged, halves, _ = quality.measure_gan(
    config, training_images.ArrayImages([own]), 24, judge=judge
  )
  far = quality.measure_gan(config, training_images.ArrayImages([noise]), 24)[0]
  assert (near['images'], near_judged['features'], halves['images']) == (
    'GAN', 'discriminator', 'real'
  )  # fmt: skip
  assert near['fid'] < far['fid'] / 3
  assert near['kid'] < far['kid'] / 3
  assert min(near['precision'], near['recall']) > 0.5
  assert max(far['precision'], far['recall']) == 0
  assert near['fid'] < 3 * halves['fid']
  with pytest.raises(DataError, match='at most all 48 real images, not 49'):
    quality.measure_gan(config, training_images.ArrayImages([own]), 49)


def test_path_lengths_against_finite_differences(config):
  generator = load_frozen(config).generator
  count = 512
  lengths = quality.path_lengths(generator, count)
  assert lengths.shape == (count,)
  # The mean over directions of |J^T y|^2 is that of |J d|^2 over steps d of w.
  random = np.random.default_rng(0)
  z = random.standard_normal((count, stylegan2.latent_size(generator))).astype(np.float32)
  layers, step = stylegan2.num_layers(generator), 1e-2
  w = np.repeat(np.asarray(stylegan2.mapping(generator, z))[:, None], layers, 1)
  moved = w + step * random.standard_normal(w.shape).astype(np.float32)
  synthesize = jax.jit(stylegan2.synthesize)
  change = np.asarray(synthesize(generator, moved) - synthesize(generator, w))
  squares = np.square(change / step).sum((1, 2, 3)) / (32 * 32) / layers
  assert np.square(lengths).mean() == pytest.approx(squares.mean(), rel=0.1)


def test_the_command(config, tmp_path):
  drawn = draw_samples(load_frozen(config), Settings(), 64, range(12))
  np.savez(tmp_path / 'real.npz', images=to_uint8(drawn.images))
  given = [
    sys.executable, str(command.ROOT / 'experiments' / 'evaluate_gan.py'), '--num=6',
    f'--config.gan.weights={config.gan.weights}', '--config.image_size=64',
    '--config.loss.discriminator_features=3', f'--judge={config.gan.weights}',
    f'--config.gan_training.images={tmp_path / "real.npz"}', f'--workdir={tmp_path / "out"}',
  ]  # fmt: skip
  run = lambda *more: subprocess.run(
    [*given, *more], capture_output=True, text=True, env=command.environment(), timeout=300
  )
  done = run()
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'out' / 'gan.json').read_text())['rows']
  assert [(row['images'], row['features']) for row in rows] == [
    ('GAN', 'random'), ('GAN', 'discriminator'), ('real', 'random'), ('real', 'discriminator'),
  ]  # fmt: skip
  # The seeds are those of the real images: the same pictures.
  assert rows[0]['fid'] < 1e-6
  assert rows[0]['precision'] == rows[0]['recall'] == 1
  assert 'path_length' in done.stdout
  wrong = run('--num=13')
  assert wrong.returncode == 1
  assert wrong.stderr.splitlines()[-1].startswith('error: expected at least 2 and at most all 12')
