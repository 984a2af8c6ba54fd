"""A tiny GAN and its training's programs, compiled once for all tests that use them."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import train_heads
from gan2shape_jax.config import get_default_config
from gan2shape_jax.gan_training.gan_settings import settings_from_config
from gan2shape_jax.reconstruction.parallel import data_mesh

SETTINGS = dataclasses.replace(
  settings_from_config(get_default_config()),
  image_size=8,
  latent_size=6,
  mapping_layers=2,
  widths=(8, 7),
  batch_size=16,
  r1_every=2,
  path_every=2,
)


def tiny_config(images):
  """The configuration of `SETTINGS`, on an archive or folder."""
  config = train_heads.get_config()
  config.image_size = SETTINGS.image_size
  for name in ('latent_size', 'mapping_layers', 'widths', 'batch_size', 'r1_every', 'path_every'):
    config.gan_training[name] = getattr(SETTINGS, name)
  config.gan_training.images = str(images)
  config.gan_training.devices = 1
  config.gan_training.samples = 8
  config.gan_training.images_shown = 4 * SETTINGS.batch_size
  config.gan_training.events_every = 1
  for name in ('samples_every', 'snapshot_every', 'checkpoint_every'):
    config.gan_training[name] = 2 * SETTINGS.batch_size
  return config


def one_device():
  """A mesh of one of the simulated devices."""
  return data_mesh(jax.devices()[:1])


def real_images(count=16, size=8, seed=0):
  """Smooth random pictures as bytes."""
  random = np.random.default_rng(seed)
  coarse = random.uniform(0, 255, (count, 4, 4, 3))
  return np.repeat(np.repeat(coarse, size // 4, 1), size // 4, 2).astype(np.uint8)


def on_host(tree):
  """Numpy copies: updates consume the state that they are given."""
  return jax.tree.map(lambda x: np.array(x), tree)


@pytest.fixture(autouse=True)
def hasty_compiler():
  """Programs run once or twice here: compiling takes all the time."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)
