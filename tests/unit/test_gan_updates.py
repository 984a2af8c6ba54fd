"""Each of the four updates: equal to PyTorch's, and the same on four devices as on one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import gan_training
from gan2shape_jax.gan_training import augmentation, sampling, updates
from gan2shape_jax.reconstruction.parallel import data_mesh
from gan2shape_jax.weights.array_files import flatten
from tests.support.gan_training import (
  SETTINGS,
  hasty_compiler,  # noqa: F401, for all tests here
  on_host,
  one_device,
  real_images,
)

KINDS = ('discriminator', 'discriminator_r1', 'generator', 'generator_path')
ITERATION = 5


def ready_state(settings=SETTINGS):
  """A state with moments, noise strengths and a path mean, as it is after some steps.

  Adam's first step without them would only show the gradients' signs.
  """
  state = on_host(gan_training.initial_state(settings))
  random = np.random.default_rng(0)

  def moments(optimizer):
    adam, *rest = optimizer
    nu = jax.tree.map(lambda x: random.uniform(0.5, 2, x.shape).astype(np.float32) * 1e-3, adam.nu)
    return (adam._replace(nu=nu, count=np.int32(3)), *rest)

  flat = jax.tree_util.tree_map_with_path(
    lambda path, x: np.float32(0.3) if path[-1].key == 'noise_strength' else x, state.generator
  )
  return state._replace(
    generator=flat,
    generator_optimizer=moments(state.generator_optimizer),
    discriminator_optimizer=moments(state.discriminator_optimizer),
    path_mean=np.float32(0.4),
    strength=state.strength._replace(probability=np.float32(settings.augment_start)),
  )


def run(kind, settings, mesh, state, images):
  programs = gan_training.build(settings, mesh)
  state = gan_training.place_state(jax.tree.map(jnp.asarray, state), mesh)
  number = np.uint32(ITERATION)
  if kind.startswith('generator'):
    return on_host(getattr(programs, kind)(state, number))
  placed = gan_training.place_images(images, mesh, settings)
  return on_host(getattr(programs, kind)(state, placed, number))


@pytest.mark.parametrize('kind', KINDS)
def test_an_update_is_pytorchs(kind):
  torch = pytest.importorskip('torch')
  from benchmarks.support import torch_gan

  to_torch = lambda array: torch.tensor(np.asarray(array, np.float64))
  first = lambda array: to_torch(np.moveaxis(np.asarray(array), -1, 1))

  def convert(draws):
    crossover = torch.tensor(np.asarray(draws.crossover))
    return torch_gan.Draws(to_torch(draws.z), crossover, [first(x) for x in draws.noise])

  state, images = ready_state(), real_images()
  generator = torch_gan.convert(flatten(state.generator), torch.float64)
  discriminator = torch_gan.convert(flatten(state.discriminator), torch.float64)
  of_generator = kind.startswith('generator')
  part = 'generator' if of_generator else 'discriminator'
  params = {'generator': generator, 'discriminator': discriminator}[part]
  moments = getattr(state, f'{part}_optimizer')[0]
  rate = SETTINGS.learning_rate
  adam = torch.optim.Adam(
    torch_gan.trained(params), lr=rate, betas=(SETTINGS.beta1, SETTINGS.beta2), eps=1e-8
  )
  second = torch_gan.convert(flatten(moments.nu), torch.float64)
  for name, tensor in params.items():
    if tensor.requires_grad:
      adam.state[tensor] = {
        'step': torch.tensor(3.0),
        'exp_avg': torch.zeros_like(tensor),
        'exp_avg_sq': second[name].detach(),
      }
  keys = updates.keys_of(SETTINGS, np.uint32(ITERATION))
  numbers = torch_gan.Numbers(
    SETTINGS.r1_weight,
    SETTINGS.r1_every,
    SETTINGS.path_weight,
    SETTINGS.path_every,
    SETTINGS.path_decay,
  )
  every = jnp.arange(SETTINGS.batch_size)
  if of_generator:
    path = None
    if kind == 'generator_path':
      draws, directions = updates.path_draws(keys, every[: SETTINGS.path_batch], SETTINGS)
      path = convert(draws), first(directions)
    expected = torch_gan.generator_update(
      generator,
      discriminator,
      adam,
      convert(sampling.draw(keys.generator, every, SETTINGS)),
      numbers,
      path=path,
      path_mean=float(state.path_mean),
    )
  else:
    expected = torch_gan.discriminator_update(
      generator,
      discriminator,
      adam,
      first(images / 127.5 - 1),
      convert(sampling.draw(keys.fake, every, SETTINGS)),
      numbers,
      r1=kind == 'discriminator_r1',
    )
  new, terms = run(kind, SETTINGS, one_device(), state, images)
  if 'mean' in expected:
    np.testing.assert_allclose(new.path_mean, expected.pop('mean'), rtol=1e-4)
  for name, value in expected.items():
    np.testing.assert_allclose(terms[name], value, rtol=1e-4, err_msg=name)
  before, after = flatten(getattr(state, part)), flatten(getattr(new, part))
  wanted = torch_gan.revert(params)
  moved = 0
  for name in before:
    ours, theirs = (after[name] - before[name]) / rate, (wanted[name] - before[name]) / rate
    moved = max(moved, np.abs(theirs).max())
    # Differences of float32 parameters near 100 (the mapping's) are known to 0.004 of a rate.
    tolerance = 0.008 if name.startswith('mapping') else 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=tolerance, err_msg=name)
  assert moved > 0.5
  other = 'discriminator' if of_generator else 'generator'
  jax.tree.map(np.testing.assert_array_equal, getattr(new, other), getattr(state, other))


@pytest.mark.parametrize('kind', ['discriminator', 'generator'])
def test_half_the_rate_makes_half_the_step(kind):
  batch = SETTINGS.batch_size
  falling = dataclasses.replace(SETTINGS, decay=((ITERATION - 1) * batch, (ITERATION + 1) * batch))
  start, images = ready_state(), real_images()
  before, whole, half = (
    flatten(getattr(made, kind))
    for made in (
      start,
      *(run(kind, s, one_device(), start, images)[0] for s in (SETTINGS, falling)),
    )
  )
  assert any(np.abs(whole[name] - before[name]).max() > 1e-3 for name in before)
  for name in before:
    step = whole[name] - before[name]
    rounding = 2 * np.spacing(np.abs(before[name]).max())
    np.testing.assert_allclose(half[name] - before[name], step / 2, rtol=1e-4, atol=rounding)


@pytest.mark.parametrize('kind', ['discriminator_r1', 'generator_path'])
def test_four_devices_make_the_step_of_one(kind):
  settings = SETTINGS
  state, images = ready_state(settings), real_images()
  one, terms_one = run(kind, settings, one_device(), state, images)
  four, terms_four = run(kind, settings, data_mesh(jax.devices()[:4]), state, images)
  for name in terms_one:
    np.testing.assert_allclose(terms_four[name], terms_one[name], rtol=1e-5, atol=1e-6)
  part = 'generator' if kind == 'generator_path' else 'discriminator'
  before, of_one, of_four = (flatten(getattr(x, part)) for x in (state, one, four))
  for name in before:
    np.testing.assert_allclose(of_four[name], of_one[name], rtol=1e-5, atol=1e-5, err_msg=name)
  assert any(np.abs(of_one[name] - before[name]).max() > 1e-3 for name in before)


def test_one_and_four_devices_see_the_same_augmentation():
  """Keys follow the places in the whole batch, not those on a device."""
  settings = dataclasses.replace(SETTINGS, augment=('blit', 'colour'), augment_start=0.8)
  images = (real_images() / 127.5 - 1).astype(np.float32)
  places = []

  def seen(images):
    numbers = updates._numbers(settings)
    flat = images.reshape(-1, *images.shape[2:])
    key = jax.random.key(1)
    probability = jnp.float32(0.8)
    moved = augmentation.augment(key, flat, numbers, probability, settings.augment)
    return moved.reshape(images.shape), numbers.reshape(images.shape[:2])

  for count in (1, 4):
    mesh = data_mesh(jax.devices()[:count])
    batch = updates._BATCH
    mapped = jax.shard_map(seen, mesh=mesh, in_specs=batch, out_specs=(batch, batch))
    places.append(jax.jit(mapped)(gan_training.place_images(images, mesh, settings)))
  (one, numbers), (four, same) = places
  np.testing.assert_array_equal(numbers.reshape(-1), np.arange(settings.batch_size))
  np.testing.assert_array_equal(numbers, same)
  np.testing.assert_allclose(one, four, atol=1e-6)
  assert np.abs(one.reshape(images.shape) - images).max() > 0.1
