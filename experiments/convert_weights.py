"""Converts foreign weights to the files that this package reads.

  python experiments/convert_weights.py --kind=stylegan2 IN.pt OUT.safetensors --dtype=float16

Kinds and their input files:
  stylegan2   IN: a PyTorch StyleGAN2 checkpoint {'g_ema', 'd'} with rosinality's names, or the
              .pkl of NVIDIA's StyleGAN2: stylegan2-ada-pytorch and later, or TensorFlow
  lpips       IN1: VGG16 with torchvision's names, IN2: the LPIPS v0.1 heads lin0 .. lin4
  gan2shape   IN: the networks saved by the original GAN2Shape
  unsup3d     IN: the networks saved by Unsup3d (its confidence network is left out)
  prior       IN1: NAME_view_mvn.pth, IN2: NAME_light_mvn.pth of GAN2Shape; OUT is an .npz
  bisenet     IN: the face parser BiSeNet (ResNet-18, 19 classes)
  pspnet      IN: the scene parser PSPNet (ResNet-50; 21 classes of VOC, 150 of ADE20K)

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

from gan2shape_jax import data, weights
from gan2shape_jax.errors import ArtefactError, DataError, WeightsError
from gan2shape_jax.models import discriminator, parsing_networks, stylegan2
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.weights import array_files, network_checkpoints, parsing_files, perceptual

_DTYPES = {
  'float32': np.dtype(np.float32),
  'float16': np.dtype(np.float16),
  'bfloat16': np.dtype(ml_dtypes.bfloat16),
}


def load_stylegan2(path: str) -> tuple[dict, str]:
  """Reads a StyleGAN2: groups 'generator' and, where they are there, the other two."""
  generator, critic, mean = weights.read_stylegan2(path)
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
  if mean is not None:
    groups['mean_latent'] = mean
    summary += '\nmean latent: the one kept in training'
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
  """Reads the networks that a file of GAN2Shape or Unsup3d has, each a group under its name."""
  networks, others = network_checkpoints.networks_from_checkpoint(_state(path), path=path)
  lines = [f'{kind}: {_count(params):,} parameters' for kind, params in networks.items()]
  if others:
    lines.append(f'not taken: {", ".join(others)}')
  return networks, '\n'.join(lines)


def load_unsup3d(path: str) -> tuple[dict, str]:
  """Reads Unsup3d's networks for depth, albedo, view and light."""
  networks, summary = load_gan2shape(path)
  missing = [key for kind, key in network_checkpoints.UNSUP3D_KEYS.items() if kind not in networks]
  if missing:
    raise WeightsError(f'{path}: expected the networks of Unsup3d, missing {", ".join(missing)}')
  return networks, summary.replace('netC', 'netC (the confidence network)')


def load_prior(view: str, light: str) -> tuple[dict, str]:
  """Reads the Gaussians of views and lights: the arrays of a prior."""
  prior = data.read_mvn_files(view, light)._asdict()
  return prior, ', '.join(f'{name} {list(array.shape)}' for name, array in prior.items())


def load_bisenet(path: str) -> tuple[dict, str]:
  """Reads BiSeNet: one group."""
  return _load_parsing('bisenet', path)


def load_pspnet(path: str) -> tuple[dict, str]:
  """Reads PSPNet: one group."""
  return _load_parsing('pspnet', path)


def _load_parsing(kind, path):
  params = parsing_files.load_parsing(path)
  found, classes = parsing_networks.kind_of(params), parsing_networks.num_classes(params)
  if found != kind:
    raise WeightsError(f'{path}: expected the arrays of {kind}, found those of {found}')
  heads = ', '.join(parsing_files.TRAINING_HEADS[kind])
  return params, (
    f'{kind}: {classes} classes, {_count(params):,} parameters, batch norms folded in\n'
    f'not taken, used in training only: {heads}'
  )


class Kind(NamedTuple):
  """What `load` makes of `inputs` files: the nested arrays to write, and a summary to print."""

  inputs: int
  load: Callable[..., tuple[Mapping, str]]
  ending: str = '.safetensors'


KINDS = {
  'stylegan2': Kind(1, load_stylegan2),
  'lpips': Kind(2, load_lpips),
  'gan2shape': Kind(1, load_gan2shape),
  'unsup3d': Kind(1, load_unsup3d),
  'prior': Kind(2, load_prior, '.npz'),
  'bisenet': Kind(1, load_bisenet),
  'pspnet': Kind(1, load_pspnet),
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
  if pathlib.Path(target).suffix != kind.ending:
    return _failed(f'{target}: the output must be named *{kind.ending}')
  try:
    groups, summary = kind.load(*sources)
    groups = _cast(groups, _DTYPES[_DTYPE.value])
    if kind.ending == '.npz':
      size = _save_npz(target, groups)
    else:
      size = weights.save_safetensors(target, groups, {'kind': _KIND.value})
  except (WeightsError, DataError, ArtefactError) as error:
    return _failed(error)
  except Exception as error:  # the content is whatever a file says
    return _failed(f'{" ".join(sources)}: nothing that could be converted ({error!r:.200})')
  print(summary)
  print(f'{target}: {_DTYPE.value}, {size:,} bytes')
  return None


def _state(path):
  """A PyTorch file that holds a dict."""
  state = weights.read_torch_file(path)
  if not isinstance(state, Mapping):
    raise WeightsError(f'{path}: expected a dict, found a {type(state).__name__}')
  return state


def _save_npz(path, arrays):
  """Writes an archive of arrays; returns its size."""
  with atomic_files.whole_file(path) as partial:
    np.savez(partial, **arrays)
    return partial.stat().st_size


def _cast(groups, dtype):
  """Casts all floating-point arrays, refusing numbers that the type cannot hold."""
  flat = array_files.flatten(groups)
  with np.errstate(over='ignore'):
    cast = {name: array_files.cast_floating(array, dtype) for name, array in flat.items()}
  for name, array in cast.items():
    if not np.isfinite(array.astype(np.float32)).all() and np.isfinite(flat[name]).all():
      raise WeightsError(f'{name} has numbers too large for {dtype.name}')
  return array_files.unflatten(cast)


def _count(params):
  return sum(array.size for array in array_files.flatten(params).values())


def _failed(message):
  text = ' '.join(str(message).split())
  print(f'convert_weights: {text.encode("utf-8", "backslashreplace").decode()}', file=sys.stderr)
  return 1


if __name__ == '__main__':
  app.run(main)
