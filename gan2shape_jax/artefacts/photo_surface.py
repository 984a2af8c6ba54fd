"""The surface that results show: depth that follows the picture, its pixels, one whole object."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.artefacts import image_files
from gan2shape_jax.artefacts.guided_depth import guided_depth
from gan2shape_jax.artefacts.object_mask import carried_mask, solid_mask, with_clean_rim
from gan2shape_jax.artefacts.photo_texture import photo_texture, views_seen
from gan2shape_jax.artefacts.resizing import area_means, reduced, sampled
from gan2shape_jax.artefacts.views import Surface, render_view, surface_from_factors
from gan2shape_jax.artefacts.visibility import seen_from
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.renderer import Camera, diffuse_shading, light_from_code, normals_from_depth


class TexturedSurface(NamedTuple):
  """A surface and its texture at full resolution.

  Attributes:
    surface: maps of the size at which it is rendered.
    texture: [n, n, 3] bytes, lit as the picture is; n is at least the surface's size.
  """

  surface: Surface
  texture: np.ndarray


def whole_mask(factors: Factors, camera: Camera, mask, *, size: int) -> np.ndarray:
  """The object's mask in the canonical frame as one piece without holes.

  Args:
    factors: what was found in a picture.
    camera: of the picture.
    mask: [n, n, 1] the object in the picture, in [0, 1]; None where it is not known, then the
      factors' own canonical mask is mended.
    size: pixels along a side at which it is computed.

  Returns:
    float32 [n, n, 1] in [0, 1], at least 0.5 on the object.
  """
  smooth = surface_from_factors(factors, camera, size=size)
  found = _whole_mask(factors, smooth, camera, mask)
  return reduced(found[..., None], len(factors.depth))


def textured_surface(
  factors: Factors,
  camera: Camera,
  *,
  size: int,
  photo=None,
  mask=None,
  projections=None,
  projection_views=None,
) -> TexturedSurface:
  """Makes the surface that is shown.

  Args:
    factors: what was found in a picture.
    camera: of the picture and of the canonical maps.
    size: pixels of the surface's sides.
    photo: [n, n, 3] the picture at its own resolution, in [-1, 1] or bytes; None takes the fitted
      albedo and its shading for the texture instead.
    mask: [m, m, 1] the object in the picture, or None (see `whole_mask`).
    projections: [k, s, s, 3] the GAN's images of other views, in [-1, 1], or None.
    projection_views: [k, 6] their views, radians and camera units, or None.

  Returns:
    A `TexturedSurface`.

  Raises:
    ValueError: there are not as many views as projections.
  """
  smooth = surface_from_factors(factors, camera, size=size)
  depth, layers = np.asarray(smooth.depth), np.asarray(smooth.layers)
  fit_size = len(factors.depth)
  if photo is None:
    found = _whole_mask(factors, smooth, camera, mask)
    surface = Surface(depth, np.concatenate([layers[..., :9], found[..., None]], axis=-1))
    return TexturedSurface(surface, image_files.to_uint8(layers[..., :3]))
  photo = np.asarray(photo)
  if photo.dtype == np.uint8:
    photo = photo.astype(np.float32) / 127.5 - 1
  detail = size / fit_size
  seen = seen_from(depth, factors.view, camera, detail=detail)
  guide = sampled(area_means(photo, size), seen.grid, size=fit_size)
  # What the picture hides has no outlines to follow.
  guide = seen.weight[..., None] * (guide - layers[..., :3]) + layers[..., :3]
  depth = guided_depth(factors.depth, depth, guide, camera)
  found = _whole_mask(factors, smooth, camera, mask, seen)
  depth = with_clean_rim(depth, found, camera, detail=detail)
  normal, shading = map(np.asarray, _shaded(depth, factors.light, camera))
  seen = seen_from(depth, factors.view, camera, detail=detail)
  if mask is None:
    mask = reduced(render_view(smooth, factors.view, camera).mask[..., None], fit_size)
  texture = photo_texture(
    photo,
    mask,
    found,
    seen,
    layers[..., 3:6],
    shading,
    size=fit_size,
    others=views_seen(projections, projection_views, depth, camera),
  )
  colours = (reduced(maps, size) for maps in (texture.shaded, texture.albedo))
  layers = np.concatenate([*colours, normal, found[..., None]], axis=-1)
  surface = Surface(jnp.asarray(depth), jnp.asarray(layers))
  return TexturedSurface(surface, image_files.to_uint8(texture.shaded))


def _whole_mask(factors, smooth, camera, mask, seen=None):
  """[size, size], from the picture's mask or, without one, from the canonical one."""
  depth = np.asarray(smooth.depth)
  detail = len(depth) / len(factors.depth)
  if mask is None:
    return solid_mask(np.asarray(smooth.layers[..., 9]), detail=detail)
  seen = seen or seen_from(depth, factors.view, camera, detail=detail)
  return solid_mask(carried_mask(mask, seen), detail=detail)


@jax.jit
def _shaded(depth, light, camera):
  normal, light = normals_from_depth(depth, camera), light_from_code(light)
  return normal, light.ambient + light.diffuse * diffuse_shading(normal, light)
