"""Reconstructs 3D shape from pictures.

  python experiments/run.py                                   the embedded heads, into runs/heads
  python experiments/run.py --config.data.images=/my/photos --workdir=runs/photos
  python experiments/run.py --config=configs/heads.py:published --config.stages.count=1

Every number of the configuration can be set by a flag, --config.SECTION.NAME=VALUE; the names are
explained in gan2shape_jax/config.py. The same command continues an interrupted run; SIGTERM stops
a run within seconds, saved.
"""

import pathlib
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """The command: reconstructs what a configuration names and returns the table of metrics."""
  from gan2shape_jax import collection, evaluation

  rows = collection.reconstruct_all(config, workdir, stop=stop)
  page = pathlib.Path(workdir) / 'index.html'
  return f'{evaluation.format_table(rows)}\n\nresults: {page}'


if __name__ == '__main__':
  import command

  flags.adopt_module_key_flags(command)  # --help shows them
  command.launch(work)
