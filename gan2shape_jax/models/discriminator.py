"""The frozen StyleGAN2 discriminator as pure functions of a dict of arrays; channels last.

A discriminator's params (made by `gan2shape_jax.weights.load_stylegan2`) hold plain weights: the
equalised learning rate's factors are multiplied in. With C the widths, from the largest resolution
to the smallest:

  from_rgb/{kernel [3, C], bias [C]}
  block1, block2, .../        each halves the size
    conv1/{kernel [3, 3, C, C], bias [C]}, conv2/{kernel [3, 3, C, C'], bias [C']},
    skip/{kernel [C, C']}
  final_conv/{kernel [3, 3, C + 1, C'], bias [C']}
  final_linear1/{kernel [4, 4, C', C'], bias [C']}, final_linear2/{kernel [C', 1], bias [1]}

All sizes are read from these arrays. Everything computes in the type of the images given.

Source:
  Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020; layer order and
  constants as in the PyTorch version that GAN2Shape (Pan et al., ICLR 2021) builds on.
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.models import resampling
from gan2shape_jax.models.stylegan2 import activate, linear, per_channel

_SAME = ((1, 1), (1, 1))
_GROUP = 4


def discriminate(params: dict, images: jax.Array) -> jax.Array:
  """Scores images; the larger, the more like the training set.

  Args:
    params: a discriminator.
    images: [B, H, W, 3], -1 to 1, of the discriminator's resolution. The last layers see the
      deviation within groups of min(4, B) images, so scores depend on the batch.

  Returns:
    [B, 1] scores.

  Raises:
    ValueError: the images' shape is wrong, or more than 4 images cannot be split in groups of 4.
  """
  x = discriminator_features(params, images, count=num_features(params))[-1]
  layer = params['final_linear1']
  flat = {'kernel': layer['kernel'].reshape(-1, layer['bias'].shape[0]), 'bias': layer['bias']}
  x = activate(linear(flat, x.reshape(x.shape[0], -1)))
  return linear(params['final_linear2'], x)


def discriminator_features(params: dict, images: jax.Array, *, count: int) -> list[jax.Array]:
  """The outputs of the first `count` blocks; nothing beyond them is computed.

  Args:
    params: a discriminator.
    images: [B, H, W, 3], -1 to 1, of the discriminator's resolution; without the final
      convolution (`count` below the number of all) any size that the blocks can halve will do.
    count: from 1 to `num_features(params)`; the last of all is the final convolution's output.

  Returns:
    `count` arrays [B, h, h, C], h halving from H / 2 (the last two are both 4x4).

  Raises:
    ValueError: the images' shape or `count` does not fit, or (with the final convolution only)
      more than 4 images cannot be split in groups of 4.
  """
  total, size = num_features(params), discriminator_resolution(params)
  if not 1 <= count <= total:
    raise ValueError(f'{count} features: this discriminator has 1 to {total}')
  if count < total:  # the residual blocks take images of any size that halves often enough
    odd = any(n % 2**count for n in images.shape[1:3])
    wrong = images.ndim != 4 or images.shape[-1] != 3 or odd
    expected = f'[B, H, W, 3] with H and W multiples of {2**count}'
  else:
    wrong = images.ndim != 4 or images.shape[1:] != (size, size, 3)
    expected = f'[B, {size}, {size}, 3]'
  if wrong:
    raise ValueError(f'images {images.shape}: expected {expected}')
  from_rgb = params['from_rgb']
  x = images @ from_rgb['kernel'].astype(images.dtype)
  x = activate(x + per_channel(from_rgb['bias'], x))
  features = []
  for k in range(1, min(count, total - 1) + 1):
    x = _residual_block(params[f'block{k}'], x)
    features.append(x)
  if count == total:
    x = jnp.concatenate((x, minibatch_deviation(x)), axis=-1)
    features.append(_conv(params['final_conv'], x))
  return features


def num_features(params: dict) -> int:
  """The number of block outputs, the final convolution's included."""
  return sum(name.startswith('block') for name in params) + 1


def discriminator_resolution(params: dict) -> int:
  """The height and width in pixels of the images that the discriminator takes."""
  return params['final_linear1']['kernel'].shape[0] * 2 ** (num_features(params) - 1)


def minibatch_deviation(x: jax.Array) -> jax.Array:
  """The mean standard deviation within groups of samples, as one more channel.

  Args:
    x: [B, H, W, C]. The B samples form B // g groups of g = min(4, B); sample i belongs to group
      i mod (B // g).

  Returns:
    [B, H, W, 1], constant within each group.

  Raises:
    ValueError: B is larger than 4 and no multiple of 4.
  """
  batch = x.shape[0]
  group = min(batch, _GROUP)
  if batch % group:
    raise ValueError(f'a batch of {batch} cannot be split in groups of {group}')
  groups = x.reshape(group, batch // group, *x.shape[1:])
  deviation = jnp.sqrt(groups.var(axis=0) + 1e-8).mean(axis=(1, 2, 3))
  per_sample = jnp.tile(deviation, group).reshape(batch, 1, 1, 1)
  return jnp.broadcast_to(per_sample, (*x.shape[:3], 1))


def _conv(layer, x):
  """3x3 convolution, bias and activation."""
  x = resampling.conv(x, layer['kernel'], _SAME)
  return activate(x + per_channel(layer['bias'], x))


def _residual_block(block, x):
  """Two convolutions, the second halving the size, plus a 1x1 convolution of the halved input."""
  y = resampling.downsample_conv(_conv(block['conv1'], x), block['conv2']['kernel'])
  y = activate(y + per_channel(block['conv2']['bias'], y))
  skip = resampling.downsample(x) @ block['skip']['kernel'].astype(x.dtype)
  return (y + skip) * 0.5**0.5
