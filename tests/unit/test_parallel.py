"""Many devices: results do not depend on how pictures lie on them, and nothing passes between."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import scaling
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import SettingsError
from gan2shape_jax.pipeline import collection
from gan2shape_jax.reconstruction import direct, parallel, programs
from gan2shape_jax.reconstruction.driver import Plan, StagePlan, Start, reconstruct
from gan2shape_jax.reconstruction.parallel import make_layout
from gan2shape_jax.reconstruction.programs import ONE_DEVICE
from gan2shape_jax.reconstruction.state import FitState
from gan2shape_jax.runtime import cpu_devices
from tests.support import command
from tests.support.small_fit import (
  DIRECT,
  SETTINGS,
  SIZE,
  frozen,
  frozen_with_directions,
  instance,
  setting,
)

PLAN = Plan((StagePlan(1, 2, 3, flip1=False, flip3=True),), 1, 2)
PICTURES = 8
# Nothing that rounding decides: no cliffs, at whose rims a pixel may be seen or not, and no pull of
# the view to where it was, |x| at 0.
SLOW = dataclasses.replace(SETTINGS, learning_rate=1e-4, border_depth=1.0, lam_view=0.0)
BATCH = dataclasses.replace(SLOW, batch_size=4)
DIRECT_PLAN = Plan((StagePlan(1, 1, 4, flip1=True, flip3=True),), 0, 2, refine_iterations=1)
WIDTHS = ('step2', 'step3')


@pytest.fixture(scope='module', autouse=True)
def enough_devices():
  assert jax.device_count() >= 8


def layout(devices, **options):
  return make_layout(jax.devices()[:devices], **options)


def key_of(number):
  return jax.random.fold_in(jax.random.key(0), number)


def prior_depth(number):
  return np.full((SIZE, SIZE), 0.95 + 0.005 * number, np.float32)


def fitted(layout, numbers):
  """Parameters at the end and the losses of all iterations, by picture."""
  networks, params = setting()
  built = parallel.build(networks, SLOW, layout)
  count = len(numbers)
  state = FitState(layout.stacked([params] * count), None)
  events = reconstruct(
    built,
    Start(state),
    layout.stacked([instance(number) for number in numbers]),
    layout.shared(frozen()),
    PLAN,
    layout.stacked([key_of(number) for number in numbers]),
    prior_depth=layout.stacked([prior_depth(number) for number in numbers]),
  )
  totals = []
  for event in events:
    totals.append(np.asarray(event.terms['total']))
    params = event.state.params
  return jax.device_get(params), np.stack(totals)


@functools.cache
def alone():
  """What each picture comes to by itself on one device."""
  networks, params = setting()
  built = programs.build(networks, SLOW)
  results, totals = [], []
  for number in range(PICTURES):
    state = FitState(jax.tree.map(jnp.array, params), None)
    losses = []
    for event in reconstruct(
      built,
      Start(state),
      instance(number),
      frozen(),
      PLAN,
      key_of(number),
      prior_depth=prior_depth(number),
    ):
      losses.append(float(event.terms['total']))
      last = event.state.params
    results.append(jax.device_get(last))
    totals.append(losses)
  return results, np.array(totals).T


@pytest.mark.parametrize(
  ('devices', 'per_device', 'form', 'rtol', 'steps'),
  [
    (8, 1, 'loop', 2e-5, 1e-4),
    (4, 2, 'vmap', 1e-4, 1e-2),  # other convolutions, rounded otherwise
  ],
)
def test_pictures_side_by_side_come_to_what_each_does_alone(devices, per_device, form, rtol, steps):
  results, totals = fitted(
    layout(devices, per_device=per_device, form=form), tuple(range(PICTURES))
  )
  expected, losses = alone()
  np.testing.assert_allclose(totals, losses, rtol=rtol)
  for number in range(PICTURES):
    own = jax.tree.map(lambda leaf, number=number: leaf[number], results)
    pairs = zip(jax.tree.leaves(own), jax.tree.leaves(expected[number]), strict=True)
    differences = np.concatenate([np.ravel(np.abs(a - b)) for a, b in pairs])
    assert np.mean(differences > 1e-5) < steps  # Adam makes a step of any vanishing gradient
    assert differences.max() < 2 * SLOW.learning_rate


@pytest.mark.parametrize('form', ['vmap', 'loop'])
def test_forms_of_a_devices_pictures(form):
  function = lambda own, shared: {'sum': own['x'].sum() + shared, 'sine': jnp.sin(own['x'])}
  own = {'x': jnp.arange(12.0).reshape(4, 3)}
  found = parallel.each(function, (own,), (2.0,), form)
  np.testing.assert_allclose(found['sum'], own['x'].sum(1) + 2)
  np.testing.assert_allclose(found['sine'], np.sin(own['x']), rtol=1e-6)
  single = parallel.each(function, ({'x': own['x'][:1]},), (2.0,), form)
  np.testing.assert_array_equal(single['sum'], found['sum'][:1])


def collectives(built, layout, name):
  """The operations between devices in a compiled step."""
  _, params = setting()
  pictures = layout.pictures
  step = int(name[-1])
  params = layout.stacked([params] * pictures)
  state = built.fresh(params, step)
  instances = layout.stacked([instance(number) for number in range(pictures)])
  keys = layout.stacked([key_of(number) for number in range(pictures)])
  shared = layout.shared(frozen())
  origin = built.origin(params, instances, shared)
  if step == 1:
    scene = built.observe(params, instances, shared, flip=True)
    lowered = built.step1.lower(state, scene, instances, shared)
  elif step == 2:
    lowered = built.step2.lower(state, origin, instances.latent, keys, shared, 0)
  else:
    batch = built.collect(params, origin, instances.latent, keys, shared, 0)
    projections = jax.tree.map(lambda leaf: leaf[:, None], batch)
    lowered = built.step3.lower(state, instances, projections, shared, 0, 0.0, flip=True)
  text = lowered.compile().as_text()
  return scaling.collectives(text)


@pytest.mark.parametrize('name', ['step1', 'step2', 'step3'])
def test_nothing_passes_between_the_devices_of_different_pictures(name):
  place = layout(4)
  assert collectives(parallel.build(setting()[0], SETTINGS, place), place, name) == []


@pytest.mark.parametrize('name', WIDTHS)
def test_devices_that_share_a_picture_meet_once_an_update(name):
  place = layout(4, split='samples')
  assert collectives(parallel.build(setting()[0], BATCH, place), place, name) == ['all-reduce']


def share(index, of):
  """A device's share of samples, by itself."""
  part = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(of, -1, *leaf.shape[1:])[index], tree)
  return ONE_DEVICE._replace(part=part)


def first_moments(state):
  """Adam's first moments after one update: the gradients, but for a factor."""
  moments = [leaf for leaf in jax.tree.leaves(state.optimizer) if leaf.dtype == jnp.float32]
  return moments[: len(moments) // 2]  # then come the second ones


@pytest.mark.parametrize('name', WIDTHS)
def test_shared_samples_average_the_gradients_of_the_shares(name):
  """Against each share computed by itself, as the published code's processes do."""
  networks, params = setting()
  params = jax.tree.map(jnp.asarray, params)
  whole = programs.build(networks, BATCH)
  origin = whole.origin(params, instance(), frozen())
  latent, key = instance().latent, key_of(0)
  projections = jax.tree.map(
    lambda leaf: leaf[None], whole.collect(params, origin, latent, key, frozen(), 0)
  )
  step = int(name[-1])

  @jax.jit
  def update(index):
    functions = programs.functions(networks, BATCH, share(index, 2))
    state = functions.fresh(params, step)
    if step == 2:
      return functions.step2(state, origin, latent, key, frozen(), 0)
    return functions.step3(state, instance(), projections, frozen(), 0, 0.0, flip=True)

  shares = [update(index) for index in range(2)]
  place = layout(2, split='samples')
  built = parallel.build(networks, BATCH, place)
  stacked = lambda tree: place.stacked([tree])
  state, instances = built.fresh(stacked(params), step), stacked(instance())
  if step == 2:
    state, terms = built.step2(
      state, stacked(origin), instances.latent, stacked(key), place.shared(frozen()), 0
    )
  else:
    state, terms = built.step3(
      state, instances, stacked(projections), place.shared(frozen()), 0, 0.0, flip=True
    )
  for term, value in terms.items():
    np.testing.assert_allclose(
      value[0], np.mean([terms[term] for _, terms in shares]), rtol=1e-5, atol=1e-7
    )
  found = np.concatenate([np.ravel(leaf) for leaf in first_moments(state)])
  expected = np.mean(
    [np.concatenate([np.ravel(leaf) for leaf in first_moments(state)]) for state, _ in shares],
    axis=0,
  )
  assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def direct_fit(built, place, numbers):
  """Variables at the end, and the losses, of direct fits on a layout; None is one device."""
  own = place.stacked if place else lambda trees: jax.tree.map(jnp.asarray, trees[0])
  fixed = frozen_with_directions()
  fixed = place.shared(fixed) if place else fixed
  instances = own([instance(number) for number in numbers])
  depths = own([prior_depth(number) for number in numbers])
  params = built.begin(own([setting()[1]] * len(numbers)), instances, depths, fixed)
  events = reconstruct(
    built, Start(FitState(params, None)), instances, fixed, DIRECT_PLAN,
    own([key_of(number) for number in numbers]),
  )  # fmt: skip
  totals = []
  for event in events:
    totals.append(np.asarray(event.terms['total']))
    params = event.state.params
  names = (*direct.VARIABLES, *direct.OFFSETS)
  return jax.device_get({name: params[name] for name in names}), np.stack(totals)


@functools.cache
def direct_alone(settings, number):
  return direct_fit(programs.build(setting()[0], settings), None, (number,))


def assert_alike(found, expected, rate):
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
  differences = np.concatenate([np.ravel(np.abs(a - b)) for a, b in pairs])
  assert np.mean(differences > 1e-4) < 0.02  # Adam makes a step of any vanishing gradient
  assert differences.max() < 2 * rate * DIRECT_PLAN.total()


def test_direct_fits_side_by_side_come_to_what_each_does_alone():
  numbers = (0, 1)
  place = layout(2)
  built = parallel.build(setting()[0], DIRECT, place)
  found, totals = direct_fit(built, place, numbers)
  for number in numbers:
    expected, losses = direct_alone(DIRECT, number)
    np.testing.assert_allclose(totals[:, number], losses, rtol=1e-3)
    own = jax.tree.map(lambda leaf, number=number: leaf[number], found)
    assert_alike(own, expected, DIRECT.fit.albedo_rate)


def test_direct_fits_with_shared_samples_are_those_of_whole_batches():
  place = layout(2, split='samples')
  built = parallel.build(setting()[0], DIRECT, place)
  found, totals = direct_fit(built, place, (0,))
  expected, losses = direct_alone(DIRECT, 0)
  # Sums in another order: where a gradient vanishes, Adam makes a whole step of the rounding.
  np.testing.assert_allclose(totals[:, 0], losses, rtol=5e-3)
  own = jax.tree.map(lambda leaf: leaf[0], found)
  assert_alike(own, expected, DIRECT.fit.albedo_rate)


def test_latents_of_shared_samples_are_refined_as_in_whole_batches():
  whole = programs.build(setting()[0], DIRECT)
  place = layout(2, split='samples')
  built = parallel.build(setting()[0], DIRECT, place)
  one, many = frozen_with_directions(), place.shared(frozen_with_directions())
  stacked = lambda tree: place.stacked([tree])
  params = whole.begin(jax.tree.map(jnp.asarray, setting()[1]), instance(), prior_depth(0), one)
  origin = whole.origin(params, instance(), one)
  state = whole.refine_begin(params, origin, instance().latent, key_of(0), one, 0)
  shared = built.refine_begin(
    stacked(params), stacked(origin), stacked(instance().latent), stacked(key_of(0)), many, 0
  )
  for _ in range(2):
    state, terms = whole.refine(state, one)
    shared, of_shares = built.refine(shared, many)
    for name, value in terms.items():
      np.testing.assert_allclose(of_shares[name][0], value, rtol=1e-4)
  np.testing.assert_allclose(shared.coefficients[0], state.coefficients, atol=1e-3)
  assert np.abs(state.coefficients).max() > 0.05


def test_shares_are_collected_in_order():
  networks, params = setting()
  whole = programs.build(networks, BATCH)
  origin = whole.origin(params, instance(), frozen())
  expected = whole.collect(params, origin, instance().latent, key_of(0), frozen(), 0)
  place = layout(4, split='samples')
  stacked = lambda tree: place.stacked([tree])
  found = parallel.build(networks, BATCH, place).collect(
    stacked(params), stacked(origin), stacked(instance().latent), stacked(key_of(0)),
    place.shared(frozen()), 0,
  )  # fmt: skip
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=2e-5), found, expected)


def test_a_batch_that_cannot_be_shared_is_refused():
  with pytest.raises(ValueError, match='a batch of 4 cannot be split over 3 devices'):
    parallel.build(setting()[0], BATCH, layout(3, split='samples'))


@pytest.mark.parametrize(
  ('settings', 'expected'),
  [
    ({'devices': 99}, r'parallel\.devices=99: expected 0 \(all\) to 8'),
    (
      {'split': 'samples', 'devices': 3},
      'expected sampling.batch_size=16 to be a multiple of the 3',
    ),
  ],
)
def test_devices_that_are_not_there_or_do_not_divide_the_batch(settings, expected):
  config = get_default_config()
  config.parallel.update(settings)
  with pytest.raises(SettingsError, match=expected):
    collection.make_run_layout(config, 20)


@pytest.mark.parametrize(
  ('setting', 'pictures', 'flags', 'expected'),
  [(3, 5, '', 3), (3, 2, '', 2), (0, 1, '', 1), (3, 5, f'{cpu_devices._FLAG}=2', 2)],
)
def test_a_processor_is_divided_for_several_pictures(setting, pictures, flags, expected):
  program = (
    'import jax; from gan2shape_jax import config; from gan2shape_jax.pipeline import collection;'
    'c = config.get_default_config();'
    f'c.parallel.cpu_devices = {setting}; collection.divide_processor(c, {pictures});'
    'print(jax.device_count()); collection.divide_processor(c, 9); print(jax.device_count())'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True,
    env=command.environment() | {'XLA_FLAGS': flags},
  )  # fmt: skip
  assert done.stdout.split() == [str(expected)] * 2, done.stderr


def test_the_layout_of_a_run_has_no_more_places_than_pictures():
  config = get_default_config()
  config.parallel.instances_per_device = 4
  sizes = {count: collection.make_run_layout(config, count).pictures for count in (1, 5, 8, 17, 99)}
  assert sizes == {1: 1, 5: 5, 8: 8, 17: 24, 99: 32}
  config.parallel.split = 'samples'
  assert collection.make_run_layout(config, 99).pictures == 1
