"""The shapes that docstrings give are those of the arrays: the renderer's, and a whole fit's."""

import dataclasses
import functools
import importlib
import pkgutil
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import reconstruction, renderer
from gan2shape_jax.reconstruction import driver, priors, programs, refinement, region
from tests.support import small_fit
from tests.support.docstring_shapes import ShapeError, checked, with_shapes
from tests.support.renderer_calls import calls

SIZES = st.integers(2, 9)


@hypothesis.settings(deadline=None, max_examples=4, derandomize=True)
@hypothesis.given(SIZES, SIZES, SIZES, SIZES, st.lists(SIZES, max_size=2))
def test_the_renderer_returns_the_shapes_it_tells(height, width, channels, count, leading):
  for name, (arrays, others) in calls(height, width, channels, count, leading).items():
    function = functools.partial(checked(getattr(renderer, name)), **others)
    jax.eval_shape(lambda given, function=function: function(**given), arrays)


def test_everything_public_in_the_renderer_tells_shapes():
  functions = {name for name in renderer.__all__ if not isinstance(getattr(renderer, name), type)}
  for name in functions:
    function = getattr(renderer, name)
    assert name in with_shapes(sys.modules[function.__module__])


@pytest.mark.parametrize(
  ('name', 'wrong'),
  [
    ('unproject', {'depth': np.ones((4, 5, 1))}),
    ('render_texture', {'depth': np.ones((6, 6))}),  # not the texture's width
    ('sample_bilinear', {'grid': np.ones((4, 3))}),
    ('move_points', {'view': np.zeros(7)}),
    ('lambertian', {'light': renderer.Light(0.4, 0.5, np.zeros(4))}),
    ('relight', {'directions': np.zeros((3, 2))}),  # of 2 lights
  ],
)
def test_a_call_of_other_shapes_is_refused(name, wrong):
  arrays, others = calls()[name]
  with pytest.raises(ShapeError, match=rf'{name}: \w+'):
    checked(getattr(renderer, name))(**(arrays | wrong), **others)


def transposed(image, *, steps: int):
  """Tells the truth of neither.

  Args:
    image: [height, width].
    steps: how many rows to return.

  Returns:
    image [height, width] and rows [steps, width].
  """
  return image.T, image[: steps + 1]


def test_a_docstring_that_lies_is_found():
  with pytest.raises(ShapeError, match='result 0 is'):
    checked(transposed)(np.ones((3, 4)), steps=2)
  with pytest.raises(ShapeError, match='result 1 is'):
    checked(transposed)(np.ones((4, 4)), steps=2)


def modules(package):
  names = [module.name for module in pkgutil.iter_modules(package.__path__)]
  return [importlib.import_module(f'{package.__name__}.{name}') for name in names]


@pytest.fixture
def called(monkeypatch):
  """Checks every function of the algorithm and the renderer; the names of those called."""
  seen = set()
  users = [module for name, module in sys.modules.items() if name.startswith('gan2shape_jax')]
  for module in (*modules(reconstruction), *modules(renderer)):
    for function in with_shapes(module).values():
      held = checked(function, seen=seen.add)
      for user in users:
        for name in [name for name, value in vars(user).items() if value is function]:
          monkeypatch.setattr(user, name, held)
  return seen


def trace(settings):
  """Every function of a fit, on shapes alone: nothing is computed."""
  networks, params = small_fit.setting()
  frozen, instance = small_fit.frozen_with_directions(), small_fit.instance()
  frozen = frozen._replace(latent_directions=jnp.zeros((9, instance.latent.shape[-1])))
  made = programs.functions(networks, settings)
  given = jax.eval_shape
  depth = priors.prior_depth(np.asarray(instance.mask))
  key = jax.random.key(0)
  if made.begin is not None:
    params = given(made.begin, params, instance, depth, frozen)
  fresh = lambda step: given(functools.partial(made.fresh, step=step), params)
  if made.begin is None:
    given(made.fit_prior, fresh(driver.PRIOR), instance.image, depth)
  scene = given(functools.partial(made.observe, flip=True), params, instance, frozen)
  given(made.step1, fresh(driver.STEP1), scene, instance, frozen)
  origin = given(made.origin, params, instance, frozen)
  draws = (origin, instance.latent, key, frozen, 0)
  given(made.step2, fresh(driver.STEP2), *draws)
  batch = given(made.collect, params, *draws)
  refined = given(made.refine_begin, params, *draws)
  refined, _ = given(made.refine, refined, frozen)
  batch = given(made.refined, batch, refined, params, frozen)
  batches = given(lambda b: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), b), batch)
  step3 = functools.partial(made.step3, flip=True)
  state, _ = given(step3, fresh(driver.STEP3), instance, batches, frozen, 0, 0.5)
  if made.settle is not None:
    state, _ = given(made.settle, state, instance, frozen)
  given(made.factors, state.params, instance, frozen)


# Long to trace, and run by tests of their own: the loops on the host, and what precedes a fit.
LOOPS = ('driver', 'inversion', 'joint_driver')
APART = {'domain.domain_distance', 'latent_space.basis', 'latent_space.view_light_directions'}


def test_a_fit_has_the_shapes_it_tells(called):
  settings = dataclasses.replace(small_fit.SETTINGS, lam_relief=0.1, use_mask=True)
  trace(dataclasses.replace(settings, perceptual='discriminator'))
  direct = small_fit.DIRECT
  trace(dataclasses.replace(direct, fit=dataclasses.replace(direct.fit, refine_start='directions')))
  draw = np.random.default_rng(0).normal
  refinement.principal_directions(draw(size=(20, 5)))
  of_views = refinement.view_light_directions
  of_views(draw(size=(20, 5)), draw(size=(20, 6)), draw(size=(20, 4)), small_fit.frozen().prior)
  region.box_mask((0.1, 0.9, 0.2, 0.8), small_fit.SIZE)
  told = {f'{of.__name__}.{name}' for of in modules(reconstruction) for name in with_shapes(of)}
  missed = {name.removeprefix('gan2shape_jax.reconstruction.') for name in told - called}
  assert {name for name in missed if not name.startswith(LOOPS)} == APART
