"""Heads as a folder of pictures: a data set that `data.pictures` and build_tfds.py read."""

import json
import pathlib
from collections.abc import Callable

import numpy as np

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering.parametric_heads import HeadMaker
from gan2shape_jax.head_rendering.workers import working
from gan2shape_jax.storage import atomic_files

_SETTINGS = 'heads.json'
_LAST = 'image'  # written last of a head: where it is, all is


def write_folder(
  maker: HeadMaker,
  folder: pathlib.Path,
  *,
  num: int,
  start: int = 0,
  processes: int = 1,
  tell: Callable[[int], None] = lambda done: None,
) -> None:
  """Writes heads `start` to `start + num - 1`; those that are there already are passed over.

  The folder gets image/, and unless the settings say images_only depth/ (16 bits), mask/,
  head_mask/, normal/ (128 + 127 n in 8 bits), albedo/ and truth.npz with `view` [num, 6], `light`
  [num, 4] and `names` [num]; and heads.json, what it was made of. Files are called after the head's
  number, with three digits or as many as the last one needs.

  Args:
    maker: of the heads.
    folder: made if missing.
    num: how many heads.
    start: number of the first.
    processes: how many work on them.
    tell: called with the number of heads done, those of earlier calls included.

  Raises:
    DataError: a number is out of range, or the folder holds something else.
    ArtefactError: something cannot be written.
  """
  if num < 1 or start < 0:
    raise DataError(f'num={num}, start={start}: expected at least 1 and 0')
  _claim(maker, folder, num, start)
  digits = max(3, len(str(start + num - 1)))
  numbers = range(start, start + num)
  names = {number: f'{number:0{digits}d}' for number in numbers}
  missing = [n for n in numbers if not (folder / _LAST / f'{names[n]}.png').exists()]
  done = num - len(missing)
  with working(maker, processes) as run:
    for _ in run(_Writer(folder, digits), missing):
      done += 1
      tell(done)
  if not maker.settings.images_only:
    scenes = [maker.draw(number).scene for number in numbers]
    truth = {
      'view': np.stack([scene.view for scene in scenes]).astype(np.float32),
      'light': np.stack([scene.light for scene in scenes]).astype(np.float32),
      'names': np.array(list(names.values())),
    }
    atomic_files.write_arrays(folder / 'truth.npz', truth)


class _Writer:
  """Makes a head and writes its pictures."""

  def __init__(self, folder, digits):
    self.folder, self.digits = folder, digits

  def __call__(self, maker, number):
    made = {name: array for name, array in maker.make(number).items() if array.ndim > 1}
    if 'normal' in made:
      made['normal'] = np.round(128 + 127 * made['normal'].astype(np.float32)).astype(np.uint8)
    for kind in sorted(made, key=lambda kind: kind == _LAST):
      path = self.folder / kind / f'{number:0{self.digits}d}.png'
      image_files.write_png(path, made[kind])


def _claim(maker, folder, num, start):
  """Notes what the folder is for, or raises `DataError` where it is for something else."""
  path = folder / _SETTINGS
  own = maker.settings._asdict() | {'num': num, 'start': start}
  if path.exists():
    try:
      held = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
      held = None
    if held != own:
      raise DataError(f'{folder}: holds other heads than these, expected another folder')
    for leftovers in folder.iterdir():
      if leftovers.is_dir():
        atomic_files.sweep(leftovers)
  elif folder.is_dir() and any(folder.iterdir()):
    raise DataError(f'{folder}: expected a new or empty folder')
  else:
    atomic_files.write_json(path, own)
