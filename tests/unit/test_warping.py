"""The depth seen in a view is geometrically exact, and the sampling grids follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import trimesh
from scipy.spatial.transform import Rotation
from trimesh.ray.ray_pyembree import RayMeshIntersector

from gan2shape_jax import renderer
from tests.unit.test_renderer import hill, interior

VIEWS = np.float32(
  [
    [0.0, np.pi / 3, 0.0, 0.0, 0.0, 0.0],
    [-1.0, 0.1, 0.2, 0.01, -0.01, 0.02],
    [0.3, -0.7, 0.1, 0.02, 0.0, 0.0],
    [0.05, 0.02, 1.0, 0.0, 0.0, 0.0],
  ]
)
depth_in_view = jax.jit(renderer.depth_in_view, static_argnames=('supersample', 'steps'))
forward_grid, inverse_grid = jax.jit(renderer.forward_grid), jax.jit(renderer.inverse_grid)
WIDE = {'near': 0.1, 'far': 10.0}  # nothing is clamped


def rays(height, width, fov):
  """Directions (x, y, 1) through the pixel centres, float64 [height, width, 3]."""
  focal = (width - 1) / 2 / np.tan(np.radians(fov) / 2)
  v, u = np.indices((height, width))
  x, y = (u - (width - 1) / 2) / focal, (v - (height - 1) / 2) / focal
  return np.stack([x, y, np.ones((height, width))], -1)


def cast(depth, view, camera):
  """Depth and coverage by a ray caster on the triangle mesh of the depth map."""
  height, width = depth.shape
  directions = rays(height, width, camera.fov)
  center = np.array([0, 0, camera.rotation_center])
  points = (directions * np.float64(depth)[..., None]).reshape(-1, 3) - center
  points = Rotation.from_euler('xyz', view[:3]).apply(points) + center + view[3:]
  index = np.arange(height * width).reshape(height, width)
  a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
  faces = [np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (b, d, c))]
  mesh = trimesh.Trimesh(points, np.concatenate(faces), process=False)
  directions = directions.reshape(-1, 3)
  hit = RayMeshIntersector(mesh).intersects_first(np.zeros_like(directions), directions)
  corners = mesh.triangles[np.maximum(hit, 0)]  # the hit is made exact in double precision
  normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
  with np.errstate(divide='ignore', invalid='ignore'):
    seen = (normals * corners[:, 0]).sum(-1) / (normals * directions).sum(-1)
  return seen.reshape(height, width), (hit >= 0).reshape(height, width)


@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize(('shape', 'fov'), [((64, 64), 10.0), ((24, 48), 60.0), ((5, 7), 60.0)])
def test_against_a_ray_caster(shape, fov, view):
  camera, depth = renderer.Camera(fov), hill(*shape)
  expected, hit = cast(depth, view, camera)
  seen, valid = depth_in_view(depth, view, camera, **WIDE)
  covered = np.asarray(valid) > 0
  assert np.mean(covered == hit) >= 0.995
  both = covered & hit
  assert both.mean() > 0.3
  # Compiled hastily, without contraction of multiply and add, one pixel in 2,000 is off by 2e-5.
  np.testing.assert_allclose(np.asarray(seen)[both], expected[both], atol=3e-5)


def test_nearest_of_two_bumps_wins():
  v, u = np.meshgrid(*[np.linspace(-1, 1, 48)] * 2, indexing='ij')
  bump = lambda center: np.exp(-((u - center) ** 2 + v**2) / 0.03)
  depth = np.float32(1.05 - 0.1 * bump(-0.3) - 0.06 * bump(0.3))
  camera, view = renderer.Camera(), np.float32([0, -0.9, 0, 0, 0, 0])
  expected, hit = cast(depth, view, camera)
  grid = np.asarray(forward_grid(depth, view, camera))
  assert (np.diff(grid[24, :, 0]) < 0).any()  # the bump folds over: some rays cross thrice
  seen, valid = depth_in_view(depth, view, camera, **WIDE, steps=256)
  covered = np.asarray(valid) > 0
  assert np.mean(covered == hit) >= 0.995
  wrong = np.abs(np.asarray(seen) - expected)[covered & hit] > 1e-5
  assert wrong.mean() <= 5e-3
  moved = np.asarray(renderer.move_points(renderer.unproject(depth, camera), view, camera))
  rounded = np.rint(grid).astype(int)
  inside = ((rounded >= 0) & (rounded < 48)).all(-1)
  at_vertex = tuple(rounded[inside].T[::-1])
  behind = moved[inside][:, 2] - np.asarray(seen)[at_vertex]
  assert (behind[covered[at_vertex]] > 0.02).sum() > 10  # what lies behind a bump is not seen


@pytest.mark.parametrize('view', VIEWS)
def test_tilted_plane_in_closed_form(view):
  camera, shape = renderer.Camera(30.0), (17, 23)
  ray = rays(*shape, camera.fov)
  normal = np.array([0.2, -0.1, 1.0])
  depth = 1 / (ray @ normal)  # normal . p = 1
  center = np.array([0, 0, 1.0])
  turn = Rotation.from_euler('xyz', view[:3])
  turned = turn.apply(normal)
  # normal . (R^T (p - t - c) + c) = 1
  expected = (1 - normal @ center + turned @ (center + view[3:])) / (ray @ turned)
  seen, valid = depth_in_view(np.float32(depth), view, camera, **WIDE)
  covered = np.asarray(valid) > 0
  assert covered.mean() > 0.25
  np.testing.assert_allclose(np.asarray(seen)[covered], expected[covered], rtol=2e-5)


def test_sphere_cap_to_the_mesh_resolution():
  camera, size, radius = renderer.Camera(10.0), 64, 0.2
  ray = rays(size, size, camera.fov)
  center = np.array([0, 0, 1.15])

  def sphere(center):
    b, a = ray @ center, (ray**2).sum(-1)
    return (b - np.sqrt(b**2 - a * (center @ center - radius**2))) / a

  view = np.float32([0.2, 0.3, 0.1, 0.01, 0.0, 0.0])
  pivot = np.array([0, 0, 1.0])
  moved = Rotation.from_euler('xyz', view[:3]).apply(center - pivot) + pivot + view[3:]
  seen, valid = depth_in_view(np.float32(sphere(center)), view, camera)
  covered = np.asarray(valid) > 0
  assert covered.mean() > 0.5
  # A chord of one cell's diagonal lies below the sphere by length^2 / (8 radius), seen at a slant.
  cell = 2 * np.tan(np.radians(5)) / (size - 1) * 1.5
  error = np.asarray(seen)[covered] - sphere(moved)[covered]
  assert error.min() > -1e-5
  assert error.max() < 3 * 2 * cell**2 / (8 * radius)


@pytest.mark.parametrize('shape', [(16, 16), (5, 7)])
def test_the_identity_view_returns_the_input(shape):
  depth, camera = hill(*shape), renderer.Camera(60.0)
  seen, valid = depth_in_view(depth, np.zeros(6, np.float32), camera)
  np.testing.assert_allclose(seen, depth, atol=1e-6)
  assert (np.asarray(valid) == 1).all()
  v, u = np.indices(shape)
  for grid in (forward_grid, inverse_grid):
    ours = grid(depth, np.zeros(6, np.float32), camera)
    np.testing.assert_allclose(ours, np.stack([u, v], -1), atol=1e-5)


@pytest.mark.parametrize('shape', [(32, 32), (20, 30)])
def test_the_grids_undo_each_other(shape):
  camera, depth = renderer.Camera(), hill(*shape)
  view = np.float32([0.1, 0.3, 0.1, 0.01, 0.0, 0.02])
  forward = forward_grid(depth, view, camera)
  seen, valid = depth_in_view(depth, view, camera, **WIDE)
  inverse = inverse_grid(seen, view, camera)
  # Looking the forward grid up where the inverse one points gives each pixel's own place.
  there = np.asarray(renderer.sample_bilinear(forward, inverse))
  inside = interior(valid)
  assert inside.mean() > 0.3
  v, u = np.indices(shape)
  error = np.abs(there - np.stack([u, v], -1))[inside]
  assert error.max() < 0.05  # both grids are interpolated, with different pieces


@pytest.mark.parametrize('shape', [(16, 16), (5, 7)])
def test_sampling_against_scipy(shape):
  rng = np.random.default_rng(4)
  image = rng.normal(size=(*shape, 2)).astype(np.float32)
  grid = rng.uniform([-3, -3], [shape[1] + 2, shape[0] + 2], (500, 2)).astype(np.float32)
  padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))  # scipy cuts off where the sum should fade out
  for sample, order in ((renderer.sample_bilinear, 1), (renderer.sample_nearest, 0)):
    ours = sample(image, grid)
    for k in range(2):
      expected = scipy.ndimage.map_coordinates(
        padded[..., k], grid[:, ::-1].T + 4, order=order, mode='constant'
      )
      np.testing.assert_allclose(ours[:, k], expected, atol=1e-5)


def test_sampling_far_away_and_its_gradients():
  image = jnp.ones((6, 6, 1))
  grid = jnp.array([[-1e30, 0.0], [2.0, 3e38], [1e5, -1e5]])
  np.testing.assert_array_equal(renderer.sample_bilinear(image, grid), 0)
  np.testing.assert_array_equal(renderer.sample_nearest(image, grid), 0)
  gradient = jax.grad(lambda g: jnp.sum(renderer.sample_bilinear(image, g)))(grid)
  np.testing.assert_array_equal(gradient, 0)
  nearest = jax.grad(lambda g: jnp.sum(renderer.sample_nearest(image, g)))(jnp.full((2, 2), 2.3))
  np.testing.assert_array_equal(nearest, 0)


def test_pixel_offset_shows_the_neighbourhood():
  camera, depth, view = renderer.Camera(), hill(32, 32), np.zeros(6, np.float32)
  shifted, valid = depth_in_view(depth, view, camera, pixel_offset=0.5, supersample=2)
  expected = scipy.ndimage.map_coordinates(depth, np.indices(depth.shape) + 0.5, order=1)
  np.testing.assert_allclose(shifted[:-1, :-1], expected[:-1, :-1], atol=2e-4)
  valid = np.asarray(valid)
  assert valid[:-1, :-1].all()
  assert not valid[-1].any()
  assert not valid[:, -1].any()


def test_a_depth_map_needs_a_cell():
  with pytest.raises(ValueError, match='at least 2 x 2'):
    renderer.visible_surface(jnp.ones((1, 5)), jnp.zeros(6), renderer.Camera())
