"""Colours of a head's vertices, from rules on where they lie in the template.

Albedo in [0, 1]. Heights and widths in the rules are decimetres of the template: `up` from the
ground, `front` towards the viewer, x to the right; eyes lie at up 7.28, the lips' seam at 6.6, the
crown at 8.5. As they are tied to vertices, colours follow every deformation.
"""

from typing import NamedTuple

import numpy as np

from gan2shape_jax.head_rendering.shapes import HeadModel, Person

_FAIR, _DARK = np.array([0.96, 0.80, 0.71]), np.array([0.37, 0.25, 0.19])
_HAIR = np.array(
  [
    [0.05, 0.045, 0.045],  # black
    [0.13, 0.08, 0.055],  # dark brown
    [0.32, 0.19, 0.10],  # brown
    [0.52, 0.24, 0.10],  # red
    [0.74, 0.55, 0.24],  # blond
    [0.66, 0.66, 0.66],  # grey
  ]
)
_HAIR_CHANCE = np.array([0.36, 0.25, 0.2, 0.06, 0.13, 0.0])
_OLD_HAIR_CHANCE = np.array([0.14, 0.14, 0.14, 0.03, 0.1, 0.45])
_IRIS = np.array([[0.20, 0.11, 0.06], [0.10, 0.06, 0.04], [0.22, 0.42, 0.72], [0.25, 0.45, 0.30]])
_IRIS_CHANCE = np.array([0.4, 0.25, 0.22, 0.13])
_PUPIL, _SCLERA = np.array([0.02, 0.02, 0.02]), np.array([0.93, 0.92, 0.90])
_LIPS = np.array([0.70, 0.25, 0.24])
_MOUTH, _TONGUE = np.array([0.28, 0.08, 0.08]), np.array([0.65, 0.30, 0.30])

# The hairline: its height at directions around the head, 0 degrees the front, 180 the back.
_HAIR_AROUND = (0.0, 38.0, 55.0, 66.0, 76.0, 90.0, 108.0, 128.0, 180.0)
_HAIR_UP = (7.90, 7.88, 7.78, 7.45, 7.12, 7.34, 7.20, 6.75, 6.50)
_HEAD_AXIS = 0.5  # front of the vertical axis that directions are taken around
_PUPIL_ANGLE, _IRIS_ANGLE = 11.5, 28.0  # degrees from an eye's front


class Colouring(NamedTuple):
  """What is random about a head's colours; colours are [3] in [0, 1].

  Attributes:
    skin: of the face.
    lips: of the lips.
    blush: how red the cheeks are, 0 to 1.
    hair: of the hair, the brows and the beard.
    hairline: by how much it is raised, decimetres; infinite on bald heads.
    raggedness: of the hairline, decimetres.
    brows: how dense they are, 0 to 1.
    beard: how dense it is, 0 (none) to 1.
    iris: of the eyes.
    clothes: of what covers the shoulders.
    collar: height of its upper edge, decimetres.
    noise: uint32, the seed of what differs from vertex to vertex.
  """

  skin: np.ndarray
  lips: np.ndarray
  blush: float
  hair: np.ndarray
  hairline: float
  raggedness: float
  brows: float
  beard: float
  iris: np.ndarray
  clothes: np.ndarray
  collar: float
  noise: int


def draw_colouring(person: Person, random: np.random.Generator) -> Colouring:
  """Draws the colours of a person: grey hair with age, beards of men.

  Args:
    person: whose gender and age count.
    random: consumed.
  """
  tone = random.beta(0.8, 1.2)
  skin = _FAIR * (_DARK / _FAIR) ** tone * (1 + random.normal(0, (0.02, 0.035, 0.05)))
  lips = _mixed(skin, _LIPS, random.uniform(0.45, 0.8))
  old = np.clip((person.age - 0.5) / 0.4, 0, 1)
  hair = _HAIR[random.choice(6, p=(1 - old) * _HAIR_CHANCE + old * _OLD_HAIR_CHANCE)]
  hair = hair * random.uniform(0.75, 1.12) * (1 + random.normal(0, 0.05, 3))
  bald = random.random() < 0.08 + 0.25 * person.gender
  hairline = np.inf if bald else np.clip(random.normal(0, 0.07), -0.15, 0.25)
  bearded = random.random() < 0.5 * (person.gender > 0.5) * (person.age > 0.4)
  return Colouring(
    skin=np.clip(skin, 0, 1),
    lips=np.clip(lips, 0, 1),
    blush=random.uniform(0, 0.5),
    hair=np.clip(hair, 0, 1),
    hairline=float(hairline),
    raggedness=random.uniform(0.01, 0.06),
    brows=random.uniform(0.55, 0.95),
    beard=bearded * random.uniform(0.35, 0.95),
    iris=_IRIS[random.choice(4, p=_IRIS_CHANCE)] * random.uniform(0.8, 1.2),
    clothes=random.uniform(0.05, 0.7) * random.uniform(0.6, 1, 3),
    collar=random.uniform(5.1, 5.85),
    noise=int(random.integers(2**32)),
  )


def vertex_colours(model: HeadModel, colouring: Colouring) -> np.ndarray:
  """Albedo of the vertices that `shape_vertices` makes: float64 [n + 2 s, 3] in [0, 1]."""
  x, up, front = model.template[:, 0], -model.template[:, 1], -model.template[:, 2]
  side, regions = np.abs(x), model.regions
  random = np.random.Generator(np.random.Philox(colouring.noise))
  noise = random.normal(size=len(x))
  around = np.degrees(np.arctan2(side, front - _HEAD_AXIS))
  color = np.broadcast_to(colouring.skin, (len(x), 3))

  cheeks = np.exp(-(((side - 0.43) / 0.17) ** 2 + ((up - 6.95) / 0.16) ** 2)) * (front > 0.8)
  color = _mixed(color, _reddened(colouring.skin), colouring.blush * cheeks)
  color = _mixed(color, colouring.skin * (0.80, 0.72, 0.70), 0.6 * regions['eyelids'])

  arch = 7.55 - 0.9 * (side - 0.33) ** 2
  brow = _smooth((0.07 - np.abs(up - arch)) / 0.05) * _smooth((0.25 - np.abs(side - 0.33)) / 0.06)
  color = _mixed(color, 0.8 * colouring.hair, colouring.brows * brow * (front > 0.9))

  edge = np.interp(around, (0, 25, 75, 95), (6.74, 6.76, 6.95, 7.1))
  beard = _smooth((edge + 0.03 * noise - up) / 0.12) * _smooth((up - 6.02) / 0.12)
  beard *= _smooth((93 - around) / 6) * (1 - regions['lips']) * (1 - regions['ears'])
  color = _mixed(color, colouring.hair, colouring.beard * beard)

  color = _mixed(color, colouring.lips, regions['lips'])
  line = np.interp(around, _HAIR_AROUND, _HAIR_UP) + colouring.hairline
  line += colouring.raggedness * _streaks(np.degrees(np.arctan2(x, front - _HEAD_AXIS)), random)
  cap = _smooth((up - line) / 0.08) * (1 - regions['ears'])
  shade = 1 + 0.06 * noise[:, None]
  color = _mixed(color, np.clip(colouring.hair * shade, 0, 1), cap)

  color = _mixed(color, colouring.clothes, _smooth((colouring.collar - up) / 0.03))
  for region, own in (('mouth', _MOUTH), ('tongue', _TONGUE)):
    color = _mixed(color, own, regions[region] * (1 - (regions['lips'] > 0.1)))
  eye = _eye_colours(model.eye_sphere, colouring.iris)
  return np.clip(np.concatenate([color, eye, eye]), 0, 1)


def _eye_colours(sphere, iris):
  angle = np.degrees(np.arccos(np.clip(-sphere[:, 2], -1, 1)))[:, None]
  rim = np.where(angle > 0.8 * _IRIS_ANGLE, 0.7, 1.0)
  inside = np.where(angle < _PUPIL_ANGLE, _PUPIL, np.clip(iris * rim, 0, 1))
  return np.where(angle < _IRIS_ANGLE, inside, _SCLERA)


def _streaks(angle, random):
  """Smooth noise of a few degrees around the head, standard deviation about 1."""
  ends = np.linspace(-180, 180, 73)
  return np.interp(angle, ends, random.normal(size=len(ends)))


def _reddened(skin):
  return np.clip(skin * (1.0, 0.68, 0.66), 0, 1)


def _mixed(color, other, weight):
  weight = np.clip(np.asarray(weight), 0, 1)[..., None]
  return color * (1 - weight) + np.asarray(other) * weight


def _smooth(x):
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)
