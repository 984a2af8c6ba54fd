"""The pictures of a run with what belongs to them: masks, latents, true depths, regions.

`config.data.images` is 'embedded:heads', a file, a folder or a glob. A folder with a subfolder
`image` is a data set: beside it mask/, depth/, head_mask/ (the region of the metrics) and
latents.npz are used where they exist, and image128/, depth128/ and so on go before image/, depth/
where the size is 128. A setting of its own overrides each of them, 'none' leaves one out.
"""

import glob
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan2shape_jax.data.embedded import locate
from gan2shape_jax.data.errors import DataError
from gan2shape_jax.data.images import read_depth, read_image, read_mask
from gan2shape_jax.data.latents import latent_files, read_latent, read_latents

_ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm')
_NONE = 'none'


class Picture(NamedTuple):
  """One picture and what is known about it.

  Attributes:
    name: the file's name without its ending.
    image: float32 [size, size, 3] in [-1, 1].
    mask: float32 [size, size, 1] in [0, 1], or None.
    latent: float32 [w_dim] or [layers, w_dim], or None.
    depth: float32 [size, size] true depth in the picture's view, 1.1 behind the object, or None.
    region: float32 [size, size, 1] in [0, 1] to which metrics are confined, or None.
    path: the picture's file.
  """

  name: str
  image: np.ndarray
  mask: np.ndarray | None
  latent: np.ndarray | None
  depth: np.ndarray | None
  region: np.ndarray | None
  path: pathlib.Path


class Pictures(Sequence):
  """A sequence of `Picture`, each read from its files when it is asked for.

  Attributes:
    names: the pictures' names, in order.
    size: height and width in pixels.
  """

  def __init__(self, entries: list[dict], size: int):
    self._entries = entries
    self.size = size
    self.names = [entry['name'] for entry in entries]

  def __len__(self):
    return len(self._entries)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return Pictures(self._entries[index], self.size)
    entry = self._entries[index]
    latent = entry['latent']

    def optional(read, kind):
      return None if entry[kind] is None else read(entry[kind], self.size)

    return Picture(
      name=entry['name'],
      image=read_image(entry['image'], self.size),
      mask=optional(read_mask, 'mask'),
      latent=read_latent(latent) if isinstance(latent, pathlib.Path) else latent,
      depth=optional(read_depth, 'depth'),
      region=optional(read_mask, 'region'),
      path=entry['image'],
    )


def load_pictures(config_data, image_size: int) -> Pictures:
  """Lists the pictures of a run, sorted by name, and checks that what belongs to them is there.

  Args:
    config_data: `config.data`: images, masks, latents, depths, regions, start, num. Masks, depths
      and regions are folders with pictures of the same names (or a file, for a single picture);
      latents an .npz archive whose 'w' is in the order of all pictures of the folder, whatever
      part of them is selected, or a folder of NAME.npy.
    image_size: height and width to bring them to, in pixels.

  Returns:
    A sequence of `Picture` that reads each when it is asked for.

  Raises:
    DataError: there is no picture, two have the same name, something is missing for one of them
      or latents are not as many as pictures. Unreadable files raise it when they are read.
  """
  given = os.fspath(config_data.images)
  if not given:
    raise DataError("data.images is empty: expected a file, folder, glob or 'embedded:heads'")
  defaults = {}
  place = locate(given)
  if place.is_dir() and (place / 'image').is_dir():
    place, defaults = _data_set(place, image_size)
  files = _listed(place)
  folder_files = files if place.is_dir() else _neighbours(files)

  start, num = int(config_data.start), int(config_data.num)
  if start < 0 or num < 0:
    raise DataError(f'data.start={start}, data.num={num}: expected numbers of at least 0')
  if start >= len(files):
    raise DataError(f'data.start={start}: {given} has only {len(files)} pictures')
  chosen = files[start : start + num] if num else files[start:]
  names = [file.stem for file in chosen]

  partners = {}
  for kind, setting in (('mask', 'masks'), ('depth', 'depths'), ('region', 'regions')):
    partners[kind] = _partners(_setting(config_data, setting, defaults), names, kind)
  latents = _latents(_setting(config_data, 'latents', defaults), files, folder_files, names)
  entries = [
    {'name': file.stem, 'image': file, 'latent': latents.get(file.stem)}
    | {kind: of_name.get(file.stem) for kind, of_name in partners.items()}
    for file in chosen
  ]
  return Pictures(entries, image_size)


def _data_set(folder, size):
  """The picture folder of a data set and what lies beside it."""

  def subfolder(name):
    return next((p for p in (folder / f'{name}{size}', folder / name) if p.is_dir()), None)

  found = {
    'masks': subfolder('mask'),
    'depths': subfolder('depth'),
    'regions': subfolder('head_mask'),
    'latents': folder / 'latents.npz' if (folder / 'latents.npz').is_file() else None,
  }
  return subfolder('image'), {setting: path for setting, path in found.items() if path}


def _setting(config_data, setting, defaults):
  """The path that a setting gives, else the data set's, else None."""
  value = os.fspath(config_data[setting] or '')
  if value == _NONE:
    return None
  return locate(value) if value else defaults.get(setting)


def _listed(place):
  """The picture files that a file, folder or glob names, sorted by name."""
  if place.is_dir():
    files = _in_folder(place)
    if not files:
      raise DataError(f'{place}: expected pictures in this folder, there are none')
  elif place.is_file():
    return [place]
  elif glob.has_magic(str(place)):
    found = (pathlib.Path(path) for path in glob.glob(str(place), recursive=True))
    files = _sorted(path for path in found if path.is_file() and _is_picture(path))
    if not files:
      raise DataError(f'{place}: expected pictures, nothing matches')
  else:
    raise DataError(f'{place}: no such file or folder, expected pictures')
  _refuse_duplicates(files)
  return files


def _is_picture(path):
  return path.suffix.lower() in _ENDINGS and not path.name.startswith('.')


def _sorted(paths):
  return sorted(paths, key=lambda path: (path.stem, str(path)))


def _in_folder(folder):
  return _sorted(path for path in folder.iterdir() if path.is_file() and _is_picture(path))


def _refuse_duplicates(files):
  for first, second in itertools.pairwise(files):
    if first.stem == second.stem:
      raise DataError(f'{second}: expected names to differ, {first} has the same')


def _neighbours(files):
  """All pictures of the folder that a file or the files of a glob lie in."""
  folders = {file.parent for file in files}
  return _in_folder(folders.pop()) if len(folders) == 1 else files


def _partners(place, names, kind):
  """Name -> the file of the same name in a folder (or the one file given for one picture)."""
  if place is None:
    return {}
  if place.is_file():
    if len(names) != 1:
      raise DataError(f'{place}: expected a folder with a {kind} for each of {len(names)} pictures')
    return {names[0]: place}
  if not place.is_dir():
    raise DataError(f'{place}: no such folder, expected a {kind} for each picture')
  wanted = set(names)
  files = [path for path in _in_folder(place) if path.stem in wanted]
  _refuse_duplicates(files)
  found = {path.stem: path for path in files}
  for name in names:
    if name not in found:
      raise DataError(f'{place}: expected a {kind} named {name}.png (or .jpg, ...), there is none')
  return found


def _latents(place, files, folder_files, names):
  """Name -> latent (an array, or the file with it)."""
  if place is None:
    return {}
  if place.is_dir():
    return latent_files(place, names)
  latents = read_latents(place)
  for order in (folder_files, files):
    if len(order) == len(latents):
      return {file.stem: latent for file, latent in zip(order, latents, strict=True)}
  raise DataError(
    f"{place}: expected 'w' with a latent for each of {len(folder_files)} pictures, "
    f'it has {len(latents)}'
  )
