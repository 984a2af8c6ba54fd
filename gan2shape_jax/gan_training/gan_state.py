"""What training carries from step to step, and the running average of the generator."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan2shape_jax.gan_training import parameters
from gan2shape_jax.gan_training.augmentation import Strength, initial_strength
from gan2shape_jax.gan_training.gan_settings import GanSettings


class TrainState(NamedTuple):
  """The state of a training, all of it in the units that are trained (`parameters`).

  Attributes:
    generator: parameters.
    discriminator: parameters.
    average: the generator's running average, which makes the samples.
    generator_optimizer: Adam's moments.
    discriminator_optimizer: likewise.
    path_mean: running mean of path lengths.
    strength: of the augmentation.
  """

  generator: dict
  discriminator: dict
  average: dict
  generator_optimizer: Any
  discriminator_optimizer: Any
  path_mean: jax.Array
  strength: Strength


def optimizer(settings: GanSettings) -> optax.GradientTransformation:
  """The optimiser of both networks.

  Regularisers are added to the loss of every n-th step, in place of steps of their own; so
  neither rate nor momenta are rescaled.
  """
  return optax.adam(settings.learning_rate, b1=settings.beta1, b2=settings.beta2)


def rate_left(settings: GanSettings, iteration) -> jax.Array:
  """The part of the learning rates that an iteration uses.

  A GAN that is trained at a constant rate keeps moving about; a rate that falls to zero lets
  it settle.

  Args:
    settings: `decay` in images shown.
    iteration: [] from 0 on.

  Returns:
    [] 1 before the fall, then straight down to 0.
  """
  if not settings.decay:
    return jnp.float32(1)
  start, end = settings.decay
  shown = jnp.asarray(iteration, jnp.float32) * settings.batch_size
  return optax.linear_schedule(1.0, 0.0, end - start, start)(shown)


def initial_state(settings: GanSettings) -> TrainState:
  """The state that training starts with, from `settings.seed`."""
  generator, discriminator = parameters.initial(settings)
  start = optimizer(settings).init
  return TrainState(
    generator,
    discriminator,
    jax.tree.map(np.copy, generator),  # buffers of their own: updates consume them
    start(generator),
    start(discriminator),
    jnp.float32(0),
    initial_strength(settings),
  )


def averaged(average: dict, params: dict, shown: jax.Array, settings: GanSettings) -> dict:
  """Moves the running average towards the parameters.

  Args:
    average: so far.
    params: after a step.
    shown: images shown before this step.
    settings: `ema_half_life` in images; while it is more than the part `ema_ramp_up` of the images
      shown, that part takes its place, so that the average soon forgets the start.

  Returns:
    The new average.
  """
  half_life = jnp.float32(settings.ema_half_life)
  if settings.ema_ramp_up:
    half_life = jnp.minimum(half_life, settings.ema_ramp_up * shown)
  keep = 0.5 ** (settings.batch_size / jnp.maximum(half_life, 1e-8))
  return jax.tree.map(lambda old, new: old + (1 - keep) * (new - old), average, params)
