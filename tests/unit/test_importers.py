"""Files in the exact formats that users hold -> params; NVIDIA's are in test_nvidia.py."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from gan2shape_jax import data, weights
from gan2shape_jax.data.latents import read_latent
from gan2shape_jax.errors import DataError, WeightsError
from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import array_files, network_checkpoints, perceptual, read_torch_file
from tests.support import nvidia_networks
from tests.support.foreign_files import (
  nvidia_pickle,
  random_arrays,
  tensors,
  torch_stream,
  torch_zip,
)

ROOT = pathlib.Path(__file__).parents[2]
MANIFESTS = json.loads((ROOT / 'tests' / 'testdata' / 'manifests.json').read_text())


def refusal(function, *arguments, error=WeightsError, **options):
  """The message of the error, which must be one line."""
  with pytest.raises(error) as caught:
    function(*arguments, **options)
  message = str(caught.value)
  assert '\n' not in message
  return message


def convert(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.convert_weights', *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


# StyleGAN2 with rosinality's names


def test_stylegan2_checkpoint_of_full_size(tmp_path):
  state = random_arrays(MANIFESTS['stylegan2_128_channel_multiplier_1'])
  blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
  for part, gain in (('g_ema', 4), ('d', 1)):
    for name in state[part]:
      if name.endswith('kernel'):
        state[part][name] = gain * blur
  state['latent_avg'] = np.arange(512, dtype=np.float32)
  path = torch_zip(tmp_path / '550000.pt', state)
  generator, critic, mean = weights.read_stylegan2(path)
  path.unlink()
  assert stylegan2.resolution(generator) == discriminator.discriminator_resolution(critic) == 128
  assert stylegan2.num_modules(generator) == 9
  np.testing.assert_array_equal(mean, state['latent_avg'])
  kernel = state['g_ema']['convs.2.conv.weight'][0].transpose(2, 3, 1, 0) / np.sqrt(512 * 9)
  np.testing.assert_allclose(generator['block16']['up']['kernel'], kernel, rtol=1e-6)


# The five networks of GAN2Shape, the four of Unsup3d


@pytest.mark.parametrize('size', [64, 128])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_gan2shape_checkpoint(tmp_path, size, prefix):
  state = random_arrays(MANIFESTS[f'gan2shape_{size}'])
  saved = {
    key: {prefix + name: value for name, value in network.items()} for key, network in state.items()
  }
  saved['optimizer'] = {'state': {}, 'param_groups': [{'lr': 1e-4, 'params': [0, 1]}]}
  path = torch_zip(tmp_path / 'checkpoint.pth', saved)
  networks, others = network_checkpoints.networks_from_checkpoint(read_torch_file(path), path=path)
  path.unlink()
  assert others == ['optimizer']
  assert list(networks) == ['depth', 'albedo', 'view', 'light', 'encoder']
  image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  for kind, params in networks.items():
    module = network_checkpoints.network_from_params(kind, params)
    assert jax.eval_shape(module.apply, {'params': params}, image).shape[0] == 1
    again = network_checkpoints.network_to_state_dict(kind, params)
    original = state[network_checkpoints.CHECKPOINT_KEYS[kind]]
    assert again.keys() == original.keys()
    for name, value in again.items():
      np.testing.assert_array_equal(value, original[name])


def test_names_in_one_flat_dict():
  state = random_arrays(MANIFESTS['unsup3d_64']['netV'])
  flat = {f'module.netV.{name}': value for name, value in state.items()} | {'epoch': 30}
  networks, others = network_checkpoints.networks_from_checkpoint(flat)
  assert list(networks) == ['view']
  assert others == ['epoch']


def test_unsup3d_checkpoint(tmp_path):
  state = random_arrays(MANIFESTS['unsup3d_64'])
  (tmp_path / 'checkpoint030.pth').write_bytes(torch_stream(tensors(state | {'epoch': 30})))
  target = tmp_path / 'out.safetensors'
  done = convert('--kind=unsup3d', tmp_path / 'checkpoint030.pth', target)
  assert done.returncode == 0, done.stderr
  assert 'not taken: netC (the confidence network), epoch' in done.stdout
  networks = weights.load_safetensors(target)
  assert set(networks) == {'depth', 'albedo', 'view', 'light'}
  assert networks['view']['down_0']['kernel'].shape == (4, 4, 3, 32)
  again = network_checkpoints.network_to_state_dict('albedo', networks['albedo'])
  for name, value in state['netA'].items():
    np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(
  ('name', 'shape', 'told'),
  [
    ('network.4.weight', (8, 16, 4, 4), 'network.4.weight 8x16x4x4 instead of 128x64x4x4'),
    ('network.99.weight', (3, 3), '1 extra: network.99.weight'),
    ('network.2.weight', None, '1 missing: network.2.weight'),
  ],
)
def test_wrong_networks_are_refused(name, shape, told):
  state = random_arrays({'netV': MANIFESTS['unsup3d_64']['netV']})
  state['netV'].pop(name, None)
  if shape:
    state['netV'][name] = np.zeros(shape, np.float32)
  message = refusal(network_checkpoints.networks_from_checkpoint, state, path='a.pth')
  assert message.startswith('a.pth, netV: ')
  assert told in message


def test_other_checkpoints_are_refused():
  read = network_checkpoints.networks_from_checkpoint
  assert 'netD, netA' in refusal(read, {'model': {}}, path='a.pth')
  assert 'tensors under netD' in refusal(read, {'netD': 3}, path='a.pth')
  assert 'tensors under netL' in refusal(read, {'netL': {'x': None}}, path='a.pth')


# Views and lights


def gaussians(seed=0):
  random = np.random.default_rng(seed)
  parts = []
  for size in (6, 4):
    factor = random.standard_normal((size, size)).astype(np.float32)
    cov = factor @ factor.T + np.eye(size, dtype=np.float32)
    parts.append({'mean': random.standard_normal(size).astype(np.float32), 'cov': cov})
  return parts


def mvn_files(folder, view, light):
  return (
    torch_zip(folder / 'car_view_mvn.pth', view),
    torch_zip(folder / 'car_light_mvn.pth', light),
  )


def test_prior_of_the_original(tmp_path):
  view, light = gaussians()
  view['mean'] = view['mean'].astype(np.float64)
  target = tmp_path / 'prior.npz'
  done = convert('--kind=prior', *mvn_files(tmp_path, view, light), target)
  assert done.returncode == 0, done.stderr
  assert 'view_cov [6, 6]' in done.stdout
  prior = data.load_prior(target)
  assert prior.view_mean.dtype == np.float32
  np.testing.assert_allclose(prior.view_mean, view['mean'], rtol=1e-6)
  np.testing.assert_array_equal(prior.view_cov, view['cov'])
  np.testing.assert_array_equal(prior.light_mean, light['mean'])
  np.testing.assert_array_equal(prior.light_cov, light['cov'])


@pytest.mark.parametrize(
  ('part', 'name', 'value', 'told'),
  [
    (0, 'mean', np.zeros(5, np.float32), 'view_mean'),
    (0, 'cov', np.diag(np.float32([1, 1, 1, 1, 1, 0])), 'positive definite view_cov'),
    (1, 'cov', np.triu(np.ones((4, 4), np.float32)), 'symmetric light_cov'),
    (1, 'mean', np.float32([0, 0, np.nan, 0]), 'light_mean'),
    (1, 'mean', 3, "'mean' and 'cov'"),
  ],
)
def test_no_gaussians_are_refused(tmp_path, part, name, value, told):
  parts = gaussians()
  parts[part][name] = value
  paths = mvn_files(tmp_path, *parts)
  message = refusal(data.read_mvn_files, *paths, error=DataError)
  assert told in message
  assert '_mvn.pth' in message
  paths[0].write_text('<html>')
  assert 'car_view_mvn.pth' in refusal(data.read_mvn_files, *paths, error=DataError)


def test_prior_command_fails_in_one_line(tmp_path):
  view, light = gaussians()
  paths = mvn_files(tmp_path, view, light)
  done = convert('--kind=prior', *paths[::-1], tmp_path / 'prior.npz')
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1
  assert not (tmp_path / 'prior.npz').exists()
  assert '*.npz' in convert('--kind=prior', *paths, tmp_path / 'prior.safetensors').stderr


# Latents


@pytest.mark.parametrize(
  ('shape', 'expected'), [((7,), (7,)), ((1, 7), (7,)), ((5, 7), (5, 7)), ((1, 5, 7), (5, 7))]
)
@pytest.mark.parametrize(
  'wrap', [lambda x: x, lambda x: {'latent': x, 'noise': x}, lambda x: {3: x}]
)
def test_latent_of_a_picture(tmp_path, shape, expected, wrap):
  array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
  path = torch_zip(tmp_path / 'a.pt', wrap(array))
  np.testing.assert_array_equal(read_latent(path), array.reshape(expected))


def test_latents_of_several_pictures(tmp_path):
  array = np.arange(14, dtype=np.float32).reshape(2, 7)
  path = tmp_path / 'latents.pt'
  path.write_bytes(torch_stream(tensors(array)))
  np.testing.assert_array_equal(data.read_latents(path), array)
  torch_zip(path, array[0])
  np.testing.assert_array_equal(data.read_latents(path), array[:1])


def test_other_latents_are_refused(tmp_path):
  path = tmp_path / 'a.pt'
  for content, told in (
    ({'a': np.zeros(3), 'b': np.zeros(3)}, "the tensor 'latent'"),
    ({'latent': 'text'}, "the tensor 'latent'"),
    (np.zeros((2, 3, 4)), 'of floats'),
    (np.arange(4), 'of floats'),
    (np.full(4, np.nan), 'finite'),
  ):
    torch_zip(path, content)
    message = refusal(read_latent, path, error=DataError)
    assert told in message
    assert 'a.pt' in message
  path.write_bytes(b'PK\x03\x04')
  assert 'a.pt' in refusal(read_latent, path, error=DataError)
  assert 'b.pt' in refusal(read_latent, tmp_path / 'b.pt', error=DataError)


# The perceptual distance


def test_perceptual_files_of_full_size(tmp_path):
  shapes = MANIFESTS['vgg16']
  features = {name: shape for name, shape in shapes.items() if name.startswith('features')}
  ignored = {name: np.zeros(1, np.float32) for name in shapes if name not in features}
  vgg = torch_zip(tmp_path / 'vgg16-397923af.pth', random_arrays(features) | ignored)
  heads = torch_zip(tmp_path / 'vgg.pth', random_arrays(MANIFESTS['lpips_vgg_lin']))
  params = perceptual.perceptual_from_state_dicts(read_torch_file(vgg), read_torch_file(heads))
  vgg.unlink()
  assert len(params) == 18
  assert params['conv_12']['kernel'].shape == (3, 3, 512, 512)
  assert sum(array.size for array in array_files.flatten(params).values()) == 14_714_688 + 1472


# The command on NVIDIA's pickles


def test_convert_an_nvidia_pickle(tmp_path):
  content, generator, _ = nvidia_networks.torch_networks(nvidia_networks.TINY)
  source, target = tmp_path / 'ffhq.pkl', tmp_path / 'out.safetensors'
  source.write_bytes(nvidia_pickle(content, 4))
  done = convert('--kind=stylegan2', source, target)
  assert done.returncode == 0, done.stderr
  assert 'generator: 16x16, latent size 10, 3 mapping layers, widths 4:8 8:7 16:6' in done.stdout
  assert 'mean latent' in done.stdout
  assert stylegan2.resolution(weights.load_stylegan2(target)[0]) == 16
  np.testing.assert_array_equal(weights.load_mean_latent(target), generator['mapping.w_avg'])
  source.write_bytes(source.read_bytes()[:-50])
  done = convert('--kind=stylegan2', source, tmp_path / 'other.safetensors')
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1
  assert 'ffhq.pkl' in done.stderr
  assert sorted(os.listdir(tmp_path)) == ['ffhq.pkl', 'out.safetensors']
