"""NVIDIA's StyleGAN2 pickles against their formulas, computed apart from the package."""

import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import weights
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import nvidia, nvidia_pickles
from tests.support import nvidia_networks as networks
from tests.support import nvidia_reference as reference
from tests.support.foreign_files import Module, Tensor, nvidia_pickle
from tests.support.nvidia_networks import TINY


def written(tmp_path, content, protocol=3):
  path = tmp_path / 'network.pkl'
  path.write_bytes(nvidia_pickle(content, protocol))
  return path


def refusal(path):
  """The message of the error, which must be one line that names the file."""
  with pytest.raises(WeightsError) as error:
    weights.load_stylegan2(path)
  message = str(error.value)
  assert '\n' not in message
  assert path.name in message
  return message


def in_double(state):
  return {name: np.asarray(values, np.float64) for name, values in state.items()}


def largest_difference(ours, theirs):
  return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def agree(path, mapping, synthesis, state, critic_layers):
  """Compares w, images and scores of the file's networks with the reference's."""
  generator, critic = weights.load_stylegan2(path)
  random = np.random.default_rng(8)
  z = random.standard_normal((5, TINY.latent))
  images = random.standard_normal((8, 3, 16, 16))
  w = mapping(state, z, TINY.depth)
  single = lambda values: jnp.asarray(values, jnp.float32)
  assert largest_difference(jax.jit(stylegan2.mapping)(generator, single(z)), w) < 1e-5
  image = jax.jit(stylegan2.synthesize)(generator, single(w)).transpose(0, 3, 1, 2)
  assert largest_difference(image, synthesis(state, w, TINY.sizes)) < 1e-5
  score = jax.jit(discriminator.discriminate)(critic, single(images.transpose(0, 2, 3, 1)))
  expected = reference.discriminate(critic_layers, images, [16, 8])
  assert largest_difference(score, expected) < 1e-5


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_pickle_of_the_pytorch_version(tmp_path, protocol):
  content, generator, critic = networks.torch_networks(TINY)
  critic = in_double(critic)
  layers = {}
  for name in critic:
    block, layer, last = (name + '..').split('.')[:3]
    if last == 'weight':
      layers[int(block[1:]), layer] = critic[name], critic.get(f'{block}.{layer}.bias')
  agree(
    written(tmp_path, content, protocol),
    reference.mapping_torch,
    reference.synthesis_torch,
    in_double(generator),
    layers,
  )


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_pickle_of_the_tensorflow_version(tmp_path, protocol):
  content, generator, critic = networks.tensorflow_networks(TINY)
  names = {'FromRGB': 'fromrgb', 'Conv0': 'conv0', 'Conv1_down': 'conv1', 'Skip': 'skip'}
  names |= {'Conv': 'conv', 'Dense0': 'fc'}
  layers, critic = {}, in_double(critic)
  for name, weight in critic.items():
    if name.endswith('/weight'):
      *place, layer, _ = name.split('/')
      key = (int(place[0].split('x')[0]), names[layer]) if place else (4, 'out')
      turned = weight.T if weight.ndim == 2 else weight.transpose(3, 2, 0, 1)
      layers[key] = turned, critic.get(name.replace('weight', 'bias'))
  agree(
    written(tmp_path, content, protocol),
    reference.mapping_tensorflow,
    reference.synthesis_tensorflow,
    in_double(generator),
    layers,
  )


@pytest.mark.parametrize('make', [networks.torch_networks, networks.tensorflow_networks])
def test_mean_latent_is_kept(tmp_path, make):
  content, generator, _ = make(TINY)
  path = written(tmp_path, content)
  found = weights.read_stylegan2(path)
  expected = generator.get('mapping.w_avg', generator.get('dlatent_avg'))
  np.testing.assert_array_equal(found.mean_latent, expected)
  converted = tmp_path / 'x.safetensors'
  groups = dict(zip(('generator', 'discriminator', 'mean_latent'), found, strict=True))
  weights.save_safetensors(converted, groups)
  np.testing.assert_array_equal(weights.load_mean_latent(converted), expected)
  groups['mean_latent'] = expected[1:]
  weights.save_safetensors(converted, groups)
  assert 'mean_latent 9 instead of 10' in refusal(converted)
  del groups['mean_latent']
  weights.save_safetensors(converted, groups)
  assert weights.load_mean_latent(converted) is None


def test_file_with_a_generator_only(tmp_path):
  content, generator, _ = networks.torch_networks(TINY)
  del generator['mapping.w_avg']
  kept = {'G_ema': networks.torch_module(generator, 'Generator'), 'D': None}
  found = weights.read_stylegan2(written(tmp_path, kept))
  assert found.discriminator is None
  assert found.mean_latent is None
  assert "'G_ema'" in refusal(written(tmp_path, {'G': content['G']}))


def test_another_multiplier_of_the_mapping(tmp_path):
  content, generator, _ = networks.torch_networks(TINY)
  half = dict(generator)
  for name in generator:
    if name.startswith('mapping.fc'):
      half[name] = generator[name] / 2
  whole = weights.load_stylegan2(written(tmp_path, content))[0]['mapping']
  module = networks.torch_module(half, 'Generator')
  for layer in module.state['_modules']['mapping'].state['_modules'].values():
    layer.state['bias_gain'] = np.float64(0.02)
  found = weights.load_stylegan2(written(tmp_path, {'G_ema': module}))[0]['mapping']
  np.testing.assert_allclose(found['layer2']['kernel'], whole['layer2']['kernel'], rtol=1e-6)
  np.testing.assert_allclose(found['layer3']['bias'], whole['layer3']['bias'], rtol=1e-6)


def full_torch_pickle(spec):
  generator = networks.torch_module(networks.torch_generator(spec), 'Generator')
  critic = networks.torch_module(networks.torch_discriminator(spec), 'Discriminator')
  return nvidia_pickle({'G_ema': generator, 'D': critic})


def full_tensorflow_pickle(spec):
  generator = networks.tensorflow_network(networks.tensorflow_generator(spec), 'Gs')
  critic = networks.tensorflow_network(networks.tensorflow_discriminator(spec), 'D')
  return nvidia_pickle((generator, critic, generator))


def test_networks_of_full_size():
  widths = dict.fromkeys((4, 8, 16, 32), 512) | {64: 256, 128: 128, 256: 64}
  spec = networks.Spec(widths, 512, 8)
  for write in (full_torch_pickle, full_tensorflow_pickle):
    content = nvidia_pickles.read_nvidia_pickle(write(spec), path='x')
    groups = nvidia.groups_from_pickle(content, path='x')
    assert stylegan2.resolution(groups['generator']) == 256
    assert stylegan2.num_modules(groups['generator']) == 9
    assert discriminator.discriminator_resolution(groups['discriminator']) == 256


# Refusals


class RunsCode:
  def __init__(self, *arguments):
    self.arguments = arguments

  def __reduce__(self):
    return os.system, (f'touch {self.arguments[0]}',)


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_pickle_that_runs_code_is_refused(tmp_path, protocol):
  path = tmp_path / 'evil.pkl'
  path.write_bytes(pickle.dumps({'G_ema': RunsCode(tmp_path / 'made')}, protocol))
  message = refusal(path)
  assert 'system' in message or protocol == 0
  assert os.listdir(tmp_path) == ['evil.pkl']


def test_code_inside_a_network_is_refused(tmp_path):
  content, *_ = networks.torch_networks(TINY)
  content['G_ema'].state['_modules']['mapping'].state['x'] = RunsCode(tmp_path / 'made')
  assert 'system' in refusal(written(tmp_path, content))
  assert os.listdir(tmp_path) == ['network.pkl']


@pytest.mark.parametrize('name', ['builtins.eval', 'training.networks.Generator', 'torch.load'])
def test_unknown_names_are_refused(tmp_path, name):
  path = tmp_path / 'x.pkl'
  module, _, attribute = name.rpartition('.')
  path.write_bytes(b'\x80\x03' + f'c{module}\n{attribute}\n(Vx\ntR.'.encode())
  assert name in refusal(path)


@pytest.mark.parametrize('make', [networks.torch_networks, networks.tensorflow_networks])
def test_truncated_files_are_refused(tmp_path, make):
  content = nvidia_pickle(make(TINY)[0])
  path = tmp_path / 'cut.pkl'
  for size in (0, 1, 3, 40, len(content) // 2, len(content) - 5, len(content) - 1):
    path.write_bytes(content[:size])
    refusal(path)


@pytest.mark.parametrize(
  'content', [b'', b'<html>Sign in</html>', b'\x80\x03N.', b'\x80\x03]q\x00.']
)
def test_something_else_is_refused(tmp_path, content):
  path = tmp_path / 'page.pkl'
  path.write_bytes(content)
  assert 'expected' in refusal(path)


def changed_torch(change, kind='G_ema'):
  content, generator, critic = networks.torch_networks(TINY)
  state = generator if kind == 'G_ema' else critic
  change(state)
  name = 'Generator' if kind == 'G_ema' else 'Discriminator'
  return content | {kind: networks.torch_module(state, name)}


def put(name, *shape):
  return lambda state: state.update({name: np.ones(shape, np.float32)})


@pytest.mark.parametrize(
  ('change', 'kind', 'told'),
  [
    (put('synthesis.b8.conv0.weight', 7, 9, 3, 3), 'G_ema', 'block8/up/kernel 3x3x9x7 instead'),
    (put('synthesis.b8.conv0.weight', 7, 8, 3), 'G_ema', 'synthesis.b8.conv0.weight has shape'),
    (put('synthesis.b8.conv2.weight', 7, 7, 3, 3), 'G_ema', 'extra: synthesis.b8.conv2.weight'),
    (put('synthesis.b8.skip.weight', 7, 8, 1, 1), 'G_ema', 'extra: synthesis.b8.skip.weight'),
    (lambda s: s.pop('mapping.fc1.bias'), 'G_ema', 'missing: mapping.fc1.bias'),
    (put('mapping.w_avg', 12), 'G_ema', 'mean_latent 12 instead of 10'),
    (put('mapping.embed.weight', 10, 3), 'G_ema', 'conditional on labels (it has mapping.embed'),
    (put('synthesis.b8.resample_filter', 4, 4), 'G_ema', 'filter'),
    (put('b8.conv1.weight', 9, 7, 3, 3), 'D', 'block2/conv2/bias 8 instead of 9'),
    (put('b8.fromrgb.weight', 7, 3, 1, 1), 'D', 'extra: b8.fromrgb.weight'),
    (put('b4.fc.weight', 8, 120), 'D', 'b4.fc.weight has 120 inputs'),
    (put('mapping.fc0.weight', 8, 8), 'D', 'conditional on labels (it has mapping.fc0'),
    (put('b4.out.weight', 5, 8), 'D', 'final_linear2'),
  ],
)
def test_other_pytorch_networks_are_refused(tmp_path, change, kind, told):
  assert told in refusal(written(tmp_path, changed_torch(change, kind)))


def test_other_settings_of_the_pytorch_version_are_refused(tmp_path):
  def told(change):
    content, *_ = networks.torch_networks(TINY)
    change(content)
    return refusal(written(tmp_path, content))

  def block(content, network, name):
    modules = content[network].state['_modules']
    return (modules['synthesis'].state['_modules'] if network == 'G_ema' else modules)[name].state

  assert "architecture 'skip'" in told(
    lambda content: block(content, 'G_ema', 'b8').update(architecture='resnet')
  )
  assert "architecture 'resnet'" in told(
    lambda content: block(content, 'D', 'b8').update(architecture='orig')
  )
  assert 'lrelu' in told(lambda content: block(content, 'G_ema', 'b8').update(activation='relu'))
  assert 'conditional' in told(lambda content: content['G_ema'].state.update(c_dim=10))
  assert 'Discriminator' in told(lambda content: content.update(D=content['G_ema']))
  looped = Module('Generator', {'_modules': {}})
  looped.state['_modules']['x'] = Module('Layer', looped.state)
  assert 'no layer' in told(lambda content: content.update(G_ema=looped))
  integers = Module('Generator', {'_parameters': {'x': Tensor(np.arange(3))}})
  assert 'floating' in told(lambda content: content.update(G_ema=integers))


@pytest.mark.parametrize(
  ('change', 'arguments', 'told'),
  [
    (put('synthesis/8x8/Conv0_up/weight', 3, 3, 9, 7), {}, 'block8/up/kernel 3x3x9x7 instead'),
    (put('synthesis/8x8/Conv2/weight', 3, 3, 7, 7), {}, 'extra: synthesis/8x8/Conv2/weight'),
    (lambda s: s.pop('mapping/Dense1/bias'), {}, 'missing: mapping/Dense1/bias'),
    (put('mapping/LabelConcat/weight', 3, 10), {}, 'conditional on labels (it has mapping/Label'),
    (put('synthesis/noise1', 8, 8), {}, 'noise_const has shape'),
    (lambda s: None, {'label_size': 10}, 'conditional on labels'),
    (lambda s: None, {'architecture': 'orig'}, "architecture 'skip'"),
    (lambda s: None, {'resample_kernel': [1, 2, 1]}, 'resample_kernel'),
  ],
)
def test_other_tensorflow_networks_are_refused(tmp_path, change, arguments, told):
  content, generator, _ = networks.tensorflow_networks(TINY)
  change(generator)
  last = networks.tensorflow_network(generator, 'Gs', **arguments)
  assert told in refusal(written(tmp_path, (*content[:2], last)))
