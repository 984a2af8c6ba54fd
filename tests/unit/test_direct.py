"""The fit of the factors themselves: its maps, its losses, what it moves and what it puts back."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.reconstruction import autoencoder, direct, priors, programs, region
from gan2shape_jax.reconstruction import runaway as of_runaway
from gan2shape_jax.reconstruction.state import Instance, Method, Projections
from tests.support.small_fit import DIRECT, SIZE, frozen, instance, setting


def with_fit(settings=DIRECT, **changes):
  return dataclasses.replace(settings, fit=dataclasses.replace(settings.fit, **changes))


@functools.cache
def dome(near=0.96, far=1.03, size=SIZE):
  mask = region.box_mask((0.1, 0.9, 0.2, 0.8), size)
  return jnp.asarray(priors.prior_depth(mask, shape='dome', category='head', near=near, far=far))


@functools.cache
def texture():
  """A smooth albedo [size, size, 3] that is not its own mirror image."""
  v, u = np.meshgrid(np.linspace(-2, 2, SIZE), np.linspace(-2, 2, SIZE), indexing='ij')
  return jnp.asarray(0.7 * np.stack([np.sin(2 * u + v), np.cos(2 * v), np.sin(u - v)], -1))


start = jax.jit(direct.start, static_argnames=('settings', 'projections'))
depth_of = jax.jit(direct.depth_of, static_argnums=1)
factors = jax.jit(direct.factors, static_argnums=2)
runaway = jax.jit(of_runaway.runaway)
region_of = jax.jit(direct.region_of, static_argnums=3)


def copied(tree):
  """Arrays that a program may consume without taking anybody else's."""
  return jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), tree)


def started(settings=DIRECT, *, depth=None, albedo=None, code=None):
  """Variables at a dome in the prior's mean view."""
  variables = start(
    dome() if depth is None else depth,
    texture() if albedo is None else albedo,
    frozen().prior.view_mean if code is None else code,
    frozen().prior.light_mean,
    settings=settings,
    projections=(settings.fit.collect_iters, settings.batch_size),
  )
  return copied(variables)


def rendered(depth, albedo, codes, lights, settings):
  """Images and masks of known factors in views [n, 6] and lights [n, 4]."""

  def show(code, light):
    shape = autoencoder.geometry(depth, autoencoder.view_from_code(code, settings), settings)
    return autoencoder.shade_and_sample(albedo, light, shape), shape.valid

  return jax.jit(jax.vmap(show))(codes, lights)


def same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


# Maps as sums of grids.


@pytest.mark.parametrize(('size', 'sizes'), [(4, (4, 4)), (16, (4, 8, 16)), (24, (4, 8, 16, 24))])
def test_grids_double_up_to_the_map(size, sizes):
  assert direct.pyramid_sizes(size) == sizes


@pytest.mark.parametrize('shape', [(16, 16), (32, 32, 3), (24, 24)])
def test_a_map_is_the_sum_of_its_grids(shape):
  values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  grids = jax.jit(direct.as_pyramid)(values)
  assert [grid.shape[0] for grid in grids] == list(direct.pyramid_sizes(shape[0]))
  np.testing.assert_allclose(jax.jit(direct.from_pyramid)(grids), values, atol=1e-5)


def test_a_constant_is_held_by_the_coarsest_grid():
  coarsest, *others = jax.jit(direct.as_pyramid)(jnp.full((16, 16), 0.3))
  np.testing.assert_allclose(coarsest, 0.3, atol=1e-6)
  assert all(np.abs(grid).max() < 1e-6 for grid in others)


def test_variables_started_at_factors_give_them_back():
  code, albedo = jnp.array([0.1, -0.2, 0.05, 0.3, 0.2, 0.0]), texture()
  variables = started(code=code, albedo=albedo)
  assert set(variables) == {*direct.VARIABLES, *direct.OFFSETS, direct.BEFORE}
  found = factors(variables, instance(), DIRECT)
  np.testing.assert_allclose(found.depth, dome(), atol=1e-5)
  np.testing.assert_allclose(found.albedo, albedo, atol=1e-5)
  np.testing.assert_array_equal(found.view, autoencoder.view_from_code(code, DIRECT))
  np.testing.assert_array_equal(found.light, frozen().prior.light_mean)
  assert same(variables[direct.BEFORE], {name: variables[name] for name in direct.VARIABLES})
  assert not any(variables[name].any() for name in direct.OFFSETS)


def test_factors_out_of_range_are_clipped_inside_it():
  variables = started(depth=jnp.full((SIZE, SIZE), 5.0), albedo=jnp.ones((SIZE, SIZE, 3)))
  middle, half = (DIRECT.max_depth + DIRECT.min_depth) / 2, 0.1
  np.testing.assert_allclose(depth_of(variables, DIRECT), middle + 0.97 * half, atol=1e-5)
  np.testing.assert_allclose(direct.albedo_of(variables), 0.97, atol=1e-5)


# Terms in closed form.


def test_a_plane_does_not_bend_and_a_quadratic_bends_by_its_coefficients():
  y, x = np.meshgrid(np.arange(12.0), np.arange(12.0), indexing='ij')
  bending = jax.jit(direct.bending, static_argnames='scale')
  np.testing.assert_allclose(bending(1 + 0.25 * x - 0.5 * y), 0, atol=1e-12)
  # Second differences of a x^2 + b x y + c y^2: 2 a, b, b, 2 c.
  bent = bending(2 * x**2 + 3 * x * y - 0.5 * y**2, scale=2.0)
  np.testing.assert_allclose(bent, (4**2 + 2 * 3**2 + 1) / 2.0**2, rtol=1e-5)


def test_the_region_is_the_ellipse_in_the_box():
  size, rim, (top, bottom, left, right) = 20, 1.25, (0.1, 0.9, 0.3, 0.7)
  weight = np.asarray(region.region_weight((top, bottom, left, right), size, rim=rim))
  assert weight.shape == (size, size, 1)
  for row, column in [(0, 0), (10, 10), (10, 13), (3, 8), (17, 9), (10, 5), (19, 10)]:
    y = ((row + 0.5) / size - (top + bottom) / 2) / ((bottom - top) / 2)
    x = ((column + 0.5) / size - (left + right) / 2) / ((right - left) / 2)
    expected = min(max(2.5 * (rim - (x**2 + y**2) ** 0.5), 0), 1)
    assert weight[row, column, 0] == pytest.approx(expected, abs=1e-6)


def test_a_box_mask_fills_its_box():
  mask = region.box_mask((0.25, 0.75, 0.5, 1.0), 8)
  assert mask[2:6, 4:].all()
  assert mask.sum() == 16


def test_without_a_box_the_region_is_the_mask_and_its_mirror_image():
  mask = jnp.zeros((SIZE, SIZE, 1)).at[6:10, 2:6].set(1)
  picture = instance()._replace(mask=mask)
  view, flat = jnp.zeros(6), jnp.ones((SIZE, SIZE))
  found = np.asarray(region_of(flat, view, picture, with_fit(box=())))
  np.testing.assert_allclose(found, found[:, ::-1], atol=1e-6)
  np.testing.assert_allclose(found, np.maximum(mask, mask[:, ::-1]), atol=0.1)
  boxed = region_of(flat, view, picture, DIRECT)
  expected = region.region_weight(DIRECT.fit.box, SIZE, rim=DIRECT.fit.rim)
  np.testing.assert_array_equal(boxed, expected)


# Rates.


def test_rates_fall_to_the_last_and_views_wait():
  settings = with_fit(last_rate=0.1, hold_views=0.3, depth_rate=2e-2, own_view_rate=3e-3)
  size = lambda name, progress: float(direct.step_size(name, 3, progress, settings))
  assert size('depth_map', 0.0) == pytest.approx(2e-2)
  assert size('depth_map', 0.5) == pytest.approx(2e-2 * 0.55)
  assert size('depth_map', 1.0) == pytest.approx(2e-2 * 0.1)
  for name in ('own_view', 'view_offsets'):
    assert [size(name, progress) for progress in (0.0, 0.15, 0.3)] == [0.0, 0.0, 0.0]
    rate = settings.fit.own_view_rate if name == 'own_view' else settings.fit.view_rate
    assert size(name, 1.0) == pytest.approx(rate * 0.1)
    entering = size(name, 0.325) / size('depth_map', 0.325) * settings.fit.depth_rate
    assert entering == pytest.approx(rate / 2, rel=1e-4)
  assert size('light_offsets', 0.0) == pytest.approx(settings.fit.light_rate)
  # Step 1 keeps its rate.
  assert direct.step_size('albedo_map', 1, 0.9, settings) == settings.fit.albedo_rate


# Gradients.


def test_gradients_of_step_3_are_those_of_finite_differences():
  # Seen all over a mask inside the image, so that the weight of the pixels does not change.
  settings = dataclasses.replace(
    with_fit(box=(0.0, 1.0, 0.0, 1.0), rim=9.0, lam_own_view=0.3, lam_relief=0.2, lam_mirror=0.5),
    march_steps=0,
  )
  inside = jnp.zeros((SIZE, SIZE, 1)).at[4:12, 4:12].set(1)
  codes = jnp.array([[0.03, 0.1, 0, 0, 0, 0], [-0.05, -0.08, 0.02, 0.1, 0, 0], [0.0] * 6])
  lights = jnp.tile(frozen().prior.light_mean, (3, 1))
  images, _ = rendered(dome(), texture(), codes, lights, settings)
  picture = Instance(images[2], inside, instance().latent)
  masks = jnp.stack([inside, inside])
  batch = Projections(images[:2], masks, codes[:2], lights[:2], codes[2], dome())
  smooth = 0.985 + 0.02 * texture()[..., 2]
  variables = started(settings, depth=smooth, albedo=0.8 * texture(), code=jnp.full(6, 0.03))
  trained = {name: variables[name] for name in direct.TRAINED[3]}
  trained['own_view'] = trained['own_view'] + jnp.array([0.02, -0.03, 0.01, 0.02, 0.05, 0.0])

  @jax.jit
  def loss(trained):
    method = Method(None, settings, frozen())
    return direct.step3_loss(trained, variables, method, picture, batch, 1)[0]

  def moved(name, place, by):
    leaves, structure = jax.tree.flatten(trained[name])
    leaves[-1 if name != 'depth_map' else 0] = (
      leaves[-1 if name != 'depth_map' else 0].at[place].add(by)
    )
    return trained | {name: jax.tree.unflatten(structure, leaves)}

  gradient = jax.jit(jax.grad(loss))(trained)
  for name, place in [('own_view', 1), ('own_view', 0), ('depth_map', (1, 2)), ('own_light', 0),
                      ('view_offsets', (1, 0, 1)), ('light_offsets', (1, 1, 2))]:  # fmt: skip
    step = 2e-3
    difference = (loss(moved(name, place, step)) - loss(moved(name, place, -step))) / (2 * step)
    leaf = jax.tree.leaves(gradient[name])[0]
    assert abs(float(leaf[place])) > 1e-4, name
    np.testing.assert_allclose(leaf[place], difference, rtol=0.05, atol=1e-4, err_msg=name)
  # The other batch's offsets are not looked at.
  assert not gradient['view_offsets'][0].any()
  assert not gradient['light_offsets'][0].any()


# The programs.


@functools.cache
def compiled(settings):
  return programs.build(setting()[0], settings)


def built(settings=DIRECT):
  """Programs, and parameters that they may consume."""
  return compiled(settings), copied(setting()[1])


@functools.cache
def scene(settings, *, batches=2):
  """A picture of known factors, and true projections of them."""
  light = frozen().prior.light_mean
  spread = jnp.array([0.1, 0.25, 0.0, 0.0, 0.0, 0.0])
  noise = jax.random.uniform(jax.random.key(3), (batches, settings.batch_size, 6), minval=-1)
  codes = noise * spread[None, None]
  flat = codes.reshape(-1, 6)
  images, masks = rendered(dome(), texture(), flat, jnp.tile(light, (len(flat), 1)), settings)
  own, _ = rendered(dome(), texture(), jnp.zeros((1, 6)), light[None], settings)
  shaped = lambda values: values.reshape(batches, settings.batch_size, *values.shape[1:])
  lights = jnp.tile(light, (batches, settings.batch_size, 1))
  depths = jnp.tile(dome(), (batches, 1, 1))
  projections = Projections(
    shaped(images), shaped(masks), codes, lights, jnp.zeros((batches, 6)), depths
  )
  return Instance(own[0], jnp.ones((SIZE, SIZE, 1)), instance().latent), projections


def test_true_projections_give_depth_to_a_flat_start():
  settings = with_fit(dataclasses.replace(DIRECT, batch_size=4), lam_bend=0.0, lam_smooth=0.01)
  picture, projections = scene(settings)
  steps, params = built(settings)
  flat = jnp.full((SIZE, SIZE), float(dome().mean()))
  variables = started(settings, depth=flat, albedo=picture.image, code=jnp.zeros(6))
  state, losses = steps.fresh(params | variables, 3), []
  for k in range(60):
    state, terms = steps.step3(state, picture, projections, frozen(), k % 2, k / 60, flip=False)
    losses.append(float(terms['total']))
  middle = np.asarray(region.region_weight(settings.fit.box, SIZE, rim=1.0))[..., 0]

  def error(depth):
    """Deviation in the region, up to a shift of the whole."""
    difference = np.asarray(depth - dome())
    mean = np.average(difference, weights=middle)
    return np.sqrt(np.average((difference - mean) ** 2, weights=middle))

  fitted = steps.factors(state.params, picture, frozen()).depth
  assert losses[-1] < 0.5 * losses[0]
  assert error(fitted) < 0.6 * error(flat)
  # A fit that is better than its start is kept.
  relief = with_fit(settings, largest_relief=1e9)
  assert not runaway(state.params, Method(None, relief, frozen()), picture)


def test_step_3_moves_the_offsets_of_its_batch_alone_and_no_network():
  steps, params = built()
  picture, projections = scene(DIRECT)
  # Not at the true place, where nothing would pull.
  given = params | started(depth=dome(near=0.98), code=jnp.full(6, 0.02))
  state = steps.fresh(copied(given), 3)
  state, terms = steps.step3(state, picture, projections, frozen(), 1, 0.9, flip=False)
  for name in direct.OFFSETS:
    assert not state.params[name][0].any()
    assert state.params[name][1].any(), name
  changed = {name for name in given if not same(given[name], state.params[name])}
  assert changed == set(direct.TRAINED[3])
  assert {'total', 'l1', 'projection_l1', 'smooth', 'bend', 'view'} == set(terms)


def test_views_stay_while_they_are_held():
  steps, params = built()
  picture, projections = scene(DIRECT)
  given = params | started(depth=dome(near=0.98), code=jnp.full(6, 0.02))
  state = steps.fresh(copied(given), 3)
  state, _ = steps.step3(state, picture, projections, frozen(), 0, 0.1, flip=False)
  assert same(state.params['own_view'], given['own_view'])
  assert not state.params['view_offsets'].any()
  assert state.params['light_offsets'][0].any()


def test_step_1_moves_the_albedo_alone_and_towards_the_picture():
  steps, params = built()
  picture, _ = scene(DIRECT)
  given = params | started(albedo=jnp.zeros((SIZE, SIZE, 3)), code=jnp.zeros(6))
  state = steps.fresh(copied(given), 1)
  seen = steps.observe(state.params, picture, frozen(), flip=True)
  losses = []
  for _ in range(30):
    state, terms = steps.step1(state, seen, picture, frozen())
    losses.append(float(terms['l1']))
  assert {name for name in given if not same(given[name], state.params[name])} == {'albedo_map'}
  assert losses[-1] < 0.5 * losses[0]
  assert set(terms) == {'total', 'l1', 'l1_mirror'}
  total = terms['l1'] + DIRECT.fit.lam_hidden * terms['l1_mirror']
  np.testing.assert_allclose(terms['total'], total, rtol=1e-6)


@pytest.mark.parametrize('reached', ['relief', 'view', 'error', 'nothing'])
def test_a_fit_that_ran_away_is_put_back(reached):
  steps, params = built()
  picture, _ = scene(DIRECT)
  state = steps.fresh(params | started(code=jnp.zeros(6)), 3)
  before = jax.tree.map(np.array, {name: state.params[name] for name in direct.VARIABLES})
  deviation = float(jnp.sqrt(frozen().prior.view_cov[1, 1]))
  far = frozen().prior.view_mean.at[1].add((DIRECT.fit.largest_view + 1) * deviation)
  middle = (DIRECT.max_depth + DIRECT.min_depth) / 2
  changes = {
    'relief': {'depth_map': direct.as_pyramid(8 * (dome() - middle) / 0.1)},
    'view': {'own_view': far},
    'error': {'albedo_map': direct.as_pyramid(-2 * texture())},
    'nothing': {'own_light': state.params['own_light'] + 0.01},
  }[reached]
  made = state.params | changes
  expected = jax.tree.map(np.array, {name: made[name] for name in direct.VARIABLES})
  network = np.array(made['depth']['kernel'])
  state, terms = steps.settle(state._replace(params=made), picture, frozen())
  found = {name: state.params[name] for name in direct.VARIABLES}
  away = reached != 'nothing'
  assert terms['held'] == away
  assert same(found, before if away else expected)
  assert same(state.params['depth']['kernel'], network)


def test_each_sign_of_a_runaway_has_its_own_bound():
  picture, _ = scene(DIRECT)
  variables = started(code=jnp.zeros(6))
  deviation = float(jnp.sqrt(frozen().prior.view_cov[1, 1]))
  mean = frozen().prior.view_mean
  at = lambda distance: variables | {'own_view': mean.at[1].add(distance * deviation)}
  lenient = with_fit(largest_error=1e9, largest_relief=1e9, largest_view=2.0)
  method = lambda settings: Method(None, settings, frozen())
  away = lambda variables, settings: bool(runaway(variables, method(settings), picture))
  assert away(at(2.1), lenient)
  assert not away(at(1.9), lenient)
  # A picture that was farther still has come nearer.
  farther = at(2.1) | {direct.BEFORE: variables[direct.BEFORE] | {'own_view': at(3.0)['own_view']}}
  assert not away(farther, lenient)
  shallow = dome(near=0.98, far=1.01)
  variables = started(depth=shallow, code=jnp.zeros(6))
  relief = lambda factor: (
    variables | {'depth_map': started(depth=1.0 + factor * (shallow - 1.0))['depth_map']}
  )
  bounded = with_fit(largest_error=1e9, largest_view=1e9, largest_relief=1.5)
  assert away(relief(1.6), bounded)
  assert not away(relief(1.4), bounded)


def test_a_new_step_3_forgets_the_offsets_and_remembers_where_it_began():
  variables = started()
  moved = variables | {
    'own_view': variables['own_view'] + 0.1,
    'view_offsets': variables['view_offsets'] + 1,
  }
  again = direct.reset(moved)
  assert not again['view_offsets'].any()
  assert same(again[direct.BEFORE]['own_view'], moved['own_view'])
  assert set(again) == set(variables)


def test_networks_give_the_start_or_the_prior_does():
  steps, params = built()
  networks = compiled(with_fit(factors='networks'))
  begun = steps.begin(params, instance(), None, frozen())
  expected = networks.factors(params, instance(), frozen())
  found = steps.factors(begun, instance(), frozen())
  half = (DIRECT.max_depth - DIRECT.min_depth) / 2
  inside = np.abs(np.asarray(expected.depth) - 1.0) < 0.96 * half
  assert inside.sum() > 100
  np.testing.assert_allclose(found.depth[inside], expected.depth[inside], atol=1e-5)
  np.testing.assert_allclose(found.view, expected.view, atol=1e-6)
  np.testing.assert_allclose(found.light, expected.light, atol=1e-6)
  np.testing.assert_allclose(found.albedo, np.clip(expected.albedo, -0.97, 0.97), atol=1e-4)
  assert same({name: begun[name] for name in params}, params)
  # Without trained networks: the prior's shape in its mean view and light.
  begun = steps.begin(params, instance(), dome(), frozen())
  found = steps.factors(begun, instance(), frozen())
  np.testing.assert_allclose(found.depth, dome(), atol=1e-5)
  assert same(begun['own_view'], frozen().prior.view_mean)
  assert same(begun['own_light'], frozen().prior.light_mean)
