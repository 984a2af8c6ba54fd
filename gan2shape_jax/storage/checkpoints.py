"""Checkpoints: a run's state and position, saved whole or not at all, restored bit by bit.

Orbax writes each checkpoint under a temporary name and renames it when it is complete, so a
process killed in the middle leaves the earlier checkpoints as they were; what it left over is
removed when the folder is opened again. Arrays go to Orbax by their paths in the tree, so that a
tree of another structure or other shapes is told from a damaged file before anything is read.

Layout of the folder: `steps/<step>/` with the items `arrays` and `record`, and
`projections/<stage>/` likewise. Projections are large and change once a stage, so they are saved
once beside the steps, not with each.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from gan2shape_jax.errors import CheckpointError
from gan2shape_jax.storage.checkpoint_arrays import Args, checkpointer, declared

_SCALARS = (bool, int, float, str)
_MARGIN = 1 << 16  # bytes that a checkpoint needs beside its arrays
_OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)


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

  def recover(
    self,
    note: Callable[[str], None],
    *,
    stage_of: Callable[[int], int | None] = lambda step: None,
    anew: bool = True,
  ) -> int | None:
    """Removes damaged checkpoints from the newest to the first whole one, and says so.

    Args:
      note: shows a line.
      stage_of: the stage whose projections a step needs, or None; not asked where there are none.
      anew: remove the only one too; else it stays, and `restore` refuses it.

    Returns:
      The number of the newest whole checkpoint, or None.

    Raises:
      CheckpointError: the system refuses to read one.
    """
    reasons = []
    for step in reversed(steps := self._numbers('steps')):
      try:
        self._check('steps', step)
        if self.projection_stages() and (stage := stage_of(step)) is not None:
          self._check('projections', stage)
      except CheckpointError as error:
        if getattr(error.__cause__, 'errno', None) in _OF_THE_SYSTEM:
          raise
        reasons.append((step, error))
      else:
        break
    if len(reasons) == len(steps) and not anew:
      return None
    for step, error in reasons:
      shutil.rmtree(self.folder / 'steps' / str(step), ignore_errors=True)
      note(f'a damaged checkpoint is left out ({error})')
    return self.latest()

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
      names = [entry.name for entry in (self.folder / part).iterdir() if entry.name.isdecimal()]
    return sorted(int(name) for name in names)

  def _write(self, part, number, tree):
    path = self.folder / part / str(int(number))
    if int(number) < 0:
      raise CheckpointError(f'cannot save {path}: the number is negative')
    arrays, record = _taken_apart(tree, path)
    items: dict[str, Any] = {'record': ocp.args.JsonSave(record)}
    if arrays:
      items['arrays'] = Args(arrays)
    with self._explained('save', path), checkpointer() as orbax:
      _reserve(self.folder, sum(array.nbytes for array in arrays.values()))
      orbax.save(path, args=ocp.args.Composite(**items), force=True)

  def _read(self, part, number, like):
    path = self.folder / part / str(number)
    if not path.is_dir():
      raise CheckpointError(f'cannot restore {path}: there is no such checkpoint')
    wanted, record = _taken_apart(like, path, shapes_only=True)
    with self._explained('restore', path), checkpointer() as orbax:
      only_record = ocp.args.Composite(record=ocp.args.JsonRestore())
      saved = orbax.restore(path, args=only_record)['record']
      _compare(saved['kinds'], record['kinds'], path)
      arguments = ocp.args.Composite(arrays=Args(wanted))
      arrays = orbax.restore(path, args=arguments)['arrays'] if wanted else {}
    return _put_together(like, arrays, saved['scalars'])

  def _check(self, part, number):
    """Raises `CheckpointError` where a checkpoint cannot be read from beginning to end."""
    path = self.folder / part / str(number)
    if not path.is_dir():
      raise CheckpointError(f'cannot restore {path}: there is no such checkpoint')
    with self._explained('restore', path), checkpointer() as orbax:
      only_record = ocp.args.Composite(record=ocp.args.JsonRestore())
      saved = orbax.restore(path, args=only_record)['record']
      dict(saved['scalars'])
      if wanted := declared(saved['kinds']):
        orbax.restore(path, args=ocp.args.Composite(arrays=Args(wanted)))

  @contextlib.contextmanager
  def _explained(self, verb, path):
    try:
      yield
    except CheckpointError:
      raise
    except Exception as error:  # Orbax and TensorStore raise many kinds; all mean the same here.
      lines = str(error).strip().splitlines() or [type(error).__name__]
      raise CheckpointError(f'cannot {verb} {path}: {lines[0][:200]}') from error


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
      scalars[name] = float(leaf).hex() if isinstance(leaf, float) else leaf
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
      return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    sharding = getattr(leaf, 'sharding', None)
    return array if sharding is None else jax.device_put(array, sharding)

  return jax.tree_util.tree_map_with_path(leaf_of, like)
