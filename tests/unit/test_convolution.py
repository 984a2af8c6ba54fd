"""Fast forms against their plain references: values, gradients, vmap, shapes that do not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.models import convolution

DOWN = {'stride': 2, 'padding': 1}

# The places and channels decide between the forms: few places beside many channels take the
# products of `_input_gradient`, few output channels those of `_kernel_gradient`.
CASES = {
  'conv 3x3': (convolution.conv, {'padding': 1}, (2, 8, 8, 3), (3, 3, 3, 5)),
  'conv 5x5 to 3': (convolution.conv, {'padding': 2}, (2, 8, 8, 6), (5, 5, 6, 3)),
  'conv 5x5 to 1': (convolution.conv, {'padding': 2}, (1, 8, 8, 6), (5, 5, 6, 1)),
  'conv 1x1': (convolution.conv, {}, (2, 4, 4, 6), (1, 1, 6, 64)),
  'conv 3x3, few places': (convolution.conv, {'padding': 1}, (1, 4, 4, 6), (3, 3, 6, 64)),
  'down 4x4': (convolution.conv_down, DOWN, (2, 8, 8, 3), (4, 4, 3, 5)),
  'down 3x3': (convolution.conv_down, DOWN, (2, 8, 8, 3), (3, 3, 3, 5)),
  'down 4x4, few places': (
    convolution.conv_down,
    DOWN,
    (1, 8, 8, 3),
    (4, 4, 3, 64),
  ),
  'down 3x3, few places': (
    convolution.conv_down,
    DOWN,
    (1, 8, 8, 3),
    (3, 3, 3, 64),
  ),
  'to point': (convolution.conv_to_point, {}, (2, 4, 4, 6), (4, 4, 6, 5)),
}
TRANSPOSED = {
  'up': (convolution.conv_up, DOWN, (2, 4, 4, 6), (4, 4, 6, 5)),
  'from point': (convolution.conv_from_point, {}, (2, 1, 1, 6), (4, 4, 6, 5)),
}


def assert_same(fast, plain, *args):
  """Same values and same gradients for all arguments."""
  shape = jax.eval_shape(plain, *args).shape
  cotangent = jnp.asarray(np.random.default_rng(9).standard_normal(shape), jnp.float32)

  def outcome(function, args):
    output, pull = jax.vjp(function, *args)
    return output, *pull(cotangent)

  ours = jax.jit(functools.partial(outcome, fast))(args)
  expected = jax.jit(functools.partial(outcome, plain))(args)
  for value, reference in zip(ours, expected, strict=True):
    np.testing.assert_allclose(value, reference, atol=1e-5 * np.abs(reference).max())


def arguments(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize('case', CASES)
def test_convolutions_equal_their_reference(case):
  fast, settings, x, kernel = CASES[case]
  plain = functools.partial(convolution.reference_conv, **settings)
  assert_same(fast, plain, *arguments(x, kernel))


@pytest.mark.parametrize('case', TRANSPOSED)
def test_transposed_convolutions_equal_their_reference(case):
  fast, settings, x, kernel = TRANSPOSED[case]
  plain = functools.partial(convolution.reference_conv_transpose, **settings)
  assert_same(fast, plain, *arguments(x, kernel))


def test_nearest_up_equals_its_reference():
  args = arguments((2, 4, 6, 3), (3, 3, 3, 5))
  assert_same(convolution.conv_nearest_up, convolution.reference_conv_nearest_up, *args)


@pytest.mark.parametrize('group_size', [1, 2, 6])
def test_group_norm_equals_its_reference(group_size):
  x, scale, bias = arguments((2, 5, 5, 6), (6,), (6,))
  fast = functools.partial(convolution.group_norm, group_size=group_size)
  plain = functools.partial(convolution.reference_group_norm, group_size=group_size)
  assert_same(fast, plain, 3 + 2 * x, scale, bias)


def test_transposed_convolution_is_the_adjoint_of_conv_down():
  x, kernel, y = arguments((1, 8, 8, 3), (4, 4, 3, 5), (1, 4, 4, 5))
  left = jnp.vdot(convolution.conv_down(x, kernel), y)
  right = jnp.vdot(x, convolution.conv_up(y, kernel.swapaxes(2, 3)))
  np.testing.assert_allclose(left, right, rtol=1e-5)


def test_mean_pool_means_cells():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  expected = [[2.5, 4.5], [10.5, 12.5]]
  np.testing.assert_allclose(convolution.mean_pool(x)[0, :, :, 0], expected)


@pytest.mark.parametrize(
  'case', ['conv 3x3, few places', 'conv 5x5 to 3', 'down 4x4, few places', 'up']
)
def test_gradients_batch_over_own_kernels(case):
  fast, _, x, kernel = {**CASES, **TRANSPOSED}[case]
  xs, kernels = arguments((2, *x), (2, *kernel))

  @jax.jit
  def gradients(x, kernel):
    return jax.grad(lambda *args: jnp.square(fast(*args)).sum(), argnums=(0, 1))(x, kernel)

  batched = jax.jit(jax.vmap(gradients))(xs, kernels)
  for i in range(2):
    for ours, single in zip(batched, gradients(xs[i], kernels[i]), strict=True):
      np.testing.assert_allclose(ours[i], single, atol=1e-5 * np.abs(single).max())


def test_shapes_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match='as large as the kernel'):
    convolution.conv_to_point(jnp.zeros((1, 5, 5, 3)), jnp.zeros((4, 4, 3, 2)))
  with pytest.raises(ValueError, match='one value'):
    convolution.conv_from_point(jnp.zeros((1, 2, 2, 3)), jnp.zeros((4, 4, 3, 2)))
  zeros = jnp.zeros(6)
  with pytest.raises(ValueError, match='do not divide 6 channels'):
    convolution.group_norm(jnp.zeros((1, 4, 4, 6)), zeros, zeros, group_size=4)
