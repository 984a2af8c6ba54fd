"""Weights of the parsing networks: the published files of BiSeNet and PSPNet -> params.

The files are PyTorch state dicts, plain or under 'state_dict', their names with or without
'module.' before them. Each batch norm is folded into the convolution before it, so that the params
are plain kernels and biases. The heads that only serve training are left out: `conv_out16` and
`conv_out32` of BiSeNet, `aux` of PSPNet; a file may have them or not.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import parsing, parsing_networks
from gan2shape_jax.weights import array_files
from gan2shape_jax.weights.torch_files import read_torch_file

TRAINING_HEADS = {'bisenet': ('conv_out16', 'conv_out32'), 'pspnet': ('aux',)}
"""Parts of the files that are not imported."""

_OUTPUTS = {'bisenet': 'conv_out.conv_out.weight', 'pspnet': 'cls.4.weight'}
_NORM = ('weight', 'bias', 'running_mean', 'running_var')
_NORM_EPSILON = 1e-5
_PREFIX = 'module.'


class _Layer(NamedTuple):
  """A convolution in both layouts.

  Attributes:
    name: its place in the params.
    conv: its name in a state dict.
    norm: name of the batch norm after it, None where there is none.
    shape: of its kernel [O, I, h, w].
    bias: whether it has a bias of its own.
  """

  name: str
  conv: str
  norm: str | None
  shape: tuple[int, int, int, int]
  bias: bool = False


def load_parsing(path: str | os.PathLike, *, category: str | None = None, dtype=np.float32) -> dict:
  """Loads a parsing network.

  Args:
    path: a published PyTorch file of BiSeNet or PSPNet, or a safetensors file made from one, told
      apart by content, as the network and its number of classes are.
    category: where given, the file must hold the network that parses this category.
    dtype: the type of the arrays returned; None keeps that of a safetensors file.

  Returns:
    The params of `models.parsing_networks`, numpy arrays.

  Raises:
    WeightsError: one line: what is wrong with the file.
    ValueError: the category is unknown.
  """
  wanted = None if category is None else parsing.network_of(category)
  if _is_safetensors(path):
    params = array_files.load_safetensors(path, dtype=dtype)
    _compare_params(params, path)
  else:
    params = parsing_from_state_dict(_state_of(read_torch_file(path), path), path=path)
    flat = array_files.flatten(params)
    params = array_files.unflatten(
      {k: array_files.cast_floating(v, dtype) for k, v in flat.items()}
    )
  found = parsing_networks.kind_of(params), parsing_networks.num_classes(params)
  if wanted is not None and found != wanted[:2]:
    raise WeightsError(
      f'{path}: {category} is parsed by {wanted.kind} of {wanted.classes} classes, '
      f'the file holds {found[0]} of {found[1]}'
    )
  return params


def parsing_from_state_dict(
  state: Mapping[str, np.ndarray], *, path: str | os.PathLike = 'the parsing network'
) -> dict:
  """Converts the state dict of BiSeNet or PSPNet; its names tell which.

  Args:
    state: names to arrays, channels first.
    path: the file, for messages.

  Returns:
    The params of `models.parsing_networks`.

  Raises:
    WeightsError: names are missing or unknown, or shapes are not the published ones.
  """
  kind, state = _published_part(state, path)
  layers = _layers(kind, _count_of_classes(state.get(_OUTPUTS[kind])))
  array_files.compare_names(_state_shapes(layers), state, path=path)
  flat = {}
  for layer in layers:
    kernel, bias = _folded(layer, state)
    flat[f'{layer.name}/kernel'] = kernel
    if bias is not None:
      flat[f'{layer.name}/bias'] = bias
  return array_files.unflatten(flat)


def _is_safetensors(path):
  """Such a file begins with a length and a JSON object, no zip archive or pickle does."""
  return array_files.read_bytes(path, 16)[8:9] == b'{'


def _state_of(content, path):
  """The state dict of a PyTorch file: all of it, or its entry 'state_dict'."""
  state = content
  if isinstance(content, Mapping) and isinstance(content.get('state_dict'), Mapping):
    state = content['state_dict']
  named = isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
  if not named or not all(isinstance(array, np.ndarray) for array in state.values()):
    raise WeightsError(f'{path}: expected a state dict of BiSeNet or PSPNet')
  return state


def _published_part(state, path):
  """The kind of network, and its arrays without prefixes, training heads and step counts."""
  state = {name.removeprefix(_PREFIX): np.asarray(array) for name, array in state.items()}
  if any(name.startswith('cp.') for name in state):
    kind = 'bisenet'
  elif any(name.startswith(('ppm.', 'cls.')) for name in state):
    kind = 'pspnet'
  else:
    raise WeightsError(f'{path}: expected a state dict of BiSeNet (cp.*) or PSPNet (ppm.*, cls.*)')
  heads = '|'.join(TRAINING_HEADS[kind])
  left_out = re.compile(rf'(?:{heads})\..*|.*\.num_batches_tracked')
  return kind, {name: array for name, array in state.items() if not left_out.fullmatch(name)}


def _count_of_classes(output):
  """Rows of the last layer's kernel; 1 stands for those of a file without one, refused later."""
  return output.shape[0] if output is not None and output.ndim else 1


def _folded(layer, state):
  """A convolution and its batch norm as one kernel [h, w, I, O] and bias [O]."""
  kernel = state[f'{layer.conv}.weight'].transpose(2, 3, 1, 0).astype(np.float32)
  bias = state[f'{layer.conv}.bias'].astype(np.float32) if layer.bias else None
  if layer.norm is not None:
    scale, offset, mean, variance = (
      state[f'{layer.norm}.{part}'].astype(np.float64) for part in _NORM
    )
    factor = scale / np.sqrt(variance + _NORM_EPSILON)
    kernel = kernel * factor.astype(np.float32)
    bias = (offset - mean * factor).astype(np.float32)
  return np.ascontiguousarray(kernel), bias


def _state_shapes(layers):
  """Names to shapes of the state dict with these layers."""
  shapes = {}
  for layer in layers:
    shapes[f'{layer.conv}.weight'] = layer.shape
    if layer.bias:
      shapes[f'{layer.conv}.bias'] = layer.shape[:1]
    if layer.norm is not None:
      shapes |= {f'{layer.norm}.{part}': layer.shape[:1] for part in _NORM}
  return shapes


def _compare_params(params, path):
  """Compares the arrays of a converted file with the published network's."""
  found = array_files.flatten(params)
  output = found.get('output/kernel')
  if output is None or not output.ndim:
    raise WeightsError(f'{path}: expected a parsing network, there is no output/kernel')
  expected: dict[str, tuple[int, ...]] = {}
  for layer in _layers(parsing_networks.kind_of(params), output.shape[-1]):
    features, channels, height, width = layer.shape
    expected[f'{layer.name}/kernel'] = (height, width, channels, features)
    if layer.bias or layer.norm is not None:
      expected[f'{layer.name}/bias'] = (features,)
  array_files.compare_names(expected, found, path=path)


def _layers(kind, classes):
  return (_bisenet_layers if kind == 'bisenet' else _pspnet_layers)(classes)


def _bisenet_layers(classes):
  """All layers of BiSeNet on ResNet-18."""
  backbone = 'cp.resnet'
  layers = [_Layer('stem_0', f'{backbone}.conv1', f'{backbone}.bn1', (64, 3, 7, 7))]
  channels = 64
  for stage in (1, 2, 3, 4):
    features = 32 << stage
    for i in (0, 1):
      source, target = f'{backbone}.layer{stage}.{i}', f'stage_{stage}/block_{i}'
      kernels = [(features, channels, 3, 3), (features, features, 3, 3)]
      layers += _block(source, target, kernels, shortcut=channels != features)
      channels = features

  def with_norm(target, source, features, channels, size):
    shape = (features, channels, size, size)
    return _Layer(target, f'{source}.conv', f'{source}.bn', shape)

  for target, source, width in (('middle', '16', 256), ('coarse', '32', 512)):
    arm, attention = f'cp.arm{source}', f'attention_{target}'
    weigh = (f'{arm}.conv_atten', f'{arm}.bn_atten', (128, 128, 1, 1))
    layers += [
      with_norm(f'{attention}/conv', f'{arm}.conv', 128, width, 3),
      _Layer(f'{attention}/weigh', *weigh),
      with_norm(f'refine_{target}', f'cp.conv_head{source}', 128, 128, 3),
    ]
  return [
    *layers,
    with_norm('context_mean', 'cp.conv_avg', 128, 512, 1),
    with_norm('fusion/mix', 'ffm.convblk', 256, 256, 1),
    _Layer('fusion/squeeze', 'ffm.conv1', None, (64, 256, 1, 1)),
    _Layer('fusion/expand', 'ffm.conv2', None, (256, 64, 1, 1)),
    with_norm('head', 'conv_out.conv', 256, 256, 3),
    _Layer('output', 'conv_out.conv_out', None, (classes, 256, 1, 1)),
  ]


def _pspnet_layers(classes):
  """All layers of PSPNet on a ResNet-50 with a stem of three convolutions."""
  layers, channels = [], 3
  for i, features in enumerate((64, 64, 128)):
    names = (f'layer0.{3 * i}', f'layer0.{3 * i + 1}')
    layers.append(_Layer(f'stem_{i}', *names, (features, channels, 3, 3)))
    channels = features
  for stage, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)):
    width, features = 32 << stage, 128 << stage
    for i in range(blocks):
      source, target = f'layer{stage}.{i}', f'stage_{stage}/block_{i}'
      kernels = [(width, channels, 1, 1), (width, width, 3, 3), (features, width, 1, 1)]
      layers += _block(source, target, kernels, shortcut=channels != features)
      channels = features
  for i, bins in enumerate(parsing_networks.PYRAMID_BINS):
    names = (f'ppm.features.{i}.1', f'ppm.features.{i}.2')
    layers.append(_Layer(f'pyramid/bins_{bins}', *names, (512, 2048, 1, 1)))
  return [
    *layers,
    _Layer('head', 'cls.0', 'cls.1', (512, 4096, 3, 3)),
    _Layer('output', 'cls.4', None, (classes, 512, 1, 1), bias=True),
  ]


def _block(source, target, kernels, *, shortcut):
  """A residual block; the shortcut, where there is one, is a 1x1 convolution with a batch norm."""
  layers = [
    _Layer(f'{target}/conv_{i}', f'{source}.conv{i}', f'{source}.bn{i}', shape)
    for i, shape in enumerate(kernels, 1)
  ]
  if shortcut:
    shape = (kernels[-1][0], kernels[0][1], 1, 1)
    names = (f'{source}.downsample.0', f'{source}.downsample.1')
    layers.append(_Layer(f'{target}/shortcut', *names, shape))
  return layers
