"""The five trained networks in the original's and Unsup3d's checkpoints, both ways.

A checkpoint holds a state dict for each network under `netD`, `netA`, `netV`, `netL` and `netEnc`,
with names that number the layers of a sequence (`network.0.weight`, ...) and arrays laid out
channels first: `[out, in, h, w]`, transposed convolutions `[in, out, h, w]`. Weights trained on
several devices carry `module.` before each name. Ours are the parameters of `models.networks`.
Widths are read from the weights.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import networks
from gan2shape_jax.weights.array_files import compare_names

CHECKPOINT_KEYS = {
  'depth': 'netD',
  'albedo': 'netA',
  'view': 'netV',
  'light': 'netL',
  'encoder': 'netEnc',
}
"""Kind of network -> its key in the original's checkpoints."""

UNSUP3D_KEYS = {kind: key for kind, key in CHECKPOINT_KEYS.items() if kind != 'encoder'}
"""Those that Unsup3d's have too."""

_CONV, _TRANSPOSED, _VECTOR = (2, 3, 1, 0), (2, 3, 0, 1), (0,)
_LEVELS = range(4, 9)


class _Entry(NamedTuple):
  """One array: its name in the original, its path in ours, the axes that turn one into the other.

  `numpy.transpose(original, axes)` is ours.
  """

  name: str
  path: tuple[str, ...]
  axes: tuple[int, ...]


def _norm(number: int, layer: str) -> Iterator[_Entry]:
  yield _Entry(f'network.{number}.weight', (layer, 'scale'), _VECTOR)
  yield _Entry(f'network.{number}.bias', (layer, 'bias'), _VECTOR)


def _conv(number: int, layer: str, axes=_CONV) -> Iterator[_Entry]:
  yield _Entry(f'network.{number}.weight', (layer, 'kernel'), axes)


def _encoder_decoder(levels: int) -> Iterator[_Entry]:
  for i in range(levels):
    yield from _conv(3 * i, f'down_{i}')
    if i < levels - 1:
      yield from _norm(3 * i + 1, f'down_norm_{i}')
  number = 3 * levels - 1
  yield from _conv(number, 'to_code')
  yield from _conv(number + 2, 'from_code', _TRANSPOSED)
  yield from _conv(number + 4, 'base')
  number += 6
  for i in reversed(range(levels - 1)):
    yield from _conv(number, f'up_{i}', _TRANSPOSED)
    yield from _norm(number + 1, f'up_norm_{i}')
    yield from _conv(number + 3, f'refine_{i}')
    yield from _norm(number + 4, f'refine_norm_{i}')
    number += 6
  yield from _conv(number + 1, 'enlarge')
  yield from _norm(number + 2, 'enlarge_norm')
  yield from _conv(number + 4, 'head')
  yield from _norm(number + 5, 'head_norm')
  yield from _conv(number + 7, 'output')


def _encoder(levels: int) -> Iterator[_Entry]:
  for i in range(levels):
    yield from _conv(2 * i, f'down_{i}')
  yield from _conv(2 * levels, 'to_code')
  yield from _conv(2 * levels + 2, 'output')


def _residual_encoder(levels: int) -> Iterator[_Entry]:
  yield from _conv(0, 'down_0')
  for i in range(1, levels):
    start, block = f'network.{i}', f'block_{i}'
    yield _Entry(f'{start}.conv1.weight', (block, 'conv_1', 'kernel'), _CONV)
    yield _Entry(f'{start}.conv2.weight', (block, 'conv_2', 'kernel'), _CONV)
    yield _Entry(f'{start}.conv_sc.weight', (block, 'shortcut', 'kernel'), _CONV)
    yield _Entry(f'{start}.conv_sc.bias', (block, 'shortcut', 'bias'), _VECTOR)
  yield from _conv(levels + 1, 'to_code')
  yield from _conv(levels + 3, 'output')


_ENTRIES = {
  'depth': _encoder_decoder,
  'albedo': _encoder_decoder,
  'view': _encoder,
  'light': _encoder,
  'encoder': _residual_encoder,
}


def _entries_of(kind: str, levels: int) -> list[_Entry]:
  if kind not in _ENTRIES:
    raise ValueError(f'unknown network {kind!r}; the networks are {", ".join(_ENTRIES)}')
  return list(_ENTRIES[kind](levels))


def _leaf(params: Mapping, path: tuple[str, ...]) -> Any:
  branch: Any = params
  for key in path:
    branch = branch[key]
  return branch


def network_from_params(
  kind: str, params: Mapping, *, group_norm_base: int | None = None
) -> nn.Module:
  """The module that the parameters belong to, its widths read from them.

  Args:
    kind: a key of `CHECKPOINT_KEYS`.
    params: parameters of that network, as `network_from_state_dict` returns them.
    group_norm_base: groups of the first group norm (depth and albedo only; parameters do not
      tell). None takes the published number for the image size.

  Returns:
    A module of `models.networks`.

  Raises:
    ValueError: if `kind` is unknown.
  """
  out_channels = params['output']['kernel'].shape[-1]
  width = params['down_0']['kernel'].shape[-1]
  if kind in ('depth', 'albedo'):
    levels = sum(re.fullmatch(r'down_\d+', name) is not None for name in params)
    return networks.EncoderDecoder(
      out_channels,
      width,
      group_norm_base or networks.default_group_norm_base(4 << levels),
      bottleneck=params['to_code']['kernel'].shape[-1],
      final_tanh=kind == 'albedo',
    )
  if kind in ('view', 'light'):
    return networks.Encoder(out_channels, width)
  if kind == 'encoder':
    return networks.ResidualEncoder(out_channels, width)
  raise ValueError(f'unknown network {kind!r}; the networks are {", ".join(_ENTRIES)}')


def networks_from_checkpoint(
  content: Mapping, *, path: str = 'checkpoint'
) -> tuple[dict[str, dict], list[str]]:
  """Parameters of all networks that a checkpoint of GAN2Shape or Unsup3d has.

  Args:
    content: state dicts under the keys `CHECKPOINT_KEYS` names, or one flat dict with these keys
      and a dot before each name; other entries are not looked at.
    path: where it comes from, for messages.

  Returns:
    Kind of network -> parameters; and the keys of the other networks and entries.

  Raises:
    WeightsError: if there is none of the networks, names are missing or left over, or shapes do
      not fit; all are listed.
  """
  states: dict = {}
  for name, value in content.items():
    key, dot, rest = str(name).removeprefix('module.').partition('.')
    if isinstance(value, Mapping) or not dot:
      states[name] = value
    else:
      states.setdefault(key, {})[rest] = value
  networks = {
    kind: network_from_state_dict(kind, _arrays(states[key], path, key), path=f'{path}, {key}')
    for kind, key in CHECKPOINT_KEYS.items()
    if key in states
  }
  if not networks:
    keys = ', '.join(CHECKPOINT_KEYS.values())
    raise WeightsError(f'{path}: expected at least one of the networks {keys}')
  return networks, [str(key) for key in states if key not in CHECKPOINT_KEYS.values()]


def _arrays(state, path, key):
  if not isinstance(state, Mapping) or not all(isinstance(v, np.ndarray) for v in state.values()):
    raise WeightsError(f'{path}: expected a dict of tensors under {key}')
  return state


def network_from_state_dict(
  kind: str, state: Mapping[str, np.ndarray], *, path: str = 'state dict'
) -> dict:
  """Parameters from the original's names and layouts.

  Args:
    kind: a key of `CHECKPOINT_KEYS`.
    state: arrays by the original's names, with or without `module.` before each.
    path: where they come from, for messages.

  Returns:
    Nested dict of float32 arrays, for `module.apply({'params': params}, images)`.

  Raises:
    ValueError: if `kind` is unknown.
    WeightsError: if names are missing or left over, or shapes do not fit; all are listed.
  """
  state = {name.removeprefix('module.'): np.asarray(value) for name, value in state.items()}
  # The names tell how many levels there are; of wrong names, those that come nearest do.
  candidates = {levels: _entries_of(kind, levels) for levels in _LEVELS}
  levels = min(candidates, key=lambda n: len({e.name for e in candidates[n]} ^ state.keys()))
  entries = candidates[levels]
  found = {name: value.shape for name, value in state.items()}
  compare_names(dict.fromkeys(entry.name for entry in entries), found, path=path)
  params: dict = {}
  for entry in entries:
    value = state[entry.name]
    if value.ndim != len(entry.axes):
      raise WeightsError(f'{path}: {entry.name} has shape {value.shape}')
    branch = params
    for key in entry.path[:-1]:
      branch = branch.setdefault(key, {})
    branch[entry.path[-1]] = np.ascontiguousarray(value.transpose(entry.axes), np.float32)
  compare_names(_original_shapes(kind, params, entries, levels), found, path=path)
  return params


def _original_shapes(kind, params, entries, levels) -> dict[str, tuple[int, ...]]:
  """Shapes that the original's arrays must have, given the widths of the first and last layers."""
  base = params['down_0']['kernel'].shape[-1]
  module = network_from_params(kind, params, group_norm_base=base)
  image = jax.ShapeDtypeStruct((1, 4 << levels, 4 << levels, 3), np.float32)
  ours = jax.eval_shape(module.init, jax.random.key(0), image)['params']
  shapes = {}
  for entry in entries:
    shape = _leaf(ours, entry.path).shape
    shapes[entry.name] = tuple(shape[i] for i in np.argsort(entry.axes))
  return shapes


def network_to_state_dict(kind: str, params: Mapping) -> dict[str, np.ndarray]:
  """The original's names and layouts from parameters; the inverse of `network_from_state_dict`.

  Args:
    kind: a key of `CHECKPOINT_KEYS`.
    params: parameters of that network.

  Returns:
    float32 arrays by the original's names, in the original's order.

  Raises:
    ValueError: if `kind` is unknown.
  """
  layers = [name for name in params if re.fullmatch(r'(down|block)_\d+', name)]
  return {
    entry.name: np.ascontiguousarray(
      np.transpose(np.asarray(_leaf(params, entry.path), np.float32), np.argsort(entry.axes))
    )
    for entry in _entries_of(kind, len(layers))
  }
