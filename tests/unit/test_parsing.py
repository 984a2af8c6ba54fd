"""The parsing networks: rules of the masks, values, and files in the published formats."""

import collections
import functools
import itertools
import json
import pathlib
import pickle
import subprocess
import sys
import types
import unittest.mock
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import weights
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import parsing, parsing_networks
from gan2shape_jax.weights import array_files
from gan2shape_jax.weights.parsing_files import load_parsing, parsing_from_state_dict
from tests.golden.replay_g import drawn_state

ROOT = pathlib.Path(__file__).parents[2]
MANIFESTS = json.loads((ROOT / 'tests' / 'testdata' / 'manifests.json').read_text())

# Files as torch.save makes them, without torch


class Storage:
  def __init__(self, array, key):
    self.array, self.key = array, key


def torch_pickler(file, modules, storages, *more):
  """A pickler of arrays as tensors, each with a storage of its own, added to `storages`."""

  class Pickler(pickle.Pickler):
    def reducer_override(self, value):
      if not isinstance(value, np.ndarray):
        return NotImplemented
      storage = Storage(value, str(len(storages)))
      storages.append(storage)
      strides = np.empty(value.shape, np.int8).strides  # of a contiguous array, in numbers
      arguments = (storage, 0, value.shape, strides, False, collections.OrderedDict())
      return modules['torch._utils']._rebuild_tensor_v2, arguments

    def persistent_id(self, value):
      if not isinstance(value, Storage):
        return None
      name = {'f': 'FloatStorage', 'i': 'LongStorage'}[value.array.dtype.kind]
      kind = getattr(modules['torch'], name)
      return 'storage', kind, value.key, 'cpu', value.array.size, *more

  return Pickler(file, 2)


def write_torch(path, content, *, zipped):
  """Writes a checkpoint as torch.save does: since version 1.6 zipped, before as a stream."""

  # Pickles name what they need, and pickling looks the names up: these stand in for torch's.
  torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
  torch._utils = utils
  for module, name in (
    (torch, 'FloatStorage'),
    (torch, 'LongStorage'),
    (utils, '_rebuild_tensor_v2'),
  ):
    setattr(module, name, type(name, (), {'__module__': module.__name__}))
  modules, storages = {'torch': torch, 'torch._utils': utils}, []
  with unittest.mock.patch.dict(sys.modules, modules):
    if zipped:
      with zipfile.ZipFile(path, 'w') as archive:
        with archive.open('archive/data.pkl', 'w') as file:
          torch_pickler(file, modules, storages).dump(content)
        archive.writestr('archive/byteorder', 'little')
        for storage in storages:
          archive.writestr(f'archive/data/{storage.key}', storage.array.tobytes())
        archive.writestr('archive/version', '3\n')
      return
    with open(path, 'wb') as file:
      for header in (0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001}):
        if isinstance(header, dict):
          header |= {'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 4}}
        pickle.dump(header, file, 2)
      torch_pickler(file, modules, storages, None).dump(content)
      pickle.dump([storage.key for storage in storages], file, 2)
      for storage in storages:
        file.write(storage.array.size.to_bytes(8, 'little') + storage.array.tobytes())


def state_dict(state, prefix=''):
  """As a module's state dict: ordered, versions of the modules in an attribute."""
  result = collections.OrderedDict((prefix + name, array) for name, array in state.items())
  result._metadata = collections.OrderedDict({'': {'version': 1}})
  return result


@functools.cache
def state_of(network):
  return drawn_state(MANIFESTS[network])


@pytest.fixture(scope='module')
def bisenet_path(tmp_path_factory):
  path = tmp_path_factory.mktemp('bisenet') / '79999_iter.pth'
  write_torch(path, state_dict(state_of('bisenet19')), zipped=False)
  return path


@pytest.fixture(scope='module')
def bisenet(bisenet_path):
  return load_parsing(bisenet_path, category='face')


def zeros(network):
  shapes = MANIFESTS[network]
  return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def refusal(function, *arguments, **options):
  """The message of the error, which must be one line."""
  with pytest.raises(WeightsError) as error:
    function(*arguments, **options)
  message = str(error.value)
  assert '\n' not in message
  return message


# Rules


def test_networks_of_the_categories():
  assert parsing.network_of('face') == parsing.network_of('synface') == ('bisenet', 19, 512)
  for category in ('car', 'cat', 'horse'):
    assert parsing.network_of(category) == ('pspnet', 21, 473)
  assert parsing.network_of('church') == ('pspnet', 150, 473)
  with pytest.raises(ValueError, match=r"'dog'.*face, synface, car, cat, horse, church"):
    parsing.network_of('dog')


@pytest.mark.parametrize(
  ('category', 'expected'),
  [
    ('face', {0: 0, 1: 1, 13: 1, 14: 0.5, 15: 0.5, 16: 0, 17: 0.5, 18: 0.5}),
    ('synface', {0: 0, 1: 1, 13: 1, 14: 1, 15: 0, 16: 0, 17: 0, 18: 0}),
    ('car', {0: 0, 6: 0, 7: 1, 8: 0, 20: 0}),
    ('cat', {0: 0, 7: 0, 8: 1, 12: 0}),
    ('horse', {0: 0, 12: 0, 13: 1, 17: 0}),
    ('church', {0: 0, 1: 1, 2: 0, 149: 0}),
  ],
)
def test_classes_of_the_categories(category, expected):
  labels = np.array([list(expected)])
  mask = parsing.mask_from_labels(category, np.repeat(labels, labels.size, 0), labels.size)
  np.testing.assert_array_equal(mask[..., 0], [list(expected.values())] * labels.size)


def test_masks_shrink_by_area():
  labels = np.zeros((4, 4), int)
  labels[:2, 1] = labels[2:, 2:] = 7
  logits = jax.nn.one_hot(labels, 21)
  mask = parsing.mask_from_logits('car', logits, 2)
  np.testing.assert_allclose(mask[..., 0], [[0.5, 0], [0, 1]])
  with pytest.raises(ValueError, match='150 classes, not 21'):
    parsing.mask_from_logits('church', logits, 2)


def test_inputs_of_the_networks():
  image = jnp.full((16, 16, 3), 0.5)
  for category in ('face', 'synface', 'church', 'horse'):
    size = parsing.network_of(category).size
    np.testing.assert_allclose(
      parsing.network_input(category, image), np.full((size, size, 3), 0.5)
    )
  fed = parsing.network_input('car', image)
  expected = (0.75 - np.array(parsing.IMAGENET_MEAN)) / parsing.IMAGENET_STD
  np.testing.assert_allclose(fed[0, 0], expected, rtol=1e-5)


# Networks


def test_bisenet_file(bisenet, bisenet_path):
  flat = array_files.flatten(bisenet)
  assert {array.dtype for array in flat.values()} == {np.dtype(np.float32)}
  assert parsing_networks.kind_of(bisenet) == 'bisenet'
  assert parsing_networks.num_classes(bisenet) == 19
  assert not [name for name in flat if '16' in name.split('/')[0]]

  # The fold, against the definition of the batch norm: the layer is a matrix.
  state = state_of('bisenet19')
  x = np.random.default_rng(0).standard_normal(512)
  y = state['cp.conv_avg.conv.weight'][:, :, 0, 0] @ x
  norm = {
    n: state[f'cp.conv_avg.bn.{n}'] for n in ('weight', 'bias', 'running_mean', 'running_var')
  }
  y = (y - norm['running_mean']) / np.sqrt(norm['running_var'] + 1e-5)
  y = y * norm['weight'] + norm['bias']
  layer = bisenet['context_mean']
  np.testing.assert_allclose(x @ layer['kernel'][0, 0] + layer['bias'], y, rtol=1e-4, atol=1e-5)
  with pytest.raises(WeightsError, match=r'parsed by pspnet of 21 classes.*bisenet of 19'):
    load_parsing(bisenet_path, category='car')


def waves(size):
  """A picture of smooth waves, equal everywhere."""
  rows, columns, colours = np.meshgrid(
    np.arange(size), np.arange(size), np.arange(3), indexing='ij'
  )
  return jnp.asarray(np.sin(rows / 5 + colours) * np.cos(columns / 7 - colours), jnp.float32)


# Made by this code when it agreed with the fixtures g_* of the original within 2e-6 of the largest
# value: the first three logits of the picture's corner and of its middle.
PINNED = {
  'bisenet19': [[12.67, -21.43, -7.84], [21.19, -21.6, -39.81]],
  'pspnet_voc': [[-379.83, -219.08, 89.84], [-30.84, -71.73, 89.09]],
}
CLASSES = {'bisenet19': 19, 'pspnet_voc': 21, 'pspnet_ade20k': 150}


def check_pinned(network, params, size):
  logits = jax.jit(parsing_networks.logits_of)(params, waves(size)[None])
  assert logits.shape == (1, size, size, CLASSES[network])
  ours = np.asarray(logits)[0, [0, size // 2], [0, size // 2], :3]
  np.testing.assert_allclose(ours, PINNED[network], atol=1e-3 * np.abs(logits).max())


def test_bisenet_values(bisenet):
  check_pinned('bisenet19', bisenet, 64)


def test_sizes_that_halve_unevenly(bisenet):
  logits = jax.eval_shape(parsing_networks.bisenet, bisenet, jnp.zeros((2, 45, 71, 3)))
  assert logits.shape == (2, 45, 71, 19)


def test_pspnet_file_and_values(tmp_path):
  path = tmp_path / 'train_epoch_50.pth'
  optimizer = {'state': {}, 'param_groups': [{'lr': 0.01, 'nesterov': False, 'params': [0, 1]}]}
  state = state_dict(state_of('pspnet_voc'), 'module.')
  content = {'epoch': 50, 'state_dict': state, 'optimizer': optimizer}
  write_torch(path, content, zipped=True)
  params = load_parsing(path, category='horse')
  path.unlink()
  assert 'aux' not in params
  assert parsing_networks.kind_of(params) == 'pspnet'
  assert parsing_networks.num_classes(params) == 21
  check_pinned('pspnet_voc', params, 65)
  with pytest.raises(ValueError, match='at least 41'):
    parsing_networks.pspnet(params, jnp.zeros((1, 40, 48, 3)))
  with pytest.raises(ValueError, match='pspnet of 150 classes, not by pspnet of 21'):
    parsing.parse_mask('church', params, jnp.zeros((64, 64, 3)))


def test_parse_mask(bisenet):
  parse = jax.jit(functools.partial(parsing.parse_mask, 'face'))
  mask = np.asarray(parse(bisenet, waves(64)))
  assert mask.shape == (64, 64, 1)
  assert mask.min() >= 0
  assert mask.max() <= 1
  assert np.ptp(mask) > 0
  fed = jax.image.resize(waves(64), (512, 512, 3), 'linear')
  labels = np.asarray(jax.jit(parsing_networks.bisenet)(bisenet, fed[None])[0]).argmax(-1)
  wide, narrow = ~np.isin(labels, [0, 16]), np.isin(labels, range(1, 14))
  expected = (0.5 * wide + 0.5 * narrow).reshape(64, 8, 64, 8).mean((1, 3))
  assert np.mean(np.abs(mask[..., 0] - expected) > 1e-5) < 0.01  # rounding turns a few labels
  with pytest.raises(ValueError, match=r'\[size, size, 3\]'):
    parsing.parse_mask('face', bisenet, jnp.zeros((64, 32, 3)))


# Importer


@pytest.mark.parametrize(('network', 'classes'), CLASSES.items())
def test_published_names(network, classes):
  state = zeros(network)
  heads = ('aux.', 'conv_out16.', 'conv_out32.')
  few = {
    f'module.{k}': v
    for k, v in state.items()
    if not k.startswith(heads) and not k.endswith('num_batches_tracked')
  }
  shapes = [
    {k: v.shape for k, v in array_files.flatten(parsing_from_state_dict(s)).items()}
    for s in (state, few)
  ]
  assert shapes[0] == shapes[1]
  assert shapes[0]['output/kernel'][-1] == classes
  assert ('output/bias' in shapes[0]) == (classes != 19)


def test_any_number_of_classes():
  state = zeros('bisenet19')
  state['conv_out.conv_out.weight'] = np.zeros((11, 256, 1, 1), np.float32)
  assert parsing_networks.num_classes(parsing_from_state_dict(state)) == 11


def test_other_arrays_are_refused():
  state = zeros('bisenet19')
  del state['ffm.conv2.weight'], state['cp.arm16.bn_atten.running_var']
  state['cp.resnet.fc.weight'] = np.zeros((1000, 512))
  message = refusal(parsing_from_state_dict, state, path='face.pth')
  for part in ('face.pth', '2 missing: ', 'ffm.conv2.weight', 'cp.arm16.bn_atten.running_var'):
    assert part in message
  assert '1 extra: cp.resnet.fc.weight' in message

  state = zeros('pspnet_voc')
  state['layer2.1.conv2.weight'] = np.zeros((256, 256, 3, 3))
  message = refusal(parsing_from_state_dict, state)
  assert 'layer2.1.conv2.weight 256x256x3x3 instead of 128x128x3x3' in message
  state = zeros('pspnet_voc')
  del state['cls.4.weight']
  assert 'missing: cls.4.weight' in refusal(parsing_from_state_dict, state)
  deeper = {f'layer3.6.bn{i}.weight': np.zeros(256, np.float32) for i in (1, 2)}
  assert '2 extra: layer3.6' in refusal(parsing_from_state_dict, zeros('pspnet_voc') | deeper)
  assert 'BiSeNet' in refusal(parsing_from_state_dict, zeros('vgg16'))
  assert 'BiSeNet' in refusal(parsing_from_state_dict, {})


def test_other_files_are_refused(tmp_path, bisenet_path, testdata):
  path = tmp_path / 'x.pth'
  path.write_text('<html>Sign in to download</html>')
  assert 'expected a PyTorch checkpoint' in refusal(load_parsing, path)
  assert 'No such file' in refusal(load_parsing, tmp_path / 'absent.pth')
  with open(bisenet_path, 'rb') as file:
    path.write_bytes(file.read(1 << 20))
  assert 'x.pth' in refusal(load_parsing, path)
  write_torch(path, dict(itertools.islice(state_of('bisenet19').items(), 9)), zipped=True)
  assert 'missing' in refusal(load_parsing, path)
  path.write_bytes(path.read_bytes()[:-100])
  assert 'damaged or cut off' in refusal(load_parsing, path)
  for content in ([1, 2], {'state_dict': {'a': 1}}, {'epoch': 3}):
    write_torch(path, content, zipped=True)
    assert 'state dict of BiSeNet or PSPNet' in refusal(load_parsing, path)
  assert 'BiSeNet' in refusal(load_parsing, testdata / 'torch_zip.pt')
  with pytest.raises(ValueError, match='dog'):
    load_parsing(bisenet_path, category='dog')


def test_converted_file(tmp_path, bisenet_path, bisenet):
  def convert(kind, target):
    command = [sys.executable, '-m', 'experiments.convert_weights', f'--kind={kind}']
    command += [str(bisenet_path), str(target)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

  path = tmp_path / 'face.safetensors'
  done = convert('bisenet', path)
  assert done.returncode == 0, done.stderr
  assert '19 classes' in done.stdout
  assert 'conv_out16, conv_out32' in done.stdout
  ours, theirs = (array_files.flatten(p) for p in (load_parsing(path, category='synface'), bisenet))
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name])

  wrong = convert('pspnet', tmp_path / 'wrong.safetensors')
  assert wrong.returncode == 1
  assert len(wrong.stderr.splitlines()) == 1
  assert 'bisenet' in wrong.stderr
  assert not (tmp_path / 'wrong.safetensors').exists()


def test_converted_file_of_other_arrays(tmp_path):
  path = tmp_path / 'x.safetensors'
  weights.save_safetensors(path, {'a': np.zeros(2)})
  assert 'output/kernel' in refusal(load_parsing, path)
  output = {'output': {'kernel': np.zeros((1, 1, 512, 21), np.float32)}}
  weights.save_safetensors(path, output)
  assert 'missing: stem_0/kernel' in refusal(load_parsing, path)
  weights.save_safetensors(path, {'output': {'kernel': np.zeros(())}})
  refusal(load_parsing, path)
