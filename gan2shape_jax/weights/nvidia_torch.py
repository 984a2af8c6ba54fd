"""Networks of NVIDIA's PyTorch StyleGAN2 as state dicts."""

import os

import numpy as np

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights.nvidia_names import refuse_labels
from gan2shape_jax.weights.nvidia_pickles import Module

_DEEPEST = 8
_PROPERTIES = ('architecture', 'activation', 'c_dim', 'bias_gain')
_OF_LABELS = {'generator': 'mapping.embed.', 'discriminator': 'mapping.'}


def from_module(
  module: Module, kind: str, *, path: str | os.PathLike
) -> tuple[dict[str, np.ndarray], dict]:
  """Gathers a network's arrays under the names that its state dict has.

  Args:
    module: a generator or a discriminator.
    kind: 'generator' or 'discriminator'.
    path: the file, for messages.

  Returns:
    Names to arrays; and names to those properties that tell what is computed with them.

  Raises:
    WeightsError: the network is of another class or conditional on labels.
  """
  if not isinstance(module, Module) or module.class_name != kind.capitalize():
    given = getattr(module, 'class_name', type(module).__name__)
    raise WeightsError(f'{path}: expected a network of class {kind.capitalize()}, found {given}')
  state, properties = {}, {}

  def collect(module, prefix, depth):
    if not isinstance(module, Module) or depth > _DEEPEST:
      raise WeightsError(f'{path}: {prefix[:-1]} is no layer of a StyleGAN2')
    for group in ('_parameters', '_buffers'):
      for name, values in module.state.get(group, {}).items():
        if values is not None:
          state[f'{prefix}{name}'] = _as_array(values, f'{prefix}{name}', path)
    for name in _PROPERTIES:
      if name in module.state:
        properties[f'{prefix}{name}'] = module.state[name]
    for name, layer in module.state.get('_modules', {}).items():
      collect(layer, f'{prefix}{name}.', depth + 1)

  collect(module, '', 0)
  labels = [name for name in state if name.startswith(_OF_LABELS[kind])]
  if properties.get('c_dim') or labels:
    refuse_labels(kind, labels, path)
  return state, properties


def _as_array(values, name, path):
  if not isinstance(values, np.ndarray) or values.dtype.kind != 'f':
    raise WeightsError(f'{path}: {name} is no array of floating-point numbers')
  return values
