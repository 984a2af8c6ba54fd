"""NVIDIA's StyleGAN2 networks -> params of `gan2shape_jax.models`.

Both versions are brought to the names of the PyTorch one (`mapping.fc0`, `synthesis.b8.conv0`,
`torgb`, ...; the discriminator's `b32.conv0`, ...) and from there to params. Only the official
architecture is taken: skip generator, residual discriminator, [1, 3, 3, 1] blur, unconditional.

How these differ from rosinality's layout:
  - The PyTorch version leaves the weights of modulated convolutions as they are (demodulation
    cancels any factor); the style's bias includes the 1 around which it modulates.
  - Its upsampling convolution is a transposed one with the weights as stored, as rosinality's and
    ours: pixel (i, j) adds to (2i + a, 2j + b).
  - Clamping in half precision is left out. The discriminator's groups in the minibatch deviation
    are of 4, whatever the file was trained with: that changes scores of batches of more than 4,
    or of smaller groups, but no features of the blocks.

Source:
  Karras et al., Training Generative Adversarial Networks with Limited Data, NeurIPS 2020.
"""

import os
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import array_files, nvidia_tensorflow, nvidia_torch
from gan2shape_jax.weights import stylegan2_arrays as arrays
from gan2shape_jax.weights.nvidia_names import discriminator_names, generator_names
from gan2shape_jax.weights.nvidia_pickles import Module, Network
from gan2shape_jax.weights.stylegan2_checkpoints import refuse_stylegan3
from gan2shape_jax.weights.stylegan2_shapes import discriminator_shapes, generator_shapes

_MAPPING_MULTIPLIER = 0.01
_Path = str | os.PathLike


def groups_from_pickle(content, *, path: _Path) -> dict:
  """Converts what `nvidia_pickles.read_nvidia_pickle` returns.

  Args:
    content: a dict of PyTorch networks (G_ema is taken, and D where there is one), or a tuple of
      TensorFlow networks (G, D, Gs), of which the second and the last are taken.
    path: the file, for messages.

  Returns:
    'generator': params of `models.stylegan2`, and where the file has them 'discriminator': params
    of `models.discriminator`, 'mean_latent': [w_dim].

  Raises:
    WeightsError: one line: the file holds something else, or networks that are not supported.
  """
  try:
    return _groups(content, path)
  except WeightsError:
    raise
  except Exception as error:  # the content is whatever a file says
    raise WeightsError(f'{path}: a malformed network ({type(error).__name__})') from None


def _groups(content, path):
  if isinstance(content, Mapping) and isinstance(content.get('G_ema'), Module):
    networks, convert = (content['G_ema'], content.get('D')), nvidia_torch.from_module
  elif isinstance(content, tuple | list) and [type(n) for n in content] == [Network] * 3:
    networks, convert = (content[2], content[1]), nvidia_tensorflow.from_network
  else:
    raise WeightsError(
      f"{path}: expected a dict with the network 'G_ema' or three TensorFlow networks (G, D, Gs)"
    )
  state, properties = convert(networks[0], 'generator', path=path)
  _check_properties(properties, 'skip', path)
  mean = state.pop('mapping.w_avg', None)
  groups: dict = {'generator': generator_from_state_dict(state, properties=properties, path=path)}
  if mean is not None:
    groups['mean_latent'] = mean
    arrays.check_mean_latent(groups, path)
  if networks[1] is not None:
    state, properties = convert(networks[1], 'discriminator', path=path)
    _check_properties(properties, 'resnet', path)
    groups['discriminator'] = discriminator_from_state_dict(state, path=path)
  return groups


def generator_from_state_dict(
  state: Mapping[str, np.ndarray],
  *,
  properties: Mapping | None = None,
  path: _Path = 'the generator',
) -> dict:
  """Converts a generator with the names of NVIDIA's PyTorch version.

  Args:
    state: names to arrays, without `mapping.w_avg`; resampling filters are optional.
    properties: names to values; `mapping.fc0.bias_gain` is the mapping's learning-rate multiplier.
    path: the file, for messages.

  Returns:
    The params of `models.stylegan2`.

  Raises:
    WeightsError: names are missing or unknown, or shapes do not fit each other.
  """
  refuse_stylegan3(state, path)
  state = _without_filters(state, path)
  depth = max(arrays.count(state, r'mapping\.fc(\d+)\.'), 1)
  blocks = max(arrays.count(state, r'synthesis\.b(\d+)\.'), 1)
  array_files.compare_names(generator_names(depth, blocks), state, path=path)

  def modulated(name, equalised):
    return {
      'kernel': arrays.kernel(state, f'{name}.weight', path, equalised=equalised),
      'bias': state[f'{name}.bias'],
      'style': {
        'kernel': arrays.dense(state, f'{name}.affine.weight', path),
        'bias': state[f'{name}.affine.bias'],
      },
    }

  def convolution(name):
    return modulated(name, False) | {
      'noise': arrays.array(state, f'{name}.noise_const', 2, path)[..., None],
      'noise_strength': arrays.array(state, f'{name}.noise_strength', 0, path),
    }

  def to_rgb(name):
    layer = modulated(name, True)
    return layer | {'kernel': arrays.flat(layer['kernel'])}

  def mapping_layer(name):
    multiplier = np.float32((properties or {}).get(f'{name}.bias_gain', _MAPPING_MULTIPLIER))
    return {
      'kernel': arrays.dense(state, f'{name}.weight', path) * multiplier,
      'bias': state[f'{name}.bias'] * multiplier,
    }

  params = {
    'mapping': {f'layer{k + 1}': mapping_layer(f'mapping.fc{k}') for k in range(depth)},
    'constant': arrays.feature_map(state, 'synthesis.b4.const', path, leading=0),
  }
  for k in range(blocks):
    size = 4 * 2**k
    name = f'synthesis.b{size}'
    params[f'block{size}'] = ({'up': convolution(f'{name}.conv0')} if k else {}) | {
      'conv': convolution(f'{name}.conv1'),
      'to_rgb': to_rgb(f'{name}.torgb'),
    }
  arrays.compare_params(params, generator_shapes, path)
  return params


def discriminator_from_state_dict(
  state: Mapping[str, np.ndarray], *, path: _Path = 'the discriminator'
) -> dict:
  """Converts a discriminator with the names of NVIDIA's PyTorch version.

  Args:
    state: names to arrays; resampling filters are optional.
    path: the file, for messages.

  Returns:
    The params of `models.discriminator`.

  Raises:
    WeightsError: names are missing or unknown, or shapes do not fit each other.
  """
  state = _without_filters(state, path)
  blocks = max(arrays.count(state, r'b(\d+)\.') - 1, 1)
  array_files.compare_names(discriminator_names(blocks), state, path=path)

  def convolution(name):
    return {
      'kernel': arrays.kernel(state, f'{name}.weight', path),
      'bias': state[f'{name}.bias'],
    }

  from_rgb = convolution(f'b{4 * 2**blocks}.fromrgb')
  params = {
    'from_rgb': from_rgb | {'kernel': arrays.flat(from_rgb['kernel'])},
    'final_conv': convolution('b4.conv'),
  }
  for k in range(1, blocks + 1):
    name = f'b{4 * 2 ** (blocks + 1 - k)}'
    params[f'block{k}'] = {
      'conv1': convolution(f'{name}.conv0'),
      'conv2': convolution(f'{name}.conv1'),
      'skip': {'kernel': arrays.flat(arrays.kernel(state, f'{name}.skip.weight', path))},
    }
  width = params['final_conv']['kernel'].shape[-1]
  params['final_linear1'] = {
    'kernel': arrays.dense_of_map(state, 'b4.fc.weight', width, path),
    'bias': state['b4.fc.bias'],
  }
  params['final_linear2'] = {
    'kernel': arrays.dense(state, 'b4.out.weight', path),
    'bias': state['b4.out.bias'],
  }
  arrays.compare_params(params, discriminator_shapes, path)
  return params


def _check_properties(properties, architecture, path):
  """Refuses what the models do not compute."""
  for name, value in properties.items():
    *_, last = name.split('.')
    if last == 'architecture' and value != architecture:
      raise WeightsError(
        f'{path}: {name} is {value!r:.20}, only the architecture {architecture!r} is supported'
      )
    if last == 'activation' and value not in ('lrelu', 'linear'):
      raise WeightsError(f"{path}: {name} is {value!r:.20}, only 'lrelu' is supported")


def _without_filters(state, path):
  """The arrays without the blurs, which must be the one built in."""
  kept = {}
  for name, values in state.items():
    if name.endswith('resample_filter'):
      arrays.check_filter(name, values, 1, path)
    else:
      kept[name] = values
  return kept
