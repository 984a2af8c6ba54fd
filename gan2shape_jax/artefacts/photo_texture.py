"""The picture's own pixels as the surface's texture, at the picture's own resolution.

What the picture shows at a fair angle keeps its pixels. What it hides takes those of the mirrored
side (probable symmetry), then those of the GAN's images of other views, then its own at a grazing
angle, then the fitted albedo.
Each layer meets what is there already in its colours: their difference where both are known is
carried on smoothly and added. All this happens to albedo, the picture divided by the fitted
shading, so that a mirrored cheek is lit as the cheek it replaces.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from gan2shape_jax.artefacts.resizing import area_means, enlarged, sampled
from gan2shape_jax.artefacts.smooth_fill import smooth_fill
from gan2shape_jax.artefacts.visibility import Seen, seen_from, smooth_step
from gan2shape_jax.renderer import Camera

_DARKEST = 0.05  # shading below this is no light to divide by
_BRIGHTEST = 4.0  # albedo on the scale 0 to 1 beyond which a colour is no surface's
_RIM = (0.2, 0.4)  # of the canonical mask: all that is shown of the object has its colours
_PURE = (0.6, 0.95)  # of the blurred mask: colours of the rim are mixed with what lies behind
_BETTER = (0.05, 0.2)  # cosines by which the mirrored side must be seen better
_MIXED = (0.5, 0.75)  # ... which are still better than none
_SMEARED = (0.05, 0.15)  # cosines of angles at which the picture's pixels are too
_SMOOTH = 4.0  # pixels of the fit over which colours are compared
_ENOUGH = 4.0  # images of the GAN that see a point equally well: more tell nothing new


class Texture(NamedTuple):
  """The colours of a canonical surface.

  Attributes:
    shaded: float32 [n, n, 3] in [-1, 1], lit as the picture is.
    albedo: float32 [n, n, 3], -1 black, 1 white, beyond where the light was found too weak.
    own: float32 [size, size] in [0, 1]: how far they are the picture's own pixels, at the size of
      the depth map.
  """

  shaded: np.ndarray
  albedo: np.ndarray
  own: np.ndarray


class _Layer(NamedTuple):
  """Colours as a function n -> [n, n, 3], where they are known and where they are taken."""

  make: Callable[[int], np.ndarray]
  known: np.ndarray
  weight: np.ndarray


def photo_texture(
  photo,
  picture_mask,
  mask,
  seen: Seen,
  albedo,
  shading,
  *,
  size: int,
  others: Sequence[tuple[np.ndarray, Seen]] = (),
) -> Texture:
  """Makes the texture of a canonical surface from a picture of it.

  Args:
    photo: [n, n, 3] in [-1, 1], or bytes: the picture at its own resolution.
    picture_mask: [m, m, 1] in [0, 1], the object in the picture.
    mask: [k, k] in [0, 1], the object in the canonical frame.
    seen: the picture's view of the canonical depth map of k x k.
    albedo: [k, k, 3] the fitted albedo in [-1, 1].
    shading: [k, k] fitted brightness: ambient + diffuse * cosine.
    size: pixels along a side of the fit's pictures (see `resizing.sampled`).
    others: images [s, s, 3] in [-1, 1] of other views and how those see the depth map.

  Returns:
    A `Texture` of max(n, k) pixels along a side.
  """
  photo, mask = _unit(photo), smooth_step(np.asarray(mask, np.float32), *_RIM)
  shading = np.maximum(np.asarray(shading, np.float32), _DARKEST)
  small = len(mask)
  outline = _blurred(np.asarray(picture_mask, np.float32), len(picture_mask) / size)
  outline = sampled(outline, seen.grid, size=size)[..., 0]
  # The object takes no colours from behind it, the surroundings may take some of its own.
  mixed = smooth_step(mask * outline, *_MIXED)
  mixed = mixed + smooth_step((1 - mask) * (1 - outline), *(limit - 0.25 for limit in _MIXED))
  grazed = seen.visible * smooth_step(seen.facing, *_SMEARED) * mixed
  on_object, beside = (seen.weight * smooth_step(part, *_PURE) for part in (outline, 1 - outline))
  own = mask * on_object + (1 - mask) * beside
  mirrored = mask * on_object[:, ::-1] + (1 - mask) * beside[:, ::-1]
  quality = seen.visible * seen.facing
  better = smooth_step(quality[:, ::-1] - quality, *_BETTER)
  photo_albedo = functools.partial(_photo_albedo, photo, seen.grid, shading, size)
  layers = [
    _Layer(photo_albedo, own, own),
    _Layer(lambda n: photo_albedo(n)[:, ::-1], mirrored, mirrored * better),
  ]
  if others:
    turned, weight = _other_views(others, mask, size, shading)
    layers.append(_Layer(functools.partial(enlarged, turned), weight, weight))
  layers.append(_Layer(photo_albedo, grazed, grazed))
  everywhere = np.ones_like(own)
  layers.append(_Layer(functools.partial(enlarged, _unit(albedo)), everywhere, everywhere))

  large = max(len(photo), small)
  corrections = _corrections(layers, mask, size)
  result, covered = np.zeros((large, large, 3), np.float32), np.zeros((large, large, 1), np.float32)
  for layer, correction in zip(layers, corrections, strict=True):
    share = (1 - covered) * enlarged(layer.weight[..., None], large)
    result += share * (layer.make(large) + enlarged(correction, large))
    covered += share
  result = np.clip(result, 0, _BRIGHTEST)
  shaded = np.clip(result * enlarged(shading[..., None], large), 0, 1) * 2 - 1
  return Texture(shaded, result * 2 - 1, own)


def views_seen(images, views, depth, camera: Camera) -> list[tuple[np.ndarray, Seen]]:
  """The GAN's images of other views as `photo_texture` takes them.

  Args:
    images: [n, s, s, 3] in [-1, 1], or None.
    views: [n, 6] radians and camera units, or None.
    depth: [k, k] canonical depth, camera units.
    camera: camera of all of them.

  Returns:
    Pairs of an image and how its view sees the depth map; none for None.

  Raises:
    ValueError: there are not as many views as images.
  """
  if images is None:
    return []
  if views is None or len(images) != len(views):
    count = 0 if views is None else len(views)
    raise ValueError(f'expected a view for each of {len(images)} images, got {count}')
  return [
    (image, seen_from(depth, view, camera, detail=len(depth) / len(image)))
    for image, view in zip(images, views, strict=True)
  ]


def _unit(colours):
  """Colours on the scale 0 to 1."""
  colours = np.asarray(colours)
  if colours.dtype == np.uint8:
    return colours.astype(np.float32) / 255
  return colours.astype(np.float32) / 2 + 0.5


def _photo_albedo(photo, grid, shading, size, n):
  """The picture's colours without its light, [n, n, 3]."""
  if n >= len(photo):  # bicubic where the picture is as fine as the texture
    colours = sampled(photo, enlarged(grid, n), size=size, order=3)
  else:
    colours = sampled(area_means(photo, n), enlarged(grid, n), size=size)
  return np.clip(colours, 0, 1) / enlarged(shading[..., None], n)


def _other_views(others, mask, size, shading):
  """The mean of other views' colours without the picture's light, and how well it is known."""
  total, sums = np.zeros_like(mask), np.zeros((*mask.shape, 3), np.float32)
  for image, seen in others:
    weight = seen.weight * np.maximum(seen.facing, 0) ** 2
    sums += weight[..., None] * sampled(_unit(image), seen.grid, size=size)
    total += weight
  mean = sums / np.maximum(total, 1e-6)[..., None] / shading[..., None]
  return mean, mask * np.clip(total * _ENOUGH / max(len(others), 1), 0, 1)


def _corrections(layers, mask, size):
  """What to add to each layer's colours to meet those that go before it."""
  small, width = len(mask), _SMOOTH * len(mask) / size
  so_far, known = layers[0].make(small), layers[0].weight
  corrections = [np.zeros_like(so_far)]
  for layer in layers[1:]:
    colours, correction = layer.make(small), np.zeros_like(so_far)
    for region in (mask, 1 - mask):
      both = (region * known * layer.known)[..., None]
      difference, amount = _blurred(both * (so_far - colours), width), _blurred(both, width)
      filled = smooth_fill(difference / np.maximum(amount, 1e-6), np.clip(4 * amount[..., 0], 0, 1))
      correction += region[..., None] * filled
    share = (1 - known) * layer.weight
    total = np.maximum(known + share, 1e-6)[..., None]
    so_far = (known[..., None] * so_far + share[..., None] * (colours + correction)) / total
    known = known + share
    corrections.append(correction)
  return corrections


def _blurred(maps, width):
  return ndimage.gaussian_filter(maps, (width, width, 0), mode='nearest')
