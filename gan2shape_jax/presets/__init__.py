"""Whole configurations by name, one module each: what differs from the defaults, and why.

A module has `get_config(variant='')`. `configs/NAME.py` of the repository hands them to commands as
files, `--config=NAME` and `gan2shape_jax.load(NAME)` take them by name.
"""

import importlib
import pathlib
import pkgutil

from ml_collections import ConfigDict


def names() -> list[str]:
  """The names of all presets, sorted."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def path_of(name: str) -> pathlib.Path:
  """The file of a preset.

  Args:
    name: one of `names()`.
  """
  return pathlib.Path(__file__).with_name(f'{name}.py')


def get_config(name: str) -> ConfigDict:
  """A whole configuration.

  Args:
    name: a preset, such as 'heads', or with a variant of it, such as 'heads:networks'.

  Returns:
    A configuration of its own, which may be changed.

  Raises:
    ValueError: there is no such preset or variant; one line that names those there are.
  """
  preset, _, variant = name.partition(':')
  if preset not in names():
    raise ValueError(f'unknown preset {preset!r}: expected one of {", ".join(names())}')
  return importlib.import_module(f'{__name__}.{preset}').get_config(variant)
