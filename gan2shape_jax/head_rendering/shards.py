"""Heads in .npz archives: NAME-00000-of-00004.npz and so on, each whole or absent."""

import json
import pathlib
import re
from collections.abc import Callable

import numpy as np

from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering.parametric_heads import HeadMaker
from gan2shape_jax.head_rendering.workers import working
from gan2shape_jax.storage import atomic_files

_NUMBERED = re.compile(r'-(\d{5})-of-(\d{5})\.npz')
_LARGEST = 99_999  # shards


def write_shards(
  maker: HeadMaker,
  output: pathlib.Path,
  *,
  num: int,
  start: int = 0,
  shard_size: int = 1000,
  processes: int = 1,
  tell: Callable[[int], None] = lambda done: None,
) -> list[pathlib.Path]:
  """Writes heads `start` to `start + num - 1`; shards that are there already are passed over.

  Each holds `images`, and unless the settings say images_only `depths`, `normals`, `albedos`,
  `masks`, `head_masks`, `views`, `lights`, stacked from what `HeadMaker.make` gives; and `numbers`
  int64 [n] and `settings`, a text.

  Args:
    maker: of the heads.
    output: path of the shards without '-00000-of-00004.npz'; '.npz' at its end is left out.
    num: how many heads.
    start: number of the first.
    shard_size: heads in each shard.
    processes: how many work on them.
    tell: called with the number of heads done, those of earlier calls included.

  Returns:
    The paths of all shards.

  Raises:
    DataError: a number is out of range, or there are shards of other heads.
    ArtefactError: a shard cannot be written.
  """
  count = -(-num // max(shard_size, 1))
  if num < 1 or start < 0 or shard_size < 1 or count > _LARGEST:
    raise DataError(
      f'num={num}, start={start}, shard_size={shard_size}: expected at least 1, 0 and 1, and at '
      f'most {_LARGEST} shards'
    )
  output = output.with_suffix('') if output.suffix == '.npz' else output
  claim = json.dumps(maker.settings._asdict() | {'num': num, 'start': start}, sort_keys=True)
  paths = [output.with_name(f'{output.name}-{k:05d}-of-{count:05d}.npz') for k in range(count)]
  missing = [path for path in paths if not path.exists()]
  _refuse_others(output, paths, claim)
  atomic_files.sweep(output.parent)
  done = 0
  with working(maker, processes) as run:
    for k, path in enumerate(paths):
      numbers = range(start + k * shard_size, min(start + (k + 1) * shard_size, start + num))
      if path not in missing:
        done += len(numbers)
        tell(done)
        continue
      made = []
      for head in run(HeadMaker.make, numbers):
        made.append(head)
        done += 1
        tell(done)
      arrays = {f'{name}s': np.stack([head[name] for head in made]) for name in made[0]}
      arrays |= {'numbers': np.array(numbers), 'settings': np.array(claim)}
      atomic_files.write_arrays(path, arrays)
  return paths


def _refuse_others(output, paths, claim):
  """Raises `DataError` where files of this name are not of this set."""
  for path in sorted(output.parent.glob(f'{output.name}-*.npz')):
    if not _NUMBERED.fullmatch(path.name[len(output.name) :]):
      continue
    own = path in paths and str(read_arrays(path, ('settings',))['settings']) == claim
    if not own:
      raise DataError(f'{path}: holds other heads than these, expected another name for the output')
