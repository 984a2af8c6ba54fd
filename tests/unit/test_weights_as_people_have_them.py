"""Weights in the forms in which people have them, and hostile ones."""

import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from experiments import convert_weights
from gan2shape_jax import weights
from gan2shape_jax.errors import DataError, WeightsError
from gan2shape_jax.weights import array_files, nvidia_pickles, read_torch_file, torch_files
from tests.conftest import TESTDATA
from tests.support.foreign_files import torch_zip

WHOLE = TESTDATA / 'golden' / 'a_stylegan2_32.pt'


@pytest.fixture(scope='module')
def state():
  return read_torch_file(WHOLE)


@pytest.fixture(scope='module')
def whole():
  return array_files.flatten(weights.read_stylegan2(WHOLE).generator)


def refusal(path):
  with pytest.raises(WeightsError) as caught:
    weights.read_stylegan2(path)
  line = str(caught.value)
  assert len(line.splitlines()) == 1
  assert str(path) in line
  return line


def same(found, expected, *, but=()):
  found = array_files.flatten(found)
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    if not name.endswith(but or ('//',)):
      np.testing.assert_array_equal(found[name], array)


def prefixed(state, prefix):
  return {prefix + name: array for name, array in state.items()}


@pytest.mark.parametrize(
  'wrap',
  [
    lambda g: g,
    lambda g: prefixed(g, 'module.'),
    lambda g: {'g_ema': prefixed(g, 'module.')},
    lambda g: {'params_ema': g, 'params': {'x': np.ones(3)}},
    lambda g: {'state_dict': prefixed(g, 'decoder.') | {'encoder.body': np.ones(4)}},
    lambda g: {'state_dict': prefixed(g, 'module.decoder.'), 'opts': 'none'},
    lambda g: {'generator': g, 'iteration': 7},
    lambda g: {'state_dict': prefixed(g, 'generator.') | prefixed(g, 'other.')},
    lambda g: {'g_ema': {n: a for n, a in g.items() if not n.endswith('kernel')}},
  ],
)
def test_where_the_generator_is_found(tmp_path, state, whole, wrap):
  path = torch_zip(tmp_path / 'x.pt', wrap(state['g_ema']))
  found = weights.read_stylegan2(path)
  same(found.generator, whole)
  assert found.discriminator is None


def test_a_discriminator_within_data_parallel(tmp_path, state):
  expected = array_files.flatten(weights.read_stylegan2(WHOLE).discriminator)
  content = {'g_ema': state['g_ema'], 'd': prefixed(state['d'], 'module.')}
  same(weights.read_stylegan2(torch_zip(tmp_path / 'x.pt', content)).discriminator, expected)


def test_missing_noise_is_drawn_from_one_seed_and_it_is_said(tmp_path, state, whole, capsys):
  generator = {n: a for n, a in state['g_ema'].items() if not n.startswith('noises.')}
  path = torch_zip(tmp_path / 'x.pt', {'g_ema': generator})
  first, second = (weights.read_stylegan2(path).generator for _ in range(2))
  same(first, whole, but=('noise',))
  same(second, array_files.flatten(first))
  lines = capsys.readouterr().err.splitlines()
  assert lines == [f'{path}: 7 noise buffers are not in the file, they are drawn from seed 0'] * 2
  generator['noises.noise_3'] = state['g_ema']['noises.noise_3']
  part = weights.read_stylegan2(torch_zip(path, {'g_ema': generator})).generator
  np.testing.assert_array_equal(
    part['block16']['up']['noise'][..., 0], generator['noises.noise_3'][0, 0]
  )
  assert '6 noise buffers' in capsys.readouterr().err


def test_mean_latents_by_layer(tmp_path, state, capsys):
  mean = np.arange(48, dtype=np.float32)
  for given in (mean, mean[None], np.tile(mean, (8, 1)), np.tile(mean, (1, 8, 1))):
    content = {'g_ema': state['g_ema'], 'latent_avg': given}
    found = weights.read_stylegan2(torch_zip(tmp_path / 'x.pt', content))
    np.testing.assert_array_equal(found.mean_latent, mean)
  assert capsys.readouterr().err == ''
  content['latent_avg'] = np.tile(mean, (8, 1)) + np.arange(8)[:, None]
  assert weights.read_stylegan2(torch_zip(tmp_path / 'x.pt', content)).mean_latent is None
  assert 'latent_avg differs from layer to layer' in capsys.readouterr().err
  content['latent_avg'] = mean[:7]
  assert 'mean_latent' in refusal(torch_zip(tmp_path / 'x.pt', content))


def test_a_state_dict_with_nvidias_names(tmp_path):
  from tests.support import nvidia_networks
  from tests.support.foreign_files import nvidia_pickle

  arrays = lambda state: {name: np.asarray(array) for name, array in state.items()}
  content, state, critic = nvidia_networks.torch_networks(nvidia_networks.TINY)
  (tmp_path / 'x.pkl').write_bytes(nvidia_pickle(content))
  expected = weights.read_stylegan2(tmp_path / 'x.pkl')
  path = torch_zip(tmp_path / 'x.pt', {'G_ema': arrays(state), 'D': arrays(critic)})
  found = weights.read_stylegan2(path)
  same(found.generator, array_files.flatten(expected.generator))
  same(found.discriminator, array_files.flatten(expected.discriminator))
  np.testing.assert_array_equal(found.mean_latent, expected.mean_latent)


def changed(state, **changes):
  return {'g_ema': dict(state['g_ema']) | changes}


def test_generators_of_other_kinds_are_refused_by_what_they_are(tmp_path, state):
  path = tmp_path / 'x.pt'
  wide = {'style.1.weight': np.zeros((48, 96), np.float32)}
  assert 'conditional on labels' in refusal(torch_zip(path, changed(state, **wide)))
  named = {'embed.weight': np.zeros((3, 48), np.float32)}
  assert 'conditional on labels' in refusal(torch_zip(path, changed(state, **named)))
  third = {'mapping.fc0.weight': np.ones((4, 4)), 'synthesis.L0_36_512.weight': np.ones(3)}
  for content in ({'G_ema': third}, third):
    assert 'StyleGAN3' in refusal(torch_zip(path, content))


def test_a_refusal_lists_what_is_in_the_file(tmp_path):
  content = {f'part{k}': {'x': np.ones(2)} for k in range(10)}
  line = refusal(torch_zip(tmp_path / 'x.pt', content))
  assert 'part0, part1' in line
  assert 'and 2 more' in line
  for content in ({}, [1, 2], 'text', {'g_ema': {}}, {'g_ema': 3}):
    refusal(torch_zip(tmp_path / 'x.pt', content))


BIAS = 'style.1.bias'


@pytest.mark.parametrize(
  ('changes', 'told'),
  [
    ({BIAS: np.full(48, np.nan, np.float32)}, 'expected finite numbers'),
    ({BIAS: np.arange(48)}, 'this is int64'),
    ({BIAS: [[1, 2], [3]]}, 'this is list'),
    ({BIAS: 'text'}, 'this is str'),
    ({BIAS: None}, 'this is NoneType'),
    ({BIAS: {'a': 1}}, 'this is dict'),
    ({7: np.ones(2)}, 'found 7 as one'),
    ({('a', 1): np.ones(2)}, 'as one'),
    ({BIAS: np.zeros((48, 1, 1, 1), np.float32)}, BIAS.split('.')[-1]),
  ],
)
def test_strange_entries_are_refused_in_one_line(tmp_path, state, changes, told):
  content = {'g_ema': dict(state['g_ema']) | changes}
  assert told in refusal(torch_zip(tmp_path / 'x.pt', content))


@pytest.mark.parametrize(
  'names', [('a', 'a/b'), ('a/b', 'a'), ('x//y',), ('/x',), ('x/',), ('/'.join('a' * 50_000),)]
)
def test_strange_names_in_safetensors(tmp_path, names):
  from safetensors.numpy import save

  path = tmp_path / 'x.safetensors'
  path.write_bytes(save({name: np.ones(2, np.float32) for name in names}))
  with pytest.raises(WeightsError, match=r'x\.safetensors') as caught:
    weights.load_safetensors(path)
  assert len(str(caught.value)) < 400


# Hostile files: each in a process of its own, whose memory is measured.

_READ = """
import resource, sys
from gan2shape_jax import weights
from gan2shape_jax.errors import WeightsError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
  weights.read_stylegan2(sys.argv[1])
except WeightsError as error:
  print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def read_apart(path):
  """The lines told and the MiB taken."""
  done = subprocess.run(
    [sys.executable, '-c', _READ, path], capture_output=True, text=True, timeout=60, check=True
  )
  *lines, taken = done.stdout.splitlines()
  assert len(lines) == 1
  return lines[0], int(taken)


def zipped(path, pickled, compression=zipfile.ZIP_DEFLATED, **entries):
  with zipfile.ZipFile(path, 'w', compression) as archive:
    archive.writestr('x/data.pkl', pickled)
    for name, content in entries.items():
      archive.writestr(f'x/{name}', content)
  return path


NESTED = b'\x80\x02' + b']' * 50_000 + b'a' * 49_999 + b'.'
MEMO = b'\x80\x02Nr' + struct.pack('<I', 2**28) + b'.'


@pytest.mark.parametrize(
  'content',
  [MEMO, b'\x80\x02Np400000000\n.', b'\x80\x05\x96' + struct.pack('<Q', 2**33) + b'.', NESTED],
  ids=['memo', 'text memo', 'bytes', 'nested'],
)
@pytest.mark.parametrize('form', ['zip', 'pickle', 'stream'])
def test_a_few_bytes_take_no_memory(tmp_path, content, form):
  path = tmp_path / 'x.pt'
  if form == 'zip':
    zipped(path, content)
  else:
    path.write_bytes((torch_files._LEGACY_START if form == 'stream' else b'') + content)
  line, taken = read_apart(path)
  assert str(path) in line
  assert taken < 200


def test_a_zip_that_swells(tmp_path):
  path = zipped(tmp_path / 'x.pt', bytes(300_000_000))
  assert path.stat().st_size < 400_000
  line, taken = read_apart(path)
  assert 'unpacked' in line
  assert taken < 100


def test_a_tensor_that_repeats_one_number():
  storage = np.zeros(1, np.float32)
  small = torch_files.rebuild_tensor(storage, 0, (18, 512), (0, 0))
  assert small.shape == (18, 512)
  with pytest.raises(torch_files.RefusedError, match='repeats'):
    torch_files.rebuild_tensor(storage, 0, (10**9,), (0,))


# BUILD with a state, and with one of slots
CHANGES = {False: b'(S"evil"\nI1\ndb.', True: b'N(S"evil"\nI1\nd\x86b.'}


@pytest.mark.parametrize(
  ('module', 'name'),
  [
    ('torch._utils', '_rebuild_tensor_v2'),
    ('argparse', 'Namespace'),
    ('collections', 'OrderedDict'),
    ('torch', 'Size'),
    ('torch', 'FloatStorage'),
  ],
)
@pytest.mark.parametrize('slots', [True, False])
def test_files_change_nothing_of_this_program(tmp_path, module, name, slots):
  content = f'c{module}\n{name}\n'.encode() + CHANGES[slots]
  path = tmp_path / 'x.pt'
  path.write_bytes(content)
  with pytest.raises(WeightsError):
    read_torch_file(path)
  import collections

  for thing in (torch_files.Namespace, torch_files.rebuild_tensor, collections.OrderedDict, tuple):
    assert not hasattr(thing, 'evil')


@pytest.mark.parametrize(('module', 'name'), sorted(nvidia_pickles._KNOWN))
@pytest.mark.parametrize('slots', [True, False])
def test_nvidias_pickles_change_nothing_either(module, name, slots):
  content = b'\x80\x02' + f'c{module}\n{name}\n'.encode() + CHANGES[slots]
  with pytest.raises(WeightsError):
    nvidia_pickles.read_nvidia_pickle(content, path='x.pkl')
  known = nvidia_pickles._KNOWN[module, name]
  assert not hasattr(known, 'evil')


def test_a_namespace_of_settings_is_read(tmp_path):
  content = b'\x80\x02cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb.'
  path = zipped(tmp_path / 'x.pt', content)
  assert read_torch_file(path).settings == {'a': 1}


@pytest.mark.parametrize('kind', ['pipe', 'device'])
def test_pipes_and_devices_are_refused_at_once(tmp_path, kind):
  path = tmp_path / 'x.pt'
  os.mkfifo(path) if kind == 'pipe' else path.symlink_to('/dev/zero')
  assert f'this is a {kind}' in refusal(path)


# The command


def test_a_prior_onto_a_full_disk_leaves_nothing(tmp_path):
  from tests.unit.test_importers import gaussians, mvn_files

  view, light = gaussians()
  paths = mvn_files(tmp_path, view, light)
  target = tmp_path / 'prior.npz'
  code = 'import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n'
  code += 'from absl import app\nfrom experiments import convert_weights\n'
  code += 'app.run(convert_weights.main, ["x", "--kind=prior", *sys.argv[1:]])'
  done = subprocess.run(
    [sys.executable, '-c', code, *paths, target], capture_output=True, text=True, timeout=100
  )
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1
  assert 'prior.npz' in done.stderr
  assert not [path for path in os.listdir(tmp_path) if 'prior' in path]


def test_the_conversion_tells_that_there_is_no_discriminator(tmp_path, state):
  path = torch_zip(tmp_path / 'x.pt', state['g_ema'])
  groups, summary = convert_weights.load_stylegan2(path)
  assert set(groups) == {'generator'}
  assert 'discriminator: none in the file' in summary


STRANGE = {
  'number': {7: np.ones(2, np.float32)},
  'text': {'conv1.weight': 'text', 'netD': 'text'},
  'ragged': {'features.0.weight': [[1], [1, 2]]},
  'nested': {'netD': {'a': {'b': 'c'}}, 'netA': {7: np.ones(2)}, 'netV': [1], 'netL': None},
  'tuple': (1, 2),
  'integers': {'mean': np.ones(6, int), 'cov': np.eye(6)},
  'large': {'mean': np.full(6, 1e39), 'cov': np.eye(6)},
}


@pytest.mark.parametrize('kind', sorted(convert_weights.KINDS))
@pytest.mark.parametrize('name', STRANGE)
def test_strange_files_of_all_kinds_are_refused_in_one_line(tmp_path, kind, name):

  path = torch_zip(tmp_path / 'x.pt', STRANGE[name])
  known = convert_weights.KINDS[kind]
  with pytest.raises((WeightsError, DataError)) as caught:
    known.load(*[str(path)] * known.inputs)
  line = str(caught.value)
  assert len(line.splitlines()) == 1
  assert 'x.pt' in line


def test_names_that_are_no_text_are_not_written(tmp_path):
  with pytest.raises(WeightsError, match='expected names of text'):
    weights.save_safetensors(tmp_path / 'x.safetensors', {'\ud800': np.ones(3)})
  assert not list(tmp_path.iterdir())
