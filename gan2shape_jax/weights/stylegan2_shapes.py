"""The shapes that a StyleGAN2's params must have, from a few of its own widths."""

import os
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.errors import WeightsError


def generator_shapes(
  found: Mapping[str, np.ndarray], path: str | os.PathLike
) -> dict[str, tuple[int, ...]]:
  """The shapes of a whole generator.

  Args:
    found: flat names to arrays; the latent size, the depth of the mapping, the number of blocks
      and each block's width are read from it.
    path: the file, for messages.

  Returns:
    Flat names to shapes.

  Raises:
    WeightsError: the arrays that the others follow from are missing.
  """
  depth = len({name.split('/')[1] for name in found if name.startswith('mapping/')})
  latent = _size(found, 'mapping/layer1/kernel', 0, path)
  before = _size(found, 'constant', -1, path)
  blocks = len({name.split('/')[0] for name in found if name.startswith('block')})
  shapes: dict[str, tuple[int, ...]] = {'constant': (4, 4, before)}
  for k in range(1, depth + 1):
    shapes |= _layer(f'mapping/layer{k}', (latent, latent))
  for k in range(blocks):
    size = 4 * 2**k
    name = f'block{size}'
    width = _size(found, f'{name}/conv/kernel', -1, path)
    convolutions = (('up', before), ('conv', width)) if k else (('conv', before),)
    for convolution, incoming in convolutions:
      place = f'{name}/{convolution}'
      shapes |= _layer(place, (3, 3, incoming, width))
      shapes |= _layer(f'{place}/style', (latent, incoming))
      shapes |= {f'{place}/noise': (size, size, 1), f'{place}/noise_strength': ()}
    shapes |= _layer(f'{name}/to_rgb', (width, 3))
    shapes |= _layer(f'{name}/to_rgb/style', (latent, width))
    before = width
  return shapes


def discriminator_shapes(
  found: Mapping[str, np.ndarray], path: str | os.PathLike
) -> dict[str, tuple[int, ...]]:
  """The shapes of a whole discriminator.

  Args:
    found: flat names to arrays; the number of blocks and the widths are read from it.
    path: the file, for messages.

  Returns:
    Flat names to shapes.

  Raises:
    WeightsError: the arrays that the others follow from are missing.
  """
  width = _size(found, 'from_rgb/kernel', -1, path)
  blocks = len({name.split('/')[0] for name in found if name.startswith('block')})
  shapes = _layer('from_rgb', (3, width))
  for k in range(1, blocks + 1):
    wider = _size(found, f'block{k}/conv2/kernel', -1, path)
    shapes |= _layer(f'block{k}/conv1', (3, 3, width, width))
    shapes |= _layer(f'block{k}/conv2', (3, 3, width, wider))
    shapes[f'block{k}/skip/kernel'] = (width, wider)
    width = wider
  final = _size(found, 'final_conv/kernel', -1, path)
  shapes |= _layer('final_conv', (3, 3, width + 1, final))
  shapes |= _layer('final_linear1', (4, 4, final, final))
  shapes |= _layer('final_linear2', (final, 1))
  return shapes


def published_shapes(resolution: int, channel_multiplier: int) -> tuple[dict, dict]:
  """The shapes of the published networks (config E has channel multiplier 1, config F has 2).

  Args:
    resolution: of the images, a power of two of at least 8.
    channel_multiplier: of the widths above 32 pixels.

  Returns:
    Flat names to shapes of the generator and of the discriminator.
  """
  sizes = [2**k for k in range(2, resolution.bit_length())]
  width = {size: min(512, channel_multiplier * 16384 // size) for size in sizes}
  empty = lambda *shape: np.broadcast_to(np.float32(0), shape)
  generator = {f'mapping/layer{k}/kernel': empty(512, 512) for k in range(1, 9)}
  generator['constant'] = empty(4, 4, width[4])
  for size in sizes:
    generator[f'block{size}/conv/kernel'] = empty(3, 3, width[size], width[size])
  discriminator = {'from_rgb/kernel': empty(3, width[resolution])}
  for k, size in enumerate(reversed(sizes[:-1]), start=1):
    discriminator[f'block{k}/conv2/kernel'] = empty(3, 3, width[2 * size], width[size])
  discriminator['final_conv/kernel'] = empty(3, 3, width[4] + 1, width[4])
  path = 'the published network'
  return generator_shapes(generator, path), discriminator_shapes(discriminator, path)


def _layer(name, kernel):
  return {f'{name}/kernel': kernel, f'{name}/bias': kernel[-1:]}


def _size(found, name, axis, path):
  """One axis of an array, or the message that it is missing."""
  array = found.get(name)
  if array is None or array.ndim == 0:
    raise WeightsError(f'{path}: the array {name} is missing')
  return array.shape[axis]
