"""Training images: .npz archives, picture files, or a data set of TFDS; bytes, channels last."""

import glob
import os
import pathlib
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax.artefacts.image_files import to_uint8
from gan2shape_jax.data import TFDS, load_tfds_pictures, read_image
from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.data.listing import in_folder, listed
from gan2shape_jax.errors import DataError

_KEEP_BYTES = 2**31  # decoded pictures kept in memory
_ARCHIVE = '.npz'
_SHARD = re.compile(r'(?P<name>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.npz')


class TrainingImages:
  """Images by number; decoded ones are kept while memory allows.

  Attributes:
    size: height and width in pixels.
  """

  def __init__(self, read: Callable[[int], np.ndarray], count: int, size: int):
    """Wraps a function that makes one image.

    Args:
      read: number -> uint8 [size, size, 3]; called from several threads.
      count: how many there are.
      size: height and width in pixels.
    """
    self.size = size
    self._read, self._count = read, count
    self._kept, self._room = {}, _KEEP_BYTES // (3 * size * size)
    self._lock = threading.Lock()
    self._threads = None

  def __len__(self):
    return self._count

  def batch(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """The images of some numbers: uint8 [n, size, size, 3]."""
    if self._threads is None:
      self._threads = ThreadPoolExecutor(os.cpu_count() or 1, 'pictures')
    return np.stack(list(self._threads.map(self._one, map(int, numbers))))

  def close(self):
    """Ends the decoding threads."""
    if self._threads is not None:
      self._threads.shutdown(cancel_futures=True)
      self._threads = None

  def _one(self, number):
    kept = self._kept.get(number)
    if kept is None:
      kept = self._read(number)
      with self._lock:
        if len(self._kept) < self._room:
          self._kept[number] = kept
    return kept


class ArrayImages(TrainingImages):
  """Images that lie in arrays, one after the other."""

  def __init__(self, arrays: Sequence[np.ndarray]):
    """Wraps arrays uint8 [n, size, size, 3] of one size."""
    self._arrays = list(arrays)
    self._ends = np.cumsum([len(array) for array in self._arrays])
    super().__init__(self._at, int(self._ends[-1]), self._arrays[0].shape[1])

  def batch(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """The images of some numbers: uint8 [n, size, size, 3]."""
    return np.stack([self._at(number) for number in np.asarray(numbers)])

  def _at(self, number):
    array = int(np.searchsorted(self._ends, number, side='right'))
    return self._arrays[array][number - self._ends[array]]


def load_images(config: ConfigDict) -> TrainingImages:
  """The images that a configuration names.

  Args:
    config: a whole configuration; `gan_training.images` is an .npz archive with uint8 'images'
      [n, size, size, 3], a folder or glob of such archives (in the order of their names), a picture
      folder, glob or list (the middle square is taken and shrunk to `image_size`), or tfds:NAME
      (with `data.tfds_split` and `data.tfds_dir`).

  Returns:
    Training images of `image_size`.

  Raises:
    DataError: one line: there are no images, or they are of another kind or size, or of archives
      called NAME-00000-of-00004.npz and so on some are missing. Damaged pictures raise it when they
      are read.
  """
  place, size = str(config.gan_training.images), config.image_size
  if not place:
    raise DataError(
      "gan_training.images='': expected .npz archives with 'images', a picture folder or tfds:NAME"
    )
  if place.startswith(TFDS):
    return _from_tfds(config, place, size)
  path = pathlib.Path(place).expanduser()
  archives = _archives(path)
  if archives:
    return ArrayImages([_from_archive(archive, size) for archive in archives])
  files = listed(path)
  for file in files:
    _check_size(file, size)
  return TrainingImages(lambda number: to_uint8(read_image(files[number], size)), len(files), size)


def _archives(path):
  """The archives that a file, a folder or a glob names; none where it names pictures."""
  if path.is_dir():
    found = sorted(path.glob(f'*{_ARCHIVE}'))
    pictures = in_folder(path) if found else []
    if pictures:
      raise DataError(f'{path}: expected .npz archives or pictures, it has both')
  elif path.suffix.lower() == _ARCHIVE:
    if path.exists() or not glob.has_magic(str(path)):
      return [path]
    found = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
    if not found:
      raise DataError(f'{path}: expected .npz archives, nothing matches')
  else:
    return []
  found = [file for file in found if not file.name.startswith('.')]  # one being written
  _refuse_missing(found)
  return found


def _refuse_missing(archives):
  """Raises `DataError` where archives are numbered and some of them are not there."""
  present = {path: _SHARD.fullmatch(path.name) for path in archives}
  for path, match in present.items():
    if match is None:
      continue
    for number in range(int(match['count'])):
      other = path.with_name(f'{match["name"]}-{number:05d}-of-{match["count"]}{_ARCHIVE}')
      if other not in present:
        raise DataError(f'{other}: not among the {len(archives)} archives, expected all of them')


def _from_archive(path, size):
  images = read_arrays(path, ('images',))['images']
  if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
    raise DataError(
      f'{path}: expected images as uint8 [n, {size}, {size}, 3], this is {images.dtype} '
      f'{list(images.shape)}'
    )
  if images.shape[1:3] != (size, size):
    height, width = images.shape[1:3]
    raise DataError(
      f'{path}: expected images of {size}x{size} pixels (image_size), these are {height}x{width}'
    )
  return images


def _from_tfds(config, source, size):
  wanted = config.data.copy_and_resolve_references()
  wanted.source = source
  wanted.landmarks = ''
  wanted.masks = wanted.depths = wanted.regions = wanted.latents = 'none'
  pictures = load_tfds_pictures(wanted, size)
  return TrainingImages(lambda number: to_uint8(pictures[number].image), len(pictures), size)


def _check_size(path, size):
  """Reads a picture's header; content is looked at when it is decoded."""
  try:
    with Image.open(path) as file:
      width, height = file.size
  except Exception:
    read_image(path, size)  # tells in one line what is wrong
    raise
  if min(width, height) < size:
    raise DataError(
      f'{path}: expected a picture of at least {size}x{size} pixels (image_size), this is '
      f'{width}x{height}'
    )
