"""Rendered heads as step 3 takes them: true pictures from other views in place of projections."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from gan2shape_jax.errors import SettingsError
from gan2shape_jax.head_rendering import HeadMaker
from gan2shape_jax.head_rendering.parametric_heads import FARTHEST, NEAREST
from gan2shape_jax.reconstruction.state import Instance, Projections, Settings

VIEW_SCALE = 0.6  # of the heads' own pictures, as of those that the method is developed with
_LOWEST_SLOPE = 0.1  # of a light's direction along z: one from behind would have no slopes dx, dy


class Bed(NamedTuple):
  """Numbers of the test bed.

  Attributes:
    heads: how many are measured.
    views: other pictures of each, a multiple of the batch of step 3.
    seed: of heads, their views and the errors.
    pitch_error: standard deviation of the views' errors, degrees.
    yaw_error: likewise.
    iterations: of step 3 where the factors themselves are fitted; networks take the
      configuration's.
  """

  heads: int = 20
  views: int = 160
  seed: int = 77
  pitch_error: float = 5.0
  yaw_error: float = 7.0
  iterations: int = 400


class Scene(NamedTuple):
  """A head as step 3 takes it, with its truth.

  Attributes:
    instance: its picture; the latent is not looked at.
    view: [6] of the picture, network units.
    projections: true pictures of it with their true views and lights; `picture_view` is `view`.
    depth: [size, size] true depth in the picture's view, camera units.
    region: [size, size] the head alone, to which metrics are confined.
  """

  instance: Instance
  view: jax.Array
  projections: Projections
  depth: np.ndarray
  region: np.ndarray


def check_bed(bed: Bed, settings: Settings):
  """Refuses numbers that cannot be measured with.

  Raises:
    SettingsError: one line that names the flag.
  """
  if bed.heads < 1:
    raise SettingsError(f'--heads={bed.heads}: expected at least 1')
  if bed.views < 1 or bed.views % settings.batch_size:
    raise SettingsError(
      f'--views={bed.views}: expected a multiple of sampling.batch_size={settings.batch_size}'
    )
  if bed.iterations < 1:
    raise SettingsError(f'--fit_iterations={bed.iterations}: expected at least 1')
  if bed.seed < 0:
    raise SettingsError(f'--bed_seed={bed.seed}: expected at least 0')
  for name, value in (('pitch', bed.pitch_error), ('yaw', bed.yaw_error)):
    if not 0 <= value < 90:
      raise SettingsError(f'--{name}_error={value:g}: expected degrees from 0 to 90')


def make_scene(maker: HeadMaker, number: int, bed: Bed, settings: Settings, latent) -> Scene:
  """Renders a head.

  Args:
    maker: of the heads.
    number: of the head.
    bed: how many other pictures.
    settings: of the method, with ranges of views, batch and whether masks are used.
    latent: [w_dim], any.

  Returns:
    A `Scene`, without `picture_depth` (zeros).

  Raises:
    DataError: the extra `heads` is not installed.
  """
  head, others = maker.make(number), maker.turned(number, bed.views)
  size = maker.settings.size
  own = view_codes(head['view'], settings)
  # Without masks a pseudo sample is explained wherever the canonical map reaches.
  masks = (
    (others['masks'] > 0).astype(np.float32)
    if settings.use_mask
    else np.ones(others['masks'].shape)
  )
  batches = bed.views // settings.batch_size
  batched = lambda x: jnp.asarray(x, jnp.float32).reshape(batches, -1, *x.shape[1:])
  projections = Projections(
    images=batched(_signed(others['images'])),
    masks=batched(masks[..., None]),
    views=batched(view_codes(others['views'], settings)),
    lights=batched(light_codes(others['views'], others['lights'])),
    picture_view=jnp.tile(own, (batches, 1)),
    picture_depth=jnp.zeros((batches, size, size)),
  )
  mask = (head['mask'] > 0).astype(np.float32)[..., None]
  instance = Instance(jnp.asarray(_signed(head['image'])), jnp.asarray(mask), latent)
  depth = FARTHEST - (FARTHEST - NEAREST) * head['depth'].astype(np.float64) / 65535
  region = (head['head_mask'] > 0).astype(np.float32)
  return Scene(instance, jnp.asarray(own), projections, depth, region)


def perturbed(scene: Scene, number: int, bed: Bed, settings: Settings) -> Scene:
  """A head whose views, the picture's own too, are told wrongly.

  Args:
    scene: the head.
    number: of the head; with the bed's seed it makes the errors.
    bed: standard deviations of pitch and yaw.
    settings: of the method, with the range of rotations.

  Returns:
    The same pictures with other views.
  """
  random = np.random.default_rng([bed.seed, number])
  shape = scene.projections.views.shape[:-1]
  degrees = np.zeros((np.prod(shape) + 1, 6))
  degrees[:, :2] = random.normal(0, (bed.pitch_error, bed.yaw_error), (len(degrees), 2))
  errors = jnp.asarray(degrees / settings.rotation_range, jnp.float32)
  own = scene.view + errors[0]
  views = scene.projections.views + errors[1:].reshape(*shape, 6)
  projections = scene.projections._replace(views=views, picture_view=jnp.tile(own, (shape[0], 1)))
  return scene._replace(view=own, projections=projections)


def view_codes(views, settings: Settings) -> np.ndarray:
  """Views [..., 6] in radians and camera units as network units.

  A depth shift is left out where the method knows none.
  """
  shift, depth = settings.xy_translation_range, settings.z_translation_range
  units = np.array([np.radians(settings.rotation_range)] * 3 + [shift, shift, depth])
  codes = np.zeros(np.shape(views))
  np.divide(views, units, out=codes, where=units > 0)
  return codes.astype(np.float32)


def light_codes(views, lights) -> np.ndarray:
  """Light codes in the canonical frame, in which the method lights; heads are lit in the view's.

  Args:
    views: [n, 6] radians and camera units.
    lights: [n, 4] ambient, diffuse, dx, dy in the view's frame.

  Returns:
    float32 [n, 4]; directions that come from behind the canonical head are brought to its front.
  """
  views, lights = np.asarray(views, np.float64), np.asarray(lights, np.float64)
  directions = np.concatenate([lights[:, 2:], np.ones((len(lights), 1))], 1)
  turned = Rotation.from_euler('xyz', views[:, :3]).inv().apply(directions)
  slopes = turned[:, :2] / np.maximum(turned[:, 2:], _LOWEST_SLOPE)
  return np.concatenate([lights[:, :2] * 2 - 1, slopes], 1).astype(np.float32)


def _signed(images):
  """Bytes as float32 in [-1, 1]."""
  return np.float32(images) / 127.5 - 1
