"""The five trained networks: depth and albedo, view and light, latent encoder.

`EncoderDecoder` makes a map as large as the image (depth, albedo), `Encoder` a few numbers (view,
light) and `ResidualEncoder` a latent code. All take images `[B, S, S, 3]` in [-1, 1], channels
last, of any power-of-two size S >= 64; the number of levels follows from S. Parameters are
float32 in nested dicts, `{layer: {'kernel' | 'scale' | 'bias': array}}`, kernels as
`[height, width, in, out]` (those of transposed convolutions too, not flipped).

Initial weights are drawn as the original's framework draws them: uniform within
+-1 / sqrt(fan_in), where a transposed convolution counts its output channels.

Source: GAN2Shape (arXiv:2011.00844), appendix; the encoder-decoder comes from Unsup3d
(arXiv:1911.11130).
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan2shape_jax.models import convolution

LEAKY_SLOPE = 0.2
NORM_EPSILON = 1e-5


def default_width(image_size: int) -> int:
  """Channels of the first level of the published networks: max(4096 / size, 16).

  The latent encoder does not follow it: it starts at 32 whatever the size.
  """
  return max(4096 // image_size, 16)


def default_group_norm_base(image_size: int) -> int:
  """Groups of the first group norm of the published networks: 8 from 128 pixels on, else 16."""
  return 8 if image_size >= 128 else 16


def uniform_fan_in(*, transposed: bool = False, fan_in: int | None = None):
  """Initialiser for kernels `[height, width, in, out]`: uniform within +-1 / sqrt(fan_in).

  Args:
    transposed: count the output channels, as transposed convolutions do.
    fan_in: the number to use instead of the shape's own (for biases).

  Returns:
    A function of `(key, shape, dtype)`.
  """

  def init(key, shape, dtype=jnp.float32):
    count = fan_in or math.prod(shape[:-2]) * shape[-1 if transposed else -2]
    bound = 1 / math.sqrt(count)
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Conv(nn.Module):
  """A convolution in one of the forms of `convolution`.

  Attributes:
    form: function of values `[B, H, W, C]` and a kernel `[size, size, C, features]`.
    features: output channels.
    size: height and width of the kernel.
    transposed: whether the form is a transposed convolution (for the initial weights).
    use_bias: whether a bias per output channel is added.
  """

  form: Callable
  features: int
  size: int
  transposed: bool = False
  use_bias: bool = False

  @nn.compact
  def __call__(self, x):
    """Values `[B, H, W, C]` -> `[B, H', W', features]`."""
    shape = (self.size, self.size, x.shape[-1], self.features)
    init = uniform_fan_in(transposed=self.transposed)
    result = self.form(x, self.param('kernel', init, shape, jnp.float32))
    if self.use_bias:
      init = uniform_fan_in(fan_in=math.prod(shape[:-1]))
      result += self.param('bias', init, (self.features,), jnp.float32)[None, None, None]
    return result


class GroupNorm(nn.Module):
  """Group normalisation with a scale and an offset per channel.

  Attributes:
    group_size: channels of a group.
  """

  group_size: int

  @nn.compact
  def __call__(self, x):
    """Values `[B, H, W, C]` -> the same shape, normalised."""
    scale = self.param('scale', nn.initializers.ones, (x.shape[-1],), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    return convolution.group_norm(x, scale, bias, group_size=self.group_size, eps=NORM_EPSILON)


def levels_of(image_size: int) -> int:
  """Number of halvings from an image to 4x4 values.

  Raises:
    ValueError: if the size is not a power of two of at least 64.
  """
  levels = image_size.bit_length() - 3
  if image_size < 64 or 4 << levels != image_size:
    raise ValueError(f'image size {image_size} is not a power of two of at least 64')
  return levels


def _check_images(x):
  if x.ndim != 4 or x.shape[1] != x.shape[2] or x.shape[3] != 3:
    raise ValueError(f'images must be [B, S, S, 3], not {x.shape}')
  return levels_of(x.shape[1])


class EncoderDecoder(nn.Module):
  """Image to map of the same size, through a code of `bottleneck` numbers (depth, albedo).

  Groups double with the channels, so that all group norms have `width / group_norm_base`
  channels in a group.

  Attributes:
    out_channels: channels of the result (1 for depth, 3 for albedo).
    width: channels of the first level; each halving of the size doubles them.
    group_norm_base: groups of the first group norm.
    bottleneck: size of the code.
    final_tanh: whether the result passes through tanh (albedo does, depth does not).
  """

  out_channels: int
  width: int
  group_norm_base: int
  bottleneck: int = 256
  final_tanh: bool = False

  @nn.compact
  def __call__(self, x):
    """Images `[B, S, S, 3]` -> maps `[B, S, S, out_channels]`.

    Raises:
      ValueError: if the images' shape does not fit, or `group_norm_base` does not divide `width`.
    """
    levels = _check_images(x)
    if self.group_norm_base < 1 or self.width % self.group_norm_base:
      raise ValueError(
        f'group_norm_base {self.group_norm_base} does not divide the width {self.width}'
      )
    norm = lambda name: GroupNorm(self.width // self.group_norm_base, name=name)
    conv = lambda *args, **kwargs: Conv(convolution.conv, *args, **kwargs)

    for i in range(levels):
      x = Conv(convolution.conv_down, self.width << i, 4, name=f'down_{i}')(x)
      if i < levels - 1:
        x = norm(f'down_norm_{i}')(x)
      x = nn.leaky_relu(x, LEAKY_SLOPE)
    x = nn.relu(Conv(convolution.conv_to_point, self.bottleneck, 4, name='to_code')(x))

    top = self.width << (levels - 1)
    from_code = Conv(convolution.conv_from_point, top, 4, transposed=True, name='from_code')
    x = nn.relu(from_code(x))
    x = nn.relu(conv(top, 3, name='base')(x))
    for i in reversed(range(levels - 1)):
      features = self.width << i
      x = Conv(convolution.conv_up, features, 4, transposed=True, name=f'up_{i}')(x)
      x = nn.relu(norm(f'up_norm_{i}')(x))
      x = nn.relu(norm(f'refine_norm_{i}')(conv(features, 3, name=f'refine_{i}')(x)))
    x = Conv(convolution.conv_nearest_up, self.width, 3, name='enlarge')(x)
    x = nn.relu(norm('enlarge_norm')(x))
    x = nn.relu(norm('head_norm')(conv(self.width, 5, name='head')(x)))
    x = conv(self.out_channels, 5, name='output')(x)
    return jnp.tanh(x) if self.final_tanh else x


class Encoder(nn.Module):
  """Image to a few numbers (view, light).

  Attributes:
    out_channels: how many numbers (6 for a view, 4 for a light).
    width: channels of the first level; each halving of the size doubles them.
    final_tanh: whether the numbers pass through tanh.
  """

  out_channels: int
  width: int
  final_tanh: bool = True

  @nn.compact
  def __call__(self, x):
    """Images `[B, S, S, 3]` -> numbers `[B, out_channels]`.

    Raises:
      ValueError: if the images' shape does not fit.
    """
    levels = _check_images(x)
    for i in range(levels):
      x = nn.relu(Conv(convolution.conv_down, self.width << i, 4, name=f'down_{i}')(x))
    x = nn.relu(Conv(convolution.conv_to_point, x.shape[-1], 4, name='to_code')(x))
    x = Conv(convolution.conv_to_point, self.out_channels, 1, name='output')(x)[:, 0, 0]
    return jnp.tanh(x) if self.final_tanh else x


class DownBlock(nn.Module):
  """Residual block that halves the size: two 3x3 convolutions plus a pooled 1x1 one.

  The original's first ReLU works in place, so both branches start from ReLU(x).

  Attributes:
    features: output channels.
  """

  features: int

  @nn.compact
  def __call__(self, x):
    """Values `[B, H, W, C]` -> `[B, H/2, W/2, features]`."""
    x = nn.relu(x)
    shortcut = convolution.mean_pool(x)
    shortcut = Conv(convolution.conv, self.features, 1, use_bias=True, name='shortcut')(shortcut)
    x = nn.relu(Conv(convolution.conv_down, self.features, 3, name='conv_1')(x))
    return Conv(convolution.conv, self.features, 3, name='conv_2')(x) + shortcut


class ResidualEncoder(nn.Module):
  """Image to latent code (the projection's encoder).

  Attributes:
    out_channels: size of the code, that of the GAN's latent space.
    width: channels of the first level; each halving of the size doubles them.
  """

  out_channels: int
  width: int = 32

  @nn.compact
  def __call__(self, x):
    """Images `[B, S, S, 3]` -> codes `[B, out_channels]`.

    Raises:
      ValueError: if the images' shape does not fit.
    """
    levels = _check_images(x)
    x = Conv(convolution.conv_down, self.width, 4, name='down_0')(x)
    for i in range(1, levels):
      x = DownBlock(self.width << i, name=f'block_{i}')(x)
    x = nn.relu(x)
    x = nn.relu(Conv(convolution.conv_to_point, 2 * x.shape[-1], 4, name='to_code')(x))
    return Conv(convolution.conv_to_point, self.out_channels, 1, name='output')(x)[:, 0, 0]
