"""What a training writes for people and for reconstruction: sheets of samples, snapshots."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.gan_training import parameters
from gan2shape_jax.gan_training.gan_settings import GanSettings
from gan2shape_jax.gan_training.gan_state import TrainState
from gan2shape_jax.models import stylegan2
from gan2shape_jax.weights import save_safetensors

_BATCH = 16
_MEAN_LATENT_SAMPLES = 8192


def sample_images(average: dict, count: int) -> np.ndarray:
  """The images of `count` fixed latents: [n, H, W, 3], with the noise maps of the weights.

  Args:
    average: a generator's parameters.
    count: how many; image k is always that of latent k.
  """
  width = average['mapping']['layer1']['kernel'].shape[0]
  draw = lambda number: jax.random.normal(jax.random.key(number), (width,))
  z = jax.vmap(draw)(jnp.arange(count + -count % _BATCH))
  parts = [np.asarray(_images(average, part)) for part in z.reshape(-1, _BATCH, width)]
  return np.concatenate(parts)[:count]


@jax.jit
def _images(average, z):
  weights = parameters.plain(average)
  return stylegan2.synthesize(weights, stylegan2.mapping(weights, z))


def sheet(images: np.ndarray, columns: int = 8) -> np.ndarray:
  """Images [n, H, W, 3] in rows without gaps, as bytes; the last row is filled up with grey."""
  images = image_files.to_uint8(images)
  missing = -len(images) % columns
  grey = np.full((missing, *images.shape[1:]), 128, np.uint8)
  rows = np.concatenate((images, grey)).reshape(-1, columns, *images.shape[1:])
  return rows.swapaxes(1, 2).reshape(-1, columns * images.shape[2], 3)


def write_snapshot(path: pathlib.Path, state: TrainState, settings: GanSettings, shown: int):
  """Writes what `gan.weights` reads: the averaged generator, the discriminator, the mean latent.

  Args:
    path: a .safetensors file; its folder is made.
    state: of the training.
    settings: of the training; the seed goes into the file.
    shown: images shown so far.

  Raises:
    WeightsError: the file cannot be written.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  generator = _plain(state.average)
  numpy = functools.partial(jax.tree.map, np.asarray)
  content = {
    'generator': numpy(generator),
    'discriminator': numpy(_plain(state.discriminator)),
    'mean_latent': np.asarray(_mean_latent(generator)),
  }
  save_safetensors(path, content, {'images_shown': str(shown), 'seed': str(settings.seed)})


_plain = jax.jit(parameters.plain)


@jax.jit
def _mean_latent(generator):
  return stylegan2.mean_latent(generator, jax.random.key(0), _MEAN_LATENT_SAMPLES)[0]
