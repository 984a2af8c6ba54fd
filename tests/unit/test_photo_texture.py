"""The picture's pixels on the surface: recovered where seen, mirrored and blended where hidden."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from gan2shape_jax.artefacts.guided_depth import guided_depth
from gan2shape_jax.artefacts.object_mask import carried_mask, one_piece, solid_mask
from gan2shape_jax.artefacts.photo_surface import textured_surface, whole_mask
from gan2shape_jax.artefacts.photo_texture import photo_texture, views_seen
from gan2shape_jax.artefacts.resizing import enlarged, reduced, sampled
from gan2shape_jax.artefacts.smooth_fill import smooth_fill
from gan2shape_jax.artefacts.views import supported_yaw, upsample
from gan2shape_jax.artefacts.visibility import seen_from
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import (
  Camera,
  forward_grid,
  lambertian,
  light_from_code,
  normals_from_depth,
  render_texture,
  sample_bilinear,
)

SIZE = 64
CAMERA = Camera(10.0, 1.0)
AT = np.linspace(-1, 1, SIZE, dtype=np.float32)
U, V = np.meshgrid(AT, AT)
BALL = (U**2 + V**2 < 0.49)[..., None].astype(np.float32)
LIGHT = np.array([0.2, -0.2, 0.6, 0.1], np.float32)


def ball_depth():
  """Half a ball before a wall."""
  return (1.04 - 0.07 * np.sqrt(np.clip(0.49 - U**2 - V**2, 0, None))).astype(np.float32)


def colours(u, v):
  """Symmetric about u = 0."""
  stripes = [np.cos(9 * u), np.cos(8 * v + 1), np.cos(5 * u) * np.sin(6 * v)]
  return (0.1 + 0.5 * np.stack(stripes, axis=-1)).astype(np.float32)


def picture_of(albedo, view):
  """A picture of the ball: image, mask, seen canonical map, shading."""
  depth = ball_depth()
  normal = np.asarray(normals_from_depth(depth, CAMERA))
  light = light_from_code(LIGHT)
  texture = np.asarray(lambertian(albedo, normal, light))
  render = jax.jit(lambda maps: render_texture(maps, depth, view, CAMERA, steps=96).image)
  image, mask = np.asarray(render(texture)), np.asarray(render(BALL))
  shading = np.asarray(lambertian(np.ones((SIZE, SIZE, 1)), normal, light))[..., 0] / 2 + 0.5
  return image, mask, seen_from(depth, view, CAMERA), texture, shading


@pytest.fixture(scope='module')
def turned():
  view = np.array([0.05, 0.6, 0, 0, 0, 0], np.float32)
  albedo = colours(U, V)
  return view, albedo, *picture_of(albedo, view)


def test_what_a_picture_shows_is_recovered_from_it(turned):
  _, _, image, mask, seen, texture, shading = turned
  grey = np.zeros((SIZE, SIZE, 3), np.float32)
  found = photo_texture(image, mask, BALL[..., 0], seen, grey, shading, size=SIZE)
  shown = (found.own > 0.99) & (BALL[..., 0] > 0.5)
  assert shown.mean() > 0.15
  error = np.abs(found.shaded - texture)[shown]
  assert error.mean() < 0.02
  # The light is taken out: the albedo is the stripes themselves.
  assert np.abs(found.albedo - colours(U, V))[shown].mean() < 0.03


def test_the_hidden_side_is_the_mirror_image_under_its_own_light(turned):
  _, _, image, mask, seen, texture, shading = turned
  grey = np.zeros((SIZE, SIZE, 3), np.float32)
  found = photo_texture(image, mask, BALL[..., 0], seen, grey, shading, size=SIZE)
  hidden = (found.own < 0.01) & (found.own[:, ::-1] > 0.99) & (BALL[..., 0] > 0.5)
  assert hidden.sum() > 30
  assert np.abs(found.shaded - texture)[hidden].mean() < 0.06
  # No seam: where layers change, steps from pixel to pixel are those of the truth.
  inside = ndimage.binary_erosion(BALL[..., 0] > 0.5, iterations=4)[:, 1:]
  steps, true = (np.abs(np.diff(maps, axis=1))[inside] for maps in (found.shaded, texture))
  assert np.percentile(steps, 99.5) < 1.3 * np.percentile(true, 99.5)


def test_other_views_fill_what_both_sides_hide():
  albedo = (colours(U, V) + 0.3 * V[..., None]).astype(np.float32)
  below = np.array([0.7, 0, 0, 0, 0, 0], np.float32)
  above = -below
  image, mask, seen, texture, shading = picture_of(albedo, below)
  other, _, other_seen, _, _ = picture_of(albedo, above)
  grey = np.zeros((SIZE, SIZE, 3), np.float32)
  args = (image, mask, BALL[..., 0], seen, grey, shading)
  without = photo_texture(*args, size=SIZE)
  views = views_seen(other[None], above[None], ball_depth(), CAMERA)
  given = photo_texture(*args, size=SIZE, others=views)
  hidden = (without.own < 0.01) & (other_seen.weight > 0.9) & (BALL[..., 0] > 0.5)
  assert hidden.sum() > 30
  errors = [np.abs(found.shaded - texture)[hidden].mean() for found in (given, without)]
  assert errors[0] < 0.6 * errors[1]
  with pytest.raises(ValueError, match='a view for each of 1 images, got 0'):
    views_seen(other[None], None, ball_depth(), CAMERA)


def test_a_fine_photo_keeps_its_detail():
  """A photo of 512 pixels, fitted at 64: stripes of 6 pixels are on the texture."""
  depth = np.ones((SIZE, SIZE), np.float32)
  factors = Factors(depth, np.zeros((SIZE, SIZE, 3)), np.zeros(6), LIGHT, np.ones((SIZE, SIZE, 1)))
  factors = jax.tree.map(np.float32, factors)
  wave = np.cos(2 * np.pi * np.arange(512) / 6)
  photo = np.broadcast_to(wave[None, :, None], (512, 512, 3)).astype(np.float32) * 0.5
  shown = textured_surface(factors, CAMERA, size=128, photo=photo, mask=np.ones((SIZE, SIZE, 1)))
  assert shown.texture.shape == (512, 512, 3)
  row = shown.texture[256, 40:-40, 0] / 127.5 - 1
  assert np.percentile(row, 97) > 0.42
  assert np.percentile(row, 3) < -0.42
  # Where the stripes lie: the photo's pixels are areas, the texture's corners are the map's.
  places = (np.arange(512) / 511 * (SIZE - 1) + 0.5) * 8 - 0.5
  np.testing.assert_allclose(row, 0.5 * np.cos(2 * np.pi * places[40:-40] / 6), atol=0.06)


def test_bytes_and_numbers_are_the_same_photo():
  factors = Factors(ball_depth(), colours(U, V), np.zeros(6, np.float32), LIGHT, BALL)
  photo = np.round((colours(U, V) + 1) * 127.5).astype(np.uint8)
  first, second = (
    textured_surface(factors, CAMERA, size=SIZE, photo=p) for p in (photo, photo / 127.5 - 1)
  )
  assert np.abs(first.texture.astype(int) - second.texture).max() <= 1


def test_the_mask_is_whole_where_the_picture_hides_the_object(turned):
  view, _, _, mask, _, _, _ = turned
  factors = Factors(ball_depth(), colours(U, V), view, LIGHT, BALL)
  found = whole_mask(factors, CAMERA, mask, size=SIZE)[..., 0] >= 0.5
  carried = (
    np.asarray(sample_bilinear(mask, forward_grid(ball_depth(), view, CAMERA)))[..., 0] >= 0.5
  )
  truth = BALL[..., 0] >= 0.5

  def overlap(inside):
    return (inside & truth).sum() / (inside | truth).sum()

  assert overlap(found) > 0.93
  assert overlap(found) > overlap(carried) + 0.02
  np.testing.assert_array_equal(found, one_piece(found))
  seen = seen_from(ball_depth(), view, CAMERA)
  assert carried_mask(np.ones((SIZE, SIZE, 1)), seen).min() > 0.99


def test_masks_become_one_piece_without_holes():
  rng = np.random.default_rng(1)
  for _ in range(4):
    noise = ndimage.gaussian_filter(rng.normal(size=(80, 80)), 3) * 5 + 0.55
    found = solid_mask(noise, detail=1.5) >= 0.5
    np.testing.assert_array_equal(found, one_piece(found))
    assert found.sum() > 300
  np.testing.assert_array_equal(solid_mask(np.zeros((9, 9))), np.ones((9, 9)))


def test_smooth_fill():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(37, 20, 2)).astype(np.float32)
  known = (rng.uniform(size=(37, 20)) > 0.7).astype(np.float32)
  filled = smooth_fill(values, known)
  np.testing.assert_allclose(filled[known > 0], values[known > 0], atol=1e-6)
  assert filled.min() >= values.min() - 1e-6
  np.testing.assert_allclose(smooth_fill(np.full((8, 8, 1), 0.3), known[:8, :8]), 0.3, atol=1e-6)
  np.testing.assert_array_equal(smooth_fill(values, known * 0), 0)


def test_resizing_keeps_ramps_where_they_are():
  ramp = (2 * U + V)[..., None]
  fine = enlarged(ramp, 190)
  at = np.linspace(-1, 1, 190)
  np.testing.assert_allclose(fine[..., 0], 2 * at[None] + at[:, None], atol=1e-5)
  middle = np.s_[4:-4, 4:-4]
  np.testing.assert_allclose(reduced(fine, SIZE)[middle], ramp[middle], atol=1e-4)
  grid = np.stack([U, V], axis=-1) / 2 + 0.5
  np.testing.assert_allclose(sampled(ramp, grid, size=SIZE), ramp, atol=1e-5)


def test_depth_of_smooth_shapes_is_the_smooth_enlargement():
  noise = np.random.default_rng(0).uniform(-1, 1, (192, 192, 3)).astype(np.float32)
  pixel = 2 * np.tan(np.deg2rad(5)) / (SIZE - 1)
  for depth in (1 + 0.02 * U + 0.03 * V, 1 - 0.05 * (U**2 + V**2), 1 + 0.01 * np.sin(5 * U)):
    smooth = np.asarray(upsample(depth[..., None].astype(np.float32), 192))[..., 0]
    assert np.abs(guided_depth(depth, smooth, noise, CAMERA) - smooth).max() < 1e-3 * pixel


def test_depth_edges_follow_the_picture():
  fine = np.linspace(-1, 1, 192)
  u, v = np.meshgrid(fine, fine)
  edge = lambda u, v: u + 0.3 * v > 0.1
  truth = np.where(edge(u, v), 1.03, 0.99).astype(np.float32)
  depth = np.where(edge(U, V), 1.03, 0.99).astype(np.float32)
  guide = np.where(edge(u, v)[..., None], 0.4, -0.4).astype(np.float32) * np.ones(3, np.float32)
  smooth = np.asarray(upsample(depth[..., None], 192))[..., 0]
  found = guided_depth(depth, smooth, guide, CAMERA)
  assert np.abs(found - truth).mean() < 0.75 * np.abs(smooth - truth).mean()
  assert found.min() >= smooth.min() - 1e-6
  assert found.max() <= smooth.max() + 1e-6


@pytest.mark.parametrize(('height', 'expected'), [(0.0, 40.0), (0.0875, 60.0)])
def test_how_far_a_shape_may_be_turned(height, expected):
  """Flat: cos 41 = 0.75. Half a ball: (1 + cos 60) / 2 = 0.75."""
  radius = 0.7
  bulge = np.sqrt(np.clip(radius**2 - U**2 - V**2, 0, None))
  inside = ((0.99 * radius) ** 2 > U**2 + V**2)[..., None].astype(np.float32)
  depth = (1.04 - height * bulge).astype(np.float32)
  factors = Factors(depth, np.zeros((SIZE, SIZE, 3), np.float32), np.zeros(6), LIGHT, inside)
  assert supported_yaw(factors, CAMERA, 80.0) == pytest.approx(expected, abs=7.5)
  assert supported_yaw(factors, CAMERA, 30.0) == 30.0
  assert supported_yaw(factors, CAMERA, 10.0) == 10.0
