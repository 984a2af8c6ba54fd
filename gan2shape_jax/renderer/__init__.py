"""Differentiable depth-map renderer: pure functions of one example on jax and numpy alone.

Everything works under `jit`, `vmap`, `grad`, `pmap` and `shard_map`. Images are channels last in
[-1, 1], depth maps [height, width] in camera units, views [6] (radians, camera units); see
`gan2shape_jax.renderer.camera` for the frames.

Example:
  >>> import jax.numpy as jnp
  >>> from gan2shape_jax import renderer
  >>> depth, albedo = jnp.ones((64, 64)), jnp.zeros((64, 64, 3))
  >>> light = renderer.light_from_code(jnp.array([0.0, 0.5, 0.3, -0.2]))
  >>> view = jnp.array([0.0, 0.4, 0.0, 0.0, 0.0, 0.0])
  >>> renderer.render(albedo, depth, light, view, renderer.Camera(fov=10.0)).image.shape
  (64, 64, 3)
"""

from gan2shape_jax.renderer.camera import (
  Camera,
  focal_length,
  move_points,
  move_points_back,
  project,
  rotation_matrix,
  unproject,
)
from gan2shape_jax.renderer.render import (
  Rendering,
  relight,
  render,
  render_texture,
  turntable,
  turntable_views,
)
from gan2shape_jax.renderer.shading import (
  Light,
  diffuse_shading,
  lambertian,
  light_direction,
  light_from_code,
  normals_from_depth,
)
from gan2shape_jax.renderer.warping import (
  depth_in_view,
  forward_grid,
  inverse_grid,
  sample_bilinear,
  sample_nearest,
  visible_surface,
)

__all__ = [
  'Camera',
  'Light',
  'Rendering',
  'depth_in_view',
  'diffuse_shading',
  'focal_length',
  'forward_grid',
  'inverse_grid',
  'lambertian',
  'light_direction',
  'light_from_code',
  'move_points',
  'move_points_back',
  'normals_from_depth',
  'project',
  'relight',
  'render',
  'render_texture',
  'rotation_matrix',
  'sample_bilinear',
  'sample_nearest',
  'turntable',
  'turntable_views',
  'unproject',
  'visible_surface',
]
