"""Latents of pictures found through the frozen generator."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.config import get_default_config
from gan2shape_jax.models import resampling, stylegan2
from gan2shape_jax.reconstruction.inversion import InversionSettings, invert
from gan2shape_jax.reconstruction.state import Frozen, Settings
from gan2shape_jax.weights import load_stylegan2
from tests.conftest import TESTDATA

NUMBERS = InversionSettings(
  **dict(get_default_config().inversion) | {'iterations': 40, 'lam_perceptual': 0.0}
)

synthesize = jax.jit(stylegan2.synthesize)


@pytest.fixture(scope='module')
def frozen(request):
  path = TESTDATA / 'golden' / 'a_stylegan2_32.pt'
  generator, discriminator = jax.tree.map(jnp.asarray, load_stylegan2(path))
  z = jax.random.normal(jax.random.key(0), (512, stylegan2.latent_size(generator)))
  mean = jax.jit(stylegan2.mapping)(generator, z).mean(axis=0)
  return Frozen(generator, discriminator, None, mean, None)


@pytest.fixture(scope='module')
def pictures(frozen):
  """Three images of the GAN itself."""
  z = jax.random.normal(jax.random.key(1), (3, frozen.mean_latent.shape[0]))
  latents = jax.jit(stylegan2.mapping)(frozen.generator, z)
  return jnp.clip(synthesize(frozen.generator, latents), -1, 1)


def first_errors(frozen, pictures):
  """What the mean latent's image misses."""
  mean = synthesize(frozen.generator, jnp.tile(frozen.mean_latent[None], (len(pictures), 1)))
  return np.abs(np.clip(mean, -1, 1) - np.asarray(pictures)).mean((1, 2, 3))


def test_the_gans_own_images_are_found(frozen, pictures):
  calls = []
  found = invert(
    pictures,
    frozen,
    NUMBERS,
    Settings(),
    batch_size=2,
    progress=lambda *call: calls.append(call),
  )
  assert found.latents.shape == (3, *frozen.mean_latent.shape)
  parts = np.asarray(found.image_l1) / first_errors(frozen, pictures)
  assert parts.max() < 0.5
  assert parts.mean() < 0.3
  assert [call[:2] for call in calls] == [(k + 1, 80) for k in range(80)]
  images = synthesize(frozen.generator, found.latents)
  errors = jnp.abs(jnp.clip(images, -1, 1) - pictures).mean((1, 2, 3))
  np.testing.assert_allclose(found.image_l1, errors, rtol=1e-3)


def test_pictures_do_not_feel_each_other(frozen, pictures):
  numbers = dataclasses.replace(NUMBERS, iterations=4)
  first = invert(pictures[:2], frozen, numbers, Settings(), batch_size=2)
  second = invert(pictures[::2], frozen, numbers, Settings(), batch_size=2)
  np.testing.assert_allclose(first.latents[0], second.latents[0], atol=1e-3)
  assert np.abs(first.latents[1] - second.latents[1]).max() > 0.1


def test_the_pull_keeps_latents_near_the_mean(frozen, pictures):
  def distance(lam_mean):
    numbers = dataclasses.replace(NUMBERS, lam_mean=lam_mean)
    found = invert(pictures[:2], frozen, numbers, Settings(), batch_size=2)
    return float(jnp.square(found.latents - frozen.mean_latent[None]).mean())

  assert distance(10.0) < 0.5 * distance(0.0)


def test_a_latent_for_each_layer_from_a_smaller_picture_of_a_crop(frozen, pictures):
  small = resampling.resize(resampling.center_crop(pictures[:1], 24), 16)
  numbers = dataclasses.replace(NUMBERS, lam_features=0.0, space='w+')
  found = invert(small, frozen, numbers, Settings(crop=24, origin_size=32), batch_size=2)
  layers = stylegan2.num_layers(frozen.generator)
  assert found.latents.shape == (1, layers, frozen.mean_latent.shape[0])
  assert np.abs(found.latents[0] - found.latents[0, :1]).max() > 0.1
  assert found.image_l1[0] < 0.4 * first_errors(frozen, pictures[:1])[0]


def test_no_pictures_give_no_latents(frozen):
  found = invert(jnp.zeros((0, 32, 32, 3)), frozen, NUMBERS, Settings())
  assert found.latents.shape == (0, *frozen.mean_latent.shape)
  assert found.image_l1.shape == (0,)


def test_what_is_refused(frozen, pictures):
  with pytest.raises(ValueError, match='unknown latent space'):
    invert(pictures, frozen, dataclasses.replace(NUMBERS, space='z'), Settings())
  with pytest.raises(ValueError, match=r'expected \[n, size, size, 3\]'):
    invert(pictures[0], frozen, NUMBERS, Settings())
