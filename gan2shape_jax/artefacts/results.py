"""Everything that is written for one picture; `docs/results.md` describes the files."""

import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from gan2shape_jax.artefacts import image_files, videos
from gan2shape_jax.artefacts.lights import light_path, relight_lights, relit
from gan2shape_jax.artefacts.mesh import Mesh, mesh_from_depth, write_mesh
from gan2shape_jax.artefacts.photo_surface import TexturedSurface, textured_surface, whole_mask
from gan2shape_jax.artefacts.sheets import (
  gan_sheet,
  input_sheet,
  relight_sheet,
  view_colours,
  views_sheet,
)
from gan2shape_jax.artefacts.views import (
  display_size,
  render_view,
  rotation_path,
  surface_from_factors,
)
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import (
  Camera,
  lambertian,
  light_from_code,
  normals_from_depth,
  render_texture,
)
from gan2shape_jax.storage import atomic_files

_MESH_SIZE = 128  # vertices along a side of the written mesh, or the depth map's own if more


class Result(NamedTuple):
  """What is known of one picture. Arrays are numpy's or jax's, colours in [-1, 1].

  Attributes:
    name: the picture's name, also that of its folder.
    image: [size, size, 3] the picture.
    reconstruction: [size, size, 3] the factors rendered in the picture's view.
    factors: what the networks see in it.
    view_depth: [size, size] depth in the picture's view, camera units.
    valid: [size, size] 1 where the picture's view sees a surface.
    normal: [size, size, 3] canonical unit normals, z away from the viewer.
    texture: [size, size, 3] the shaded canonical picture.
    latent: the GAN's latent of the picture, or None.
    metrics: name -> number.
    gan_rotate: [n, size', size', 3] the views of `rotation_path` passed through encoder and
      generator, one for each of its `views`; or None.
    gan_relight: [n, size', size', 3] the lights of a closed path (`light_path`) likewise; or None.
    gan_relight_grid: [20, size', size', 3] those of `relight_lights` likewise; or None.
    photo: [n, n, 3] the picture at its own resolution, in [-1, 1] or bytes, whose pixels the
      surface carries; None for a texture of the fitted albedo.
    mask: [size, size, 1] the object in the picture, in [0, 1]; None where it is not known.
    projections: [k, size', size', 3] the GAN's images of other views, or None; they fill in what
      the picture hides.
    projection_views: [k, 6] their views, radians and camera units, or None.
  """

  name: str
  image: Any
  reconstruction: Any
  factors: Factors
  view_depth: Any
  valid: Any
  normal: Any
  texture: Any
  latent: Any = None
  metrics: Mapping[str, float] = {}
  gan_rotate: Any = None
  gan_relight: Any = None
  gan_relight_grid: Any = None
  photo: Any = None
  mask: Any = None
  projections: Any = None
  projection_views: Any = None


@partial(jax.jit, static_argnames=('near', 'far'))
def _shown(factors, camera, near, far):
  normal = normals_from_depth(factors.depth, camera)
  texture = lambertian(factors.albedo, normal, light_from_code(factors.light))
  seen = render_texture(texture, factors.depth, factors.view, camera, near=near, far=far)
  return seen, normal, texture


def result_from_factors(
  name: str,
  image,
  factors: Factors,
  camera: Camera,
  *,
  near: float = 0.8,
  far: float = 1.2,
  mask=None,
  **others,
) -> Result:
  """Renders a picture's factors in its own view and gathers what is written for it.

  The canonical mask becomes one piece without holes (`object_mask`).

  Args:
    name: the picture's name.
    image: [size, size, 3] in [-1, 1].
    factors: what the networks see in it.
    camera: camera of the picture.
    near: smallest depth in the view, camera units.
    far: largest depth in the view.
    mask: [size, size, 1] the object in the picture, in [0, 1], which tells more than the factors'
      own canonical mask; or None.
    **others: latent, metrics, frames, photo and projections of `Result`.

  Returns:
    A `Result` of numpy arrays.
  """
  factors = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), factors)
  size = display_size(len(factors.depth))
  factors = factors._replace(mask=whole_mask(factors, camera, mask, size=size))
  seen, normal, texture = jax.tree.map(np.asarray, _shown(factors, camera, near, far))
  return Result(
    name,
    np.asarray(image),
    seen.image,
    factors,
    seen.depth,
    seen.valid,
    normal,
    texture,
    mask=mask,
    **others,
  )


def write_results(
  folder,
  result: Result,
  *,
  camera: Camera,
  max_yaw: float = 70.0,
  max_pitch: float = 20.0,
  alpha: float = -0.6,
  make_arrays: bool = True,
  make_sheets: bool = True,
  make_videos: bool = True,
  make_mesh: bool = True,
  fps: int = 24,
) -> None:
  """Writes a picture's arrays, metrics, contact sheets, videos and mesh.

  Each file is whole or absent; files of an earlier call are replaced.

  Args:
    folder: the picture's folder, made if missing.
    result: what is known of the picture.
    camera: camera of the picture and of its canonical maps.
    max_yaw: largest yaw of the rotations, degrees.
    max_pitch: largest pitch, degrees.
    alpha: see `relight_lights`.
    make_arrays: whether to write arrays and metrics.
    make_sheets: whether to write contact sheets.
    make_videos: whether to write MP4 and GIF.
    make_mesh: whether to write GLB and OBJ.
    fps: frames a second.

  Raises:
    ArtefactError: a file could not be written.
    ValueError: `gan_rotate` has another number of frames than `rotation_path` has views.
  """
  folder = pathlib.Path(folder)
  path = rotation_path(max_yaw, max_pitch)
  if result.gan_rotate is not None and len(result.gan_rotate) != len(path.views):
    raise ValueError(f'gan_rotate has {len(result.gan_rotate)} frames, not {len(path.views)}')
  atomic_files.sweep(folder)
  if make_arrays:
    arrays = factor_arrays(result, camera) | {'turned': np.array([max_yaw, max_pitch], np.float32)}
    atomic_files.write_arrays(folder / 'factors.npz', arrays)
    atomic_files.write_json(folder / 'metrics.json', result.metrics)

  if not (make_sheets or make_videos or make_mesh):
    return
  factors = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), result.factors)
  shown = result_surface(result, camera)
  front, frames = None, []
  if make_sheets or make_videos:
    front = render_view(shown.surface, factors.view, camera)
    frames = [view_colours(render_view(shown.surface, view, camera)) for view in path.views]
  if make_sheets:
    fitted = surface_from_factors(factors, camera, size=len(shown.surface.depth))
    fitted = render_view(fitted, factors.view, camera)
    lights = relight_lights(factors.light, alpha=alpha)
    _write_sheets(folder, result, shown, frames, front, fitted, path, lights)
  if make_videos:
    _write_videos(folder, result, frames, front, path, alpha, fps)
  if make_mesh:
    write_mesh(folder, result_mesh(result, shown, camera))


def result_surface(result: Result, camera: Camera) -> TexturedSurface:
  """The surface that sheets, videos and mesh of a result show.

  Args:
    result: what is known of the picture.
    camera: camera of the picture and of its canonical maps.

  Returns:
    A `TexturedSurface` with the picture's pixels, or with the fitted albedo's where `photo` is
    None.
  """
  photo = 0 if result.photo is None else len(result.photo)
  return textured_surface(
    jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), result.factors),
    camera,
    size=display_size(len(result.factors.depth), photo),
    photo=result.photo,
    mask=result.mask,
    projections=result.projections,
    projection_views=result.projection_views,
  )


def factor_arrays(result: Result, camera: Camera) -> dict[str, np.ndarray]:
  """The content of `factors.npz`, float32 (see `docs/results.md` for shapes and units)."""
  factors = result.factors
  arrays = {
    'canonical_depth': factors.depth,
    'view_depth': result.view_depth,
    'valid': result.valid,
    'normal': result.normal,
    'albedo': factors.albedo,
    'texture': result.texture,
    'mask': factors.mask,
    'view': factors.view,
    'light': factors.light,
    'image': result.image,
    'reconstruction': result.reconstruction,
    'camera': np.array([camera.fov, camera.rotation_center]),
  }
  if result.latent is not None:
    arrays['latent'] = result.latent
  return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def result_mesh(result: Result, shown: TexturedSurface, camera: Camera) -> Mesh:
  """The mesh that is written for a result, of its surface from `result_surface`."""
  return mesh_from_surface(shown, camera, size=max(_MESH_SIZE, len(result.factors.depth)))


def mesh_from_surface(shown: TexturedSurface, camera: Camera, *, size: int = _MESH_SIZE) -> Mesh:
  """The mesh of an upsampled surface.

  Args:
    shown: from `result_surface`.
    camera: its camera.
    size: vertices along a side before the cut.

  Returns:
    A `Mesh` with the surface's texture.
  """
  maps = np.stack([np.asarray(shown.surface.depth), np.asarray(shown.surface.layers[..., 9])], -1)
  at = np.linspace(0, len(maps) - 1, size)
  where = np.stack(np.meshgrid(at, at, indexing='ij'))
  depth, mask = (
    ndimage.map_coordinates(maps[..., k], where, order=1, mode='nearest') for k in (0, 1)
  )
  return mesh_from_depth(depth, mask, shown.texture, camera)


def _write_sheets(folder, result, shown, frames, front, fitted, path, lights):
  sheet = input_sheet(result, front, fitted, np.asarray(shown.surface.layers))
  photo = result.image if result.photo is None else result.photo
  image_files.write_png(folder / 'picture.png', image_files.to_uint8(photo))
  image_files.write_png(folder / 'sheet.png', sheet)
  image_files.write_png(folder / 'views.png', views_sheet(frames, path))
  grid = [image_files.cut_out(image, front.valid) for image in relit(front, lights)]
  image_files.write_png(folder / 'relight.png', relight_sheet(grid))
  if result.gan_rotate is not None:
    image_files.write_png(folder / 'gan_views.png', gan_sheet(result.gan_rotate, path))
  if result.gan_relight_grid is not None:
    image_files.write_png(folder / 'gan_relight.png', relight_sheet(result.gan_relight_grid))


def _write_videos(folder, result, frames, front, path, alpha, fps):
  lights = light_path(result.factors.light, alpha=alpha)
  moving = {
    'rotate_3d': [frames[i].whole for i in path.order],
    'rotate_3d_object': [frames[i].cut for i in path.order],
    'relight_3d': [image_files.cut_out(image, front.valid) for image in relit(front, lights)],
  }
  if result.gan_rotate is not None:
    moving['rotate_gan'] = [result.gan_rotate[i] for i in path.order]
  if result.gan_relight is not None:
    moving['relight_gan'] = list(result.gan_relight)
  for name, images in moving.items():
    videos.write_video(folder / name, images, fps=fps)
