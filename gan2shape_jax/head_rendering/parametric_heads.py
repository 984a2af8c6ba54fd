"""A head by its number: everything about it follows from the seed and the number alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gan2shape_jax.errors import DataError
from gan2shape_jax.head_rendering.colours import Colouring, draw_colouring, vertex_colours
from gan2shape_jax.head_rendering.rendering import Surface
from gan2shape_jax.head_rendering.scene import Scene, draw_scene, place, turn
from gan2shape_jax.head_rendering.shapes import (
  HeadModel,
  Person,
  all_faces,
  draw_person,
  shape_vertices,
)

NEAREST, FARTHEST = 0.9, 1.1  # camera units: the range of depth in 16 bits
_SIZES = (8, 4096)  # pixels
_STREAMS = 3  # of random numbers for a head: its shape, its colours, its view and light


class Settings(NamedTuple):
  """What a set of heads is made of.

  Attributes:
    size: width and height in pixels.
    seed: of everything random.
    view_scale: multiplies pitch and yaw.
    images_only: whether the truth is left out.
  """

  size: int = 64
  seed: int = 0
  view_scale: float = 1.0
  images_only: bool = False


class Drawn(NamedTuple):
  """What is random about one head."""

  person: Person
  colouring: Colouring
  scene: Scene


class HeadMaker:
  """Makes heads of one set; cheap to send to another process.

  Attributes:
    settings: of the set.
  """

  def __init__(self, model: HeadModel, settings: Settings):
    """Prepares what all heads share.

    Args:
      model: the model.
      settings: of the set.

    Raises:
      DataError: a setting is out of its range.
    """
    low, high = _SIZES
    if not low <= settings.size <= high:
      raise DataError(f'size={settings.size}: expected {low} to {high} pixels')
    if settings.seed < 0:
      raise DataError(f'seed={settings.seed}: expected a number of at least 0')
    if not 0 <= settings.view_scale <= 3:
      raise DataError(f'view_scale={settings.view_scale}: expected a number from 0 to 3')
    self.settings = settings
    self._model = model
    self._faces = all_faces(model)
    eyes = np.ones(len(self._faces) - len(model.faces), bool)
    self._head_faces = np.concatenate([model.head, eyes])

  def draw(self, number: int) -> Drawn:
    """Draws what is random about a head, in a millisecond or two."""
    streams = np.random.SeedSequence([self.settings.seed, number]).spawn(_STREAMS)
    shape, color, place_and_light = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    person = draw_person(self._model, shape)
    scene = draw_scene(place_and_light, view_scale=self.settings.view_scale)
    return Drawn(person, draw_colouring(person, color), scene)

  def make(self, number: int) -> Mapping[str, np.ndarray]:
    """Makes a head.

    Args:
      number: from 0 on.

    Returns:
      `image` uint8 [size, size, 3]; and unless the settings say `images_only`
      `depth` uint16 [size, size], depth = 1.1 - 0.2 v / 65535 in the picture's view, 0 the
        background;
      `normal` float16 [size, size, 3], unit, in the view's frame, z away from the camera, (0, 0, 1)
        on the background;
      `albedo` uint8 [size, size, 3], black on the background;
      `mask` uint8 [size, size], 255 on head, neck and shoulders; `head_mask`, without shoulders;
      `view` float32 [6], radians and camera units; `light` float32 [4], ambient, diffuse, dx, dy.

    Raises:
      DataError: embreex is not installed.
    """
    size, drawn = self.settings.size, self.draw(number)
    vertices, colours = self._mesh(drawn)
    surface = Surface(turn(vertices, drawn.scene.view), self._faces, colours)
    head = {'image': surface.image(size, drawn.scene.light, drawn.scene.background)}
    if self.settings.images_only:
      return head
    truth = surface.truth(size)
    return head | {
      'depth': encode_depth(truth.depth),
      'normal': truth.normal.astype(np.float16),
      'albedo': np.round(np.clip(truth.albedo, 0, 1) * 255).astype(np.uint8),
      'mask': np.uint8(255) * truth.mask,
      'head_mask': np.uint8(255) * (truth.mask & self._head_faces[truth.face]),
      'view': drawn.scene.view.astype(np.float32),
      'light': drawn.scene.light.astype(np.float32),
    }

  def turned(self, number: int, count: int, *, view_scale: float = 1.0) -> dict[str, np.ndarray]:
    """Makes other pictures of a head, before its own background, from other views and lights.

    Args:
      number: of the head.
      count: how many pictures.
      view_scale: multiplies their pitch and yaw, as `Settings.view_scale` the head's own.

    Returns:
      `images` uint8 [count, size, size, 3], `masks` uint8 [count, size, size], 255 on head, neck
      and shoulders; `views` float32 [count, 6] and `lights` float32 [count, 4] as those of `make`.
      The first of them do not depend on how many there are.

    Raises:
      DataError: embreex is not installed.
    """
    size, drawn = self.settings.size, self.draw(number)
    vertices, colours = self._mesh(drawn)
    stream = np.random.SeedSequence([self.settings.seed, number]).spawn(_STREAMS + 1)[_STREAMS]
    random = np.random.Generator(np.random.PCG64(stream))
    scenes = [draw_scene(random, view_scale=view_scale) for _ in range(count)]
    images, masks = [], []
    for scene in scenes:
      surface = Surface(turn(vertices, scene.view), self._faces, colours)
      images.append(surface.image(size, scene.light, drawn.scene.background))
      masks.append(np.uint8(255) * surface.truth(size).mask)
    return {
      'images': np.stack(images),
      'masks': np.stack(masks),
      'views': np.array([scene.view for scene in scenes], np.float32),
      'lights': np.array([scene.light for scene in scenes], np.float32),
    }

  def _mesh(self, drawn):
    """Vertices before the camera, not turned, and their colours."""
    vertices = place(shape_vertices(self._model, drawn.person), self._model.extent)
    return vertices, vertex_colours(self._model, drawn.colouring)


def encode_depth(depth: np.ndarray) -> np.ndarray:
  """Depth [...] as 16 bits: depth = 1.1 - 0.2 v / 65535, 0 where it is 1.1 or more."""
  value = (FARTHEST - depth) / (FARTHEST - NEAREST)
  return np.round(np.clip(value, 0, 1) * 65535).astype(np.uint16)
