"""Converts foreign weights to the safetensors files that this package reads.

  python experiments/convert_weights.py --kind=stylegan2 IN.pt OUT.safetensors --dtype=float16

Kinds and their input files:
  stylegan2   IN: a PyTorch StyleGAN2 checkpoint {'g_ema', 'd'} with rosinality's names
  lpips       IN1: VGG16 with torchvision's names, IN2: the LPIPS v0.1 heads lin0 .. lin4
  gan2shape   IN: the networks saved by the original GAN2Shape

PyTorch is not needed, and no code from the files is run. The script needs the package installed
(`pip install -e .`); without, run it from the repository's root as
`python -m experiments.convert_weights`.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np
from absl import app, flags

from gan2shape_jax import weights
from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import autoencoder, files, perceptual

_DTYPES = {
  'float32': np.dtype(np.float32),
  'float16': np.dtype(np.float16),
  'bfloat16': np.dtype(ml_dtypes.bfloat16),
}


def load_stylegan2(path: str) -> tuple[dict, str]:
  """Reads a StyleGAN2: groups 'generator' and, where the file has one, 'discriminator'."""
  generator, critic = weights.load_stylegan2(path)
  size = stylegan2.resolution(generator)
  widths = [
    f'{4 * 2**k}:{generator[f"block{4 * 2**k}"]["conv"]["bias"].size}'
    for k in range(stylegan2.num_layers(generator) // 2)
  ]
  summary = (
    f'generator: {size}x{size}, latent size {stylegan2.latent_size(generator)}, '
    f'{stylegan2.num_modules(generator) - 1} mapping layers, widths {" ".join(widths)}, '
    f'{_count(generator):,} parameters'
  )
  groups = {'generator': generator}
  if critic is None:
    return groups, summary + '\ndiscriminator: none in the file'
  size = discriminator.discriminator_resolution(critic)
  summary += f'\ndiscriminator: {size}x{size}, {_count(critic):,} parameters'
  return groups | {'discriminator': critic}, summary


def load_lpips(vgg: str, heads: str) -> tuple[dict, str]:
  """Reads VGG16 and the linear heads of LPIPS: one group."""
  both = f'{vgg} and {heads}'
  params = perceptual.perceptual_from_state_dicts(_state(vgg), _state(heads), path=both)
  widths = [layer['bias'].size for name, layer in params.items() if name.startswith('conv_')]
  return params, f'lpips: widths {" ".join(map(str, widths))}, {_count(params):,} parameters'


def load_gan2shape(path: str) -> tuple[dict, str]:
  """Reads the networks that a file of the original has, each a group under its name here."""
  state = _state(path)
  present = {kind: key for kind, key in autoencoder.CHECKPOINT_KEYS.items() if key in state}
  if not present:
    keys = ', '.join(autoencoder.CHECKPOINT_KEYS.values())
    raise weights.WeightsError(f'{path}: expected at least one of the networks {keys}')
  groups = {
    kind: autoencoder.network_from_state_dict(kind, state[key], path=f'{path}, {key}')
    for kind, key in present.items()
  }
  return groups, '\n'.join(
    f'{kind}: {_count(params):,} parameters' for kind, params in groups.items()
  )


class Kind(NamedTuple):
  """What `load` makes of `inputs` files: the nested arrays to write, and a summary to print."""

  inputs: int
  load: Callable[..., tuple[Mapping, str]]


KINDS = {
  'stylegan2': Kind(1, load_stylegan2),
  'lpips': Kind(2, load_lpips),
  'gan2shape': Kind(1, load_gan2shape),
}

_KIND = flags.DEFINE_enum('kind', None, sorted(KINDS), 'What the input file holds.', required=True)
_DTYPE = flags.DEFINE_enum('dtype', 'float32', sorted(_DTYPES), 'Type of the numbers written.')


def main(arguments: Sequence[str]) -> int | None:
  """Converts one file; returns the exit code."""
  kind = KINDS[_KIND.value]
  if len(arguments) != kind.inputs + 2:
    wanted = f'{kind.inputs} input and 1 output'
    return _failed(f'expected {wanted}, got {len(arguments) - 1} file names (see --help)')
  *sources, target = arguments[1:]
  if pathlib.Path(target).suffix != '.safetensors':
    return _failed(f'{target}: the output must be named *.safetensors')
  try:
    groups, summary = kind.load(*sources)
    groups = _cast(groups, _DTYPES[_DTYPE.value])
    size = weights.save_safetensors(target, groups, {'kind': _KIND.value})
  except weights.WeightsError as error:
    return _failed(error)
  print(summary)
  print(f'{target}: {_DTYPE.value}, {size:,} bytes')
  return None


def _state(path):
  """A PyTorch file that holds a dict."""
  state = weights.read_torch_file(path)
  if not isinstance(state, Mapping):
    raise weights.WeightsError(f'{path}: expected a dict, found a {type(state).__name__}')
  return state


def _cast(groups, dtype):
  """Casts all floating-point arrays, refusing numbers that the type cannot hold."""
  flat = files.flatten(groups)
  with np.errstate(over='ignore'):
    cast = {name: files.cast_floating(array, dtype) for name, array in flat.items()}
  for name, array in cast.items():
    if not np.isfinite(array.astype(np.float32)).all() and np.isfinite(flat[name]).all():
      raise weights.WeightsError(f'{name} has numbers too large for {dtype.name}')
  return files.unflatten(cast)


def _count(params):
  return sum(array.size for array in files.flatten(params).values())


def _failed(message):
  print(f'convert_weights: {message}', file=sys.stderr)
  return 1


if __name__ == '__main__':
  app.run(main)
