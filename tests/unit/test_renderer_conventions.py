"""What all public functions of the renderer have in common, over every one of them."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import renderer
from tests.support import renderer_calls
from tests.support.docstring_shapes import entries

FUNCTIONS = sorted(set(renderer.__all__) - set(renderer_calls.CONTAINERS))
OF_ARRAYS = [name for name in FUNCTIONS if renderer_calls.calls()[name][0]]
USUAL = {'dx', 'dy', 'fov'}  # as the paper and cameras have them
SHORT = {'img', 'idx', 'num', 'pos', 'tex', 'cam', 'src', 'dst', 'tmp', 'arr', 'vec', 'mat', 'ref'}
FLAT = {('sample_nearest', 'grid')}  # says so itself: no gradient passes


def parameters(name):
  return list(inspect.signature(getattr(renderer, name)).parameters.values())


def called(name, **options):
  arrays, others = renderer_calls.calls(**options)[name]
  return arrays, functools.partial(getattr(renderer, name), **others)


def test_every_public_name_is_an_example():
  assert set(renderer_calls.calls()) == set(FUNCTIONS)
  assert list(renderer.__all__) == sorted(renderer.__all__)


@pytest.mark.parametrize('name', renderer_calls.CONTAINERS)
def test_containers_tell_their_fields(name):
  container = getattr(renderer, name)
  assert tuple(entries(container, 'Attributes')) == container._fields


@pytest.mark.parametrize('name', FUNCTIONS)
def test_docstrings_tell_arguments_and_results(name):
  text = inspect.getdoc(getattr(renderer, name))
  assert re.match(r'[A-Z].*[.:)]$', text.split('\n')[0]), 'one line that says what it does'
  assert '\nReturns:\n  ' in text
  told = re.findall(r'^  (\*{0,2}\w+): ', text.split('\nArgs:\n')[1], re.MULTILINE)
  stars = {inspect.Parameter.VAR_KEYWORD: '**'}
  assert told == [stars.get(p.kind, '') + p.name for p in parameters(name)]


@pytest.mark.parametrize('name', FUNCTIONS)
def test_arguments_are_whole_words(name):
  for word in (word for p in parameters(name) for word in p.name.split('_')):
    assert word in USUAL or (re.fullmatch(r'[a-z]{3,}', word) and word not in SHORT), word


@pytest.mark.parametrize('name', FUNCTIONS)
def test_options_go_by_name_and_nothing_else_has_a_default(name):
  for p in parameters(name):
    if p.kind is not inspect.Parameter.VAR_KEYWORD:
      optional = p.default is not inspect.Parameter.empty
      assert optional == (p.kind is inspect.Parameter.KEYWORD_ONLY), p.name


@functools.cache
def compiled(name):
  """A call's values, and the gradients of a sum of them to every array."""
  arrays, function = called(name)

  def total(arrays):
    values = function(**arrays)
    return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(values)), values

  given = jax.tree.map(np.array, arrays)
  gradients, values = jax.jit(jax.grad(total, has_aux=True))(given)
  jax.tree.map(np.testing.assert_array_equal, given, arrays)  # the input is as it was
  return jax.tree.leaves(values), gradients


@pytest.mark.parametrize('name', OF_ARRAYS)
def test_mapped_it_does_the_same(name):
  values, _ = compiled(name)
  arrays, function = called(name)
  twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arrays)
  mapped = jax.jit(jax.vmap(lambda arrays: function(**arrays)))(twice)
  for one, both in zip(values, jax.tree.leaves(mapped), strict=True):
    assert one.dtype == jnp.float32
    assert np.isfinite(one).all()
    for k in range(2):
      np.testing.assert_allclose(both[k], one, atol=2e-4)


@pytest.mark.parametrize('name', OF_ARRAYS)
def test_gradients_reach_every_argument(name):
  for argument, of_argument in compiled(name)[1].items():
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(of_argument)]
    assert all(np.isfinite(leaf).all() for leaf in leaves), argument
    assert any(leaf.any() for leaf in leaves) == ((name, argument) not in FLAT), argument


# Pictures keep their type; geometry and light are of single precision at least.
PICTURES = {
  'lambertian', 'relight', 'render', 'render_texture', 'sample_bilinear', 'sample_nearest',
  'turntable',
}  # fmt: skip


@pytest.mark.parametrize('name', OF_ARRAYS)
def test_half_precision_stays_where_it_is_of_use(name):
  arrays, function = called(name, dtype=jnp.bfloat16)
  first, *others = jax.tree.leaves(jax.eval_shape(lambda arrays: function(**arrays), arrays))
  assert first.dtype == (jnp.bfloat16 if name in PICTURES else jnp.float32)
  assert all(leaf.dtype == jnp.float32 for leaf in others)


def test_ranks_are_not_promoted():
  assert jax.config.jax_numpy_rank_promotion == 'raise'  # throughout: a promotion fails tests above
  with pytest.raises(ValueError, match='rank_promotion'):
    jnp.ones((2, 3)) + jnp.ones(3)
