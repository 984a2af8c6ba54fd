"""StyleGAN2 checkpoints of the common PyTorch layout -> params of `gan2shape_jax.models`.

The layout is rosinality's: state dicts `g_ema` (generator) and `d` (discriminator). Kernels are
transposed to channels last and the equalised learning rate's factors multiplied in (1 / sqrt of
the fan-in; the mapping network's multiplier 0.01), so that the params are plain weights.
"""

import os
import re
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.weights import files
from gan2shape_jax.weights.files import WeightsError
from gan2shape_jax.weights.stylegan2_shapes import discriminator_shapes, generator_shapes
from gan2shape_jax.weights.torch_files import read_torch_file

_MAPPING_MULTIPLIER = 0.01
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def load_stylegan2(path: str | os.PathLike, *, dtype=np.float32) -> tuple[dict, dict | None]:
  """Loads a generator and, where the file has one, its discriminator.

  Args:
    path: a PyTorch checkpoint {'g_ema': ..., 'd': ...} (other entries are not looked at), or a
      safetensors file with the groups 'generator' and 'discriminator', told apart by content.
    dtype: the type of the arrays returned; None keeps the file's.

  Returns:
    (generator, discriminator): params of `models.stylegan2` and `models.discriminator` as numpy
    arrays; the discriminator is None where the file has none.

  Raises:
    WeightsError: one line: what is wrong with the file.
  """
  if _is_torch_file(path):
    content = read_torch_file(path)
    if not isinstance(content, Mapping) or not isinstance(content.get('g_ema'), Mapping):
      raise WeightsError(f"{path}: expected a checkpoint with a state dict 'g_ema'")
    generator = generator_from_state_dict(content['g_ema'], path=path)
    discriminator = None
    if isinstance(content.get('d'), Mapping):
      discriminator = discriminator_from_state_dict(content['d'], path=path)
    return _cast(generator, dtype), _cast(discriminator, dtype)
  groups = files.load_safetensors(path, dtype=dtype)
  if 'generator' not in groups or set(groups) - {'generator', 'discriminator'}:
    raise WeightsError(f"{path}: expected the groups 'generator' and 'discriminator'")
  generator, discriminator = groups['generator'], groups.get('discriminator')
  _compare_params(generator, generator_shapes, path)
  if discriminator is not None:
    _compare_params(discriminator, discriminator_shapes, path)
  return generator, discriminator


def generator_from_state_dict(
  state: Mapping[str, np.ndarray], *, path: str | os.PathLike = 'the generator'
) -> dict:
  """Converts a generator's state dict.

  Args:
    state: names to arrays, channels first, noise buffers and blur kernels included.
    path: the file, for messages.

  Returns:
    The params of `models.stylegan2`.

  Raises:
    WeightsError: names are missing or unknown, or shapes do not fit each other.
  """
  state = {name: np.asarray(array) for name, array in state.items()}
  depth = _count(state, r'style\.(\d+)\.')
  ups = (_count(state, r'convs\.(\d+)\.') + 1) // 2
  files.compare_names(_generator_names(depth, ups), state, path=path)
  _check_filters(state, ups, path)

  def style(name):
    return {
      'kernel': _dense(state, f'{name}.modulation.weight', path),
      'bias': state[f'{name}.modulation.bias'],
    }

  def modulated(name, noise):
    return {
      'kernel': _kernel(state, f'{name}.conv.weight', path, leading=1),
      'bias': state[f'{name}.activate.bias'],
      'style': style(f'{name}.conv'),
      'noise': _map(state, f'noises.noise_{noise}', path),
      'noise_strength': _array(state, f'{name}.noise.weight', 0, path, leading=1),
    }

  def to_rgb(name):
    kernel = _kernel(state, f'{name}.conv.weight', path, leading=1)
    return {
      'kernel': _flat(kernel),
      'bias': state[f'{name}.bias'].reshape(-1),
      'style': style(f'{name}.conv'),
    }

  params = {
    'mapping': {
      f'layer{k}': {
        'kernel': _dense(state, f'style.{k}.weight', path) * np.float32(_MAPPING_MULTIPLIER),
        'bias': state[f'style.{k}.bias'] * np.float32(_MAPPING_MULTIPLIER),
      }
      for k in range(1, depth + 1)
    },
    'constant': _map(state, 'input.input', path),
    'block4': {'conv': modulated('conv1', 0), 'to_rgb': to_rgb('to_rgb1')},
  }
  for k in range(ups):
    params[f'block{8 * 2**k}'] = {
      'up': modulated(f'convs.{2 * k}', 2 * k + 1),
      'conv': modulated(f'convs.{2 * k + 1}', 2 * k + 2),
      'to_rgb': to_rgb(f'to_rgbs.{k}'),
    }
  _compare_params(params, generator_shapes, path)
  return params


def discriminator_from_state_dict(
  state: Mapping[str, np.ndarray], *, path: str | os.PathLike = 'the discriminator'
) -> dict:
  """Converts a discriminator's state dict.

  Args:
    state: names to arrays, channels first, blur kernels included.
    path: the file, for messages.

  Returns:
    The params of `models.discriminator`.

  Raises:
    WeightsError: names are missing or unknown, or shapes do not fit each other.
  """
  state = {name: np.asarray(array) for name, array in state.items()}
  blocks = _count(state, r'convs\.(\d+)\.(?:conv|skip)')
  files.compare_names(_discriminator_names(blocks), state, path=path)
  for k in range(1, blocks + 1):
    for name in (f'convs.{k}.conv2.0.kernel', f'convs.{k}.skip.0.kernel'):
      _check_filter(name, state[name], 1, path)

  def convolution(weight, bias):
    return {'kernel': _kernel(state, weight + '.weight', path), 'bias': state[bias + '.bias']}

  def product(name):
    kernel = _kernel(state, name + '.weight', path)
    return _flat(kernel)

  params = {
    'from_rgb': {'kernel': product('convs.0.0'), 'bias': state['convs.0.1.bias']},
    'final_conv': convolution('final_conv.0', 'final_conv.1'),
  }
  for k in range(1, blocks + 1):
    params[f'block{k}'] = {
      'conv1': convolution(f'convs.{k}.conv1.0', f'convs.{k}.conv1.1'),
      'conv2': convolution(f'convs.{k}.conv2.1', f'convs.{k}.conv2.2'),
      'skip': {'kernel': product(f'convs.{k}.skip.1')},
    }
  first = _dense(state, 'final_linear.0.weight', path)  # its inputs are ordered C, 4, 4
  width = params['final_conv']['kernel'].shape[-1]
  if first.shape[0] != 16 * width:
    raise WeightsError(f'{path}: final_linear.0.weight has {first.shape[0]} inputs, not 16x{width}')
  params['final_linear1'] = {
    'kernel': np.moveaxis(first.reshape(width, 4, 4, -1), 0, 2),
    'bias': state['final_linear.0.bias'],
  }
  params['final_linear2'] = {
    'kernel': _dense(state, 'final_linear.1.weight', path),
    'bias': state['final_linear.1.bias'],
  }
  _compare_params(params, discriminator_shapes, path)
  return params


def _is_torch_file(path):
  """A zip archive or a pickle begins such a file; safetensors begins with a length."""
  start = files.read_bytes(path, 16)
  looks_like_safetensors = len(start) > 8 and start[8:9] == b'{'
  return not looks_like_safetensors


def _cast(params, dtype):
  if params is None:
    return None
  flat = files.flatten(params)
  return files.unflatten({name: files.cast_floating(array, dtype) for name, array in flat.items()})


def _count(state, pattern):
  """How many numbers the names that begin like the pattern hold."""
  return len({match[1] for match in map(re.compile(pattern).match, state) if match})


def _compare_params(params, shapes, path):
  """Compares converted or loaded params with the shapes that their own widths imply."""
  found = files.flatten(params)
  files.compare_names(shapes(found, path), found, path=path)


def _generator_names(depth, ups):
  """The names of a generator with `depth` mapping layers and `ups` doublings of the size."""
  style = ('conv.weight', 'conv.modulation.weight', 'conv.modulation.bias')
  modulated = (*style, 'noise.weight', 'activate.bias')
  names = ['input.input', *(f'conv1.{n}' for n in modulated)]
  names += [f'to_rgb1.{n}' for n in (*style, 'bias')]
  names += [f'style.{k}.{n}' for k in range(1, max(depth, 1) + 1) for n in ('weight', 'bias')]
  for k in range(ups):
    names += [f'convs.{2 * k + j}.{n}' for j in (0, 1) for n in modulated]
    names += [f'to_rgbs.{k}.{n}' for n in (*style, 'bias')]
    names += [f'convs.{2 * k}.conv.blur.kernel', f'to_rgbs.{k}.upsample.kernel']
  names += [f'noises.noise_{k}' for k in range(2 * ups + 1)]
  return dict.fromkeys(names)


def _discriminator_names(blocks):
  """The names of a discriminator with `blocks` halvings of the size."""
  names = ['convs.0.0.weight', 'convs.0.1.bias', 'final_conv.0.weight', 'final_conv.1.bias']
  names += [f'final_linear.{k}.{n}' for k in (0, 1) for n in ('weight', 'bias')]
  block = ('conv1.0.weight', 'conv1.1.bias', 'conv2.0.kernel', 'conv2.1.weight', 'conv2.2.bias')
  for k in range(1, max(blocks, 1) + 1):
    names += [f'convs.{k}.{n}' for n in (*block, 'skip.0.kernel', 'skip.1.weight')]
  return dict.fromkeys(names)


def _check_filters(state, ups, path):
  for k in range(ups):
    for name in (f'convs.{2 * k}.conv.blur.kernel', f'to_rgbs.{k}.upsample.kernel'):
      _check_filter(name, state[name], 4, path)


def _check_filter(name, kernel, gain, path):
  """The models have the filter built in, so a file with another must be refused."""
  if kernel.shape != _FILTER.shape or not np.allclose(kernel, gain * _FILTER, atol=1e-3):
    raise WeightsError(f'{path}: {name} is not the [1, 3, 3, 1] filter that is supported')


def _map(state, name, path):
  """[1, C, H, W] -> [H, W, C]."""
  return np.moveaxis(_array(state, name, 3, path, leading=1), 0, -1)


def _kernel(state, name, path, *, leading=0):
  """[O, I, KH, KW] (after `leading` axes of size 1) -> [KH, KW, I, O] / sqrt(fan-in)."""
  array = _array(state, name, 4, path, leading=leading)
  fan_in = array.shape[1] * array.shape[2] * array.shape[3]
  return array.transpose(2, 3, 1, 0) * np.float32(fan_in**-0.5)


def _flat(kernel):
  """[1, 1, I, O] -> [I, O]; others are left for the comparison of shapes to report."""
  return kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel


def _dense(state, name, path):
  """[O, I] -> [I, O] / sqrt(I)."""
  array = _array(state, name, 2, path)
  return array.T * np.float32(array.shape[1] ** -0.5)


def _array(state, name, dimensions, path, *, leading=0):
  """An array that must have `dimensions` axes after `leading` ones of size 1, without those."""
  array = state[name]
  if (
    array.ndim != leading + dimensions or array.shape[:leading] != (1,) * leading or not array.size
  ):
    wanted = f'{leading} axes of size 1 and {dimensions} more'
    raise WeightsError(f'{path}: {name} has shape {array.shape}, expected {wanted}')
  return array.reshape(array.shape[leading:])
