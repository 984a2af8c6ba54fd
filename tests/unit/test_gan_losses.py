"""Losses and regularisers of the GAN's training against closed forms and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.config import get_default_config
from gan2shape_jax.gan_training import augmentation, gan_losses, gan_state, parameters, sampling
from gan2shape_jax.gan_training.gan_settings import settings_from_config
from gan2shape_jax.models import stylegan2
from gan2shape_jax.models.discriminator import discriminate
from tests.support.gan_training import (
  SETTINGS,
  hasty_compiler,  # noqa: F401, for all tests here
  real_images,
)


def test_logistic_losses_are_cross_entropies():
  real, fake = np.array([[0.3], [-2.0], [40.0]]), np.array([[-1.0], [0.5], [90.0]])
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  log_not = lambda x: -x - np.log1p(np.exp(-x))  # log(1 - sigmoid(x)), safe for large x
  expected = -np.log(sigmoid(real)).mean() - log_not(fake).mean()
  np.testing.assert_allclose(gan_losses.discriminator_loss(real, fake), expected, rtol=1e-6)
  expected = -np.log(sigmoid(fake)).mean()
  np.testing.assert_allclose(gan_losses.generator_loss(jnp.asarray(fake)), expected, rtol=1e-6)


def test_the_generators_gradient_does_not_vanish_where_it_is_found_out():
  slope = jax.grad(lambda score: gan_losses.generator_loss(score))(jnp.full((1, 1), -30.0))
  np.testing.assert_allclose(slope, -1.0, rtol=1e-6)


def test_r1_of_a_quadratic_critic():
  random = np.random.default_rng(0)
  images = jnp.asarray(random.normal(size=(3, 4, 4, 3)), jnp.float32)
  weights = jnp.asarray(random.normal(size=(4, 4, 3)), jnp.float32)
  score = lambda x: 0.5 * (weights[None] * x**2).sum((1, 2, 3))[:, None]
  scores, penalty = gan_losses.scores_and_r1(score, images)
  np.testing.assert_allclose(scores, score(images), rtol=1e-6)
  expected = ((weights[None] * images) ** 2).sum((1, 2, 3)).mean()
  np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_r1_of_the_discriminator_is_its_slope():
  _, raw = parameters.initial(SETTINGS)
  params = parameters.plain(raw)
  images = jnp.asarray(real_images(4) / 127.5 - 1, jnp.float32)
  score = jax.jit(lambda x: discriminate(params, x))
  _, penalty = jax.jit(lambda x: gan_losses.scores_and_r1(score, x))(images)
  gradient = jax.jit(jax.grad(lambda x: score(x).sum()))(images)
  np.testing.assert_allclose(penalty, np.square(gradient).sum() / 4, rtol=1e-5)
  direction = gradient / jnp.linalg.norm(gradient)
  step = 1e-2
  rise = (score(images + step * direction).sum() - score(images - step * direction).sum()) / 2
  np.testing.assert_allclose((rise / step) ** 2 / 4, penalty, rtol=2e-2)


def test_path_lengths_of_a_linear_generator():
  random = np.random.default_rng(1)
  jacobian = random.normal(size=(5, 2, 3, 4, 4, 3)).astype(np.float32)  # an image's, by latent
  latents = jnp.asarray(random.normal(size=(5, 2, 3)), jnp.float32)
  directions = random.normal(size=(5, 4, 4, 3)).astype(np.float32)
  synthesize = lambda w: jnp.einsum('blw,blwhvc->bhvc', w, jacobian)
  expected = np.einsum('blwhvc,bhvc->blw', jacobian, directions / 4)
  expected = np.sqrt((expected**2).sum(-1).mean(-1))
  lengths = gan_losses.path_lengths(synthesize, latents, directions)
  np.testing.assert_allclose(lengths, expected, rtol=1e-5)


def test_path_penalty_is_the_distance_to_the_moved_mean():
  penalty, mean = gan_losses.path_penalty(jnp.array([1.0, 3.0]), jnp.float32(1.0), 0.25)
  assert (float(mean), float(penalty)) == (1.25, (0.25**2 + 1.75**2) / 2)


def test_mixed_images_take_the_second_latent_from_the_crossover_on():
  raw, _ = parameters.initial(SETTINGS)
  params = parameters.plain(raw)
  draws = sampling.draw(jax.random.key(3), jnp.arange(64), SETTINGS)
  layers = SETTINGS.num_layers
  mapping = jax.jit(stylegan2.mapping)
  w = sampling.mixed_latents(params, draws)
  first, second = (mapping(params, draws.z[:, k]) for k in (0, 1))
  crossover = np.asarray(draws.crossover)
  assert set(crossover) == set(range(1, layers + 1))
  for k in range(layers):
    expected = np.where((crossover <= k)[:, None], second, first)
    np.testing.assert_allclose(w[:, k], expected, rtol=1e-5, atol=1e-6)
  assert abs((crossover < layers).mean() - SETTINGS.style_mixing) < 0.12
  assert [x.shape for x in draws.noise] == [(64, 4, 4, 1), (64, 8, 8, 1), (64, 8, 8, 1)]
  flat = np.concatenate([np.asarray(x).ravel() for x in draws.noise])
  assert abs(flat.std() - 1) < 0.03
  again = sampling.draw(jax.random.key(3), jnp.array([7]), SETTINGS)
  np.testing.assert_array_equal(again.z[0], draws.z[7])


def test_plain_weights_start_as_the_papers():
  settings = dataclasses.replace(SETTINGS, widths=(64, 32), latent_size=64, mapping_layers=1)
  raw_generator, raw_discriminator = parameters.initial(settings)
  generator, discriminator = map(parameters.plain, (raw_generator, raw_discriminator))
  spreads = {  # 1 / sqrt(fan-in); the mapping network's 0.01 cancels at the start
    64**-0.5: generator['mapping']['layer1']['kernel'],
    (9 * 64) ** -0.5: generator['block8']['up']['kernel'],
    1.0: generator['constant'],
    (16 * 64) ** -0.5: discriminator['final_linear1']['kernel'],
  }
  for spread, values in spreads.items():
    assert np.std(values) == pytest.approx(spread, rel=0.06)
  assert np.std(raw_generator['mapping']['layer1']['kernel']) == pytest.approx(100, rel=0.06)
  assert (generator['block8']['up']['style']['bias'] == 1).all()
  slope = jax.grad(lambda p: parameters.plain(p)['mapping']['layer1']['bias'].sum())(raw_generator)
  np.testing.assert_allclose(slope['mapping']['layer1']['bias'], 0.01)


@pytest.mark.parametrize(('shown', 'half_life'), [(1000.0, 50.0), (1e9, 8000.0)])
def test_the_average_forgets_half_in_its_half_life(shown, half_life):
  average, batch = {'x': jnp.float32(1.0)}, SETTINGS.batch_size
  for _ in range(25):
    average = gan_state.averaged(average, {'x': jnp.float32(0.0)}, jnp.float32(shown), SETTINGS)
  np.testing.assert_allclose(average['x'], 0.5 ** (25 * batch / half_life), rtol=1e-4)
  still = {'x': jnp.float32(0.1)}
  assert gan_state.averaged(still, still, jnp.float32(shown), SETTINGS) == still


def test_rates_fall_straight_to_nothing():
  batch = SETTINGS.batch_size
  falling = dataclasses.replace(SETTINGS, decay=(8 * batch, 12 * batch))
  parts = [float(gan_state.rate_left(falling, np.uint32(n))) for n in (0, 8, 9, 11, 12, 50)]
  assert parts == [1, 1, 0.75, 0.25, 0, 0]
  assert gan_state.rate_left(SETTINGS, np.uint32(10**6)) == 1


def test_augmentation_follows_its_target():
  defaults = settings_from_config(get_default_config())
  own = {'augment': ('blit',), 'augment_images': 640.0, 'augment_every': 2}
  settings = dataclasses.replace(defaults, **own)
  strength = augmentation.initial_strength(settings)
  seen = []
  for sign in (1.0, 0.9, 0.5, 0.9, 0.0, 0.0, 0.0, 0.0, -1.0, -1.0, 1.0, 1.0):
    strength = augmentation.adapted(strength, jnp.float32(sign), settings)
    seen.append(round(float(strength.probability), 4))
  step = 2 * 16 / 640
  expected = [0, step, step, 2 * step, 2 * step, step, step, 0, 0, 0, 0, step]
  np.testing.assert_allclose(seen, expected, atol=1e-6)
