"""The parsing networks BiSeNet and PSPNet, frozen: images to the logits of classes.

Pure functions of parameters in nested dicts, whose layers are `{'kernel': [h, w, I, O], 'bias':
[O]}`; each batch norm is folded into the convolution before it, and layers without either have no
bias. Values are channels last, `[B, H, W, C]`; PSPNet needs images of at least 41 pixels. The
number and widths of layers follow from the parameters; `weights.parsing_files` lists them.

Source:
  Yu et al., BiSeNet: Bilateral Segmentation Network, arXiv:1808.00897, as published for faces with
  a ResNet-18; Zhao et al., Pyramid Scene Parsing Network, arXiv:1612.01105, with a ResNet-50.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan2shape_jax.models import resampling

PYRAMID_BINS = (1, 2, 3, 6)
"""Cells along each side of the pooled maps of PSPNet."""

# (stride, dilation) of the 3x3 convolutions of the four stages. PSPNet replaces the last two
# strides by dilation, the first block of a stage included.
_BISENET_STAGES = ((1, 1), (2, 1), (2, 1), (2, 1))
_PSPNET_STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))


def kind_of(params) -> str:
  """The network that the parameters belong to, 'bisenet' or 'pspnet'."""
  return 'bisenet' if 'fusion' in params else 'pspnet'


def num_classes(params) -> int:
  """Number of classes that the parameters distinguish."""
  return params['output']['kernel'].shape[-1]


def logits_of(params, images) -> jax.Array:
  """Logits `[B, H, W, classes]` of images `[B, H, W, 3]`, by the network of the parameters."""
  return (bisenet if kind_of(params) == 'bisenet' else pspnet)(params, images)


def bisenet(params, images) -> jax.Array:
  """Face parsing.

  Args:
    params: the parameters.
    images: `[B, H, W, 3]` as the network was trained on, normalised or not.

  Returns:
    Logits `[B, H, W, classes]`.

  Raises:
    ValueError: if the images' shape does not fit.
  """
  _check_images(images, 1)
  x = _max_pool(_conv_relu(params['stem_0'], images, stride=2))
  _, fine, middle, coarse = _stages(params, x, _BISENET_STAGES)

  context = _conv_relu(params['context_mean'], coarse.mean((1, 2), keepdims=True))
  context = _attended(params['attention_coarse'], coarse) + context
  context = _conv_relu(params['refine_coarse'], _resize_nearest(context, middle.shape[1:3]))
  context = _attended(params['attention_middle'], middle) + context
  context = _conv_relu(params['refine_middle'], _resize_nearest(context, fine.shape[1:3]))

  fusion = params['fusion']
  x = _conv_relu(fusion['mix'], jnp.concatenate([fine, context], -1))
  weights = _conv_relu(fusion['squeeze'], x.mean((1, 2), keepdims=True))
  x = x + x * jax.nn.sigmoid(_conv(fusion['expand'], weights))
  x = _conv(params['output'], _conv_relu(params['head'], x))
  return _resize_corners(x, images.shape[1:3])


def pspnet(params, images) -> jax.Array:
  """Scene parsing.

  Args:
    params: the parameters.
    images: `[B, H, W, 3]` as the network was trained on; published for sizes 8 n + 1.

  Returns:
    Logits `[B, H, W, classes]`.

  Raises:
    ValueError: if the images' shape does not fit.
  """
  _check_images(images, 41)  # an eighth of it, 6, is what the finest pooling needs
  x = _conv_relu(params['stem_0'], images, stride=2)
  x = _max_pool(_conv_relu(params['stem_2'], _conv_relu(params['stem_1'], x)))
  x = _stages(params, x, _PSPNET_STAGES)[-1]
  parts = [x]
  for bins in PYRAMID_BINS:
    pooled = _conv_relu(params['pyramid'][f'bins_{bins}'], resampling.resize(x, bins))
    parts.append(_resize_corners(pooled, x.shape[1:3]))
  x = _conv_relu(params['head'], jnp.concatenate(parts, -1))
  return _resize_corners(_conv(params['output'], x), images.shape[1:3])


def _check_images(images, least):
  if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < least:
    raise ValueError(f'images must be [B, H, W, 3], at least {least} wide, not {images.shape}')


def _stages(params, x, stages):
  """The outputs of a ResNet's four stages."""
  outputs = []
  for k, (stride, dilation) in enumerate(stages):
    blocks = params[f'stage_{k + 1}']
    for i in range(len(blocks)):
      x = _residual(blocks[f'block_{i}'], x, stride=stride if i == 0 else 1, dilation=dilation)
    outputs.append(x)
  return outputs


def _residual(block, x, *, stride, dilation):
  """A residual block of two 3x3 convolutions, or of a 1x1, a 3x3 and a 1x1 one."""
  convs = [block[name] for name in sorted(block) if name.startswith('conv_')]
  strided = 0 if len(convs) == 2 else 1  # the first 3x3 convolution
  y = x
  for i, conv in enumerate(convs):
    y = y if i == 0 else jax.nn.relu(y)
    y = _conv(conv, y, stride=stride if i == strided else 1, dilation=dilation)
  if 'shortcut' in block:
    x = _conv(block['shortcut'], x, stride=stride)
  return jax.nn.relu(x + y)


def _attended(layers, x):
  """A convolution, its channels weighted by their means over the image."""
  x = _conv_relu(layers['conv'], x)
  return x * jax.nn.sigmoid(_conv(layers['weigh'], x.mean((1, 2), keepdims=True)))


def _conv(layer, x, *, stride=1, dilation=1):
  """Convolution with an odd kernel, padded so that stride 1 keeps height and width."""
  padding = dilation * (layer['kernel'].shape[0] // 2)
  x = lax.conv_general_dilated(
    x,
    layer['kernel'],
    (stride, stride),
    [(padding, padding)] * 2,
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  return x + layer['bias'][None, None, None] if 'bias' in layer else x


def _conv_relu(layer, x, *, stride=1):
  return jax.nn.relu(_conv(layer, x, stride=stride))


def _max_pool(x):
  """The largest of 3x3 values at every second place."""
  padding = ((0, 0), (1, 1), (1, 1), (0, 0))
  return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


def _resize_corners(x, size):
  """Bilinear resizing that keeps the corner pixels in the corners."""
  for axis, new in zip((1, 2), size, strict=True):
    weights = jnp.asarray(_corner_weights(x.shape[axis], new), x.dtype)
    x = jnp.tensordot(weights, x, (1, axis), precision=lax.Precision.HIGHEST)
    x = jnp.moveaxis(x, 0, axis)
  return x


def _resize_nearest(x, size):
  """Nearest-neighbour resizing: target pixel i takes pixel floor(i old / new)."""
  for axis, new in zip((1, 2), size, strict=True):
    x = jnp.take(x, np.arange(new) * x.shape[axis] // new, axis=axis)
  return x


def _corner_weights(old, new):
  """[new, old]: rows that interpolate, the first and last pixels on each other."""
  position = np.linspace(0, old - 1, new)
  return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))
