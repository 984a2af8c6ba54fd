"""Perceptual distance of two images: LPIPS v0.1, net-lin on VGG16.

Pure functions of frozen parameters, a dict of `conv_0` to `conv_12`,
`{'kernel': [3, 3, I, O], 'bias': [O]}`, and `head_0` to `head_4`, `{'weight': [C]}`; widths are
the parameters' own. Images are `[B, H, W, 3]`, RGB in [-1, 1], H and W at least 16. There is no
dropout.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
arXiv:1801.03924.
"""

import jax
import jax.numpy as jnp
from jax import lax

CONVS_PER_LEVEL = (2, 2, 3, 3, 3)
"""Convolutions before each of the five outputs relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""

INPUT_SHIFT = (-0.030, -0.088, -0.188)
INPUT_SCALE = (0.458, 0.448, 0.450)
"""Input normalisation of LPIPS v0.1 for images in [-1, 1]: (image - shift) / scale, per colour."""

_EPSILON = 1e-10


def vgg_features(params, images) -> list[jax.Array]:
  """VGG16's five feature maps.

  Args:
    params: the parameters.
    images: `[B, H, W, 3]` in [-1, 1]; LPIPS's input normalisation is applied here.

  Returns:
    Five arrays `[B, H / 2^k, W / 2^k, C_k]`, k in 0..4, after ReLU.

  Raises:
    ValueError: if the images' shape does not fit.
  """
  if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 16:
    raise ValueError(f'images must be [B, H, W, 3], at least 16 wide, not {images.shape}')
  shift = jnp.asarray(INPUT_SHIFT, images.dtype)[None, None, None]
  scale = jnp.asarray(INPUT_SCALE, images.dtype)[None, None, None]
  x = (images - shift) / scale
  features, layer = [], 0
  for level, count in enumerate(CONVS_PER_LEVEL):
    if level:
      x = _max_pool(x)
    for _ in range(count):
      x = _conv_relu(params[f'conv_{layer}'], x)
      layer += 1
    features.append(x)
  return features


def _conv_relu(layer, x):
  x = lax.conv_general_dilated(
    x, layer['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  return jax.nn.relu(x + layer['bias'][None, None, None])


def _max_pool(x):
  return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')


def _unit(features):
  """Features scaled to length 1 over channels; all-zero ones stay zero, with zero gradient."""
  squared = jnp.sum(jnp.square(features), -1, keepdims=True)
  length = jnp.sqrt(jnp.where(squared > 0, squared, 1.0))
  return features / (length + _EPSILON)


def distance_per_level(params, features_a, features_b) -> jax.Array:
  """The five terms of the distance.

  Args:
    params: the parameters.
    features_a: features of the first images, from `vgg_features`.
    features_b: features of the second images; a batch of 1 serves all of `features_a`.

  Returns:
    `[B, 5]`: per level the mean over places of the weighted squared difference of the features
    scaled to unit length over channels.
  """
  terms = []
  for level, (a, b) in enumerate(zip(features_a, features_b, strict=True)):
    head = params[f'head_{level}']['weight']
    terms.append((jnp.square(_unit(a) - _unit(b)) @ head).mean((1, 2)))
  return jnp.stack(terms, axis=1)


def lpips_to_features(params, images_a, features_b) -> jax.Array:
  """Distance of images to others whose features are already known.

  Compute a constant target's features once with `vgg_features`.

  Args:
    params: the parameters.
    images_a: `[B, H, W, 3]` in [-1, 1].
    features_b: features of the other images, batch B or 1.

  Returns:
    `[B]`, 0 for equal images.
  """
  return distance_per_level(params, vgg_features(params, images_a), features_b).sum(1)


def lpips(params, images_a, images_b) -> jax.Array:
  """Distance of two batches of images.

  Args:
    params: the parameters.
    images_a: `[B, H, W, 3]` in [-1, 1].
    images_b: `[B, H, W, 3]` in [-1, 1].

  Returns:
    `[B]`, 0 for equal images.
  """
  return lpips_to_features(params, images_a, vgg_features(params, images_b))
