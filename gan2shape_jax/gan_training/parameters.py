"""Trained parameters and the plain weights they stand for (the equalised learning rate).

What is trained lies in the tree that `gan2shape_jax.models` reads, but in units in which every
layer learns equally fast: kernels start at unit variance and are multiplied by 1 / sqrt(fan-in)
whenever they are used; the mapping network's are also multiplied by 0.01 and start at 1 / 0.01.
`plain` does that multiplication; its result is what the models take and what files hold.

Source:
  Karras et al., Progressive Growing of GANs, ICLR 2018, section 4.1; Karras et al., Analyzing and
  Improving the Image Quality of StyleGAN, CVPR 2020.
"""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.gan_training.gan_settings import GanSettings
from gan2shape_jax.weights.array_files import unflatten
from gan2shape_jax.weights.stylegan2_shapes import discriminator_shapes, generator_shapes

_MAPPING = 0.01  # of the mapping network's learning rate


def shapes(settings: GanSettings) -> tuple[dict, dict]:
  """The shapes of both networks: flat names -> shape, of the generator and the discriminator."""
  width, (*_, finest) = settings.latent_size, settings.widths
  empty = lambda *shape: np.broadcast_to(np.float32(0), shape)
  generator = {
    f'mapping/layer{k}/kernel': empty(width, width) for k in range(1, settings.mapping_layers + 1)
  }
  generator['constant'] = empty(4, 4, settings.widths[0])
  for k, channels in enumerate(settings.widths):
    generator[f'block{4 * 2**k}/conv/kernel'] = empty(3, 3, channels, channels)
  discriminator = {'from_rgb/kernel': empty(3, finest)}
  coarser = settings.widths[-2::-1]
  for k, channels in enumerate(coarser, start=1):
    discriminator[f'block{k}/conv2/kernel'] = empty(3, 3, 1, channels)
  last = settings.widths[0]
  discriminator['final_conv/kernel'] = empty(3, 3, last + 1, last)
  where = 'gan_training.widths'
  return generator_shapes(generator, where), discriminator_shapes(discriminator, where)


def initial(settings: GanSettings) -> tuple[dict, dict]:
  """Starting parameters.

  Kernels, the constant and the noise maps are standard normal, biases zero, those of the styles
  one, noise strengths zero. Every array is drawn from its own name, so none depends on another.

  Args:
    settings: sizes and the seed.

  Returns:
    Generator and discriminator as numpy arrays, in the units that are trained.
  """

  def start(name, shape):
    kind = name.rsplit('/', 1)[-1]
    if kind == 'noise_strength' or kind == 'bias':
      return np.full(shape, 1 if name.endswith('style/bias') else 0, np.float32)
    random = np.random.default_rng((settings.seed, zlib.crc32(name.encode())))
    values = random.standard_normal(shape, np.float32)
    return values / np.float32(_MAPPING) if name.startswith('mapping/') else values

  generator, discriminator = (
    unflatten({name: start(name, shape) for name, shape in flat.items()})
    for flat in shapes(settings)
  )
  return generator, discriminator


def plain(params: dict) -> dict:
  """The weights that the models take, of a generator's or a discriminator's parameters."""
  return jax.tree_util.tree_map_with_path(
    lambda path, values: _scaled(values, [part.key for part in path]), params
  )


def _scaled(values, names):
  factor = 1.0
  if names[-1] == 'kernel':
    factor = 1 / math.sqrt(math.prod(values.shape[:-1]))
  if names[0] == 'mapping':
    factor *= _MAPPING
  return values if factor == 1.0 else values * jnp.float32(factor)
