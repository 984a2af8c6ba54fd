"""Which pictures of a work folder are done, and what their results tell.

`timing.json` is written last of all: seconds by part, and the digests of what the picture's fit
began from.
"""

import csv
import pathlib
import sys
import zipfile
from collections.abc import Mapping, Sequence

from gan2shape_jax.errors import ArtefactError, DataError
from gan2shape_jax.pipeline import picture_inputs
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.storage.workdir import read_json

_DONE, _METRICS, _FACTORS = 'timing.json', 'metrics.json', 'factors.npz'
_INPUTS = 'inputs'
_NEEDED = ('camera.npy', 'canonical_depth.npy')  # of the factors, whichever version wrote them


def finish(folder: pathlib.Path, seconds: Mapping[str, float], inputs: Mapping[str, str]) -> None:
  """Marks a picture as done.

  Args:
    folder: with all its results.
    seconds: spent on it, by part.
    inputs: digests of what its fit began from.

  Raises:
    ArtefactError: the system refused.
  """
  rounded = {name: round(value, 2) for name, value in seconds.items()}
  atomic_files.write_json(folder / _DONE, rounded | ({_INPUTS: inputs} if inputs else {}))


def is_finished(folder: pathlib.Path, pictures: Sequence, number: int) -> bool:
  """Whether all results of a picture are there, whole, and of the inputs as they are now.

  Where they are not, what is missing or changed is said, unless the picture was never done.

  Args:
    folder: of the picture.
    pictures: of the run.
    number: of the picture.
  """
  try:
    if not all((folder / name).is_file() for name in (_DONE, _METRICS, _FACTORS)):
      return False
  except OSError:  # too long a name, a folder that may not be entered: told when it is written
    return False
  try:
    seconds = read_json(folder / _DONE)
    _numbers(folder / _DONE, seconds)
    _numbers(folder / _METRICS, read_json(folder / _METRICS))
    _check_archive(folder / _FACTORS)
  except ArtefactError as error:
    print(f'{folder.name} is fitted again: {error}', file=sys.stderr)
    return False
  before = seconds.get(_INPUTS)
  if not isinstance(before, dict):  # of an earlier version
    return True
  before = {kind: value for kind, value in before.items() if kind in picture_inputs.GIVEN}
  try:
    now = picture_inputs.digests(pictures, number)
  except DataError:  # what is done needs its files no more
    return True
  changed = picture_inputs.differences(before, now)
  if changed:
    print(f'{folder.name} is fitted again: {", ".join(changed)} changed', file=sys.stderr)
  return not changed


def row(name: str, folder: pathlib.Path) -> dict:
  """A finished picture's row of the table of metrics.

  Raises:
    ArtefactError: its results cannot be read.
  """
  metrics = read_json(folder / _METRICS)
  seconds = _numbers(folder / _DONE, read_json(folder / _DONE))
  own = {'name': name}
  return own | metrics | own | {'seconds': round(sum(seconds.values()), 1)}


def is_current(workdir: pathlib.Path, names: Sequence[str]) -> bool:
  """Whether table and page were written after the results of all pictures."""
  written = [workdir / 'metrics.csv', workdir / 'index.html']
  if not all(path.is_file() for path in written):
    return False
  try:
    with open(written[0], encoding='utf-8', newline='') as table:
      listed = [cells[0] for cells in csv.reader(table) if cells][1:]
  except (OSError, ValueError, csv.Error):  # damaged: written again
    return False
  newest = max((workdir / name / _DONE).stat().st_mtime for name in names)
  whole = listed == [*names, 'mean', 'std']
  return whole and min(path.stat().st_mtime for path in written) >= newest


def _numbers(path, table):
  """The numbers of a table; refuses other things in it (an unknown number is null)."""
  found = {name: value for name, value in table.items() if name != _INPUTS}
  bad = [name for name, value in found.items() if not isinstance(value, int | float | None)]
  if bad:
    raise ArtefactError(f'cannot read {path}: expected numbers, {bad[0]} is none')
  return {name: value for name, value in found.items() if value is not None}


def _check_archive(path):
  try:
    with zipfile.ZipFile(path) as archive:
      lacking = set(_NEEDED) - set(archive.namelist())
      damaged = archive.testzip()
  except Exception as error:  # zipfile, zlib and struct fail in many ways on damaged files
    raise ArtefactError(f'cannot read {path}: {error}') from error
  if lacking:
    raise ArtefactError(f'cannot read {path}: it has no {", ".join(sorted(lacking))}')
  if damaged:
    raise ArtefactError(f'cannot read {path}: {damaged} in it is damaged')
