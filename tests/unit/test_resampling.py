import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from jax import lax

from gan2shape_jax.models import resampling

FILTER = np.outer(resampling.FILTER, resampling.FILTER)


def random(*shape):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def close(actual, expected):
  assert actual.shape == expected.shape
  np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


@functools.partial(jax.jit, static_argnums=(0, 1))
def value_and_transpose(fast, plain, *arguments):
  """Of both functions, the values and the transposes at the plain one's value."""
  expected, plain_transpose = jax.vjp(plain, *arguments)
  actual, transpose = jax.vjp(fast, *arguments)
  return (actual, transpose(expected)), (expected, plain_transpose(expected))


def plain_upsample(images):
  return resampling.upfirdn2d(images, 4 * FILTER, up=2, padding=(2, 1))


def plain_downsample(images):
  return resampling.upfirdn2d(images, FILTER, down=2, padding=(1, 1))


def plain_upsample_conv(images, kernel):
  dimensions = ('NHWC', 'HWIO', 'NHWC')
  grown = lax.conv_general_dilated(
    images,
    kernel[::-1, ::-1],
    (1, 1),
    ((2, 2), (2, 2)),
    lhs_dilation=(2, 2),
    dimension_numbers=dimensions,
  )
  return resampling.upfirdn2d(grown, 4 * FILTER, padding=(1, 1))


def plain_downsample_conv(images, kernel):
  blurred = resampling.upfirdn2d(images, FILTER, padding=(2, 2))
  return lax.conv_general_dilated(
    blurred, kernel, (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@pytest.mark.parametrize(
  ('up', 'down', 'padding'), [(1, 1, (1, 2)), (2, 1, (2, 1)), (1, 2, (1, 1)), (3, 2, (2, 4))]
)
def test_upfirdn_is_scipys(up, down, padding):
  images = random(2, 6, 5, 2)
  kernel = random(4, 3)[:3]
  actual = resampling.upfirdn2d(images, kernel, up=up, down=down, padding=padding)
  for b in range(2):
    for c in range(2):
      grown = np.zeros((6 * up, 5 * up), np.float32)
      grown[::up, ::up] = images[b, :, :, c]
      expected = scipy.signal.convolve2d(np.pad(grown, padding), kernel, 'valid')
      close(actual[b, :, :, c], expected[::down, ::down])


@pytest.mark.parametrize(
  ('fast', 'plain', 'size'),
  [
    (resampling.upsample, plain_upsample, (3, 5)),
    (resampling.upsample, plain_upsample, (1, 1)),
    (resampling.downsample, plain_downsample, (6, 10)),
    (resampling.downsample, plain_downsample, (2, 2)),
  ],
)
def test_fast_blurs_are_the_plain_ones(fast, plain, size):
  images = random(2, *size, 3)
  (actual, ours), (expected, theirs) = value_and_transpose(fast, plain, images)
  close(actual, expected)
  close(ours[0], theirs[0])


@pytest.mark.parametrize(
  ('fast', 'plain', 'size'),
  [
    (resampling.upsample_conv, plain_upsample_conv, (4, 3)),
    (resampling.upsample_conv, plain_upsample_conv, (1, 2)),
    (resampling.downsample_conv, plain_downsample_conv, (8, 6)),
    (resampling.downsample_conv, plain_downsample_conv, (2, 4)),
  ],
)
def test_fast_convolutions_are_the_plain_ones(fast, plain, size):
  images, kernel = random(2, *size, 3), random(3, 3, 3, 5)
  (actual, ours), (expected, theirs) = value_and_transpose(fast, plain, images, kernel)
  close(actual, expected)
  close(ours[0], theirs[0])
  close(ours[1], theirs[1])


def test_upsample_keeps_a_constant_inside():
  grown = resampling.upsample(jnp.ones((1, 4, 4, 1)))
  np.testing.assert_allclose(grown[0, 1:-1, 1:-1], 1, atol=1e-6)
  np.testing.assert_allclose(grown[0, 0, 0, 0], 0.75**2, atol=1e-6)  # zeros outside


def test_downsample_refuses_odd_sizes():
  with pytest.raises(ValueError, match='even'):
    resampling.downsample(jnp.ones((1, 5, 4, 1)))


@pytest.mark.parametrize(('old', 'new'), [(6, 3), (7, 3), (8, 5), (32, 29), (5, 4), (9, 1)])
def test_shrinking_is_adaptive_averaging(old, new):
  images = random(old, old, 2)
  actual = resampling.resize(images, new)
  for i in range(new):
    rows = slice(i * old // new, -(-(i + 1) * old // new))
    for j in range(new):
      columns = slice(j * old // new, -(-(j + 1) * old // new))
      close(actual[i, j], np.mean(images[rows, columns], (0, 1)))


@pytest.mark.parametrize(('old', 'new'), [(4, 8), (5, 7), (1, 3), (8, 20)])
def test_growing_is_bilinear_with_edges_repeated(old, new):
  images = random(2, old, old, 3)
  at = (np.arange(new) + 0.5) * old / new - 0.5
  grid = np.stack(np.meshgrid(at, at, indexing='ij'))
  actual = resampling.resize(images, new)
  for b in range(2):
    for c in range(3):
      image = np.asarray(images[b, :, :, c])
      close(actual[b, :, :, c], scipy.ndimage.map_coordinates(image, grid, order=1, mode='nearest'))


def test_resize_laws():
  images = random(2, 6, 9, 3)
  assert resampling.resize(images, (6, 9)) is images
  assert resampling.resize(images, (12, 3)).shape == (2, 12, 3, 3)
  np.testing.assert_allclose(resampling.resize(images, 3).mean(), images.mean(), atol=1e-6)
  np.testing.assert_allclose(resampling.resize(jnp.ones((5, 5, 1)), 13), 1, atol=1e-6)
  assert resampling.resize(images.astype(jnp.bfloat16), 4).dtype == jnp.bfloat16
  with pytest.raises(ValueError, match='positive'):
    resampling.resize(images, 0)


def test_center_crop():
  images = random(2, 7, 6, 3)
  np.testing.assert_array_equal(resampling.center_crop(images, 4), images[:, 1:5, 1:5])
  np.testing.assert_array_equal(resampling.center_crop(images, (7, 2)), images[:, :, 2:4])
  with pytest.raises(ValueError, match='crop'):
    resampling.center_crop(images, 7)


@pytest.mark.parametrize('name', ['upsample', 'downsample', 'upsample_conv', 'downsample_conv'])
def test_vmap_and_bfloat16(name):
  function = getattr(resampling, name)
  kernel = random(3, 3, 2, 4)
  arguments = (kernel,) if name.endswith('conv') else ()
  images = random(2, 3, 4, 4, 2)
  function = jax.jit(function)
  mapped = jax.jit(jax.vmap(lambda x: function(x, *arguments)))(images)
  close(mapped[1], function(images[1], *arguments))
  half = function(images[0].astype(jnp.bfloat16), *arguments)
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype(jnp.float32), mapped[0], atol=0.3)
