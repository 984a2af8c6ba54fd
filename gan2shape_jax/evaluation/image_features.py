"""Features of images for FID and its like, by networks that need no download.

`random_features` come from a convolutional network with random weights that are always the same: it
knows nothing, so it favours no GAN, and sees colours, edges, textures and roughly where they are.
`discriminator_means` come from a GAN's discriminator. That was trained to tell these very images
from generated ones, so it is no neutral judge of the generator it was trained against.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models import discriminator as networks
from gan2shape_jax.models.lpips import CONVS_PER_LEVEL, vgg_features
from gan2shape_jax.models.resampling import resize

_WIDTHS = (16, 32, 64, 128, 128)  # of VGG16's five levels, a quarter
_SEED = 0


def random_features(images, *, batch: int = 64) -> np.ndarray:
  """Features of a network like VGG16 of a quarter of its width, with random weights (He).

  Args:
    images: [n, H, W, 3] in [-1, 1], H and W at least 32.
    batch: how many are computed at once; features do not depend on it.

  Returns:
    [n, 752] float64: the means over space of the first four levels, and over quarters of the image
    of the fifth.
  """
  return _in_batches(functools.partial(_random, _random_network()), images, batch)


def discriminator_means(params: dict, images, *, batch: int = 16) -> np.ndarray:
  """Features of a discriminator: the last residual block's output, averaged over space.

  Args:
    params: a discriminator, held fixed over all that is compared.
    images: [n, H, W, 3] in [-1, 1].
    batch: how many are computed at once; features do not depend on it.

  Returns:
    [n, channels] float64.
  """
  return _in_batches(functools.partial(_means, params), images, batch)


def _in_batches(function, images, batch):
  images = np.asarray(images, np.float32)
  if len(images) == 0:
    raise ValueError('no images: expected at least one')
  features = []
  for start in range(0, len(images), batch):
    part = images[start : start + batch]
    # The last batch is filled up: one shape, one program.
    full = np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)])
    features.append(np.asarray(function(full))[: len(part)])
  return np.concatenate(features).astype(np.float64)


@jax.jit
def _means(params, images):
  count = networks.num_features(params) - 1  # the final convolution's depend on the batch
  return networks.discriminator_features(params, images, count=count)[-1].mean((1, 2))


@jax.jit
def _random(params, images):
  *levels, last = vgg_features(params, images)
  quarters = resize(last, 2).reshape(len(images), -1)
  return jnp.concatenate([*(level.mean((1, 2)) for level in levels), quarters], 1)


def _random_network():
  # numpy's generator: the same weights with every version of JAX and on every device.
  random, params, width, layer = np.random.default_rng(_SEED), {}, 3, 0
  for count, wider in zip(CONVS_PER_LEVEL, _WIDTHS, strict=True):
    for _ in range(count):
      kernel = random.standard_normal((3, 3, width, wider)) * np.sqrt(2 / (9 * width))
      params[f'conv_{layer}'] = {
        'kernel': jnp.asarray(kernel, jnp.float32),
        'bias': jnp.zeros(wider),
      }
      width, layer = wider, layer + 1
  return params
