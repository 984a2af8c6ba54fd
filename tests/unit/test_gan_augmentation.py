"""The discriminator's augmentation against SciPy, and what its probability means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from gan2shape_jax.gan_training import augmentation, transforms
from tests.support.gan_training import hasty_compiler  # noqa: F401, for all tests here

GROUPS = ('blit', 'geometric', 'colour')
GREY = np.full(3, 3**-0.5)


@pytest.fixture
def image():
  return np.random.default_rng(0).uniform(-1, 1, (12, 16, 3)).astype(np.float32)


augment = jax.jit(augmentation.augment, static_argnames='groups')


def by_scipy(image, matrix):
  """The same movement by ndimage, whose matrices take output (row, column) to input."""
  height, width, _ = image.shape
  flipped = np.asarray(matrix, np.float64)[[1, 0, 2]][:, [1, 0, 2]]  # (y, x, 1)
  centre = np.eye(3)
  centre[:2, 2] = (height - 1) / 2, (width - 1) / 2
  inverse = centre @ np.linalg.inv(flipped) @ np.linalg.inv(centre)
  channels = [
    ndimage.affine_transform(image[..., k].astype(np.float64), inverse, order=1, mode='mirror')
    for k in range(3)
  ]
  return np.stack(channels, -1)


@pytest.mark.parametrize(
  'matrix',
  [
    transforms.translation(2.3, -1.6),
    transforms.translation(-29.0, 40.5),
    transforms.scaling(0.6, 1.4),
    transforms.rotation(0.4),
    transforms.rotation(2.0) @ transforms.scaling(1.3, 0.5) @ transforms.translation(3.0, 1.0),
  ],
)
def test_warps_are_scipys(image, matrix):
  ours = jax.jit(transforms.warp)(image, matrix)
  np.testing.assert_allclose(ours, by_scipy(image, matrix), atol=2e-5)


def test_random_geometry_is_scipys(image):
  random_matrix = jax.jit(
    lambda key, p: augmentation.geometric_matrix(key, p, (12, 16), GROUPS[:2])
  )
  moved = 0
  for seed in range(5):
    key, number = jax.random.key(seed), jnp.array([3])
    ours = augment(key, image[None], number, jnp.float32(0.9), groups=GROUPS[:2])[0]
    matrix = random_matrix(jax.random.fold_in(key, 3), jnp.float32(0.9))
    np.testing.assert_allclose(ours, by_scipy(image, matrix), atol=5e-5)
    moved = max(moved, np.abs(ours - image).max())
  assert moved > 0.5


def test_flips_and_quarter_turns_are_exact():
  image = np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
  warp = jax.jit(transforms.warp)
  flipped = warp(image, transforms.scaling(-1.0, 1.0))
  np.testing.assert_array_equal(flipped, image[:, ::-1])
  for count in range(4):
    turned = warp(image, transforms.quarter_turns(count))
    np.testing.assert_array_equal(turned, np.rot90(image, -count))
  shifted = warp(image, transforms.translation(2.0, 1.0))
  np.testing.assert_array_equal(shifted[1:, 2:], image[:-1, :-2])


def test_colours_are_as_defined(image):
  recolour = lambda matrix: np.asarray(transforms.recolour(image, matrix))
  close = lambda ours, expected: np.testing.assert_allclose(ours, expected, atol=2e-6)
  close(recolour(transforms.brightness(0.3)), image + 0.3)
  close(recolour(transforms.contrast(1.7)), image * 1.7)
  turned = Rotation.from_rotvec(0.8 * GREY).apply(image.reshape(-1, 3)).reshape(image.shape)
  close(recolour(transforms.hue(0.8)), turned)
  luma = (image @ GREY)[..., None] * GREY
  close(recolour(transforms.saturation(0.25)), luma + 0.25 * (image - luma))
  close(recolour(transforms.luma_flip(1.0)), image - 2 * luma)
  close(recolour(transforms.luma_flip(0.0)), image)


def test_no_probability_leaves_images_alone(image):
  images = np.stack([image, image[::-1]])
  ours = augment(jax.random.key(0), images, jnp.arange(2), jnp.float32(0), groups=GROUPS)
  np.testing.assert_allclose(ours, images, atol=1e-6)


@pytest.mark.parametrize('group', GROUPS)
def test_each_part_happens_as_often_as_it_should(group):
  """With n parts, n - 1 of them or all leave an image alone with probability (1 - p) ** n."""
  keys = jax.random.split(jax.random.key(1), 4000)
  probability = jnp.float32(0.3)
  if group == 'colour':
    one = lambda key: augmentation.colour_matrix(key, probability)
    expected = 0.7**5 * (1 + 0.3 / 0.7 / 2)  # the luma flip does nothing half of the time
  else:
    one = lambda key: augmentation.geometric_matrix(key, probability, (64, 64), (group,))
    # Flips: half are none, quarter turns: a quarter; shifts of [-8, 8]: 1 of 16 twice, about.
    blit = (0.7 + 0.15) * (0.7 + 0.3 / 4) * (0.7 + 0.3 / 256)
    expected = {'blit': blit, 'geometric': 0.7**3 * 0.7}[group]  # two rotations make one of p
  matrices = np.asarray(jax.jit(jax.vmap(one))(keys))
  size = matrices.shape[-1]
  alone = (np.abs(matrices - np.eye(size)) < 1e-6).all((1, 2)).mean()
  assert alone == pytest.approx(expected, abs=0.03)


def test_r1_passes_through_augmentation():
  images = np.random.default_rng(2).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
  weights = np.random.default_rng(3).normal(size=(8, 8, 3)).astype(np.float32)

  @jax.jit
  def score(x):
    seen = augmentation.augment(
      jax.random.key(4), x, jnp.arange(2), jnp.float32(0.8), ('geometric', 'colour')
    )
    return (weights[None] * seen).sum()

  gradient = np.asarray(jax.grad(score)(images))
  direction = np.random.default_rng(5).normal(size=images.shape).astype(np.float32)
  rise = (score(images + 0.5 * direction) - score(images - 0.5 * direction)).item()
  assert rise == pytest.approx((gradient * direction).sum(), rel=1e-3)
