"""Replays fixtures in a process of its own: `python -m tests.golden FILE ...`, a line of JSON each.

Gradients of the published code are compared to parts in a thousand. Programs that are compiled as
hastily as those of the other tests multiply and add in two roundings, by which pixels that see the
surface at a grazing angle differ more than that; so these are compiled as a user's are, nearly.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import pkgutil
import sys

os.environ['JAX_PLATFORMS'] = os.environ.get('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = '--xla_backend_optimization_level=1'

import jax

from tests import golden

jax.config.update('jax_numpy_rank_promotion', 'raise')


def load_replays() -> None:
  """Registers all replays of the package."""
  for module in pkgutil.iter_modules(golden.__path__):
    if module.name.startswith('replay_'):
      importlib.import_module(f'tests.golden.{module.name}')


def main(paths) -> None:
  """Replays files; each line has the file's name, its report, and what went wrong."""
  load_replays()
  for path in map(pathlib.Path, paths):
    report, error = golden.Report(), ''
    try:
      golden.find_replay(path.name)(golden.Fixture(path), report)
    except Exception as caught:  # of one file; the others are replayed all the same
      error = f'{type(caught).__name__}: {caught}'
    print(json.dumps({'name': path.name, 'error': error} | dataclasses.asdict(report)), flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])
