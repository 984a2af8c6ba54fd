"""The shape of one picture: its factors, and what is made of them when it is asked for."""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import numpy as np
import trimesh
from ml_collections import ConfigDict

from gan2shape_jax import artefacts
from gan2shape_jax.artefacts.mesh import to_trimesh
from gan2shape_jax.artefacts.photo_surface import TexturedSurface
from gan2shape_jax.artefacts.results import factor_arrays, result_mesh
from gan2shape_jax.artefacts.sheets import view_colours
from gan2shape_jax.artefacts.views import render_view
from gan2shape_jax.errors import DataError
from gan2shape_jax.pipeline import finished
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.jobs import Fit, Job
from gan2shape_jax.pipeline.picture_latents import Found, LatentFinder
from gan2shape_jax.pipeline.picture_results import write_picture_result
from gan2shape_jax.renderer import Camera


class Made(NamedTuple):
  """What a reconstruction was made by and of; files need more of it than arrays do.

  Attributes:
    config: a whole configuration.
    shared: its assembly.
    job: the picture.
    fit: its networks and factors.
    result: what is known of it.
    latent_finder: that found its latent.
    inverted: the latent where it was found by inversion, or None.
  """

  config: ConfigDict
  shared: Assembly
  job: Job
  fit: Fit
  result: artefacts.Result
  latent_finder: LatentFinder
  inverted: Found | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reconstruction:
  """The shape, albedo, view and light of the object in one picture.

  Arrays are numpy's float32, s is the model's size. Colours are in [-1, 1], depths in camera units.
  Frames are x right, y down, z away from the camera; the canonical frame is that of the shape seen
  from the front.

  Attributes:
    name: of the picture.
    camera: field of view in degrees and centre of rotation.
    canonical_depth: [s, s] depth from the front.
    view_depth: [s, s] depth in the picture's own view; the far limit where nothing is seen.
    valid: [s, s] 1 where the picture's view sees a surface.
    normal: [s, s, 3] canonical unit normals, (0, 0, 1) facing the camera.
    albedo: [s, s, 3] canonical albedo.
    texture: [s, s, 3] albedo times shading, canonical.
    mask: [s, s, 1] the object in the canonical frame, in [0, 1].
    view: [6] rotation about x, y, z in radians and translation in camera units, from the canonical
      frame to the picture's.
    light: [4] ambient and diffuse as -1 to 1 for strengths of 0 to 1, slopes dx and dy.
    image: [s, s, 3] the picture as it was fitted.
    reconstruction: [s, s, 3] the factors rendered in the picture's view.
    latent: [w_dim] or [layers, w_dim] the GAN's latent; None after `predict`.
    metrics: image_l1, the mean absolute error of `reconstruction` where a surface is seen; after an
      inversion inversion_l1 and gan_distance; with true depth side_x100, mad and others.
    made: what files need beside the arrays.
  """

  name: str
  camera: Camera
  canonical_depth: np.ndarray
  view_depth: np.ndarray
  valid: np.ndarray
  normal: np.ndarray
  albedo: np.ndarray
  texture: np.ndarray
  mask: np.ndarray
  view: np.ndarray
  light: np.ndarray
  image: np.ndarray
  reconstruction: np.ndarray
  latent: np.ndarray | None
  metrics: dict[str, float]
  made: Made

  @classmethod
  def of(cls, made: Made) -> 'Reconstruction':
    """The reconstruction that a result of the pipeline holds."""
    camera = made.shared.settings.camera
    arrays: dict[str, Any] = {'latent': None} | factor_arrays(made.result, camera)
    metrics = dict(made.result.metrics)
    return cls(name=made.result.name, metrics=metrics, made=made, **(arrays | {'camera': camera}))

  def __repr__(self):
    metrics = ', '.join(f'{name}={value:.4g}' for name, value in self.metrics.items())
    return f'Reconstruction({self.name!r}, {len(self.image)} px, {metrics})'

  @functools.cached_property
  def surface(self) -> TexturedSurface:
    """The surface that is shown: depth enlarged, with the picture's own pixels for its texture."""
    return artefacts.result_surface(self.made.result, self.camera)

  def render(self, view, light=None) -> artefacts.ViewFrame:
    """Renders the surface in a view.

    Args:
      view: [6] rotation about x, y, z in radians and translation in camera units; zeros are the
        front, `self.view` is the picture's view.
      light: [4] as `self.light`, fixed to the canonical frame; None keeps the picture's own light.

    Returns:
      A `ViewFrame` of numpy arrays [n, n, ...], n at least 192: `texture` is the image in [-1, 1],
      beside it albedo, normal, mask, depth and valid.

    Raises:
      DataError: a shape is not as above.
    """
    frame = render_view(self.surface.surface, _numbers('view', view, 6), self.camera)
    if light is None:
      return frame
    ambient, diffuse, *slopes = _numbers('light', light, 4)
    ambient, diffuse = (np.array([x / 2 + 0.5], np.float32) for x in (ambient, diffuse))
    lights = artefacts.Lights(ambient, diffuse, np.array([slopes], np.float32))
    image = artefacts.relit(frame, lights)[0] * frame.valid[..., None]
    return frame._replace(texture=image)

  def rotate(
    self, max_yaw: float | None = None, frames: int = 25, *, object_only: bool = True
  ) -> np.ndarray:
    """Turns the surface from left to right.

    Args:
      max_yaw: degrees to both sides; None is as far as the shape supports (a depth map has no
        back), at most the setting results.max_yaw.
      frames: how many, at least 2, evenly spaced from -max_yaw to max_yaw.
      object_only: whether what the mask leaves out is left out.

    Returns:
      uint8 [frames, n, n, 3] on white.

    Raises:
      DataError: there are fewer than 2 frames.
    """
    if frames < 2:
      raise DataError(f'frames={frames}: expected at least 2')
    if max_yaw is None:
      results = self.made.config.results
      factors = self.made.result.factors
      max_yaw = artefacts.supported_yaw(factors, self.camera, results.max_yaw)
    views = np.zeros((frames, 6), np.float32)
    views[:, 1] = np.deg2rad(np.linspace(-max_yaw, max_yaw, frames))
    seen = [view_colours(self.render(view)) for view in views]
    return np.stack([colours.cut if object_only else colours.whole for colours in seen])

  def mesh(self) -> trimesh.Trimesh:
    """The object as a textured mesh: y up, z towards the viewer, longest side 1."""
    return to_trimesh(result_mesh(self.made.result, self.surface, self.camera))

  def save(self, folder) -> pathlib.Path:
    """Writes the files that a run writes for a picture (docs/results.md).

    Arrays and metrics always; sheets, videos and meshes as the settings `results` say; latent.npz
    and inversion.png where the latent was found by inversion.

    Args:
      folder: made if missing; files of the same names are replaced.

    Returns:
      The folder.

    Raises:
      ArtefactError: the system refused.
    """
    folder, made = pathlib.Path(folder).expanduser(), self.made
    job = dataclasses.replace(made.job, folder=folder)
    with job.clock.part('results'):
      if made.inverted is not None:
        made.latent_finder.write(job.picture, made.inverted, folder)
      write_picture_result(made.config, made.shared, job, made.fit, made.result)
    finished.finish(folder, job.clock.seconds, {})
    return folder


def _numbers(what, values, count):
  array = np.asarray(values, np.float32)
  if array.shape != (count,) or not np.isfinite(array).all():
    raise DataError(f'{what}: expected {count} finite numbers, its shape is {array.shape}')
  return array
