"""Laws of the camera, of shading and of rendering: closed forms, derivatives, transformations."""

import functools

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from scipy.spatial.transform import Rotation

from gan2shape_jax import renderer

render = jax.jit(renderer.render)
VIEWS = np.float32(
  [
    [0.2, 0.3, -0.5, 0.0, 0.02, 0.01],
    [0.3, -0.7, 0.1, 0.02, 0.0, 0.0],
    [-0.1, 1.0, 0.05, 0.0, 0.01, -0.02],
  ]
)


def hill(height, width):
  """A smooth height field without symmetries, [height, width]."""
  v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij')
  waves = 0.01 * np.sin(3 * u + 1) * np.cos(2 * v)
  return np.float32(1.02 - 0.05 * np.exp(-3 * (u**2 + v**2)) + waves)


def texture(height, width):
  return np.random.default_rng(0).uniform(-0.9, 0.9, (height, width, 3)).astype(np.float32)


@pytest.mark.parametrize('shape', [(16, 16), (5, 7), (12, 20)])
@pytest.mark.parametrize('fov', [10.0, 60.0])
def test_projection_undoes_back_projection(shape, fov):
  camera = renderer.Camera(fov)
  points = renderer.unproject(jnp.asarray(hill(*shape)), camera)
  v, u = np.indices(shape)
  np.testing.assert_allclose(
    renderer.project(points, camera, *shape), np.stack([u, v], -1), atol=1e-5
  )
  # The corner of the field of view, at unit depth.
  edge = renderer.unproject(jnp.ones(shape), camera)[0, -1, 0]
  np.testing.assert_allclose(edge, np.tan(np.radians(fov) / 2), rtol=1e-6)


@pytest.mark.parametrize('view', VIEWS)
def test_moving_back_undoes_moving(view):
  camera = renderer.Camera(rotation_center=1.05)
  points = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
  moved = renderer.move_points(points, view, camera)
  np.testing.assert_allclose(renderer.move_points_back(moved, view, camera), points, atol=3e-6)
  center = np.array([0, 0, 1.05])
  expected = Rotation.from_euler('xyz', view[:3]).apply(points - center) + center + view[3:]
  np.testing.assert_allclose(moved, expected, atol=3e-6)


@pytest.mark.parametrize('view', VIEWS)
def test_rotation_matrix_is_about_x_then_y_then_z(view):
  expected = Rotation.from_euler('xyz', view[:3]).as_matrix()
  np.testing.assert_allclose(renderer.rotation_matrix(view[:3]), expected, atol=1e-6)


@pytest.mark.parametrize('shape', [(16, 16), (5, 7)])
def test_normals_of_a_tilted_plane(shape):
  camera = renderer.Camera(60.0)
  ray = np.asarray(renderer.unproject(jnp.ones(shape), camera), np.float64)
  normal = np.array([0.2, -0.3, 1.0]) / np.linalg.norm([0.2, -0.3, 1.0])
  depth = (normal[2] / (ray @ normal)).astype(np.float32)  # the plane through (0, 0, 1)
  normals = np.asarray(renderer.normals_from_depth(depth, camera))
  np.testing.assert_allclose(normals[1:-1, 1:-1] - normal, 0, atol=3e-5)
  np.testing.assert_array_equal(normals[0], np.broadcast_to([0, 0, 1], normals[0].shape))


def test_lambertian_shading_in_closed_form():
  light = renderer.light_from_code(jnp.array([-0.2, 0.6, 1.0, -2.0]))
  np.testing.assert_allclose([light.ambient, light.diffuse], [0.4, 0.8], rtol=1e-6)
  np.testing.assert_allclose(light.direction, np.array([1, -2, 1]) / 6**0.5, rtol=1e-6)
  normals = np.float32([[[0, 0, 1], [0, 1, 0], [0, -1, 0]]])
  albedo = np.full((1, 3, 3), 0.5, np.float32)  # 3/4 of white
  cosines = np.array([1 / 6**0.5, 0, 2 / 6**0.5])
  expected = 0.75 * (0.4 + 0.8 * cosines) * 2 - 1
  ours = renderer.lambertian(albedo, normals, light)
  np.testing.assert_allclose(ours[0], np.stack([expected] * 3, -1), rtol=1e-5)


def test_relighting_and_turntable_are_renderings():
  depth, albedo, camera = jnp.asarray(hill(12, 12)), texture(12, 12), renderer.Camera()
  views = renderer.turntable_views(40, 3, 10, 2)
  np.testing.assert_allclose(np.rad2deg(views[:3, 1]), [-40, 0, 40], atol=1e-4)
  np.testing.assert_allclose(np.rad2deg(views[3:, 0]), [-10, 10], atol=1e-4)
  many = jax.jit(renderer.turntable)(albedo, depth, views, camera)
  one = jax.jit(renderer.render_texture)(albedo, depth, views[2], camera)
  np.testing.assert_allclose(many.image[2], one.image, atol=2e-4)
  slopes = jnp.array([[0.0, 0.1], [0.5, -0.5]])
  lit = jax.jit(renderer.relight)(
    albedo, depth, jnp.array([0.2, 0.4]), jnp.array([0.5, 0.5]), slopes, views[2], camera
  )
  light = renderer.Light(0.4, 0.5, renderer.light_direction(0.5, -0.5))
  expected = render(albedo, depth, light, views[2], camera).image
  np.testing.assert_allclose(lit[1], expected, atol=2e-4)


def interior(valid):
  """Pixels whose neighbours are all seen: no edge can pass over them."""
  padded = np.pad(np.asarray(valid) > 0, 2)
  height, width = valid.shape
  shifts = [padded[i : i + height, j : j + width] for i in range(5) for j in range(5)]
  return np.logical_and.reduce(shifts)


@pytest.mark.parametrize('shape', [(16, 16), (9, 13)])
def test_gradients_equal_finite_differences(shape):
  with jax.enable_x64(True):
    camera, rng = renderer.Camera(20.0), np.random.default_rng(2)
    inputs = {
      'depth': np.float64(hill(*shape)),
      'view': np.array([0.1, 0.3, 0.05, 0.01, -0.01, 0.02]),
      'albedo': np.float64(texture(*shape)) * 0.5,
      'light': np.array([-0.4, 0.1, 0.3, -0.2]),
    }

    def see(x):
      light = renderer.light_from_code(x['light'])
      return renderer.render(x['albedo'], x['depth'], light, x['view'], camera, near=0.5, far=2.0)

    inside = interior(jax.jit(see)(inputs).valid)
    assert inside.mean() > 0.2
    weights = rng.normal(size=(*shape, 4)) * inside[..., None]

    def scalars(x):
      seen = see(x)
      return jnp.stack(
        [jnp.sum(seen.depth * weights[..., 0]), jnp.sum(seen.image * weights[..., 1:])]
      )

    scalars = jax.jit(scalars)
    gradients = jax.jit(jax.jacrev(scalars))(inputs)
    for name, value in inputs.items():
      for _ in range(4):
        direction = rng.normal(size=value.shape)
        ends = [scalars(inputs | {name: value + step * direction}) for step in (1e-7, -1e-7)]
        expected = np.asarray(ends[0] - ends[1]) / 2e-7
        exact = [np.sum(np.asarray(g) * direction) for g in gradients[name]]
        scale = [np.linalg.norm(g) for g in gradients[name]]
        for k in range(2):
          assert abs(exact[k] - expected[k]) <= 1e-3 * max(scale[k], 1e-6), (name, k)


def test_hidden_and_missed_surfaces_have_no_gradient():
  camera, depth = renderer.Camera(), jnp.asarray(hill(16, 16))
  view = jnp.asarray([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
  depth_in_view = jax.jit(renderer.depth_in_view)
  seen, valid = depth_in_view(depth, view, camera)
  assert 0.2 < valid.mean() < 0.9
  missed = lambda d, v: jnp.sum(depth_in_view(d, v, camera)[0] * (1 - jax.lax.stop_gradient(valid)))
  for gradient in jax.jit(jax.grad(missed, (0, 1)))(depth, view):
    np.testing.assert_array_equal(gradient, 0)
  np.testing.assert_allclose(seen[valid == 0], 1.2, rtol=1e-6)


def render_and_differentiate(depth, view):
  """Image, depth, coverage and the gradients of a loss."""
  colours, camera = jnp.asarray(texture(12, 12)), renderer.Camera()
  loss = lambda d, v: jnp.mean(renderer.render_texture(colours, d, v, camera).image ** 2)
  seen = renderer.render_texture(colours, depth, view, camera)
  return seen, jax.grad(loss, (0, 1))(depth, view)


@functools.cache
def batch():
  """Depths [8, 12, 12], views [8, 6] and the results for them, one at a time."""
  rng = np.random.default_rng(3)
  views = np.float32(rng.normal(size=(8, 6)) * [0.2, 0.4, 0.2, 0.02, 0.02, 0.02])
  depths = hill(12, 12) + np.float32(rng.uniform(-0.02, 0.02, (8, 1, 1)))
  results = map(jax.jit(render_and_differentiate), depths, views)
  return depths, views, jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def jit_of_vmap(function):
  return jax.jit(jax.vmap(function))


def pmap(function):
  per_device = lambda x: x.reshape(jax.device_count(), -1, *x.shape[1:])
  together = lambda x: np.asarray(x).reshape(-1, *x.shape[2:])
  on_devices = jax.pmap(jax.vmap(function))
  return lambda *args: jax.tree.map(together, on_devices(*map(per_device, args)))


def shard_map(function):
  mesh, spec = Mesh(np.array(jax.devices()), ('data',)), PartitionSpec('data')
  return jax.jit(jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec))


@pytest.mark.parametrize('transform', [jit_of_vmap, pmap, shard_map])
def test_transformations_change_nothing(transform):
  depths, views, expected = batch()
  assert len(views) % jax.device_count() == 0
  ours = transform(render_and_differentiate)(depths, views)
  for reference, value in zip(jax.tree.leaves(expected), jax.tree.leaves(ours), strict=True):
    scale = np.abs(reference).max()
    np.testing.assert_allclose(np.asarray(value) / scale, reference / scale, atol=1e-3)


def test_half_precision_images_and_depths():
  camera, half = renderer.Camera(), jnp.bfloat16
  light = renderer.light_from_code(jnp.array([0.0, 0.5, 0.3, -0.2], half))
  depth, albedo = jnp.asarray(hill(16, 16), half), jnp.asarray(texture(16, 16), half)
  ours = render(albedo, depth, light, jnp.asarray(VIEWS[0], half), camera)
  assert ours.image.dtype == half
  assert ours.depth.dtype == jnp.float32
  full = lambda x: jnp.asarray(x, jnp.float32)
  expected = render(
    full(albedo), full(depth), jax.tree.map(full, light), full(jnp.asarray(VIEWS[0], half)), camera
  )
  np.testing.assert_allclose(ours.depth, expected.depth, atol=1e-5)
  np.testing.assert_allclose(full(ours.image), expected.image, atol=2e-2)


@jax.jit
def everything_and_gradients(depth, view, code):
  camera, colours = renderer.Camera(), jnp.asarray(texture(8, 8))

  def everything(depth, view, code):
    light = renderer.light_from_code(code)
    seen = renderer.render(colours, depth, light, view, camera, steps=8)
    grid = renderer.forward_grid(depth, view, camera)
    surface = renderer.visible_surface(depth, view, camera, steps=8)
    return seen, light, grid, surface, renderer.sample_bilinear(colours, grid)

  values, pullback = jax.vjp(everything, depth, view, code)
  return values, pullback(jax.tree.map(jnp.ones_like, values))


@st.composite
def finite(draw, *shape):
  """Single-precision numbers of every size and sign, ordinary depths and zeros among them."""
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  widest = draw(st.sampled_from([1.0, 4.0, 20.0, 38.0]))
  numbers = rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(-widest, widest, shape)
  ordinary = rng.uniform(0.9, 1.1, shape)
  kind = rng.integers(0, 4, shape)
  return np.float32(np.select([kind == 0, kind == 1], [np.zeros(shape), ordinary], numbers))


@hypothesis.settings(deadline=None, max_examples=25, derandomize=True)
@hypothesis.given(finite(8, 8), finite(6), finite(4))
def test_finite_input_gives_finite_values_and_gradients(depth, view, code):
  for leaf in jax.tree.leaves(everything_and_gradients(depth, view, code)):
    assert np.isfinite(leaf).all()


@hypothesis.settings(deadline=None, max_examples=15, derandomize=True)
@hypothesis.given(finite(6), finite(4))
def test_extreme_views_and_lights_of_a_plain_shape(view, code):
  for leaf in jax.tree.leaves(everything_and_gradients(hill(8, 8), view, code)):
    assert np.isfinite(leaf).all()
