"""Camera, warps, sampling, views (fixtures c_*, less c_shading_*: replay_c_shading).

The arrays that the original made by rasterising a coloured mesh (mesh_*, render_* without gs, and
c_textures_*) are not replayed: there the corner colours of every triangle are swapped, which this
package does not reproduce. All colours come from sampling the canonical texture.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from gan2shape_jax import renderer
from tests.golden import replays

PUBLISHED = {'pixel_offset': 0.5, 'supersample': 2, 'steps': 512}


def normalised(grid):
  """Pixel coordinates as the fixtures have them: -1 and 1 at the first and last pixel centres."""
  size = grid.shape[-2]
  return np.asarray(grid) / (size - 1) * 2 - 1


def of_view(values, count):
  return np.broadcast_to(values, (count, *values.shape[1:]))


def interior(reference, far):
  """Pixels two inside the reference's coverage."""
  kernel = np.ones((5, 5), bool)
  return np.stack([scipy.ndimage.binary_erosion(d < far, kernel) for d in reference])


def channels_last(images):
  return np.moveaxis(np.asarray(images), 1, -1)


@replays('c_camera_*.npz')
def replay_camera(fixture, report):
  camera = renderer.Camera(float(fixture['fov']), float(fixture['rot_center_depth']))
  size = int(fixture['image_size'])
  focal = float(renderer.focal_length(camera, size))
  expected_K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
  report.check('K', expected_K[None], fixture['K'], 1e-5)
  depth, view = jnp.asarray(fixture['depth']), jnp.asarray(fixture['view6'])
  for name in ('view6', 'view5', 'view3'):
    matrices = jax.vmap(renderer.rotation_matrix)(jnp.asarray(fixture[name][:, :3]))
    report.check(f'rot_mat_from_{name}', matrices, fixture[f'rot_mat_from_{name}'], 1e-5)
  points = jax.vmap(lambda d: renderer.unproject(d, camera))(depth)
  report.check('grid_3d', points, fixture['grid_3d'], 1e-5)
  move = jax.jit(jax.vmap(lambda p, v: renderer.move_points(p, v, camera)))
  back = jax.jit(jax.vmap(lambda p, v: renderer.move_points_back(p, v, camera)))
  report.check('warped_3d', move(points, view), fixture['warped_3d'], 1e-5)
  report.check('inv_warped_3d', back(points, view), fixture['inv_warped_3d'], 1e-5)

  def grids(function):
    return lambda d, v: jax.vmap(lambda d, v: function(d, v, camera) / (size - 1) * 2 - 1)(d, v)

  for name, function in (
    ('warped_2d', renderer.forward_grid),
    ('inv_warped_2d', renderer.inverse_grid),
  ):
    report.check(name, jax.jit(grids(function))(depth, view), fixture[name], 1e-5)
    scalar = lambda d, v, f=function: jnp.sum(grids(f)(d, v) * fixture['r_2d'])
    grad_depth, grad_view = jax.jit(jax.grad(scalar, (0, 1)))(depth, view)
    report.check(f'grad_depth_of_{name}', grad_depth, fixture[f'grad_depth_of_{name}'], 1e-5)
    report.check(f'grad_view_of_{name}', grad_view, fixture[f'grad_view_of_{name}'], 1e-5)

  normals = jax.jit(jax.vmap(lambda d: renderer.normals_from_depth(d, camera)))
  report.check('normal', normals(depth), fixture['normal'], 1e-5)
  grad = jax.jit(jax.grad(lambda d: jnp.sum(normals(d) * fixture['r_normal'])))(depth)
  report.check('grad_depth_of_normal', grad, fixture['grad_depth_of_normal'], 1e-5)


def check_depth(report, name, ours, reference, far=1.2):
  inside = interior(reference, far) & (np.asarray(ours) < far)
  report.check_fraction(f'{name} coverage', (np.asarray(ours) < far) != (reference < far), 1e-2)
  error = np.abs(np.asarray(ours, np.float64) - reference)[inside]
  report.rows.append((f'{name} mean', float(error.mean()), 1e-4))
  report.rows.append((f'{name} 99%', float(np.quantile(error, 0.99)), 5e-4))


def check_gradients(report, fixture, name, grad_depth, grad_view):
  reference = fixture['grad_canon_depth_f64' if 'grad_canon_depth_f64' in fixture else name]
  report.check('grad_canon_depth', grad_depth, reference, 5e-3)
  report.check('grad_canon_depth 99%', grad_depth, reference, 5e-4, quantile=0.99)
  if 'grad_view_f64' in fixture:
    for k, (ours, theirs) in enumerate(zip(grad_view, fixture['grad_view_f64'], strict=True)):
      report.check(f'grad_view[{k}]', ours, theirs, 2e-3)


@replays('c_warp_*.npz')
def replay_warp(fixture, report):
  camera = renderer.Camera()
  reference = fixture['warped_depth']
  count = len(reference)
  depth = jnp.asarray(of_view(fixture['canon_depth'], count))
  view = jnp.asarray(fixture['view']) if 'view' in fixture else jnp.zeros((count, 6))

  def warp(depth, view):
    return jax.vmap(lambda d, v: renderer.depth_in_view(d, v, camera, **PUBLISHED)[0])(depth, view)

  ours, pullback = jax.vjp(jax.jit(warp), depth, view)
  check_depth(report, 'warped_depth', ours, reference)
  grad_depth, grad_view = pullback(jnp.asarray(fixture['r']))
  check_gradients(report, fixture, 'grad_canon_depth', grad_depth, grad_view)


@replays('c_sample_*.npz')
def replay_sample(fixture, report):
  camera = renderer.Camera()
  view = jnp.asarray(fixture['view'])
  depth = jnp.asarray(of_view(fixture['canon_depth'], len(view)))
  texture = jnp.asarray(channels_last(fixture['texture']))

  @jax.jit
  @jax.vmap
  def sample(depth, view, texture):
    seen, _ = renderer.depth_in_view(depth, view, camera, **PUBLISHED)
    grid = renderer.inverse_grid(seen, view, camera)
    return renderer.sample_bilinear(texture, grid), seen, grid

  (image, seen, grid), pullback = jax.vjp(sample, depth, view, texture)
  check_depth(report, 'warped_depth', seen, fixture['warped_depth'])
  inside = interior(fixture['warped_depth'], 1.2)
  # Given the reference's own depth, the rest of the chain is exact.
  exact_grid = jax.vmap(lambda d, v: renderer.inverse_grid(d, v, camera))(
    jnp.asarray(fixture['warped_depth']), view
  )
  report.check('inv_grid_2d', normalised(exact_grid), fixture['inv_grid_2d'], 2e-5)
  exact_image = jax.vmap(renderer.sample_bilinear)(texture, exact_grid)
  report.check('image', exact_image, channels_last(fixture['image']), 5e-4)
  report.check(
    'image (own depth)', image, channels_last(fixture['image']), 5e-4, where=inside[..., None]
  )
  r = jnp.asarray(channels_last(fixture['r']))
  grad_depth, grad_view, grad_texture = pullback((r, jnp.zeros_like(seen), jnp.zeros_like(grid)))
  check_gradients(report, fixture, 'grad_canon_depth', grad_depth, grad_view)
  report.check('grad_texture', grad_texture, channels_last(fixture['grad_texture']), 5e-3)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None, 0))
def see_textures(texture, depth, view):
  """The canonical texture [count, size, size, channels] in each view [6], and the grid it is at."""
  camera = renderer.Camera()
  dense = PUBLISHED | {'steps': 2048}  # single pixels at silhouettes are compared
  seen, _ = renderer.depth_in_view(depth, view, camera, **dense)
  grid = renderer.inverse_grid(seen, view, camera)
  return renderer.sample_bilinear(texture, grid), grid


def check_image(report, name, ours, reference):
  """All pixels but 0.2%, for those at a silhouette that a rounding error uncovers."""
  wrong = np.abs(ours - reference).max(-1) > 5e-4 * np.abs(reference).max()
  report.check_fraction(name, wrong, 2e-3)


@replays('c_given_view_*.npz')
def replay_given_view(fixture, report):
  texture = channels_last(fixture['image'])
  depth = jnp.asarray(fixture['depth'][0])
  image, grid = see_textures(texture, depth, jnp.asarray(fixture['view'], jnp.float32))
  check_image(report, 'grid_sample_image', image, channels_last(fixture['grid_sample_image']))
  mask = jnp.asarray(channels_last(fixture['mask'])[0, :, :, :1])
  seen = jax.vmap(lambda g: renderer.sample_nearest(mask, g))(grid)
  wrong = seen != channels_last(fixture['grid_sample_mask'])
  report.check_fraction('grid_sample_mask', wrong, 2e-3)


def turned_views(name, arrays, yaws, pitches):
  """Views of the series `name`: yaws, then pitches, evenly spaced from -max to max."""
  largest_yaw, largest_pitch = (45, 20) if 'view' in name else (90, 0)
  if 'maxr' in name:
    *pitch, largest_yaw = (int(n) for n in name.split('maxr')[1].split('_'))
    largest_pitch = pitch[0] if pitch else largest_pitch
  views = renderer.turntable_views(largest_yaw, yaws, largest_pitch, pitches)
  # A view to undo is subtracted from the six numbers; it is not composed with the rotation.
  return views - arrays['v_before'] if 'v_before' in name else views


@replays('c_rotate_*.npz')
def replay_rotate(fixture, report):
  depth = jnp.asarray(fixture['depth'][0])
  texture = channels_last(fixture['image'])
  for name in fixture.arrays:
    if '_gs_' not in name:
      continue
    reference = channels_last(fixture[name][0])
    count = len(reference)
    # The file does not tell how many of a series are yaws: the counts that fit best.
    splits = range(1, count) if 'render_view' in name else [count]
    series = []
    for yaws in splits:
      view = turned_views(name, fixture.arrays, yaws, count - yaws)
      image, _ = see_textures(of_view(texture, count), depth, jnp.asarray(view, jnp.float32))
      series.append(np.asarray(image))
    check_image(report, name, min(series, key=lambda s: np.abs(s - reference).mean()), reference)
