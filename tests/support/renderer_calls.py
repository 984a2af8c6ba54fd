"""One call of every public function of the renderer, for pictures of any size."""

import jax.numpy as jnp
import numpy as np

from gan2shape_jax import renderer

CONTAINERS = ('Camera', 'Light', 'Rendering')


def calls(height=6, width=7, channels=3, count=2, leading=(4,), dtype=jnp.float32) -> dict:
  """Name -> (arrays by argument, what else it takes by argument).

  Args:
    height: of pictures, pixels.
    width: of pictures, pixels.
    channels: of pictures.
    count: of views and lights.
    leading: axes of points, slopes and grids.
    dtype: of all arrays.
  """
  rng = np.random.default_rng(0)
  make = lambda low, high, *shape: jnp.asarray(rng.uniform(low, high, shape), dtype)
  depth, picture = make(0.95, 1.05, height, width), make(-0.9, 0.9, height, width, channels)
  view, views = make(-0.1, 0.1, 6), make(-0.1, 0.1, count, 6)
  points = make(0.5, 1.5, *leading, 3)
  normals = make(-1, 1, height, width, 3)
  light = renderer.Light(jnp.asarray(0.4, dtype), jnp.asarray(0.5, dtype), make(0.5, 0.6, 3))
  grid = make(0, min(height, width) - 1.5, *leading, 2)
  lights = {'ambient': make(0, 1, count), 'diffuse': make(0, 1, count)}
  lights |= {'directions': make(-1, 1, count, 2)}
  camera = {'camera': renderer.Camera()}
  few = camera | {'steps': 4}
  seen = {'depth': depth, 'view': view}
  return {
    'depth_in_view': (seen, few),
    'diffuse_shading': ({'normals': normals, 'light': light}, {}),
    'focal_length': ({}, camera | {'width': width}),
    'forward_grid': (seen, camera),
    'inverse_grid': ({'view_depth': depth, 'view': view}, camera),
    'lambertian': ({'albedo': picture, 'normals': normals, 'light': light}, {}),
    'light_direction': ({'dx': make(-1, 1, *leading), 'dy': make(-1, 1, *leading)}, {}),
    'light_from_code': ({'code': make(-1, 1, 4)}, {}),
    'move_points': ({'points': points, 'view': view}, camera),
    'move_points_back': ({'points': points, 'view': view}, camera),
    'normals_from_depth': ({'depth': depth}, camera),
    'project': ({'points': points}, camera | {'height': height, 'width': width}),
    'relight': ({'albedo': picture} | seen | lights, few),
    'render': ({'albedo': picture, 'light': light} | seen, few),
    'render_texture': ({'texture': picture} | seen, few),
    'rotation_matrix': ({'angles': make(-1, 1, 3)}, {}),
    'sample_bilinear': ({'image': picture, 'grid': grid}, {}),
    'sample_nearest': ({'image': picture, 'grid': grid}, {}),
    'turntable': ({'texture': picture, 'depth': depth, 'views': views}, few),
    'turntable_views': ({}, {'max_yaw': 40.0, 'yaws': count, 'max_pitch': 9.0, 'pitches': 3}),
    'unproject': ({'depth': depth}, camera),
    'visible_surface': (seen, few),
  }
