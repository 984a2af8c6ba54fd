"""What users see: arrays, contact sheets, videos and meshes of each picture, and a page over all.

Computing (`render_views`, `relit`, `mesh_from_depth`, ...) is apart from writing (`write_results`,
`write_page`), so that a notebook can use the one without the other.
"""

from gan2shape_jax.artefacts.lights import Lights, light_path, relight_lights, relit
from gan2shape_jax.artefacts.mesh import Mesh, mesh_from_depth, write_mesh
from gan2shape_jax.artefacts.page import write_page
from gan2shape_jax.artefacts.results import (
  Result,
  result_from_factors,
  result_surface,
  write_results,
)
from gan2shape_jax.artefacts.videos import write_video
from gan2shape_jax.artefacts.views import (
  ViewFrame,
  ViewPath,
  render_views,
  rotation_path,
  sheet_indices,
  supported_yaw,
)

__all__ = [
  'Lights',
  'Mesh',
  'Result',
  'ViewFrame',
  'ViewPath',
  'light_path',
  'mesh_from_depth',
  'relight_lights',
  'relit',
  'render_views',
  'result_from_factors',
  'result_surface',
  'rotation_path',
  'sheet_indices',
  'supported_yaw',
  'write_mesh',
  'write_page',
  'write_results',
  'write_video',
]
