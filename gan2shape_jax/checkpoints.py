"""Checkpoints: a run's state and position, saved whole or not at all, restored bit by bit.

Orbax writes each checkpoint under a temporary name and renames it when it is complete, so a
process killed in the middle leaves the earlier checkpoints as they were; what it left over is
removed when the folder is opened again. Arrays go to Orbax by their paths in the tree, so that a
tree of another structure or other shapes is told from a damaged file before anything is read.

Each process of a run on many hosts keeps checkpoints of its own pictures, which Orbax's handlers of
arrays do not foresee: they write global arrays, numpy's from process 0 only. So the arrays go by a
handler of this module, into one file.

Layout of the folder: `steps/<step>/` with the items `arrays` and `record`, and
`projections/<stage>/` likewise. Projections are large and change once a stage, so they are saved
once beside the steps, not with each.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import tempfile
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_SCALARS = (bool, int, float, str)
_ARRAYS = 'arrays.npz'
_MARGIN = 1 << 16  # bytes that a checkpoint needs beside its arrays


class _Arrays(ocp.CheckpointHandler):
  """Arrays of any type in one .npz, as bytes, with the checksums of a zip."""

  def save(self, directory, args):
    """Writes `args.arrays`."""
    flat = {name: np.frombuffer(x.tobytes(), np.uint8) for name, x in args.arrays.items()}
    np.savez(pathlib.Path(directory) / _ARRAYS, **flat)

  def restore(self, directory, args):
    """Reads arrays of the names, shapes and types of `args.arrays`."""
    with np.load(pathlib.Path(directory) / _ARRAYS, allow_pickle=False) as file:
      flat = {name: file[name] for name in args.arrays}
    return {
      name: flat[name].view(like.dtype).reshape(like.shape) for name, like in args.arrays.items()
    }


@ocp.args.register_with_handler(_Arrays, for_save=True, for_restore=True)
@dataclasses.dataclass
class _Args(ocp.args.CheckpointArgs):
  arrays: dict[str, np.ndarray]


class CheckpointError(RuntimeError):
  """A checkpoint could not be written or restored; the message is one line naming the folder."""


class Checkpoints:
  """The checkpoints of one run.

  Leaves of the trees may be numpy arrays, jax arrays (typed PRNG keys too), and Python's bool,
  int, float and str. Saving waits until the checkpoint is whole.

  Example:
    >>> checkpoints = Checkpoints(workdir / 'checkpoints')
    >>> checkpoints.save(200, {'state': state, 'position': {'stage': 0, 'iteration': 200}})
    >>> if (step := checkpoints.latest()) is not None:
    ...   tree = checkpoints.restore(step, {'state': state, 'position': position})
  """

  def __init__(self, folder, keep: int = 2):
    """Opens the folder, makes it if missing, and removes what a killed process left half-written.

    Args:
      folder: where the checkpoints lie.
      keep: how many of the newest steps are kept, at least 1.

    Raises:
      CheckpointError: the folder cannot be made or read.
      ValueError: `keep` is below 1.
    """
    if keep < 1:
      raise ValueError(f'keep must be at least 1, got {keep}')
    self.folder = pathlib.Path(folder).absolute()
    self._keep = keep
    with self._explained('open', self.folder):
      for part in ('steps', 'projections'):
        (self.folder / part).mkdir(parents=True, exist_ok=True)
        _sweep(self.folder / part)

  def save(self, step: int, tree: Any) -> None:
    """Saves a tree, then removes the oldest checkpoints beyond `keep`.

    Args:
      step: number of the checkpoint, not negative; one of the same number is replaced.
      tree: any pytree of the leaves named above.

    Raises:
      CheckpointError: the system refused (disk full, folder read-only), or a leaf is of another
        kind. The earlier checkpoints are untouched.
    """
    self._write('steps', step, tree)
    for old in self._numbers('steps')[: -self._keep]:
      shutil.rmtree(self.folder / 'steps' / str(old), ignore_errors=True)

  def latest(self) -> int | None:
    """The number of the newest whole checkpoint, or None."""
    return max(self._numbers('steps'), default=None)

  def restore(self, step: int, like: Any) -> Any:
    """Restores a tree.

    Args:
      step: number of a checkpoint.
      like: a tree of the structure, shapes and types that were saved. Where it holds jax arrays
        (or `ShapeDtypeStruct`s with a sharding), the restored leaf is placed as they are, else it
        is a numpy array; Python's scalars come back as such.

    Returns:
      A tree like `like`, bit by bit as it was saved.

    Raises:
      CheckpointError: there is no such checkpoint, it is damaged, or its structure, shapes or
        types differ from `like`'s.
    """
    return self._read('steps', step, like)

  def save_projections(self, stage: int, projections: Any) -> None:
    """Saves a stage's projections once; those older than the stage before it are removed.

    Args:
      stage: number of the stage, not negative.
      projections: pytree of arrays, `Projections` for one.

    Raises:
      CheckpointError: see `save`.
    """
    self._write('projections', stage, projections)
    for old in self._numbers('projections'):
      if old < stage - 1:
        shutil.rmtree(self.folder / 'projections' / str(old), ignore_errors=True)

  def projection_stages(self) -> list[int]:
    """The stages whose projections are there, in order."""
    return self._numbers('projections')

  def restore_projections(self, stage: int, like: Any) -> Any:
    """Restores a stage's projections; arguments, result and errors as in `restore`."""
    return self._read('projections', stage, like)

  def remove(self) -> None:
    """Removes the folder: what it was for is complete."""
    with self._explained('remove', self.folder):
      shutil.rmtree(self.folder)

  def _numbers(self, part):
    with self._explained('list', self.folder / part):
      names = [entry.name for entry in (self.folder / part).iterdir() if entry.name.isdigit()]
    return sorted(int(name) for name in names)

  def _write(self, part, number, tree):
    path = self.folder / part / str(int(number))
    if int(number) < 0:
      raise CheckpointError(f'cannot save {path}: the number is negative')
    arrays, record = _taken_apart(tree, path)
    items = {'record': ocp.args.JsonSave(record)}
    if arrays:
      items['arrays'] = _Args(arrays)
    with self._explained('save', path), _checkpointer() as checkpointer:
      _reserve(self.folder, sum(array.nbytes for array in arrays.values()))
      checkpointer.save(path, args=ocp.args.Composite(**items), force=True)

  def _read(self, part, number, like):
    path = self.folder / part / str(number)
    if not path.is_dir():
      raise CheckpointError(f'cannot restore {path}: there is no such checkpoint')
    wanted, record = _taken_apart(like, path, shapes_only=True)
    with self._explained('restore', path), _checkpointer() as checkpointer:
      only_record = ocp.args.Composite(record=ocp.args.JsonRestore())
      saved = checkpointer.restore(path, args=only_record)['record']
      _compare(saved['kinds'], record['kinds'], path)
      arguments = ocp.args.Composite(arrays=_Args(wanted))
      arrays = checkpointer.restore(path, args=arguments)['arrays'] if wanted else {}
    return _put_together(like, arrays, saved['scalars'])

  @contextlib.contextmanager
  def _explained(self, verb, path):
    try:
      yield
    except CheckpointError:
      raise
    except Exception as error:  # Orbax and TensorStore raise many kinds; all mean the same here.
      lines = str(error).strip().splitlines() or [type(error).__name__]
      raise CheckpointError(f'cannot {verb} {path}: {lines[0][:200]}') from error


@contextlib.contextmanager
def _checkpointer():
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
    arrays=_Arrays(),
    record=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
  )
  chatter = logging.getLogger('absl')
  level = chatter.level
  chatter.setLevel(logging.ERROR)
  try:
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
      yield checkpointer
  finally:
    chatter.setLevel(level)


def _reserve(folder, size):
  """Fails at once where the disk cannot take so many bytes.

  Later it would fail in Orbax's threads, each of which would print its own traceback.
  """
  with tempfile.TemporaryFile(dir=folder) as file:
    if hasattr(os, 'posix_fallocate'):
      os.posix_fallocate(file.fileno(), 0, size + _MARGIN)


def _sweep(folder):
  """Removes what a killed process left: temporary checkpoints and other unfinished things."""
  for entry in folder.iterdir():
    if '.orbax-checkpoint-tmp' in entry.name:
      shutil.rmtree(entry, ignore_errors=True)


def _is_key(leaf):
  return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _taken_apart(tree, path, *, shapes_only=False):
  """Splits a tree by path: arrays [name], and a record of every leaf's kind and the scalars."""
  arrays, kinds, scalars = {}, {}, {}
  for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    name = jax.tree_util.keystr(key_path)
    if isinstance(leaf, _SCALARS) and not isinstance(leaf, np.generic):
      kinds[name] = type(leaf).__name__
      scalars[name] = leaf.hex() if isinstance(leaf, float) else leaf
      continue
    if not (hasattr(leaf, 'dtype') and hasattr(leaf, 'shape')):
      raise CheckpointError(f'cannot save {path}: {name} is a {type(leaf).__name__}')
    kind = ''
    if _is_key(leaf):
      kind = f'key {jax.random.key_impl(leaf)} '
      leaf = jax.random.key_data(leaf)
    kinds[name] = f'{kind}{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
    if 0 not in leaf.shape:  # Orbax takes no empty arrays; the record has their shape
      arrays[name] = np.empty(leaf.shape, leaf.dtype) if shapes_only else np.asarray(leaf)
  # A name per place in the tree; plain numbers on disk, since paths hold slashes and quotes.
  arrays = {f'{index:06d}': array for index, array in enumerate(arrays.values())}
  return arrays, {'kinds': kinds, 'scalars': scalars}


def _compare(saved, wanted, path):
  if saved == wanted:
    return
  differences = [
    f'{name} is {saved[name]} in the checkpoint, {wanted[name]} here'
    for name in wanted
    if name in saved and saved[name] != wanted[name]
  ]
  differences += [f'{name} is missing in the checkpoint' for name in wanted if name not in saved]
  differences += [f'{name} is not known here' for name in saved if name not in wanted]
  differences = differences or ['the leaves are in another order']
  more = f' (and {len(differences) - 1} more)' if len(differences) > 1 else ''
  raise CheckpointError(f'cannot restore {path}: {differences[0]}{more}')


def _put_together(like, arrays, scalars):
  remaining = iter(arrays[name] for name in sorted(arrays))

  def leaf_of(key_path, leaf):
    name = jax.tree_util.keystr(key_path)
    if name in scalars:
      return float.fromhex(scalars[name]) if isinstance(leaf, float) else scalars[name]
    if 0 in leaf.shape:
      return leaf
    array = np.asarray(next(remaining))
    if _is_key(leaf):
      return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
    sharding = getattr(leaf, 'sharding', None)
    return array if sharding is None else jax.device_put(array, sharding)

  return jax.tree_util.tree_map_with_path(leaf_of, like)
