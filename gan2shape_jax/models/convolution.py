"""The convolutions of the five networks in forms that run fast, each with a plain reference.

Values are channels last, `[B, H, W, C]`; kernels are `[height, width, in, out]`, also
those of transposed convolutions (not flipped: `kernel[i, j]` is what one input value adds at offset
`(i, j)`).
Every fast function takes the same arguments and gives the same values and gradients as the
reference of the same meaning, up to rounding; the references are for tests and for reading.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')


def reference_conv(x, kernel, *, stride: int = 1, padding: int = 0):
  """Plain convolution `[B, H, W, I]`, `[h, w, I, O]` -> `[B, H', W', O]`, zeros around."""
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT
  )


def reference_conv_transpose(x, kernel, *, stride: int = 1, padding: int = 0):
  """Plain transposed convolution, the adjoint of a convolution of that stride and padding."""
  border = kernel.shape[0] - 1 - padding
  return lax.conv_general_dilated(
    x,
    kernel[::-1, ::-1],
    (1, 1),
    [(border, border)] * 2,
    lhs_dilation=(stride, stride),
    dimension_numbers=_LAYOUT,
  )


def reference_conv_nearest_up(x, kernel):
  """Nearest-neighbour doubling of height and width, then a 3x3 convolution."""
  x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
  return reference_conv(x, kernel, padding=1)


def reference_group_norm(x, scale, bias, *, group_size: int, eps: float = 1e-5):
  """Group normalisation as its definition reads."""
  grouped = x.reshape(*x.shape[:-1], -1, group_size)
  mean = grouped.mean((1, 2, 4), keepdims=True)
  variance = jnp.square(grouped - mean).mean((1, 2, 4), keepdims=True)
  normed = ((grouped - mean) / jnp.sqrt(variance + eps)).reshape(x.shape)
  return normed * scale[None, None, None] + bias[None, None, None]


def conv(x, kernel):
  """Convolution with an odd kernel that keeps height and width, `[B, H, W, O]`."""
  return _conv(x, kernel, 1, kernel.shape[0] // 2)


def conv_down(x, kernel):
  """Convolution of stride 2 and padding 1 with a 3x3 or 4x4 kernel, `[B, H/2, W/2, O]`."""
  return _conv(x, kernel, 2, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x, kernel, stride, padding):
  return reference_conv(x, kernel, stride=stride, padding=padding)


def _conv_forward(x, kernel, stride, padding):
  return _conv(x, kernel, stride, padding), (x, kernel)


def _conv_backward(stride, padding, saved, cotangent):
  return (
    _input_gradient(saved[0], saved[1], cotangent, stride, padding),
    _kernel_gradient(saved[0], saved[1], cotangent, stride, padding),
  )


_conv.defvjp(_conv_forward, _conv_backward)


def _input_gradient(x, kernel, cotangent, stride, padding):
  """Gradient of `reference_conv` for its values."""

  def plain(x, kernel, cotangent):
    conv_of = lambda x: reference_conv(x, kernel, stride=stride, padding=padding)
    return jax.vjp(conv_of, x)[1](cotangent)[0]

  def by_matmul(x, kernel, cotangent):
    places = cotangent.shape[:3]
    rows = cotangent.reshape(-1, kernel.shape[3])
    spread = lax.dot_general(rows, kernel, (((1,), (3,)), ((), ())))
    spread = spread.reshape(*places, *kernel.shape[:3]).transpose(0, 1, 3, 2, 4, 5)
    gathered = _overlap_add(spread, 1, x.shape[1], stride, padding)
    return _overlap_add(gathered, 2, x.shape[2], stride, padding)

  # The plain form reverses and transposes the kernel first, which CPUs do slowly: not worth it
  # where the kernel is larger than the values.
  few_places = math.prod(cotangent.shape[:3]) <= kernel.shape[3] // 2
  if few_places and kernel.shape[0] > 1:
    return lax.platform_dependent(x, kernel, cotangent, cpu=by_matmul, default=plain)
  return plain(x, kernel, cotangent)


def _overlap_add(pieces, axis, size, stride, padding):
  """Adds `pieces[.., i, t, ..]` (at `axis`, `axis + 1`) up at places stride * i + t - padding."""
  count, taps = pieces.shape[axis : axis + 2]
  total = 0.0
  for tap in range(taps):
    piece = lax.index_in_dim(pieces, tap, axis + 1, keepdims=False)
    first = tap - padding
    config = [(0, 0, 0)] * piece.ndim
    config[axis] = (first, size - 1 - (first + stride * (count - 1)), stride - 1)
    total += lax.pad(piece, jnp.zeros((), piece.dtype), config)
  return total


def _kernel_gradient(x, kernel, cotangent, stride, padding):
  """Gradient of `reference_conv` for its kernel."""

  def plain(x, kernel, cotangent):
    conv_of = lambda kernel: reference_conv(x, kernel, stride=stride, padding=padding)
    return jax.vjp(conv_of, kernel)[1](cotangent)[0]

  def by_matmul(x, kernel, cotangent):
    size, _, channels, features = kernel.shape
    border = size - 1 - padding
    padded = jnp.pad(cotangent, ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = x.shape[1:3]
    shifted = [
      padded[:, size - 1 - i : size - 1 - i + height, size - 1 - j : size - 1 - j + width]
      for i in range(size)
      for j in range(size)
    ]
    columns = jnp.concatenate(shifted, -1)
    gradient = jnp.einsum('bhwk,bhwc->kc', columns, x)
    return gradient.reshape(size, size, features, channels).transpose(0, 1, 3, 2)

  # With few output channels the shifted copies of the cotangent are small and one matrix product
  # does it; CPUs run the plain form of such a gradient hardly vectorised.
  if stride == 1 and kernel.shape[0] > 1 and kernel.shape[3] <= 4:
    return lax.platform_dependent(x, kernel, cotangent, cpu=by_matmul, default=plain)
  return plain(x, kernel, cotangent)


@jax.custom_vjp
def conv_up(x, kernel):
  """Transposed 4x4 convolution of stride 2 and padding 1, `[B, 2H, 2W, O]`."""
  return reference_conv_transpose(x, kernel, stride=2, padding=1)


def _conv_up_forward(x, kernel):
  return conv_up(x, kernel), (x, kernel)


def _conv_up_backward(saved, cotangent):
  # The layer is the adjoint of conv_down, so its gradients are conv_down's with roles exchanged:
  # those of a dilated convolution, which differentiation would give, run up to 40 times slower.
  x, kernel = saved
  down = functools.partial(reference_conv, stride=2, padding=1)
  gradient, pull = jax.vjp(functools.partial(down, cotangent), kernel.swapaxes(2, 3))
  return gradient, pull(x)[0].swapaxes(2, 3)


conv_up.defvjp(_conv_up_forward, _conv_up_backward)


def conv_to_point(x, kernel):
  """Convolution by a kernel as large as the values, `[B, h, w, I]` -> `[B, 1, 1, O]`."""
  if x.shape[1:3] != kernel.shape[:2]:
    raise ValueError(f'values {x.shape[1:3]} are not as large as the kernel {kernel.shape[:2]}')
  batch, features = x.shape[0], kernel.shape[-1]
  return (x.reshape(batch, -1) @ kernel.reshape(-1, features)).reshape(batch, 1, 1, features)


def conv_from_point(x, kernel):
  """Transposed convolution of one value, `[B, 1, 1, I]` -> `[B, h, w, O]`."""
  if x.shape[1:3] != (1, 1):
    raise ValueError(f'expected one value, [B, 1, 1, I], not {x.shape}')
  return jnp.einsum('bi,hwio->bhwo', x[:, 0, 0], kernel)


def conv_nearest_up(x, kernel):
  """Nearest-neighbour doubling of height and width, then a 3x3 convolution, `[B, 2H, 2W, O]`.

  Equal to `conv_up` by a 4x4 kernel of sums: taps that fall on copies of the same value are added
  first, which leaves 4 of 9 products.
  """
  fold = jnp.asarray([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], kernel.dtype)
  return conv_up(x, jnp.einsum('at,bu,tuio->abio', fold, fold, kernel))


def mean_pool(x):
  """Mean of each 2x2 cell, `[B, H, W, C]` -> `[B, H/2, W/2, C]`."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def group_norm(x, scale, bias, *, group_size: int, eps: float = 1e-5):
  """Group normalisation over `group_size` neighbouring channels and all places.

  Reduces over places first and over the few channels of a group afterwards, and applies one
  factor and one offset a channel.

  Args:
    x: values `[B, H, W, C]`.
    scale: `[C]`.
    bias: `[C]`.
    group_size: channels of a group; divides C.
    eps: added to the variance.

  Returns:
    `[B, H, W, C]`.

  Raises:
    ValueError: if `group_size` does not divide C.
  """
  if group_size < 1 or x.shape[-1] % group_size:
    raise ValueError(f'groups of {group_size} do not divide {x.shape[-1]} channels')

  def group_mean(values):
    of_channels = values.mean((1, 2))
    of_groups = of_channels.reshape(x.shape[0], -1, group_size).mean(-1)
    return jnp.repeat(of_groups, group_size, axis=1)

  centred = x - group_mean(x)[:, None, None]
  factor = scale[None] * lax.rsqrt(group_mean(jnp.square(centred)) + eps)
  return centred * factor[:, None, None] + bias[None, None, None]
