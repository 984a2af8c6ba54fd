"""bfloat16 where nothing is trained: near the float32 values, and float32 outside."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.reconstruction import losses, programs
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Gan, Method
from tests.support.small_fit import SETTINGS, frozen, instance, setting

FLOAT = dataclasses.replace(SETTINGS, perceptual='discriminator')
HALF = dataclasses.replace(FLOAT, precision='bf16')


def test_the_gans_images():
  latents = jnp.stack([instance(seed).latent for seed in range(3)])
  images = {s: gan_images(Gan.of(frozen(), s), latents, 32) for s in (FLOAT, HALF)}
  assert images[HALF].dtype == jnp.float32
  difference = np.abs(np.asarray(images[HALF] - images[FLOAT]))
  assert 0 < difference.mean() < 0.01


def test_the_perceptual_distance():
  images = jnp.stack([instance(seed).image for seed in range(4)])
  mask = jnp.ones((2, *images.shape[1:3], 1))

  def distance(settings):
    method = Method(None, settings, frozen())
    references = losses.perceptual_references(method, images[2:], mask)
    return losses.perceptual_distance(method, images[:2], images[2:], mask, references)

  found = {settings: distance(settings) for settings in (FLOAT, HALF)}
  assert found[HALF].dtype == jnp.float32
  np.testing.assert_allclose(found[HALF], found[FLOAT], rtol=0.02)
  assert not np.array_equal(found[HALF], found[FLOAT])


def test_what_is_trained_stays_in_float32():
  networks, params = setting()
  params = jax.tree.map(jnp.asarray, params)
  built = programs.functions(networks, HALF)

  def update(params):
    origin = built.origin(params, instance(), frozen())
    state = built.fresh(params, 2)
    return built.step2(state, origin, instance().latent, jax.random.key(0), frozen(), 0)

  state, terms = jax.eval_shape(update, params)
  assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype('float32')}
  assert {leaf.dtype for leaf in jax.tree.leaves(terms)} == {np.dtype('float32')}
