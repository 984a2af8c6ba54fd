"""Reconstructs 3D shape from pictures.

  python experiments/run.py                                   the embedded heads, into runs/heads
  python experiments/run.py --config.data.images=/my/photos --workdir=runs/photos
  python experiments/run.py --config=configs/heads.py:published --config.stages.count=1

Every number of the configuration can be set by a flag, --config.SECTION.NAME=VALUE; the names are
explained in gan2shape_jax/config.py. The same command continues an interrupted run.
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

ROOT = pathlib.Path(__file__).resolve().parent.parent

_CONFIG = config_flags.DEFINE_config_file(
  'config', str(ROOT / 'configs' / 'heads.py'), 'configuration file, or file:variant'
)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/heads', 'folder for the results')
_CACHE = flags.DEFINE_string(
  'compilation_cache',
  str(pathlib.Path.home() / '.cache' / 'gan2shape_jax'),
  "folder for compiled programs, reused by later runs; '' for none",
)


def main(argv):
  """Runs the reconstruction and prints the table of metrics."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}: settings are given as --config.NAME=VALUE')
  logging.set_verbosity(logging.WARNING)
  import jax

  from gan2shape_jax import artefacts, checkpoints, collection, data, evaluation, weights

  if _CACHE.value:
    jax.config.update('jax_compilation_cache_dir', _CACHE.value)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
  known = (
    artefacts.ArtefactError,
    checkpoints.CheckpointError,
    collection.FitError,
    data.DataError,
    weights.WeightsError,
  )
  try:
    rows = collection.reconstruct_all(_CONFIG.value, _WORKDIR.value)
  except collection.Preempted as error:
    print(error, file=sys.stderr)
    return 0
  except known as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(evaluation.format_table(rows))
  print(f'\nresults: {pathlib.Path(_WORKDIR.value) / "index.html"}')
  return 0


if __name__ == '__main__':
  app.run(main)
