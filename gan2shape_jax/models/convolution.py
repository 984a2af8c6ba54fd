"""The convolutions of the five networks in forms that run fast, each beside a plain reference.

Values are channels last, `[B, H, W, C]`; kernels are `[height, width, in, out]`, of transposed
convolutions too (not flipped: `kernel[i, j]` is what one input value adds at offset `(i, j)`).
Every fast function takes the same arguments and gives the same values and gradients as the
reference of the same meaning, up to rounding; the references are for tests and for reading.
"""

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
  """Convolution with an odd kernel that keeps height and width."""
  return reference_conv(x, kernel, padding=kernel.shape[0] // 2)


def conv_down(x, kernel):
  """Convolution of stride 2 and padding 1 with a 3x3 or 4x4 kernel: halves height and width."""
  return reference_conv(x, kernel, stride=2, padding=1)


@jax.custom_vjp
def conv_up(x, kernel):
  """Transposed 4x4 convolution of stride 2 and padding 1: doubles height and width."""
  return reference_conv_transpose(x, kernel, stride=2, padding=1)


def _conv_up_forward(x, kernel):
  return conv_up(x, kernel), (x, kernel)


def _conv_up_backward(saved, cotangent):
  # The layer is the adjoint of conv_down; so are its gradients, with the roles changed.
  x, kernel = saved
  down, pull = jax.vjp(lambda k: conv_down(cotangent, k), kernel.swapaxes(2, 3))
  return down, pull(x)[0].swapaxes(2, 3)


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
  """Nearest-neighbour doubling of height and width, then a 3x3 convolution."""
  return reference_conv_nearest_up(x, kernel)


def mean_pool(x):
  """Mean of each 2x2 cell, `[B, H, W, C]` -> `[B, H/2, W/2, C]`."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def group_norm(x, scale, bias, *, group_size: int, eps: float = 1e-5):
  """Group normalisation over `group_size` neighbouring channels and all places."""
  return reference_group_norm(x, scale, bias, group_size=group_size, eps=eps)
