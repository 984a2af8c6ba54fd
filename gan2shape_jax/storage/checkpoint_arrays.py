"""Orbax with arrays in one file, written by one process for itself.

Each process of a run on many hosts keeps checkpoints of its own pictures, which Orbax's handlers of
arrays do not foresee: they write global arrays, numpy's from process 0 only. So the arrays go by a
handler of this module, into one file.
"""

import contextlib
import dataclasses
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_ARRAYS = 'arrays.npz'


class Arrays(ocp.CheckpointHandler):
  """Arrays of any type in one .npz, as bytes, with the checksums of a zip."""

  def save(self, directory, args):
    """Writes `args.arrays`."""
    flat: dict[str, Any] = {
      name: np.frombuffer(x.tobytes(), np.uint8) for name, x in args.arrays.items()
    }
    np.savez(pathlib.Path(directory) / _ARRAYS, **flat)

  def restore(self, directory, args):
    """Reads arrays of the names, shapes and types of `args.arrays`."""
    # numpy leaves a damaged archive open where it was given its name.
    with open(pathlib.Path(directory) / _ARRAYS, 'rb') as file:
      archive = np.load(file, allow_pickle=False)
      flat = {name: archive[name] for name in args.arrays}
    return {
      name: flat[name].view(like.dtype).reshape(like.shape) for name, like in args.arrays.items()
    }


@ocp.args.register_with_handler(Arrays, for_save=True, for_restore=True)
@dataclasses.dataclass
class Args(ocp.args.CheckpointArgs):
  """Arrays by name; to restore, whatever has their shapes and types."""

  arrays: Mapping[str, np.ndarray | jax.ShapeDtypeStruct]


def declared(kinds: dict[str, str]) -> dict[str, jax.ShapeDtypeStruct]:
  """The arrays that a record of a checkpoint's leaves names, under their names on disk.

  Args:
    kinds: by place in the tree, such as 'float32[2, 3]'; those of Python's scalars are passed over.

  Raises:
    ValueError: one is of no known kind.
  """
  arrays = []
  for kind in kinds.values():
    if kind in ('bool', 'int', 'float', 'str'):
      continue
    parts = re.fullmatch(r'(?:key .* )?(\w+)\[([\d, ]*)\]', kind)
    if parts is None:
      raise ValueError(f'its record has a leaf of the kind {kind!r:.40}')
    shape = tuple(int(size) for size in parts[2].split(',') if size.strip())
    if 0 not in shape:
      arrays.append(jax.ShapeDtypeStruct(shape, np.dtype(parts[1])))
  return {f'{index:06d}': array for index, array in enumerate(arrays)}


@contextlib.contextmanager
def checkpointer():
  """A checkpointer for the items `arrays` and `record` of this process alone."""
  process = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=process, active_processes={process}, barrier_sync_key_prefix=str(process)
  )
  handler = ocp.CompositeCheckpointHandler(
    composite_options=ocp.CompositeOptions(
      multiprocessing_options=alone,
      # Else handlers wait for signals that the processes, not knowing of each other, mix up.
      async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    ),
    arrays=Arrays(),
    record=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
  )
  chatter = logging.getLogger('absl')
  level = chatter.level
  chatter.setLevel(logging.ERROR)
  try:
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as made:
      yield made
  finally:
    chatter.setLevel(level)
