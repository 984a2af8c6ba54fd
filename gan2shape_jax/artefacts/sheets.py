"""The contact sheets: labelled grids of what a picture's factors look like."""

from typing import Any, NamedTuple

import numpy as np

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.artefacts.views import ViewFrame, ViewPath, sheet_indices


class ViewColours(NamedTuple):
  """A view as pictures of bytes, each [size, size, 3].

  Attributes:
    whole: the surface with its surroundings.
    cut: the object alone.
    normal: its normals in colour.
    shape: its untextured shape.
  """

  whole: np.ndarray
  cut: np.ndarray
  normal: np.ndarray
  shape: np.ndarray


def view_colours(frame: ViewFrame) -> ViewColours:
  """A view as pictures: whole on white, cut out, its normals and its untextured shape."""
  alpha = image_files.object_alpha(frame.mask, frame.valid)
  layers = (
    image_files.cut_out(frame.texture, frame.valid),
    image_files.cut_out(frame.texture, alpha),
    image_files.cut_out(image_files.colour_normals(frame.normal), alpha),
    image_files.cut_out(image_files.shade(frame.normal), alpha),
  )
  return ViewColours(*(image_files.to_uint8(layer) for layer in layers))


def input_sheet(result, front: ViewFrame, fitted: ViewFrame, layers) -> np.ndarray:
  """The picture and its factors side by side, bytes.

  Args:
    result: a `Result`, what is known of the picture.
    front: the surface rendered in the picture's view.
    fitted: the factors alone rendered in it, with the fitted albedo.
    layers: [size, size, 10] the surface's maps, as of `Surface`.
  """
  alpha = image_files.object_alpha(front.mask, front.valid)
  near, far = image_files.depth_range(front.depth, alpha)
  columns: dict[str, Any] = {
    'input': result.image if result.photo is None else result.photo,
    'reconstruction': fitted.texture,
    'depth': image_files.colour_depth(front.depth, near, far),
    'normal': image_files.colour_normals(front.normal),
    'albedo': result.factors.albedo,
    'shape': image_files.cut_out(image_files.shade(front.normal), alpha),
    'canonical': layers[..., :3],
    'mask': np.repeat(layers[..., 9:], 3, axis=-1) * 2 - 1,
  }
  return image_files.contact_sheet([list(columns.values())], list(columns))


def inversion_sheet(image, found) -> np.ndarray:
  """A picture, the GAN's image of the latent found for it and what it misses, bytes.

  Args:
    image: [size, size, 3] in [-1, 1].
    found: like `image`.
  """
  image, found = np.asarray(image), np.asarray(found)
  columns = {'picture': image, "GAN's image of it": found, 'difference': (image - found) / 2}
  return image_files.contact_sheet([list(columns.values())], list(columns))


def _view_labels(path, yaws, pitches):
  degrees = np.rad2deg(path.views).round(1)
  names = [('yaw', degrees[i, 1]) for i in yaws] + [('pitch', degrees[i, 0]) for i in pitches]
  return [f'{name} {angle:+g}°' if angle else f'{name} 0°' for name, angle in names]


def views_sheet(frames, path: ViewPath) -> np.ndarray:
  """Nine yaws and five pitches as whole picture, object, normals and shape, bytes."""
  yaws, pitches = sheet_indices(path)
  chosen = [frames[i] for i in (*yaws, *pitches)]
  rows = [[getattr(frame, layer) for frame in chosen] for layer in ViewColours._fields]
  names = ['surface', 'object', 'normals', 'shape']
  return image_files.contact_sheet(rows, _view_labels(path, yaws, pitches), names, cell=128)


def gan_sheet(frames, path: ViewPath) -> np.ndarray:
  """The same yaws and pitches through encoder and generator, bytes."""
  yaws, pitches = sheet_indices(path)
  rows = [[frames[i] for i in (*yaws, *pitches)]]
  return image_files.contact_sheet(rows, _view_labels(path, yaws, pitches), ['GAN'], cell=128)


def relight_sheet(images) -> np.ndarray:
  """The 20 lights of `relight_lights` as 4 rows of 5, bytes."""
  columns = [f'from {side}' for side in ('far right', 'right', 'front', 'left', 'far left')]
  names = ['level, mild', 'above, mild', 'level, strong', 'above, strong']
  rows = [images[5 * row : 5 * row + 5] for row in range(4)]
  return image_files.contact_sheet(rows, columns, names, cell=144)
