"""Arrays that are too many for memory: a file for each picture, of which one row is read at a time.

A file is numpy's .npy of a structured type, a field for each leaf of a pytree and a row for each
tree, so that any row can be read without the others. It appears whole or not at all.
"""

import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from gan2shape_jax.errors import ArtefactError
from gan2shape_jax.storage.atomic_files import whole_file


class ArrayStore:
  """Pytrees of one structure, by stage and picture; a `joint_driver.Store` on disk.

  Example:
    >>> shelf = ArrayStore(workdir / 'projections', Projections(*[0] * 6), names)
    >>> shelf.put(0, 3, batches, count=4)
    >>> batch = shelf.get(0, 3, index=1)
  """

  def __init__(
    self,
    folder,
    like: Any,
    names: Sequence[str],
    *,
    before_put: Callable[[int], None] = lambda number: None,
  ):
    """Touches no file yet.

    Args:
      folder: where the files go: stage_1/NAME.npy and so on.
      like: a pytree of the structure; its leaves do not matter.
      names: of the pictures, by number.
      before_put: called with the picture's number before each tree is made and written; what it
        raises leaves no file.
    """
    self._folder, self._names, self._before_put = pathlib.Path(folder), names, before_put
    paths, self._structure = jax.tree_util.tree_flatten_with_path(like)
    self._fields = [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in paths]

  def path(self, stage: int, number: int) -> pathlib.Path:
    """The file of a picture in a stage."""
    return self._folder / f'stage_{stage + 1}' / f'{self._names[number]}.npy'

  def has(self, stage: int, number: int) -> bool:
    """Whether the file of a picture in a stage is there."""
    return self.path(stage, number).is_file()

  def put(self, stage: int, number: int, trees: Iterable[Any], count: int) -> None:
    """Writes the trees of a picture, each as it is made.

    Args:
      stage: number of the stage.
      number: of the picture.
      trees: `count` trees of the same shapes.
      count: how many.

    Raises:
      ArtefactError: the system refused.
    """
    trees = iter(trees)
    # Row by row through a file, not a memory map, which a full disk would kill the process by.
    with whole_file(self.path(stage, number)) as partial, open(partial, 'wb') as file:
      for k in range(count):
        self._before_put(number)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(next(trees))]
        fields = zip(self._fields, leaves, strict=True)
        dtype = np.dtype([(name, leaf.dtype, leaf.shape) for name, leaf in fields])
        if not k:
          descr = np.lib.format.dtype_to_descr(dtype)
          header = {'descr': descr, 'fortran_order': False, 'shape': (count,)}
          np.lib.format.write_array_header_1_0(file, header)
        file.write(b''.join(leaf.tobytes() for leaf in leaves))

  def get(self, stage: int, number: int, index: int = 0) -> Any:
    """Reads one tree of a picture.

    Returns:
      The tree, of numpy arrays.

    Raises:
      ArtefactError: the file is missing, damaged or holds other arrays.
    """
    path = self.path(stage, number)
    try:
      row = np.load(path, mmap_mode='r', allow_pickle=False)[index]
      leaves = [np.array(row[name]) for name in self._fields]
    except OSError as error:
      raise ArtefactError(f'cannot read {path}: {error.strerror or error}') from error
    except Exception as error:  # a damaged file fails in numpy's header parser or in mmap
      raise ArtefactError(
        f'cannot read {path}: expected {", ".join(self._fields)} ({type(error).__name__} on '
        'reading it)'
      ) from error
    return jax.tree.unflatten(self._structure, leaves)

  def clear(self) -> None:
    """Removes the files of all stages.

    Raises:
      ArtefactError: the system refused.
    """
    try:
      if self._folder.exists():
        shutil.rmtree(self._folder)
    except OSError as error:
      raise ArtefactError(f'cannot remove {self._folder}: {error.strerror or error}') from error
