import os
import pathlib
import pickle
import stat
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from gan2shape_jax import weights
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import array_files, read_torch_file
from gan2shape_jax.weights.stylegan2_files import (
  discriminator_from_state_dict,
  generator_from_state_dict,
)

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def checkpoint():
  return ROOT / 'tests' / 'testdata' / 'golden' / 'a_stylegan2_32.pt'


@pytest.fixture(scope='module')
def state(checkpoint):
  return read_torch_file(checkpoint)


def refusal(function, *arguments, **options):
  """The message of the error, which must be one line."""
  with pytest.raises(WeightsError) as error:
    function(*arguments, **options)
  message = str(error.value)
  assert '\n' not in message
  return message


# PyTorch files


@pytest.mark.parametrize('name', ['torch_zip.pt', 'torch_stream.pt'])
def test_torch_file_of_all_types(testdata, name):
  content = read_torch_file(testdata / name)
  state = content['state']
  base = np.arange(24, dtype=np.float32).reshape(4, 6)
  expected = {
    'weight': base,
    'transposed': base.T,
    'part': base[1:, 2:4],
    'half': np.array([0.5, -2, 65504], np.float16),
    'bfloat16': np.array([1, -3], ml_dtypes.bfloat16),
    'double': np.array(3.25),
    'long': np.array([-5, 2**40]),
    'int': np.array([7], np.int32),
    'short': np.array([-300], np.int16),
    'char': np.array([-7], np.int8),
    'byte': np.array([200], np.uint8),
    'bool': np.array([True, False]),
    'empty': np.zeros((0, 3), np.float32),
    'parameter': np.ones((2, 2), np.float32),
  }
  assert list(state) == list(expected)
  for key, array in expected.items():
    assert state[key].dtype == array.dtype
    np.testing.assert_array_equal(state[key], array)
  assert content['size'] == (2, 3)
  assert content['steps'] == (1, 2.5, 'text', None, [True])


class RunsCode:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('zipped', [True, False])
def test_pickle_that_runs_code_is_refused(tmp_path, zipped):
  evil = pickle.dumps({'weight': RunsCode(tmp_path / 'made')})
  path = tmp_path / 'evil.pt'
  if zipped:
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('evil/data.pkl', evil)
  else:
    path.write_bytes(evil)
  message = refusal(read_torch_file, path)
  assert 'evil.pt' in message
  assert 'mkdir' in message
  assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('name', ['builtins.eval', 'torch._utils._rebuild_tensor_v3', 'os.system'])
def test_unknown_names_are_refused(tmp_path, name):
  module, _, attribute = name.rpartition('.')
  path = tmp_path / 'x.pt'
  path.write_bytes(f'c{module}\n{attribute}\n(Vx\ntR.'.encode())
  assert name in refusal(read_torch_file, path)


def test_text_file_is_refused(tmp_path):
  path = tmp_path / 'page.pt'
  path.write_text('<html>Sign in to download</html>')
  message = refusal(read_torch_file, path)
  assert 'page.pt' in message
  assert 'expected a PyTorch checkpoint' in message


def test_missing_file_and_folder_are_refused(tmp_path):
  assert 'No such file' in refusal(read_torch_file, tmp_path / 'absent.pt')
  refusal(read_torch_file, tmp_path)


@pytest.mark.parametrize('name', ['torch_zip.pt', 'torch_stream.pt'])
def test_truncated_files_are_refused(testdata, tmp_path, name):
  content = (testdata / name).read_bytes()
  for size in (0, 3, 20, len(content) // 2, len(content) - 10, len(content) - 1):
    path = tmp_path / 'cut.pt'
    path.write_bytes(content[:size])
    assert 'cut.pt' in refusal(read_torch_file, path)


def test_zip_of_something_else_is_refused(tmp_path):
  path = tmp_path / 'other.pt'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('readme.txt', 'hello')
  assert 'data.pkl' in refusal(read_torch_file, path)


# safetensors files


def test_safetensors_round_trip(tmp_path):
  params = {
    'a': {'b': np.arange(6.0).reshape(2, 3).T, 'n': np.array(4, np.int32)},
    'half': np.array([1.5], np.float16),
    'brain': np.array([2.5], ml_dtypes.bfloat16),
  }
  path = tmp_path / 'x.safetensors'
  assert weights.save_safetensors(path, params, {'kind': 'test'}) == path.stat().st_size
  kept = weights.load_safetensors(path, dtype=None)
  assert kept['brain'].dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(kept['a']['b'], params['a']['b'])
  loaded = weights.load_safetensors(path)
  assert loaded['a']['n'].dtype == np.int32
  assert loaded['a']['n'].shape == ()
  assert {loaded['half'].dtype, loaded['brain'].dtype, loaded['a']['b'].dtype} == {
    np.dtype(np.float32)
  }
  assert os.listdir(tmp_path) == ['x.safetensors']


def test_safetensors_of_something_else_is_refused(tmp_path, checkpoint):
  assert 'safetensors' in refusal(weights.load_safetensors, checkpoint)
  assert 'absent' in refusal(weights.load_safetensors, tmp_path / 'absent')


def test_read_only_folder_is_refused(tmp_path, monkeypatch):
  folder = tmp_path / 'locked'
  folder.mkdir()
  folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
  if os.access(folder, os.W_OK):  # for root every folder is writable
    message = refusal(weights.save_safetensors, '/proc/x.safetensors', {'a': np.ones(2)})
  else:
    message = refusal(weights.save_safetensors, folder / 'x.safetensors', {'a': np.ones(2)})
  assert 'x.safetensors' in message
  assert os.listdir(folder) == []


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
  path = tmp_path / 'x.safetensors'
  weights.save_safetensors(path, {'a': np.ones(2)})
  before = path.read_bytes()

  def fail(*arguments):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', fail)
  assert 'No space left' in refusal(weights.save_safetensors, path, {'a': np.zeros(9)})
  assert os.listdir(tmp_path) == ['x.safetensors']
  assert path.read_bytes() == before


def test_compare_names_lists_differences():
  array_files.compare_names({'a': (2,), 'b': None}, {'a': np.ones(2), 'b': np.ones(3)}, path='f')
  expected = {f'm{k}': (1,) for k in range(20)} | {'same': (2, 3)}
  found = {'same': np.ones((3, 2)), 'odd': np.ones(1)}
  message = refusal(array_files.compare_names, expected, found, path='file.pt')
  for part in ('file.pt', '20 missing: m0, m1', 'and 12 more', '1 extra: odd', '3x2', '2x3'):
    assert part in message


# StyleGAN2


def test_stylegan2_from_both_files(tmp_path, checkpoint):
  generator, critic = weights.load_stylegan2(checkpoint)
  assert stylegan2.resolution(generator) == discriminator.discriminator_resolution(critic) == 32
  assert stylegan2.latent_size(generator) == 48
  assert stylegan2.num_modules(generator) == 9
  assert stylegan2.num_layers(generator) == 8
  path = tmp_path / 'x.safetensors'
  weights.save_safetensors(path, {'generator': generator, 'discriminator': critic})
  for ours, theirs in zip(weights.load_stylegan2(path), (generator, critic), strict=True):
    ours, theirs = array_files.flatten(ours), array_files.flatten(theirs)
    assert ours.keys() == theirs.keys()
    for name in ours:
      np.testing.assert_array_equal(ours[name], theirs[name])
  weights.save_safetensors(path, {'generator': generator})
  assert weights.load_stylegan2(path)[1] is None


def test_stylegan2_missing_and_extra_names(state, checkpoint):
  generator = dict(state['g_ema'])
  generator['renamed'] = generator.pop('convs.0.conv.weight')
  message = refusal(generator_from_state_dict, generator, path=checkpoint)
  assert 'a_stylegan2_32.pt' in message
  assert 'missing: convs.0.conv.weight' in message
  assert 'extra: renamed' in message
  critic = dict(state['d'])
  del critic['final_linear.1.bias']
  assert 'missing: final_linear.1.bias' in refusal(discriminator_from_state_dict, critic)
  refusal(generator_from_state_dict, {})
  refusal(discriminator_from_state_dict, {})
  refusal(generator_from_state_dict, state['d'])


@pytest.mark.parametrize(
  ('name', 'shape', 'told'),
  [
    ('convs.2.conv.weight', (1, 24, 30, 3, 3), 'block16/up/kernel 3x3x30x24 instead of 3x3x32x24'),
    ('style.3.weight', (48, 40), 'mapping/layer3/kernel'),
    ('noises.noise_4', (1, 1, 8, 8), 'block16/conv/noise 8x8x1 instead of 16x16x1'),
    ('conv1.conv.weight', (32, 32, 3, 3), 'conv1.conv.weight'),
    ('to_rgbs.1.upsample.kernel', (2, 2), 'filter'),
  ],
)
def test_stylegan2_wrong_shapes(state, name, shape, told):
  generator = dict(state['g_ema'])
  generator[name] = np.zeros(shape, np.float32)
  assert told in refusal(generator_from_state_dict, generator)


def test_stylegan2_of_other_content(testdata, tmp_path):
  assert 'g_ema' in refusal(weights.load_stylegan2, testdata / 'torch_zip.pt')
  path = tmp_path / 'x.safetensors'
  weights.save_safetensors(path, {'generator': {'constant': np.zeros((4, 4, 8), np.float32)}})
  assert 'missing' in refusal(weights.load_stylegan2, path)
  weights.save_safetensors(path, {'a': np.zeros(2)})
  assert "'generator'" in refusal(weights.load_stylegan2, path)


# The command


def convert(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.convert_weights', *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def test_convert_command(tmp_path, checkpoint):
  path = tmp_path / 'out.safetensors'
  done = convert('--kind=stylegan2', checkpoint, path, '--dtype=float16')
  assert done.returncode == 0, done.stderr
  assert '32x32' in done.stdout
  assert 'latent size 48' in done.stdout
  generator, _ = weights.load_stylegan2(path, dtype=None)
  assert generator['constant'].dtype == np.float16


def test_convert_command_fails_in_one_line(tmp_path):
  source = tmp_path / 'page.pt'
  source.write_text('<html>')
  done = convert('--kind=stylegan2', source, tmp_path / 'out.safetensors')
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1
  assert 'page.pt' in done.stderr
  assert os.listdir(tmp_path) == ['page.pt']
