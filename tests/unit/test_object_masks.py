"""Masks from the picture: synthetic objects, doubtful pictures, the embedded heads."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gan2shape_jax import data
from gan2shape_jax.pipeline import object_masks
from gan2shape_jax.pipeline.object_masks import mask_from_fit, mask_of_picture
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import Camera

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
ELLIPSE = (((ROWS - 34) / 22) ** 2 + ((COLUMNS - 30) / 17) ** 2) < 1
RECTANGLE = (np.abs(ROWS - 36) < 18) & (np.abs(COLUMNS - 33) < 20)
START = data.elliptic_mask(SIZE)


def background(kind):
  ramp = np.stack([ROWS / 63 - 0.6, 0.5 - COLUMNS / 90, (ROWS + COLUMNS) / 200], -1)
  if kind == 'curved':
    ramp = ramp + 0.4 * np.sin(ROWS / 20)[..., None] * np.cos(COLUMNS / 25)[..., None]
  if kind == 'noisy':
    ramp = ramp + np.random.default_rng(0).normal(0, 0.1, ramp.shape)
  if kind == 'checked':
    ramp = np.where(
      ((ROWS // 6 + COLUMNS // 6) % 2 == 0)[..., None], [0.4, 0.5, 0.3], [-0.3, 0, 0.2]
    )
  return ramp


def picture(inside, kind):
  """An object of two colours, shaded, before a background."""
  colour = np.where((ROWS < 26)[..., None], [-0.7, -0.8, -0.8], [0.8, 0.1, -0.3])
  shade = 0.15 * np.sin(COLUMNS / 9)[..., None]
  return np.clip(np.where(inside[..., None], colour + shade, background(kind)), -1, 1)


def overlap(mask, truth):
  mask, truth = np.squeeze(mask) > 0.5, np.squeeze(truth) > 0.5
  return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize('inside', [ELLIPSE, RECTANGLE], ids=['ellipse', 'rectangle'])
@pytest.mark.parametrize('kind', ['ramp', 'curved', 'noisy', 'checked'])
def test_finds_an_object_before_any_background(inside, kind):
  mask, origin = mask_from_fit(picture(inside, kind), START)
  assert overlap(mask, inside) > 0.95
  assert 'start' not in origin
  assert mask.shape == (SIZE, SIZE, 1)
  assert mask.dtype == np.float32
  assert mask.min() >= 0
  assert mask.max() <= 1


@pytest.mark.parametrize('shift', [(-10, 0), (0, 9), (6, -9)])
def test_start_may_be_badly_placed(shift):
  mask, _ = mask_from_fit(picture(ELLIPSE, 'ramp'), np.roll(START, shift, (0, 1)))
  assert overlap(mask, ELLIPSE) > 0.95


def test_mask_is_one_piece_without_holes():
  inside = ELLIPSE & ~(np.hypot(ROWS - 40, COLUMNS - 30) < 4)  # the background looks through
  inside |= np.hypot(ROWS - 8, COLUMNS - 57) < 5  # something else beside the object
  mask, _ = mask_from_fit(picture(inside, 'ramp'), START)
  assert overlap(mask, ELLIPSE) > 0.95
  assert ndimage.label(mask[..., 0] > 0.5)[1] == 1
  assert ndimage.label(np.pad(mask[..., 0] <= 0.5, 1, constant_values=True))[1] == 1


def test_rim_is_soft_and_falls_outwards():
  mask, _ = mask_from_fit(picture(ELLIPSE, 'ramp'), START)
  line = mask[34, 30:, 0]
  assert (np.diff(line) <= 0).all()
  assert ((line > 0.05) & (line < 0.95)).sum() >= 2


def test_flat_picture_returns_the_start_and_says_so():
  mask, origin = mask_from_fit(np.full((SIZE, SIZE, 3), 0.2), START)
  np.testing.assert_array_equal(mask, START)
  assert 'the start region' in origin
  assert '\n' not in origin


def test_noise_returns_the_start():
  noise = np.random.default_rng(0).uniform(-1, 1, (SIZE, SIZE, 3))
  mask, origin = mask_from_fit(noise, START)
  np.testing.assert_array_equal(mask, START)
  assert 'the start region' in origin


@pytest.mark.parametrize('rows', [0, 5])
def test_object_that_fills_the_picture_returns_the_start(rows):
  grain = np.random.default_rng(0).normal(0, 0.1, (SIZE, SIZE, 3))
  image = np.where((rows <= ROWS)[..., None], 0.3 + grain, -0.9)
  mask, origin = mask_from_fit(image, START)
  np.testing.assert_array_equal(mask, START)
  assert 'the start region' in origin


def test_doubts_name_what_is_wrong():
  start, odds = START[..., 0] > 0.5, np.zeros((SIZE, SIZE))
  told = np.where(ELLIPSE, 1.0, -1.0)
  assert object_masks._doubt(ELLIPSE, start, told) == ''
  assert '50% by chance' in object_masks._doubt(ELLIPSE, start, odds)
  assert '0% of the picture' in object_masks._doubt(np.zeros_like(start), start, odds)
  assert '100% of the picture' in object_masks._doubt(np.ones_like(start), start, odds)
  far = (ROWS > 56) & (COLUMNS > 30)
  assert 'shares' in object_masks._doubt(far, start, np.where(far, 1.0, -1.0))
  frame = (ROWS < 4) | (ROWS > 59) | (COLUMNS < 4) | (COLUMNS > 59) | start
  assert 'border' in object_masks._doubt(frame, start, np.where(frame, 1.0, -1.0))


def test_relief_stands_before_a_tilted_plane():
  plane = 1.05 + 0.001 * COLUMNS
  start = np.where(ELLIPSE, 1.0, 0.0)
  relief = object_masks._relief(plane - 0.05 * ELLIPSE, np.ones((SIZE, SIZE), bool), start)
  np.testing.assert_allclose(relief, np.where(ELLIPSE, 1, -1), atol=1e-6)
  flat = object_masks._relief(plane + 0.05 * ELLIPSE, np.ones((SIZE, SIZE), bool), start)
  np.testing.assert_array_equal(flat, 0)


def test_embedded_heads_agree_with_their_mask_files():
  folder = data.embedded_path('heads')
  camera = Camera(fov=10.0)
  for path in sorted((folder / 'image').glob('*.png')):
    image = data.read_image(path, SIZE)
    truth = data.read_mask(folder / 'mask' / path.name, SIZE)
    depth = jnp.asarray(np.where(ELLIPSE, 0.97, 1.03), jnp.float32)
    factors = Factors(depth, None, jnp.zeros(6), None, None)
    mask, origin = mask_of_picture(image, factors, camera)
    assert overlap(mask, truth) > 0.95, path.name
    assert 'start' not in origin
    assert overlap(mask_from_fit(image, START)[0], truth) > 0.95


def test_bad_input_is_named():
  good = picture(ELLIPSE, 'ramp')
  with pytest.raises(ValueError, match='image: expected'):
    mask_from_fit(good[..., :1], START)
  with pytest.raises(ValueError, match='start: expected'):
    mask_from_fit(good, START[..., 0])
  with pytest.raises(ValueError, match='largest value'):
    mask_from_fit(good, 0 * START)
  with pytest.raises(ValueError, match='finite'):
    mask_from_fit(good * np.nan, START)
  with pytest.raises(ValueError, match='view_depth'):
    mask_from_fit(good, START, view_depth=np.ones((3, 3)))
