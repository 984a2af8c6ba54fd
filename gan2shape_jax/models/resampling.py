"""Resampling of images: the blurs of StyleGAN2, resizing and cropping; channels last, pure jax.

`upfirdn2d` is the plain form, slow but obvious: insert zeros, pad, filter, decimate. The four
functions after it are the cases that StyleGAN2 consists of, all with the filter [1, 3, 3, 1], in a
form that needs only stride-1 convolutions, matrix products and shifted additions: on CPUs strided,
dilated and depthwise convolutions and their gradients are many times slower than these. They never
build the zero-inserted or the full-size blurred image, but keep even and odd rows (columns) apart
as phases until the end. The tests compare each with the plain form.

Images are [B, H, W, C] of any floating type. The results have the images' type.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# The filter of StyleGAN2, normalised to the sum 1. Upsampling uses twice that along each axis.
FILTER = (0.125, 0.375, 0.375, 0.125)

_CONV_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def upfirdn2d(
  images: jax.Array,
  kernel: jax.Array,
  *,
  up: int = 1,
  down: int = 1,
  padding: tuple[int, int] = (0, 0),
) -> jax.Array:
  """Upsamples by zeros, pads, filters and decimates: the plain form of every StyleGAN2 blur.

  Args:
    images: [B, H, W, C].
    kernel: [K, K] filter, convolved (mirrored) with every channel.
    up: each pixel becomes up x up pixels, the first of them the pixel, the others zero.
    down: every down-th pixel of the filtered image is kept, starting with the first.
    padding: zeros added (before, after) on both axes, after upsampling.

  Returns:
    [B, (H*up + before + after - K) // down + 1, the same for W, C].

  Source:
    Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, appendix B.
  """
  batch, height, width, channels = images.shape
  zeros = jnp.zeros((batch, height, up, width, up, channels), images.dtype)
  spread = zeros.at[:, :, 0, :, 0].set(images).reshape(batch, height * up, width * up, channels)
  padded = jnp.pad(spread, ((0, 0), padding, padding, (0, 0)))
  mirrored = jnp.asarray(kernel, images.dtype)[::-1, ::-1, None, None]
  filtered = lax.conv_general_dilated(
    padded,
    jnp.tile(mirrored, (1, 1, 1, channels)),
    (1, 1),
    'VALID',
    dimension_numbers=_CONV_DIMENSIONS,
    feature_group_count=channels,
  )
  return filtered[:, ::down, ::down]


def conv(
  images: jax.Array, kernel: jax.Array, padding: tuple[tuple[int, int], tuple[int, int]]
) -> jax.Array:
  """Stride-1 convolution (correlation) with padding ((top, bottom), (left, right)).

  Args:
    images: [B, H, W, I].
    kernel: [KH, KW, I, O], taken in the images' type.
    padding: zeros added at each side.

  Returns:
    [B, H + top + bottom - KH + 1, W + left + right - KW + 1, O].
  """
  return lax.conv_general_dilated(
    images, kernel.astype(images.dtype), (1, 1), padding, dimension_numbers=_CONV_DIMENSIONS
  )


def upsample(images: jax.Array) -> jax.Array:
  """Doubles the size with the [1, 3, 3, 1] filter: [B, H, W, C] -> [B, 2H, 2W, C].

  Equals `upfirdn2d(images, 4 * outer(FILTER, FILTER), up=2, padding=(2, 1))`.
  """
  for axis in (1, 2):
    before, after = _shifted(images, axis, -1), _shifted(images, axis, 1)
    images = _interleaved(0.25 * before + 0.75 * images, 0.75 * images + 0.25 * after, axis)
  return images


def downsample(images: jax.Array) -> jax.Array:
  """Halves the size with the [1, 3, 3, 1] filter: [B, 2H, 2W, C] -> [B, H, W, C].

  Equals `upfirdn2d(images, outer(FILTER, FILTER), down=2, padding=(1, 1))`.
  """
  for axis in (1, 2):
    even, odd = _phases(images, axis)
    outer = _shifted(odd, axis, -1) + _shifted(even, axis, 1)
    images = 0.125 * outer + 0.375 * (even + odd)
  return images


def upsample_conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
  """Transposed 3x3 convolution of stride 2, then the [1, 3, 3, 1] blur.

  The transposed convolution's even and odd rows and columns are four small convolutions (of 2x2,
  2x1, 1x2 and 1x1 taps: no multiplication with an inserted zero), and the blur mixes the phases.

  Args:
    images: [B, H, W, I].
    kernel: [3, 3, I, O]; pixel (i, j) adds `images[i, j] @ kernel[a, b]` to pixel (2i+a, 2j+b) of
      the (2H+1) x (2W+1) image that is blurred with padding 1.

  Returns:
    [B, 2H, 2W, O].
  """
  kernel = kernel[::-1, ::-1]
  rows = []
  for row_taps, row_padding in ((kernel[0::2], (1, 1)), (kernel[1::2], (0, 0))):
    even = conv(images, row_taps[:, 0::2], (row_padding, (1, 1)))
    odd = conv(images, row_taps[:, 1::2], (row_padding, (0, 0)))
    rows.append(_blurred_phases(even, odd, 2))
  even_rows, odd_rows = rows
  return _blurred_phases(even_rows, odd_rows, 1)


def downsample_conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
  """The [1, 3, 3, 1] blur (padding 2), then a 3x3 convolution of stride 2 without padding.

  The three blurred pixels that each output needs along an axis are sums of the even and odd
  phases and their neighbours; all nine become channels of one matrix product.

  Args:
    images: [B, 2H, 2W, I].
    kernel: [3, 3, I, O].

  Returns:
    [B, H, W, O].
  """
  for axis in (2, 1):
    images = jnp.concatenate(_blurred_triples(images, axis), -1)
  return images @ kernel.reshape(-1, kernel.shape[-1]).astype(images.dtype)


def resize(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
  """Resizes by area means where an axis shrinks and bilinearly where it grows.

  Shrinking averages the pixels that each target pixel touches (adaptive average pooling: pixel i
  of m is the mean of the source pixels floor(i n / m) to ceil((i + 1) n / m) - 1), growing is
  linear interpolation between pixel centres (corners not aligned, edges repeated). There is no
  further antialiasing.

  Args:
    images: [..., H, W, C].
    size: the new (height, width), or one number for both.

  Returns:
    [..., height, width, C]; `images` itself where the size is already right.
  """
  size = (size, size) if isinstance(size, int) else tuple(size)
  if min(size) < 1:
    raise ValueError(f'cannot resize to {size}: sizes must be positive')
  for axis, new in zip((images.ndim - 3, images.ndim - 2), size, strict=True):
    old = images.shape[axis]
    if old == new:
      continue
    if old % new == 0:
      split = (*images.shape[:axis], new, old // new, *images.shape[axis + 1 :])
      images = images.reshape(split).mean(axis + 1)
    else:
      weights = _area_weights(old, new) if new < old else _bilinear_weights(old, new)
      weights = jnp.asarray(weights, images.dtype)
      images = jnp.moveaxis(
        jnp.tensordot(weights, images, (1, axis), precision=lax.Precision.HIGHEST), 0, axis
      )
  return images


def center_crop(images: jax.Array, size: int | tuple[int, int]) -> jax.Array:
  """The middle of the images; where it cannot be exact, the pixel nearer the top left is kept.

  Args:
    images: [..., H, W, C].
    size: the crop's (height, width), or one number for both.

  Returns:
    [..., height, width, C].

  Raises:
    ValueError: the crop is larger than the images.
  """
  height, width = (size, size) if isinstance(size, int) else size
  if not (1 <= height <= images.shape[-3] and 1 <= width <= images.shape[-2]):
    raise ValueError(f'cannot crop {images.shape[-3]}x{images.shape[-2]} to {height}x{width}')
  top, left = (images.shape[-3] - height) // 2, (images.shape[-2] - width) // 2
  return images[..., top : top + height, left : left + width, :]


def _shifted(images, axis, offset):
  """`images[i + offset]` along an axis for offset -1 or 1, zero outside."""
  config = [(0, 0, 0)] * images.ndim
  config[axis] = (-offset, offset, 0)
  return lax.pad(images, jnp.zeros((), images.dtype), config)


def _interleaved(even, odd, axis):
  """Alternates two images of one shape along an axis, which doubles."""
  shape = list(even.shape)
  shape[axis] *= 2
  return jnp.stack((even, odd), axis + 1).reshape(shape)


def _phases(images, axis):
  """The even and odd positions along an axis."""
  size = images.shape[axis]
  if size % 2:
    raise ValueError(f'only even sizes can be halved, not {size}')
  shape = (*images.shape[:axis], size // 2, 2, *images.shape[axis + 1 :])
  images = images.reshape(shape)
  even, odd = (lax.index_in_dim(images, k, axis + 1, keepdims=False) for k in (0, 1))
  return even, odd


def _blurred_phases(even, odd, axis):
  """Twice the filter on 2n+1 positions given as n+1 even and n odd ones, padding 1: 2n."""
  size = odd.shape[axis]
  first = lax.slice_in_dim(even, 0, size, axis=axis)
  second = lax.slice_in_dim(even, 1, size + 1, axis=axis)
  blurred_even = 0.25 * (_shifted(odd, axis, -1) + second) + 0.75 * (first + odd)
  blurred_odd = 0.25 * (first + _shifted(odd, axis, 1)) + 0.75 * (odd + second)
  return _interleaved(blurred_even, blurred_odd, axis)


def _blurred_triples(images, axis):
  """The blurred positions 2i, 2i+1, 2i+2 (padding 2) that a 3-tap stride-2 kernel reads."""
  even, odd = _phases(images, axis)
  even_before, odd_before = _shifted(even, axis, -1), _shifted(odd, axis, -1)
  even_after, odd_after = _shifted(even, axis, 1), _shifted(odd, axis, 1)
  return (
    0.125 * (even_before + odd) + 0.375 * (odd_before + even),
    0.125 * (odd_before + even_after) + 0.375 * (even + odd),
    0.125 * (even + odd_after) + 0.375 * (odd + even_after),
  )


def _area_weights(old, new):
  """[new, old] rows of the adaptive average pooling."""
  weights = np.zeros((new, old))
  for i in range(new):
    start, stop = i * old // new, -(-(i + 1) * old // new)
    weights[i, start:stop] = 1 / (stop - start)
  return weights


def _bilinear_weights(old, new):
  """[new, old] rows of the interpolation between pixel centres."""
  position = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0)
  first = position.astype(int)
  part = position - first
  weights = np.zeros((new, old))
  np.add.at(weights, (np.arange(new), first), 1 - part)
  np.add.at(weights, (np.arange(new), np.minimum(first + 1, old - 1)), part)
  return weights
