"""Where a run's pictures come from: files, TensorFlow Datasets, or samples of the GAN itself.

Sample k is drawn from the random key k and nothing else, so that `data.start` and `data.num` name
the same samples in every run.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.errors import DataError
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import setup
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Frozen, Gan, Settings

_SOURCES = ('images', 'samples', 'tfds:NAME')
_BATCH = 8
_KEPT = 16  # batches
_SEEDS = 2**32


class Drawn(NamedTuple):
  """Images of the GAN.

  Attributes:
    images: [n, size, size, 3] in [-1, 1].
    latents: [n, w_dim] of which the GAN makes them.
  """

  images: np.ndarray
  latents: np.ndarray


class Samples(Sequence[data.Picture]):
  """The GAN's images as a sequence of `data.Picture` with latents, drawn when first asked for.

  Attributes:
    names: the samples' seeds as text of at least three digits.
    size: height and width in pixels.
  """

  def __init__(self, config: ConfigDict, seeds: Sequence[int]):
    self._config, self._seeds = config, tuple(seeds)
    self.size = config.image_size
    self.names = [sample_name(seed) for seed in self._seeds]
    # The last batches alone are kept, so that lists of any length fit into memory.
    self._block = functools.lru_cache(maxsize=_KEPT)(self._draw_block)

  def __len__(self):
    return len(self._seeds)

  @overload
  def __getitem__(self, index: int) -> data.Picture: ...
  @overload
  def __getitem__(self, index: slice) -> 'Samples': ...

  def __getitem__(self, index):
    if isinstance(index, slice):
      return Samples(self._config, self._seeds[index])
    index = range(len(self))[index]
    block, place = divmod(index, _BATCH)
    drawn = self._block(block)
    return data.Picture(
      name=self.names[index],
      image=drawn.images[place],
      mask=None,
      latent=drawn.latents[place],
      depth=None,
      region=None,
      path=pathlib.Path(f'sample {self.names[index]}'),
    )

  def _draw_block(self, block):
    seeds = self._seeds[block * _BATCH : (block + 1) * _BATCH]
    frozen, settings = self._generator
    return draw_samples(frozen, settings, self.size, seeds, spread=self._config.data.spread)

  @functools.cached_property
  def _generator(self):
    return load_frozen(self._config, critic=False), setup.settings_from_config(self._config)


def load_pictures(config: ConfigDict) -> data.Pictures | data.TfdsPictures | Samples:
  """The pictures that a configuration names.

  Args:
    config: a whole configuration; `config.data.source` is 'images' (files), 'samples' or
      'tfds:NAME' (see `data.tfds_source`).

  Returns:
    A sequence of `data.Picture` with `names`, each made when it is asked for.

  Raises:
    DataError: the source is unknown, or as `data.load_pictures` and `data.load_tfds_pictures`.
  """
  source = config.data.source
  if source == 'images':
    return data.load_pictures(config.data, config.image_size)
  if source.startswith(data.TFDS):
    return data.load_tfds_pictures(config.data, config.image_size)
  if source != 'samples':
    raise DataError(f'data.source={source!r}: expected one of {", ".join(_SOURCES)}')
  start, num = int(config.data.start), int(config.data.num)
  if num < 1 or start < 0:
    raise DataError(
      f'data.num={num}, data.start={start}: expected how many samples, at least 1, from which '
      'seed on (--config.data.num=8)'
    )
  return Samples(config, _checked_seeds(range(start, start + num)))


def sample_name(seed: int) -> str:
  """A sample's name: its seed."""
  return f'{seed:03d}'


def draw_samples(
  frozen: Frozen, settings: Settings, size: int, seeds: Sequence[int], *, spread: float = 1.0
) -> Drawn:
  """Images of the GAN and their latents.

  Args:
    frozen: generator and mean latent are used.
    settings: truncation, crop and origin_size, which reconstruction applies to all latents.
    size: of the images, pixels.
    seeds: one for each image.
    spread: truncation of the latents themselves: mean + spread * (w - mean).

  Returns:
    A `Drawn`; `images` are what reconstruction makes of `latents`.

  Raises:
    DataError: a seed is none that random keys are made of.
  """
  gan = Gan.of(frozen, settings).exact()
  numbers = np.asarray(_checked_seeds(seeds), np.uint32)
  padded = np.concatenate([numbers, np.repeat(numbers[-1:], -len(numbers) % _BATCH)])
  batches = [
    _draw(jnp.asarray(batch), gan, jnp.float32(spread), size)
    for batch in padded.reshape(-1, _BATCH)
  ]
  images, latents = (np.concatenate(parts)[: len(seeds)] for parts in zip(*batches, strict=True))
  return Drawn(images, latents)


def _checked_seeds(seeds):
  for seed in (min(seeds), max(seeds)):
    if not 0 <= seed < _SEEDS:
      raise DataError(f'sample {seed}: expected seeds from 0 to {_SEEDS - 1}')
  return seeds


@functools.partial(jax.jit, static_argnames='size')
def _draw(seeds, gan, spread, size):
  width = (stylegan2.latent_size(gan.generator),)
  z = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), width))(seeds)
  latents = stylegan2.truncate(stylegan2.mapping(gan.generator, z), gan.mean_latent, spread)
  return gan_images(gan, latents, size), latents
