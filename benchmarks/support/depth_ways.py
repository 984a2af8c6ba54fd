"""Ours and other ways to see a depth map in views, and how far they are from a ray caster."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from benchmarks.support import rasterisers
from gan2shape_jax import renderer

CAMERA = renderer.Camera()
_NEAR, _FAR = 0.8, 1.2
WAYS = 'ours', 'ours, views in turn', 'ours, with image', 'fragments', 'splat'
_COMPARED = 4  # views that the ray caster is asked for


def head(size: int) -> np.ndarray:
  """Depth [size, size] of a smooth surface: a skull, a nose and two eye sockets."""
  v, u = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing='ij')
  bump = lambda x, y, width: np.exp(-((u - x) ** 2 + (v - y) ** 2) / width)
  eyes = 0.005 * (bump(-0.3, -0.15, 0.02) + bump(0.3, -0.15, 0.02))
  return np.float32(1.03 - 0.06 * bump(0, 0, 0.5) - 0.012 * bump(0, 0.1, 0.02) + eyes)


def ways(depth: np.ndarray, views: np.ndarray) -> dict:
  """Name -> function of depth [size, size] and views [n, 6] that gives depths [n, size, size]."""
  box = rasterisers.box_size(depth, jnp.asarray(views), CAMERA)
  fragments = functools.partial(rasterisers.fragments, camera=CAMERA, box=box)
  splat = functools.partial(rasterisers.splat, camera=CAMERA)
  texture = np.broadcast_to(np.float32(depth)[..., None] - 1, (*depth.shape, 3))
  bounded = lambda seen: jnp.clip(seen, _NEAR, _FAR)

  def ours(depth, view):
    return renderer.depth_in_view(depth, view, CAMERA, near=_NEAR, far=_FAR)[0]

  def image(depth, view):
    light = renderer.light_from_code(jnp.array([0.0, 0.0, 0.3, -0.2]))
    return renderer.render(texture, depth, light, view, CAMERA, near=_NEAR, far=_FAR).image

  functions = (
    lambda depth, views: jax.vmap(lambda view: ours(depth, view))(views),
    lambda depth, views: jax.lax.map(lambda view: ours(depth, view), views),
    lambda depth, views: jax.vmap(lambda view: image(depth, view))(views),
    lambda depth, views: bounded(jax.vmap(lambda view: fragments(depth, view))(views)),
    lambda depth, views: bounded(jax.vmap(lambda view: splat(depth, view))(views)),
  )
  return dict(zip(WAYS, functions, strict=True))


def compare(depth, views, outputs):
  """Rows of how far each way's depths are from the ray caster's, and gradients from ours.

  Args:
    depth: [size, size] camera units.
    views: [n, 6].
    outputs: (way, 'forward' or 'and backward') -> what the way gave.
  """
  if not outputs:
    return []
  some = np.unique(np.linspace(0, len(views) - 1, _COMPARED).astype(int))
  some = some if rasterisers.caster() == 'embree' or len(depth) <= 32 else some[:0]
  truth = [rasterisers.raycast(depth, views[k], CAMERA) for k in some]
  rows = []
  for way in ('ours', 'fragments', 'splat'):
    row = {'way': way, 'size': len(depth), 'views': len(views)}
    seen = outputs.get((way, 'forward'))
    if seen is not None and truth:
      errors, agreed = [], []
      for k, exact in zip(some, truth, strict=True):
        shown, hit = np.asarray(seen[k]), np.isfinite(exact)
        interior = ndimage.binary_erosion(hit & (shown < _FAR), iterations=2)
        errors.append(np.abs(shown - exact)[interior])
        agreed.append(((shown < _FAR) == hit).mean())
      errors = np.concatenate(errors)
      row |= {'mean_abs_difference': float(errors.mean()), 'largest': float(errors.max())}
      row['coverage_agrees'] = float(np.mean(agreed))
    gradients, own = (outputs.get((name, 'and backward')) for name in (way, 'ours'))
    if gradients is not None and own is not None:
      for name, a, b in zip(('depth', 'views'), gradients, own, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        row[f'gradient_{name}'] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    rows.append(row)
  return rows
