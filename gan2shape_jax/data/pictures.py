"""The pictures of a run with what belongs to them: masks, latents, true depths, regions.

`config.data.images` is 'embedded:heads', a file, a folder, a glob, or a .txt that lists files (see
`data.listing`). A folder with a subfolder `image` is a data set: beside it mask/, depth/,
head_mask/ (the region of the metrics) and latents.npz are used where they exist, and image128/,
depth128/ and so on go before image/, depth/ where the size is 128. A setting of its own overrides
each of them, 'none' leaves one out.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

import numpy as np

from gan2shape_jax.data.alignment import align, aligned_size, alignment_targets, read_landmarks
from gan2shape_jax.data.decoding import MOST_PIXELS
from gan2shape_jax.data.embedded import locate
from gan2shape_jax.data.images import picture_shape, read_depth, read_image, read_mask, read_photo
from gan2shape_jax.data.latents import latent_files, read_latent, read_named
from gan2shape_jax.data.listing import (
  in_folder,
  is_list,
  listed,
  neighbours,
  refuse_duplicates,
  same_name,
)
from gan2shape_jax.errors import DataError

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
    photo: a function: pixels that are never exceeded -> uint8 [n, n, 3], the same square of the
      picture at its own resolution, read when it is called (it raises DataError); None where
      `image` is all there is.
  """

  name: str
  image: np.ndarray
  mask: np.ndarray | None
  latent: np.ndarray | None
  depth: np.ndarray | None
  region: np.ndarray | None
  path: pathlib.Path
  photo: Callable[[int], np.ndarray] | None = None


class Pictures(Sequence[Picture]):
  """A sequence of `Picture`, each read from its files when it is asked for.

  Attributes:
    names: the pictures' names, in order.
    size: height and width in pixels.
  """

  def __init__(self, entries: list[dict], size: int, most_pixels: int = MOST_PIXELS):
    self._entries, self._most_pixels = entries, most_pixels
    self.size = size
    self.names = [entry['name'] for entry in entries]

  def __len__(self):
    return len(self._entries)

  @overload
  def __getitem__(self, index: int) -> Picture: ...
  @overload
  def __getitem__(self, index: slice) -> 'Pictures': ...

  def __getitem__(self, index):
    if isinstance(index, slice):
      return Pictures(self._entries[index], self.size, self._most_pixels)
    entry = self._entries[index]
    latent = entry['latent']
    cut = cut_photo = None
    if entry['points'] is not None:
      points, targets = entry['points']
      shape = picture_shape(entry['image'])
      cut = functools.partial(
        align, points=points, targets=targets, size=self.size, points_of=shape
      )

      def cut_photo(unit, largest):
        n = aligned_size(points, targets, largest)
        return align(unit, points, targets, n, points_of=shape)

    def optional(read, kind, *options):
      return None if entry[kind] is None else read(entry[kind], self.size, *options)

    return Picture(
      name=entry['name'],
      image=read_image(entry['image'], self.size, cut, most_pixels=self._most_pixels),
      mask=optional(read_mask, 'mask', cut),
      latent=read_latent(latent) if isinstance(latent, pathlib.Path) else latent,
      depth=optional(read_depth, 'depth'),
      region=optional(read_mask, 'region'),
      path=entry['image'],
      photo=functools.partial(
        read_photo, entry['image'], cut=cut_photo, most_pixels=self._most_pixels
      ),
    )

  def sources(self, index: int) -> dict:
    """What a picture is read from: name, image, mask, depth, region (paths) and latent."""
    return dict(self._entries[index])

  def inputs(self, index: int) -> dict:
    """What a fit of a picture begins from: paths, arrays or None by kind."""
    entry = self._entries[index]
    points = None
    if entry['points'] is not None:
      points = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in entry['points']])
    return {
      'picture': entry['image'],
      'landmarks': points,
      'mask': entry['mask'],
      'latent': entry['latent'],
    }


def load_pictures(config_data, image_size: int) -> Pictures:
  """Lists the pictures of a run, sorted by name, and checks that what belongs to them is there.

  Args:
    config_data: `config.data`: images, masks, latents, depths, regions, landmarks, align_to,
      start, num. Masks, depths and regions are folders with pictures of the same names (or a file,
      for a single picture); latents an .npz archive whose 'w' goes by its 'names' or, without
      them, is in the order of all pictures of the folder, whatever part of them is selected, or a
      folder of NAME.npy. Landmarks align pictures and masks (see `data.alignment`).
    image_size: height and width to bring them to, in pixels.

  Returns:
    A sequence of `Picture` that reads each when it is asked for.

  Raises:
    DataError: there is no picture, two have the same name, something is missing for one of them
      or latents are not as many as pictures, or true depth is given for pictures to be aligned
      (which would be another camera's). Unreadable files raise it when they are read.
  """
  given = os.fspath(config_data.images)
  if not given:
    raise DataError("data.images is empty: expected a file, folder, glob or 'embedded:heads'")
  defaults = {}
  place = locate(given)
  if place.is_dir() and (place / 'image').is_dir():
    defaults = _data_set(place, image_size)
    place = defaults['images']
  files = listed(place)
  folder_files = files
  if not is_list(place):
    folder_files = files if place.is_dir() else neighbours(files)

  chosen = files[selected(config_data, len(files), given)]
  names = [file.stem for file in chosen]

  partners = {}
  for kind, setting in (('mask', 'masks'), ('depth', 'depths'), ('region', 'regions')):
    partners[kind] = _partners(_setting(config_data, setting, defaults), names, kind)
  place = _setting(config_data, 'latents', defaults)
  # A data set's own archive is in order by definition.
  latents = _latents(place, files, folder_files, names, said=bool(config_data.latents))
  points = _points(config_data, names, partners)
  entries = [
    {
      'name': file.stem,
      'image': file,
      'latent': latents.get(file.stem),
      'points': points.get(file.stem),
    }
    | {kind: of_name.get(file.stem) for kind, of_name in partners.items()}
    for file in chosen
  ]
  return Pictures(entries, image_size, int(config_data.get('most_pixels', MOST_PIXELS)))


def selected(config_data, count: int, given: str) -> slice:
  """Which pictures of a place are used.

  Args:
    config_data: `config.data`: start, num (0: all from there on).
    count: how many there are.
    given: the place, for messages.

  Returns:
    Their indices as a slice.

  Raises:
    DataError: a number is negative, or there are none from `start` on.
  """
  start, num = int(config_data.start), int(config_data.num)
  if start < 0 or num < 0:
    raise DataError(f'data.start={start}, data.num={num}: expected numbers of at least 0')
  if start >= count:
    raise DataError(f'data.start={start}: {given} has only {count} pictures')
  return slice(start, min(start + num, count) if num else count)


def _data_set(folder, size):
  """Setting -> the place in a data set: the folder of pictures and what lies beside it."""

  def subfolder(name):
    return next((p for p in (folder / f'{name}{size}', folder / name) if p.is_dir()), None)

  found = {
    'images': subfolder('image'),
    'masks': subfolder('mask'),
    'depths': subfolder('depth'),
    'regions': subfolder('head_mask'),
    'latents': folder / 'latents.npz' if (folder / 'latents.npz').is_file() else None,
  }
  return {setting: path for setting, path in found.items() if path}


def _setting(config_data, setting, defaults) -> pathlib.Path | None:
  """The path that a setting gives, else the data set's, else None."""
  value = os.fspath(config_data[setting] or '')
  if value == _NONE:
    return None
  return locate(value) if value else defaults.get(setting)


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
  wanted = {same_name(name) for name in names}
  files = [path for path in in_folder(place) if same_name(path.stem) in wanted]
  refuse_duplicates(files)
  found = {same_name(path.stem): path for path in files}
  for name in names:
    if same_name(name) not in found:
      raise DataError(f'{place}: expected a {kind} named {name}.png (or .jpg, ...), there is none')
  return {name: found[same_name(name)] for name in names}


def _latents(place, files, folder_files, names, *, said):
  """Name -> latent (an array, or the file with it); that they go by order may be said."""
  if place is None:
    return {}
  if place.is_dir():
    return latent_files(place, names)
  latents = read_named(place)
  if latents.names is not None:
    found = {name: latents.of(name, place) for name in names}
    for name, latent in found.items():
      if latent is None:
        raise DataError(f'{place}: {latents.lacking.format(name=name)}')
    return found
  # A single picture's comes last: [n, w_dim] of a whole folder may look like [layers, w_dim].
  for order in (folder_files, files):
    if len(order) > 1 and (found := latents.in_order(len(order))):
      if said:
        print(f'{place}: no names in it, its latents go to the pictures in order', file=sys.stderr)
      return {file.stem: latent for file, latent in zip(order, found, strict=True)}
  if len(names) == 1 and (found := latents.in_order(1)):
    return {names[0]: found[0]}
  raise DataError(
    f"{place}: expected 'w' with a latent for each of {len(folder_files)} pictures, "
    f'it has {len(latents.arrays)}'
  )


def _points(config_data, names, partners):
  """Name -> the five points of its face and the places they are brought to."""
  if not config_data.landmarks:
    return {}
  place = locate(config_data.landmarks)
  targets = alignment_targets(config_data.align_to)
  for kind in ('depth', 'region'):
    if partners[kind]:
      raise DataError(
        f'{place}: expected no {kind} of pictures that are aligned, it belongs to the picture as '
        f'it was taken: --config.data.{kind}s=none leaves it out'
      )
  found = {same_name(name): points for name, points in read_landmarks(place).items()}
  for name in names:
    if same_name(name) not in found:
      raise DataError(f'{place}: expected a row for {name}, there is none')
  return {name: (found[same_name(name)], targets) for name in names}
