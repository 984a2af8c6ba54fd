"""PyTorch files of a StyleGAN2 as people have them -> state dicts of its networks.

Training scripts, encoders and converters put the same generator under different names, prefix its
arrays, and leave out what they can compute anew. All that is evened out here, once, so that what
converts the arrays sees one form.
"""

import os
import re
import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import nvidia_names
from gan2shape_jax.weights.array_files import floating_arrays
from gan2shape_jax.weights.stylegan2_arrays import FILTER, count

_GENERATORS = ('g_ema', 'G_ema', 'params_ema', 'state_dict', 'generator', 'g', 'params')
_DISCRIMINATORS = ('d', 'D', 'discriminator')
_PREFIXES = ('module.', 'decoder.', 'generator.', 'g_ema.')
_FIRST = ('input.input', 'conv1.conv.weight')  # of every generator with rosinality's names
_LISTED = 8
_Path = str | os.PathLike


class Checkpoint(NamedTuple):
  """State dicts with rosinality's names, or NVIDIA's.

  Attributes:
    generator: names to arrays.
    discriminator: names to arrays, or None.
    mean_latent: [w_dim], or None.
  """

  generator: dict[str, np.ndarray]
  discriminator: dict[str, np.ndarray] | None
  mean_latent: np.ndarray | None


def normalised(content, path: _Path) -> Checkpoint:
  """Finds a StyleGAN2 in what a PyTorch file holds; what is filled in or left out is said.

  Args:
    content: of the file: a dict with the generator under one of several names (perhaps among the
      arrays of an encoder), or the generator's state dict itself.
    path: the file, for messages.

  Returns:
    A `Checkpoint`.

  Raises:
    WeightsError: one line: there is no generator, or it is one of another kind.
  """
  if not isinstance(content, Mapping):
    raise WeightsError(
      f"{path}: expected a checkpoint with a state dict 'g_ema', found a {type(content).__name__}"
    )
  state = None
  for name in [name for name in _GENERATORS if isinstance(content.get(name), Mapping)]:
    state = _stripped(content[name], _FIRST)
    if state is not None:
      break
  if state is None:
    state = _stripped(content, _FIRST)
  _refuse_others(content, path)
  if state is None and isinstance(content.get('g_ema'), Mapping) and content['g_ema']:
    state = _without_module(content['g_ema'])  # the comparison of names tells what it lacks
    if not any(str(name).startswith(('style.', 'conv1.', 'convs.')) for name in state):
      state = None
  if state is None:
    raise WeightsError(
      f"{path}: expected a checkpoint with a state dict 'g_ema' (or params_ema, state_dict, or the "
      f"generator's state dict itself), found {_listed(content)}"
    )
  state = floating_arrays(state, path)
  _refuse_labels(state, path)
  critic = next((content[n] for n in _DISCRIMINATORS if isinstance(content.get(n), Mapping)), None)
  if critic is not None:
    critic = floating_arrays(_without_module(critic), path)
  mean = state.pop('mapping.w_avg', content.get('latent_avg'))
  return Checkpoint(_completed(state, path), critic, _mean_latent(mean, path))


def refuse_stylegan3(names, path: _Path) -> None:
  """Raises `WeightsError` where arrays have the names of a StyleGAN3."""
  found = next((n for n in names if re.search(r'(^|\.)synthesis\.(L\d+_|input\.)', str(n))), None)
  if found:
    raise WeightsError(f'{path}: this is a StyleGAN3 (it has {found}), only StyleGAN2 is supported')


def _stripped(state, wanted):
  """The part of a state dict that is a generator's, without prefixes; None where there is none."""
  state = _without_module(state)
  is_generator = lambda names: all(n in names for n in wanted) or 'mapping.fc0.weight' in names
  if is_generator(state):
    return state
  for prefix in _PREFIXES:
    part = {
      name.removeprefix(prefix): array
      for name, array in state.items()
      if isinstance(name, str) and name.startswith(prefix)
    }
    if is_generator(part):
      return part
  return None


def _without_module(state):
  """A state dict as it is without `nn.DataParallel` around the network."""
  while state and all(isinstance(name, str) and name.startswith('module.') for name in state):
    state = {name.removeprefix('module.'): array for name, array in state.items()}
  return dict(state)


def _refuse_others(content, path):
  """Refuses other generators by what they are."""
  inner = [entry for entry in content.values() if isinstance(entry, Mapping)]
  for names in (content, *inner):
    refuse_stylegan3(names, path)


def _refuse_labels(state, path):
  first = state.get('style.1.weight', state.get('mapping.fc0.weight', np.empty(0)))
  names = [name for name in state if re.search(r'(^|\.)(embed|label|class)', name)]
  if not names and first.ndim == 2 and first.shape[1] == 2 * first.shape[0]:
    names = [f'a mapping from {first.shape[1]} numbers to {first.shape[0]}']
  if names:
    nvidia_names.refuse_labels('generator', names, path)


def _completed(state, path):
  """A generator's state dict with the buffers that it can do without in a file."""
  if 'input.input' not in state:  # NVIDIA's names
    return state
  ups = (count(state, r'convs\.(\d+)\.') + 1) // 2
  for k in range(ups):
    for name in (f'convs.{2 * k}.conv.blur.kernel', f'to_rgbs.{k}.upsample.kernel'):
      state.setdefault(name, (4 * FILTER).astype(np.float32))
  random, missing = np.random.default_rng(0), []
  for k in range(2 * ups + 1):
    size = 4 * 2 ** ((k + 1) // 2)
    noise = random.standard_normal((1, 1, size, size), np.float32)
    if f'noises.noise_{k}' not in state:
      missing.append(k)
      state[f'noises.noise_{k}'] = noise
  if missing:
    print(
      f'{path}: {len(missing)} noise buffers are not in the file, they are drawn from seed 0',
      file=sys.stderr,
    )
  return state


def _mean_latent(mean, path):
  """[w_dim] of a mean latent, which encoders keep for each layer."""
  if not isinstance(mean, np.ndarray) or not mean.size:
    return None
  mean = np.atleast_1d(mean).astype(np.float32)
  rows = mean.reshape(-1, mean.shape[-1])
  if not np.allclose(rows, rows[:1], rtol=1e-4, atol=1e-5, equal_nan=True):
    print(
      f'{path}: latent_avg differs from layer to layer, so that it is left out and the mean latent '
      'is that of samples',
      file=sys.stderr,
    )
    return None
  return rows[0]


def _listed(content):
  """The top-level names of a file."""
  names = [f'{name!s:.40}' for name in list(content)[:_LISTED]]
  more = f' and {len(content) - _LISTED} more' if len(content) > _LISTED else ''
  return (', '.join(names) or 'nothing') + more
