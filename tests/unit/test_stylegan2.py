import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import load_stylegan2
from tests.conftest import TESTDATA

CHECKPOINT = TESTDATA / 'golden' / 'a_stylegan2_32.pt'


@functools.cache
def networks():
  return jax.tree.map(jnp.asarray, load_stylegan2(CHECKPOINT))


@pytest.fixture(scope='module')
def generator():
  return networks()[0]


@pytest.fixture(scope='module')
def critic():
  return networks()[1]


def normal(*shape):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


synthesize = jax.jit(stylegan2.synthesize)


def test_mapping_in_parts_is_the_whole(generator):
  z = normal(5, 48)
  whole = stylegan2.mapping(generator, z)  # one shape throughout, so eager calls share programs
  for k in range(stylegan2.num_modules(generator) + 1):
    hidden = stylegan2.mapping(generator, z, stop=k)
    parts = stylegan2.mapping(generator, hidden, start=k)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(stylegan2.mapping(generator, z, stop=0), z)
  normalised = stylegan2.mapping(generator, z, stop=1)
  np.testing.assert_allclose(jnp.square(normalised).mean(-1), 1, rtol=1e-5)


def test_mapping_ranges(generator):
  z = normal(1, 48)
  for start, stop in ((0, 10), (-1, 3), (5, 4)):
    with pytest.raises(ValueError, match='9'):
      stylegan2.mapping(generator, z, start=start, stop=stop)


def test_truncation(generator):
  latents = normal(3, 48)
  mean = stylegan2.mean_latent(generator, jax.random.key(0), 64)
  assert mean.shape == (1, 48)
  np.testing.assert_allclose(stylegan2.truncate(latents, mean, 1.0), latents, atol=1e-6)
  np.testing.assert_allclose(stylegan2.truncate(latents, mean[0], 0.0)[1:2], mean, atol=1e-6)


def test_mean_latent_converges(generator):
  mean_latent = jax.jit(stylegan2.mean_latent, static_argnums=2)
  one, other = (mean_latent(generator, jax.random.key(k), 1024) for k in range(2))
  spread = stylegan2.mapping(generator, normal(5, 48)).std()
  assert jnp.all(jnp.abs(one - other) < 6 * spread * (2 / 1024) ** 0.5)


def test_latents_for_each_layer(generator):
  latents = normal(2, 48)
  repeated = jnp.repeat(latents[:, None], stylegan2.num_layers(generator), 1)
  images = synthesize(generator, latents)
  assert images.shape == (2, 32, 32, 3)
  np.testing.assert_allclose(synthesize(generator, repeated), images, atol=1e-5)


def test_noise_may_be_shared_or_given_for_each_sample(generator):
  latents = normal(2, 48)
  sizes = (4, 8, 8, 16, 16, 32, 32)
  shared = [normal(size, size, 1) for size in sizes]
  each = [jnp.stack([noise, noise]) for noise in shared]
  expected = synthesize(generator, latents, noise=each)
  np.testing.assert_allclose(synthesize(generator, latents, noise=shared), expected, atol=1e-5)
  assert jnp.abs(expected - synthesize(generator, latents)).max() > 1e-3


def test_wrong_inputs_are_refused(generator, critic):
  with pytest.raises(ValueError, match='latents'):
    stylegan2.synthesize(generator, normal(2, 47))
  with pytest.raises(ValueError, match='latents'):
    stylegan2.synthesize(generator, normal(2, 7, 48))
  with pytest.raises(ValueError, match='7'):
    stylegan2.synthesize(generator, normal(2, 48), noise=[normal(4, 4, 1)])
  with pytest.raises(ValueError, match='noise'):
    synthesize(generator, normal(2, 48), noise=[normal(2, 4, 4)] * 7)
  with pytest.raises(ValueError, match='images'):
    discriminator.discriminate(critic, normal(2, 16, 16, 3))
  for count in (0, 5):
    with pytest.raises(ValueError, match='features'):
      discriminator.discriminator_features(critic, normal(2, 32, 32, 3), count=count)


def test_samples_do_not_mix(generator):
  latents = normal(2, 48)
  changed = latents.at[0].set(0)
  images, others = synthesize(generator, latents), synthesize(generator, changed)
  np.testing.assert_array_equal(images[1], others[1])
  assert jnp.abs(images[0] - others[0]).max() > 1e-2


def test_vmap_over_instances(generator):
  latents = normal(2, 1, 48)
  mapped = jax.jit(jax.vmap(stylegan2.synthesize, (None, 0)))(generator, latents)
  flat = synthesize(generator, latents.reshape(2, 48))
  np.testing.assert_allclose(mapped.reshape(flat.shape), flat, atol=1e-5)


def test_minibatch_deviation_by_hand():
  x = np.asarray(normal(8, 4, 4, 3))
  actual = np.asarray(discriminator.minibatch_deviation(jnp.asarray(x)))
  assert actual.shape == (8, 4, 4, 1)
  for j in range(2):  # sample i belongs to group i mod 2
    expected = np.sqrt(x[j::2].var(0) + 1e-8).mean()
    np.testing.assert_allclose(actual[j::2], expected, rtol=1e-5)


def test_batches_that_are_no_multiple_of_the_group(critic):
  with pytest.raises(ValueError, match='batch of 6'):
    jax.eval_shape(discriminator.discriminate, critic, normal(6, 32, 32, 3))
  features = jax.eval_shape(
    functools.partial(discriminator.discriminator_features, count=3), critic, normal(6, 32, 32, 3)
  )
  assert [f.shape for f in features] == [(6, 16, 16, 24), (6, 8, 8, 32), (6, 4, 4, 32)]


def test_features_stop_at_count(critic):
  images = normal(2, 32, 32, 3)

  def products(count):
    """Convolutions and matrix products in the traced computation."""
    trace = jax.make_jaxpr(
      functools.partial(discriminator.discriminator_features, critic, count=count)
    )(images)
    text = str(trace)
    return text.count('conv_general_dilated[') + text.count('dot_general[')

  assert [products(count) for count in (1, 2, 3, 4)] == [4, 7, 10, 11]


def test_bfloat16(generator, critic):
  latents = stylegan2.mapping(generator, normal(2, 48))
  images = synthesize(generator, latents)
  small = jax.tree.map(lambda a: a.astype(jnp.bfloat16), generator)
  rough = synthesize(small, latents.astype(jnp.bfloat16))
  assert rough.dtype == jnp.bfloat16
  np.testing.assert_allclose(rough.astype(jnp.float32), images, atol=0.1)
  for params, function, given in (
    (generator, stylegan2.synthesize, latents),
    (critic, discriminator.discriminate, images),
  ):
    result = jax.eval_shape(function, params, given.astype(jnp.bfloat16))
    assert result.dtype == jnp.bfloat16
