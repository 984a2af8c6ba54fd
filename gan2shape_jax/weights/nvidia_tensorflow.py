"""The TensorFlow StyleGAN2's variables under the names and layouts of NVIDIA's PyTorch version.

Variables are `mapping/Dense0/weight`, `synthesis/8x8/Conv0_up/mod_weight`, `synthesis/noise1`, ...
and the discriminator's `32x32/Conv1_down/weight`, ...; kernels are [KH, KW, I, O], matrices [I, O],
and styles modulate around 1 without it in their bias. The upsampling convolution is defined as
upsampling followed by a correlation, that of the PyTorch version as upsampling followed by a true
convolution: its kernels are mirrored. All weights are multiplied by 1 / sqrt(fan-in) when used,
the PyTorch version's modulated ones are not.
"""

import os
import re
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights import array_files, nvidia_names
from gan2shape_jax.weights.nvidia_pickles import Network

_OF_LABELS = {'generator': r'(^|/)Label', 'discriminator': r'(^|/)Label|^mapping/'}
_MULTIPLIER = 'mapping_lrmul'
_KNOWN_ARGUMENTS = {
  'resample_kernel': ([1, 3, 3, 1], (1, 3, 3, 1)),
  'nonlinearity': ('lrelu',),
  'mapping_nonlinearity': ('lrelu',),
  'act': ('lrelu',),
  'normalize_latents': (True,),
}
_UNUSED = ('lod', 'synthesis/lod')
_DEEPEST = 4


def from_network(
  network: Network, kind: str, *, path: str | os.PathLike
) -> tuple[dict[str, np.ndarray], dict]:
  """Renames and turns a network's variables.

  Args:
    network: a generator (with components 'mapping' and 'synthesis') or a discriminator.
    kind: 'generator' or 'discriminator'.
    path: the file, for messages.

  Returns:
    Names to arrays, `mapping.w_avg` included; and properties of the network as
    `nvidia.generator_from_state_dict` takes them, 'architecture' among them.

  Raises:
    WeightsError: names are missing or left over (all are listed), the network depends on labels,
      or is of a kind that is not supported.
  """
  variables, arguments = {}, {}
  _collect(network, '', 0, variables, arguments, path)
  labels = [name for name in variables if re.search(_OF_LABELS[kind], name)]
  if arguments.get('label_size') or labels:
    nvidia_names.refuse_labels(kind, labels, path)
  for name, accepted in _KNOWN_ARGUMENTS.items():
    if name in arguments and arguments[name] not in accepted:
      raise WeightsError(f'{path}: {name}={arguments[name]!r:.40} is not supported')
  names = _names(variables, kind)
  found = {name: values for name, values in variables.items() if name not in _UNUSED}
  array_files.compare_names(dict.fromkeys(names), found, path=path)
  state = {ours: _turned(ours, variables[theirs], kind, path) for theirs, ours in names.items()}
  properties = {}
  if 'architecture' in arguments:
    properties['architecture'] = arguments['architecture']
  if _MULTIPLIER in arguments:
    layers = [name.removesuffix('.weight') for name in state if name.startswith('mapping.fc')]
    properties |= {f'{layer}.bias_gain': arguments[_MULTIPLIER] for layer in layers}
  return state, properties


def _collect(network, prefix, depth, variables, arguments, path):
  """Gathers the variables of a network and of its components."""
  if not isinstance(network, Network) or depth > _DEEPEST:
    raise WeightsError(f'{path}: {prefix[:-1] or "it"} is no network')
  for name, values in network.state['variables']:
    values = np.asarray(values)
    if values.dtype.kind != 'f':
      raise WeightsError(f'{path}: {prefix}{name} is no array of floating-point numbers')
    variables[f'{prefix}{name}'] = values
  given = network.state.get('static_kwargs', {})
  arguments |= {name: value for name, value in given.items() if isinstance(name, str)}
  components = network.state.get('components', {})
  if isinstance(components, Mapping):
    for name, component in components.items():
      _collect(component, f'{prefix}{name}/', depth + 1, variables, arguments, path)


def _names(variables, kind):
  """The names of a network of this one's size -> those of the PyTorch version."""
  start = r'(?:synthesis/)?(\d+)x\d+/'
  blocks = len({match[1] for match in (re.match(start, name) for name in variables) if match})
  if kind == 'discriminator':
    names = nvidia_names.discriminator_names(max(blocks - 1, 1))
    return {nvidia_names.tensorflow_discriminator_name(name): name for name in names}
  depth = len({name.split('/')[1] for name in variables if name.startswith('mapping/Dense')})
  names = nvidia_names.generator_names(max(depth, 1), max(blocks, 1))
  optional = {'dlatent_avg': 'mapping.w_avg'} if 'dlatent_avg' in variables else {}
  return optional | {nvidia_names.tensorflow_generator_name(name): name for name in names}


def _turned(name, values, kind, path):
  """An array in the layout that it has under that name in the PyTorch version."""
  *_, layer, last = name.split('.')
  if last == 'weight' and values.ndim == 4 and values.size:
    if kind == 'generator' and layer != 'torgb':
      values = values * np.float32(np.prod(values.shape[:3]) ** -0.5)
    if kind == 'generator' and layer == 'conv0':
      values = values[::-1, ::-1]
    return values.transpose(3, 2, 0, 1)
  if last == 'weight':
    return values.T
  if last == 'bias' and layer == 'affine':
    return values + np.float32(1)
  leading = {'const': 1, 'noise_const': 2}.get(last, 0)
  if values.shape[:leading] != (1,) * leading:
    raise WeightsError(f'{path}: {name} has shape {values.shape}, expected {leading} ones first')
  return values.reshape(values.shape[leading:])
