"""A fit as small as can be: linear networks, 16 pixels, an untrained GAN of 16."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.config import get_default_config
from gan2shape_jax.data import load_prior
from gan2shape_jax.gan_training import parameters
from gan2shape_jax.gan_training.gan_settings import settings_from_config
from gan2shape_jax.models import stylegan2
from gan2shape_jax.reconstruction.refinement import principal_directions
from gan2shape_jax.reconstruction.state import (
  FitSettings,
  Frozen,
  Instance,
  Networks,
  Settings,
)

SIZE = 16
GAN = dataclasses.replace(
  settings_from_config(get_default_config()),
  image_size=SIZE,
  latent_size=16,
  widths=(16, 8, 8),
  mapping_layers=2,
)
SETTINGS = Settings(
  perceptual='none',
  discriminator_features=2,
  batch_size=2,
  march_steps=4,
  learning_rate=1e-2,
  lam_view=0.1,
  lam_light=0.1,
)


@functools.cache
def frozen():
  """An untrained GAN of 16 pixels."""
  with jax.ensure_compile_time_eval():  # kept, also where the first call is within a trace
    networks = [parameters.plain(params) for params in parameters.initial(GAN)]
    generator, discriminator = jax.tree.map(jnp.asarray, networks)
    prior = jax.tree.map(jnp.asarray, load_prior('embedded:heads'))
    mean = jnp.zeros(stylegan2.latent_size(generator))
  return Frozen(generator, discriminator, None, mean, prior)


@functools.cache
def setting():
  """Linear networks and their first parameters."""

  def linear(params, images, shape):
    flat = images.reshape(images.shape[0], -1)
    return (flat @ params['kernel'] + params['bias'][None]).reshape(images.shape[0], *shape)

  shapes = {
    'depth': (SIZE, SIZE),
    'albedo': (SIZE, SIZE, 3),
    'view': (6,),
    'light': (4,),
    'encoder': (stylegan2.latent_size(frozen().generator),),
  }
  networks = Networks(
    **{
      name: lambda params, images, shape=shape: jnp.tanh(linear(params, images, shape))
      for name, shape in shapes.items()
    }
  )
  rng = np.random.default_rng(0)
  steps = dict.fromkeys(shapes, 100) | {'depth': 2000}
  params = {
    name: {
      'kernel': rng.normal(size=(SIZE * SIZE * 3, np.prod(shape))).astype(np.float32) / steps[name],
      'bias': np.zeros(np.prod(shape), np.float32),
    }
    for name, shape in shapes.items()
  }
  return networks, params


@functools.cache
def instance(seed=1):
  """A picture of noise."""
  rng = np.random.default_rng(seed)
  image = rng.uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)
  latent = rng.normal(size=stylegan2.latent_size(frozen().generator)).astype(np.float32)
  with jax.ensure_compile_time_eval():
    return jax.tree.map(jnp.asarray, Instance(image, np.ones((SIZE, SIZE, 1), np.float32), latent))


# The same with the factors themselves as unknowns, and latents refined.
DIRECT = dataclasses.replace(
  SETTINGS,
  border_depth=1.0,
  lights='prior',
  fit=FitSettings(
    factors='direct',
    box=(0.05, 0.95, 0.1, 0.9),
    lam_draw=0.1,
    collect_iters=2,
    hold_views=0.2,
  ),
)


@functools.cache
def directions():
  """The principal directions of the GAN's own latents, [w_dim, n]."""
  generator = frozen().generator
  with jax.ensure_compile_time_eval():
    return _directions(generator)


def _directions(generator):
  z = jax.random.normal(jax.random.key(5), (400, stylegan2.latent_size(generator)))
  return jnp.asarray(principal_directions(stylegan2.mapping(generator, z)))


def frozen_with_directions():
  """What latents are refined with."""
  return frozen()._replace(latent_basis=directions())
