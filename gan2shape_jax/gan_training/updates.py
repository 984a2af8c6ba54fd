"""The four kinds of update: discriminator, the same with R1, generator, the same with path length.

Each is one program over a mesh of devices with the axis 'data': the state is on every device, the
batch is split, gradients are averaged. The discriminator compares images within groups; the batch
is laid out as [group member, group, ...] and split along its groups, so that a group lies on one
device, and one device or many make the same groups.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax.gan_training import augmentation, gan_losses, parameters, sampling
from gan2shape_jax.gan_training.gan_settings import GanSettings, check_devices
from gan2shape_jax.gan_training.gan_state import TrainState, averaged, optimizer, rate_left
from gan2shape_jax.models.discriminator import discriminate
from gan2shape_jax.reconstruction.parallel import AXIS

_BATCH = PartitionSpec(None, AXIS)


class Updates(NamedTuple):
  """Jitted updates, each (state, images, iteration) -> (state, terms); the state is consumed.

  Images are uint8 [group, batch / group, H, W, 3]; terms are scalars to be shown. The generator's
  take no images: (state, iteration).
  """

  discriminator: Callable
  discriminator_r1: Callable
  generator: Callable
  generator_path: Callable


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
  """Puts a copy of the state on every device."""
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def place_images(images, mesh: Mesh, settings: GanSettings) -> jax.Array:
  """Splits a batch [B, H, W, 3] among devices, in the layout that the updates take."""
  grouped = images.reshape(settings.group, -1, *images.shape[1:])
  return jax.device_put(grouped, NamedSharding(mesh, _BATCH))


@functools.cache
def build(settings: GanSettings, mesh: Mesh) -> Updates:
  """Builds the updates, once in a process for the same settings and mesh.

  Args:
    settings: of the training.
    mesh: of `parallel.data_mesh`.

  Returns:
    `Updates`; nothing is compiled before its first call.

  Raises:
    SettingsError: the batch does not divide among the devices.
  """
  check_devices(settings, mesh.size)

  def program(update, batch):
    whole = PartitionSpec()
    mapped = jax.shard_map(
      update,
      mesh=mesh,
      in_specs=(whole, _BATCH, whole) if batch else (whole, whole),
      out_specs=(whole, whole),
    )
    return jax.jit(mapped, donate_argnums=0)

  partial = functools.partial
  return Updates(
    program(partial(discriminator_update, settings=settings, r1=False), True),
    program(partial(discriminator_update, settings=settings, r1=True), True),
    program(partial(generator_update, settings=settings, path=False), False),
    program(partial(generator_update, settings=settings, path=True), False),
  )


class Keys(NamedTuple):
  """The random keys of an iteration, one for each use."""

  fake: jax.Array
  fake_augment: jax.Array
  real_augment: jax.Array
  generator: jax.Array
  generator_augment: jax.Array
  path: jax.Array
  path_directions: jax.Array


def keys_of(settings: GanSettings, iteration) -> Keys:
  """The keys that follow from the seed and the iteration, and from nothing else."""
  key = jax.random.fold_in(jax.random.key(settings.seed), iteration)
  return Keys(*jax.random.split(key, len(Keys._fields)))


def discriminator_update(
  state: TrainState, images: jax.Array, iteration, *, settings: GanSettings, r1: bool
) -> tuple[TrainState, dict]:
  """One step of the discriminator, on a device's part of the batch."""
  keys, numbers = keys_of(settings, iteration), _numbers(settings)
  real = images.reshape(-1, *images.shape[2:]).astype(jnp.float32) / 127.5 - 1
  draws = sampling.draw(keys.fake, numbers, settings)
  weights = parameters.plain(state.generator)
  fake = sampling.generate(weights, sampling.mixed_latents(weights, draws), draws.noise, settings)
  fake = _seen(keys.fake_augment, fake, numbers, state, settings)

  def loss(trained):
    score = functools.partial(_scores, parameters.plain(trained), settings=settings)
    score_real = lambda x: score(_seen(keys.real_augment, x, numbers, state, settings))
    terms = {}
    if r1:
      real_scores, penalty = gan_losses.scores_and_r1(score_real, real)
      terms['r1'] = penalty
    else:
      real_scores = score_real(real)
    fake_scores = score(fake)
    total = terms['discriminator'] = gan_losses.discriminator_loss(real_scores, fake_scores)
    if r1:
      total = total + settings.r1_every * settings.r1_weight / 2 * terms['r1']
    terms |= {'real score': real_scores.mean(), 'fake score': fake_scores.mean()}
    terms['real sign'] = jnp.sign(real_scores).mean()
    total, terms = jax.lax.pmean((total, terms), AXIS)
    return total, terms

  gradients, terms = jax.grad(loss, has_aux=True)(state.discriminator)
  changes, moments = optimizer(settings).update(gradients, state.discriminator_optimizer)
  terms['augment'] = state.strength.probability
  strength = state.strength
  if settings.augment:
    strength = augmentation.adapted(strength, terms['real sign'], settings)
  state = state._replace(
    discriminator=_applied(state.discriminator, changes, iteration, settings),
    discriminator_optimizer=moments,
    strength=strength,
  )
  return state, terms


def generator_update(
  state: TrainState, iteration, *, settings: GanSettings, path: bool
) -> tuple[TrainState, dict]:
  """One step of the generator and of its average, on a device's part of the batch."""
  keys, numbers = keys_of(settings, iteration), _numbers(settings)
  draws = sampling.draw(keys.generator, numbers, settings)
  critic = parameters.plain(state.discriminator)
  average = functools.partial(jax.lax.pmean, axis_name=AXIS)

  def loss(trained):
    weights = parameters.plain(trained)
    fake = sampling.generate(weights, sampling.mixed_latents(weights, draws), draws.noise, settings)
    fake = _seen(keys.generator_augment, fake, numbers, state, settings)
    total = gan_losses.generator_loss(_scores(critic, fake, settings=settings))
    terms, mean = {'generator': total}, state.path_mean
    if path:
      lengths = _path_lengths(weights, keys, settings)
      penalty, mean = gan_losses.path_penalty(lengths, mean, settings.path_decay, average)
      total = total + settings.path_every * settings.path_weight * penalty
      terms |= {'path': penalty, 'path length': lengths.mean()}
    total, terms = average((total, terms))
    return total, (terms, mean)

  gradients, (terms, mean) = jax.grad(loss, has_aux=True)(state.generator)
  changes, moments = optimizer(settings).update(gradients, state.generator_optimizer)
  generator = _applied(state.generator, changes, iteration, settings)
  shown = jnp.asarray(iteration, jnp.float32) * settings.batch_size
  state = state._replace(
    generator=generator,
    generator_optimizer=moments,
    average=averaged(state.average, generator, shown, settings),
    path_mean=mean,
  )
  return state, terms


def _applied(params, changes, iteration, settings):
  part = rate_left(settings, iteration)
  return optax.apply_updates(params, jax.tree.map(lambda change: part * change, changes))


def path_draws(keys: Keys, numbers: jax.Array, settings: GanSettings):
  """What the path lengths of some samples are made of: `Draws` and directions [B, H, W, 3]."""
  size = (settings.image_size, settings.image_size, 3)
  of_sample = lambda number: jax.random.fold_in(keys.path_directions, number)
  directions = jax.vmap(lambda number: jax.random.normal(of_sample(number), size))(numbers)
  return sampling.draw(keys.path, numbers, settings), directions


def _path_lengths(weights, keys, settings):
  count = settings.path_batch // jax.lax.axis_size(AXIS)
  numbers = jax.lax.axis_index(AXIS) * count + jnp.arange(count)
  draws, directions = path_draws(keys, numbers, settings)
  synthesize = lambda latents: sampling.generate(weights, latents, draws.noise, settings)
  return gan_losses.path_lengths(synthesize, sampling.mixed_latents(weights, draws), directions)


def _scores(weights, images, *, settings):
  return discriminate(weights, images.astype(settings.dtype)).astype(jnp.float32)


def _seen(key, images, numbers, state, settings):
  """Images as the discriminator sees them."""
  return augmentation.augment(key, images, numbers, state.strength.probability, settings.augment)


def _numbers(settings):
  """The places in the whole batch of this device's samples, in its order."""
  groups = settings.batch_size // settings.group // jax.lax.axis_size(AXIS)
  of_group = jax.lax.axis_index(AXIS) * groups + jnp.arange(groups)
  member = jnp.arange(settings.group) * (settings.batch_size // settings.group)
  return (member[:, None] + of_group[None, :]).reshape(-1)
