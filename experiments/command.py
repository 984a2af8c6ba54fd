"""What the commands over a configuration share: flags, the compilation cache, errors in one line.

A command is a function (config, workdir) -> text to print; `python experiments/NAME.py` runs it by

  if __name__ == '__main__':
    import command

    flags.adopt_module_key_flags(command)  # --help shows them
    command.launch(work)
"""

import pathlib
import sys
from collections.abc import Callable

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


def launch(work: Callable):
  """Parses the flags, runs a command and ends the process.

  Args:
    work: (config, workdir) -> the text to print at the end. What it is known to raise becomes one
      line and exit status 1; after SIGTERM the status is 0, as everything is saved.
  """
  app.run(lambda argv: _run(work, argv))


def _run(work, argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}: settings are given as --config.NAME=VALUE')
  logging.set_verbosity(logging.WARNING)
  import jax

  from gan2shape_jax import artefacts, checkpoints, collection, data, weights

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
    print(work(_CONFIG.value, _WORKDIR.value))
  except collection.Preempted as error:
    print(error, file=sys.stderr)
    return 0
  except known as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0
