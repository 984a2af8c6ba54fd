"""The five networks: shapes, published parameters, initial weights, names in checkpoints."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import networks
from gan2shape_jax.weights import network_checkpoints

KINDS = tuple(network_checkpoints.CHECKPOINT_KEYS)


def small(kind):
  """A narrow network of each kind."""
  return {
    'depth': networks.EncoderDecoder(1, 4, 2, bottleneck=6),
    'albedo': networks.EncoderDecoder(3, 4, 2, bottleneck=6, final_tanh=True),
    'view': networks.Encoder(6, 4),
    'light': networks.Encoder(4, 4),
    'encoder': networks.ResidualEncoder(10, 4),
  }[kind]


def published(kind, size):
  width, base = networks.default_width(size), networks.default_group_norm_base(size)
  return {
    'depth': networks.EncoderDecoder(1, width, base),
    'albedo': networks.EncoderDecoder(3, width, base, final_tanh=True),
    'view': networks.Encoder(6, width),
    'light': networks.Encoder(4, width),
    'encoder': networks.ResidualEncoder(512),
  }[kind]


def images(size=64, batch=1):
  values = np.random.default_rng(1).uniform(-1, 1, (batch, size, size, 3))
  return jnp.asarray(values, jnp.float32)


def shapes_of(module, size=64):
  return jax.eval_shape(module.init, jax.random.key(0), images(size))['params']


def random_params(module):
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes_of(module)
  )


def initial(module):
  # rbg keys compile far faster than the default ones
  key = jax.random.key(0, impl='rbg')
  return jax.jit(lambda key: module.init(key, jnp.zeros((1, 64, 64, 3))))(key)['params']


@pytest.mark.parametrize('size', [64, 128, 256])
def test_output_shapes_follow_the_image(size):
  for kind in KINDS:
    module = small(kind)
    shape = jax.eval_shape(module.init_with_output, jax.random.key(0), images(size, 2))[0].shape
    expected = {'depth': (2, size, size, 1), 'albedo': (2, size, size, 3)}
    assert shape == expected.get(kind, (2, module.out_channels)), kind


def test_final_tanh():
  params = random_params(small('view'))
  ours = [
    jax.jit(networks.Encoder(6, 4, final_tanh=tanh).apply)({'params': params}, images())
    for tanh in (True, False)
  ]
  np.testing.assert_allclose(ours[0], np.tanh(ours[1]), rtol=1e-5)


@pytest.mark.parametrize('size', [64, 128])
@pytest.mark.parametrize('kind', KINDS)
def test_published_names_and_shapes(kind, size, testdata):
  manifest = json.loads((testdata / 'manifests.json').read_text())[f'gan2shape_{size}']
  expected = {k: tuple(v) for k, v in manifest[network_checkpoints.CHECKPOINT_KEYS[kind]].items()}
  module = published(kind, size)
  shapes = shapes_of(module, size)
  state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in expected.items()}
  params = network_checkpoints.network_from_state_dict(kind, state)
  assert jax.tree.map(lambda p: p.shape, params) == jax.tree.map(lambda p: p.shape, shapes)
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert count == sum(math.prod(shape) for shape in expected.values())
  assert network_checkpoints.network_from_params(kind, params) == module


@pytest.mark.parametrize(
  ('kind', 'size', 'count'),
  [
    ('depth', 64, 12_979_648),
    ('albedo', 64, 12_982_848),
    ('view', 64, 6_952_960),
    ('encoder', 64, 3_565_504),
    ('depth', 128, 12_947_680),
  ],
)
def test_parameter_counts(kind, size, count):
  shapes = shapes_of(published(kind, size), size)
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def test_initial_weights_are_uniform_within_the_fan_in():
  params = initial(networks.EncoderDecoder(3, 16, 4, bottleneck=32))
  fans = {
    ('down_2', 'kernel'): 32 * 16,  # counts input channels
    ('base', 'kernel'): 128 * 9,
    ('head', 'kernel'): 16 * 25,
    ('from_code', 'kernel'): 128 * 16,  # transposed: counts output channels
    ('up_1', 'kernel'): 32 * 16,
  }
  for (layer, leaf), fan in fans.items():
    kernel = np.asarray(params[layer][leaf])
    bound = 1 / math.sqrt(fan)
    assert np.abs(kernel).max() <= bound, layer
    np.testing.assert_allclose(np.abs(kernel).max(), bound, rtol=0.01)
    np.testing.assert_allclose(kernel.std(), bound / math.sqrt(3), rtol=0.03)
    np.testing.assert_allclose(kernel.mean(), 0, atol=5 * bound / math.sqrt(kernel.size))
  np.testing.assert_array_equal(params['up_norm_0']['scale'], np.ones(16))
  np.testing.assert_array_equal(params['up_norm_0']['bias'], np.zeros(16))


def test_only_the_residual_shortcut_has_a_bias():
  params = initial(networks.ResidualEncoder(10, 16))
  with_bias = [
    path for path, _ in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == 'bias'
  ]
  assert [(path[0].key, path[1].key) for path in with_bias] == [
    (f'block_{i}', 'shortcut') for i in (1, 2, 3)
  ]
  bias = np.asarray(params['block_3']['shortcut']['bias'])  # 64 values counted, 1x1 kernel
  assert 0.8 / 8 < np.abs(bias).max() <= 1 / 8


def test_published_widths():
  assert [networks.default_width(s) for s in (64, 128, 256, 512)] == [64, 32, 16, 16]
  assert [networks.default_group_norm_base(s) for s in (64, 128, 256)] == [16, 8, 8]


def test_settings_that_do_not_fit_are_named():
  init = lambda module, x: jax.eval_shape(module.init, jax.random.key(0), x)
  with pytest.raises(ValueError, match='group_norm_base 3 does not divide the width 4'):
    init(networks.EncoderDecoder(1, 4, 3), images())
  for size in (32, 96):
    with pytest.raises(ValueError, match='power of two'):
      init(networks.Encoder(6, 4), images(size))
  with pytest.raises(ValueError, match=r'\[B, S, S, 3\]'):
    init(networks.Encoder(6, 4), jnp.zeros((1, 64, 128, 3)))


@pytest.mark.parametrize('kind', KINDS)
def test_state_dicts_round_trip(kind):
  params = random_params(small(kind))
  state = network_checkpoints.network_to_state_dict(kind, params)
  prefixed = {f'module.{name}': value for name, value in state.items()}
  for again in (state, prefixed):
    back = network_checkpoints.network_from_state_dict(kind, again)
    jax.tree.map(np.testing.assert_array_equal, params, back)


def test_wrong_state_dicts_are_described():
  state = network_checkpoints.network_to_state_dict('view', random_params(small('view')))
  del state['network.4.weight']
  state['network.99.weight'] = np.zeros(3)
  with pytest.raises(WeightsError, match=r'network\.4\.weight.*network\.99\.weight'):
    network_checkpoints.network_from_state_dict('view', state)
  state = network_checkpoints.network_to_state_dict('view', random_params(small('view')))
  state['network.4.weight'] = state['network.4.weight'][:3]
  with pytest.raises(WeightsError, match=r'network\.4\.weight 3x8x4x4 instead of 16x8x4x4'):
    network_checkpoints.network_from_state_dict('view', state)
  state['network.4.weight'] = np.zeros(3)
  with pytest.raises(WeightsError, match=r'network\.4\.weight'):
    network_checkpoints.network_from_state_dict('view', state)
  with pytest.raises(ValueError, match='unknown network'):
    network_checkpoints.network_from_state_dict('netX', state)


def test_networks_batch_over_own_weights():
  module = networks.Encoder(6, 16)
  first, second = random_params(module), jax.tree.map(np.negative, random_params(module))
  gradient = jax.grad(lambda p: jnp.square(module.apply({'params': p}, images())).mean())
  both = jax.jit(jax.vmap(gradient))(jax.tree.map(lambda *p: np.stack(p), first, second))
  for i, params in enumerate((first, second)):
    expected = jax.jit(gradient)(params)
    for ours, single in zip(jax.tree.leaves(both), jax.tree.leaves(expected), strict=True):
      np.testing.assert_allclose(ours[i], single, atol=1e-4 * np.abs(single).max())
