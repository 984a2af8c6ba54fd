"""StyleGAN2 files -> params of `gan2shape_jax.models`.

Converted here is the common PyTorch layout, rosinality's: state dicts `g_ema` (generator) and `d`
(discriminator). Kernels are transposed to channels last and the equalised learning rate's factors
multiplied in (1 / sqrt of the fan-in; the mapping network's multiplier 0.01), so that the params
are plain weights. Others are converted in `nvidia` and told apart here.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import array_files, nvidia, nvidia_pickles, torch_files
from gan2shape_jax.weights import stylegan2_arrays as arrays
from gan2shape_jax.weights.stylegan2_checkpoints import normalised
from gan2shape_jax.weights.stylegan2_shapes import discriminator_shapes, generator_shapes

_MAPPING_MULTIPLIER = 0.01
_GROUPS = ('generator', 'discriminator', 'mean_latent')


class StyleGAN2(NamedTuple):
  """What a file of a StyleGAN2 holds, as numpy arrays.

  Attributes:
    generator: params of `models.stylegan2`.
    discriminator: params of `models.discriminator`, or None.
    mean_latent: [w_dim] the mean latent kept in training, or None.
  """

  generator: dict
  discriminator: dict | None
  mean_latent: np.ndarray | None


def read_stylegan2(path: str | os.PathLike, *, dtype=np.float32) -> StyleGAN2:
  """Reads everything that a file of a StyleGAN2 holds.

  Args:
    path: one of these, told apart by content: a PyTorch checkpoint {'g_ema': ..., 'd': ...,
      'latent_avg': ...} or in another form (`stylegan2_checkpoints`), a network pickle of NVIDIA's
      PyTorch or TensorFlow versions, or a safetensors file with the groups 'generator' and
      'discriminator' and an array 'mean_latent'. Only the generator must be there.
    dtype: the type of the arrays returned; None keeps the file's.

  Returns:
    A `StyleGAN2`.

  Raises:
    WeightsError: one line: what is wrong with the file.
  """
  start = array_files.read_bytes(path, 16)
  if len(start) > 8 and start[8:9] == b'{':  # safetensors begins with a length and a dict
    groups = array_files.load_safetensors(path, dtype=dtype)
    _check_groups(groups, path)
  elif torch_files.is_torch_file(start):
    groups = _groups_of_checkpoint(torch_files.read_torch_file(path), path)
  elif start[:1] == b'\x80':  # a pickle
    groups = nvidia.groups_from_pickle(
      nvidia_pickles.read_nvidia_pickle(array_files.read_bytes(path), path=path), path=path
    )
  else:
    raise WeightsError(
      f"{path}: expected a StyleGAN2: a safetensors file, a PyTorch checkpoint or NVIDIA's pickle"
    )
  flat = array_files.flatten(groups)
  for name, array in flat.items():
    if not np.isfinite(array.astype(np.float32, copy=False)).all():
      raise WeightsError(f'{path}: expected finite numbers, some of {name} are not')
  groups = array_files.unflatten(
    {k: array_files.cast_floating(array, dtype) for k, array in flat.items()}
  )
  return StyleGAN2(groups['generator'], groups.get('discriminator'), groups.get('mean_latent'))


def load_stylegan2(path: str | os.PathLike, *, dtype=np.float32) -> tuple[dict, dict | None]:
  """Loads a generator and, where the file has one, its discriminator.

  Args:
    path: a file as for `read_stylegan2`.
    dtype: the type of the arrays returned; None keeps the file's.

  Returns:
    (generator, discriminator): params of `models.stylegan2` and `models.discriminator` as numpy
    arrays; the discriminator is None where the file has none.

  Raises:
    WeightsError: one line: what is wrong with the file.
  """
  return read_stylegan2(path, dtype=dtype)[:2]


def load_mean_latent(path: str | os.PathLike) -> np.ndarray | None:
  """The mean latent that a file of a StyleGAN2 keeps.

  Args:
    path: a file as for `read_stylegan2`, which reads it along with the rest.

  Returns:
    [w_dim] float32, or None where the file has none.

  Raises:
    WeightsError: one line: what is wrong with the file.
  """
  return read_stylegan2(path).mean_latent


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
  depth = arrays.count(state, r'style\.(\d+)\.')
  ups = (arrays.count(state, r'convs\.(\d+)\.') + 1) // 2
  array_files.compare_names(_generator_names(depth, ups), state, path=path)
  _check_filters(state, ups, path)

  def style(name):
    return {
      'kernel': arrays.dense(state, f'{name}.modulation.weight', path),
      'bias': state[f'{name}.modulation.bias'],
    }

  def modulated(name, noise):
    return {
      'kernel': arrays.kernel(state, f'{name}.conv.weight', path, leading=1),
      'bias': state[f'{name}.activate.bias'],
      'style': style(f'{name}.conv'),
      'noise': arrays.feature_map(state, f'noises.noise_{noise}', path),
      'noise_strength': arrays.array(state, f'{name}.noise.weight', 0, path, leading=1),
    }

  def to_rgb(name):
    kernel = arrays.kernel(state, f'{name}.conv.weight', path, leading=1)
    return {
      'kernel': arrays.flat(kernel),
      'bias': state[f'{name}.bias'].reshape(-1),
      'style': style(f'{name}.conv'),
    }

  params = {
    'mapping': {
      f'layer{k}': {
        'kernel': arrays.dense(state, f'style.{k}.weight', path) * np.float32(_MAPPING_MULTIPLIER),
        'bias': state[f'style.{k}.bias'] * np.float32(_MAPPING_MULTIPLIER),
      }
      for k in range(1, depth + 1)
    },
    'constant': arrays.feature_map(state, 'input.input', path),
    'block4': {'conv': modulated('conv1', 0), 'to_rgb': to_rgb('to_rgb1')},
  }
  for k in range(ups):
    params[f'block{8 * 2**k}'] = {
      'up': modulated(f'convs.{2 * k}', 2 * k + 1),
      'conv': modulated(f'convs.{2 * k + 1}', 2 * k + 2),
      'to_rgb': to_rgb(f'to_rgbs.{k}'),
    }
  arrays.compare_params(params, generator_shapes, path)
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
  blocks = arrays.count(state, r'convs\.(\d+)\.(?:conv|skip)')
  array_files.compare_names(_discriminator_names(blocks), state, path=path)
  for k in range(1, blocks + 1):
    for name in (f'convs.{k}.conv2.0.kernel', f'convs.{k}.skip.0.kernel'):
      arrays.check_filter(name, state[name], 1, path)

  def convolution(weight, bias):
    return {'kernel': arrays.kernel(state, weight + '.weight', path), 'bias': state[bias + '.bias']}

  def product(name):
    kernel = arrays.kernel(state, name + '.weight', path)
    return arrays.flat(kernel)

  params: dict = {
    'from_rgb': {'kernel': product('convs.0.0'), 'bias': state['convs.0.1.bias']},
    'final_conv': convolution('final_conv.0', 'final_conv.1'),
  }
  for k in range(1, blocks + 1):
    params[f'block{k}'] = {
      'conv1': convolution(f'convs.{k}.conv1.0', f'convs.{k}.conv1.1'),
      'conv2': convolution(f'convs.{k}.conv2.1', f'convs.{k}.conv2.2'),
      'skip': {'kernel': product(f'convs.{k}.skip.1')},
    }
  width = params['final_conv']['kernel'].shape[-1]
  params['final_linear1'] = {
    'kernel': arrays.dense_of_map(state, 'final_linear.0.weight', width, path),
    'bias': state['final_linear.0.bias'],
  }
  params['final_linear2'] = {
    'kernel': arrays.dense(state, 'final_linear.1.weight', path),
    'bias': state['final_linear.1.bias'],
  }
  arrays.compare_params(params, discriminator_shapes, path)
  return params


def _groups_of_checkpoint(content, path):
  """The groups of a PyTorch checkpoint."""
  checkpoint = normalised(content, path)
  by_rosinality = 'input.input' in checkpoint.generator
  make = generator_from_state_dict if by_rosinality else nvidia.generator_from_state_dict
  groups: dict = {'generator': make(checkpoint.generator, path=path)}
  if checkpoint.discriminator is not None:
    make = discriminator_from_state_dict if by_rosinality else nvidia.discriminator_from_state_dict
    groups['discriminator'] = make(checkpoint.discriminator, path=path)
  if checkpoint.mean_latent is not None:
    groups['mean_latent'] = checkpoint.mean_latent
    arrays.check_mean_latent(groups, path)
  return groups


def _check_groups(groups, path):
  """Compares the groups of a safetensors file with what a StyleGAN2 has."""
  if not isinstance(groups.get('generator'), Mapping) or set(groups) - set(_GROUPS):
    raise WeightsError(f"{path}: expected the groups 'generator' and 'discriminator'")
  arrays.compare_params(groups['generator'], generator_shapes, path)
  if 'discriminator' in groups:
    arrays.compare_params(groups['discriminator'], discriminator_shapes, path)
  arrays.check_mean_latent(groups, path)


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
      arrays.check_filter(name, state[name], 4, path)
