"""The names of StyleGAN2's arrays in NVIDIA's PyTorch and TensorFlow versions."""

import os
import re

from gan2shape_jax.errors import WeightsError

_GENERATOR_LAYER = ('weight', 'bias', 'affine.weight', 'affine.bias')
_NOISE = ('noise_const', 'noise_strength')
_GENERATOR_LAYERS = {'conv0': 'Conv0_up', 'conv1': 'Conv1', 'torgb': 'ToRGB'}
_DISCRIMINATOR_LAYERS = {
  'fromrgb': 'FromRGB',
  'conv0': 'Conv0',
  'conv1': 'Conv1_down',
  'skip': 'Skip',
  'conv': 'Conv',
  'fc': 'Dense0',
}


def generator_names(depth: int, blocks: int) -> dict[str, None]:
  """The names of a generator with `depth` mapping layers and `blocks` resolutions."""
  names = [f'mapping.fc{k}.{n}' for k in range(depth) for n in ('weight', 'bias')]
  names.append('synthesis.b4.const')
  for k in range(blocks):
    block = f'synthesis.b{4 * 2**k}'
    for layer in ('conv0', 'conv1') if k else ('conv1',):
      names += [f'{block}.{layer}.{n}' for n in (*_GENERATOR_LAYER, *_NOISE)]
    names += [f'{block}.torgb.{n}' for n in _GENERATOR_LAYER]
  return dict.fromkeys(names)


def discriminator_names(blocks: int) -> dict[str, None]:
  """The names of a discriminator with `blocks` halvings of the size."""
  sizes = [4 * 2**k for k in range(blocks, 0, -1)]
  names = [f'b{sizes[0]}.fromrgb.{n}' for n in ('weight', 'bias')]
  for size in sizes:
    names += [f'b{size}.{layer}.{n}' for layer in ('conv0', 'conv1') for n in ('weight', 'bias')]
    names.append(f'b{size}.skip.weight')
  names += [f'b4.{layer}.{n}' for layer in ('conv', 'fc', 'out') for n in ('weight', 'bias')]
  return dict.fromkeys(names)


def tensorflow_generator_name(name: str) -> str:
  """The TensorFlow version's name of what `generator_names` lists."""
  if name == 'synthesis.b4.const':
    return 'synthesis/4x4/Const/const'
  if match := re.fullmatch(r'mapping\.fc(\d+)\.(\w+)', name):
    return f'mapping/Dense{match[1]}/{match[2]}'
  _, block, layer, last = name.split('.', 3)
  size = int(block[1:])
  if last == 'noise_const':  # numbered through all convolutions: 4, 8, 8, 16, 16, ...
    return f'synthesis/noise{2 * size.bit_length() - 7 + (layer == "conv1")}'
  layer = 'Conv' if (size, layer) == (4, 'conv1') else _GENERATOR_LAYERS[layer]
  return f'synthesis/{size}x{size}/{layer}/{last.replace("affine.", "mod_")}'


def tensorflow_discriminator_name(name: str) -> str:
  """The TensorFlow version's name of what `discriminator_names` lists."""
  block, layer, last = name.split('.')
  if layer == 'out':
    return f'Output/{last}'
  return f'{block[1:]}x{block[1:]}/{_DISCRIMINATOR_LAYERS[layer]}/{last}'


def refuse_labels(kind: str, names: list[str], path: str | os.PathLike):
  """Raises the `WeightsError` for a network that takes labels beside the latents or images.

  Args:
    kind: 'generator' or 'discriminator'.
    names: arrays of the network that labels need.
    path: the file, for messages.
  """
  found = f' (it has {names[0]})' if names else ''
  raise WeightsError(f'{path}: the {kind} is conditional on labels{found}, which is not supported')
