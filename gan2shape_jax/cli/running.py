"""The work of `gan2shape-jax run` and experiments/run.py."""

import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict


def work(config: ConfigDict, workdir: str, stop: Callable[[], bool]) -> str:
  """Reconstructs or trains jointly on what a configuration names.

  Args:
    config: a whole configuration.
    workdir: folder for the results.
    stop: asked after every iteration whether to save and stop.

  Returns:
    A report for people.

  Raises:
    As `collection.reconstruct_all` and `joint_collection.train_jointly`.
  """
  # Here, not above: a mistaken flag is answered without loading JAX.
  from gan2shape_jax import evaluation
  from gan2shape_jax.pipeline import collection, joint_collection
  from gan2shape_jax.runtime import hosts

  if config.mode == 'joint':
    hosts.require_one('--config.mode=joint')
    return f'networks: {joint_collection.train_jointly(config, workdir, stop=stop)}'
  rows = collection.reconstruct_all(config, workdir, stop=stop)
  page = pathlib.Path(workdir) / 'index.html'
  return f'{evaluation.format_table(rows)}\n\nresults: {page}'
