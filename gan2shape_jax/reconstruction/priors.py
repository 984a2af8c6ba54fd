"""The weak shape prior, and the Gaussians that views and lights are drawn from."""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.reconstruction.state import Settings, ViewLightPrior

SHAPES = ('ellipsoid', 'dome', 'flat', 'asymmetric')
CATEGORIES = ('face', 'synface', 'head', 'cat', 'car', 'church', 'horse')
_SPHERE_RADIUS = 0.4  # camera units: the cap that is stretched over the object
# The dome's outline |x|^2.5 + |y|^2.5 = 1 and its profile sqrt(1 - r^3): between ellipsoid and box.
_DOME_OUTLINE, _DOME_PROFILE = 2.5, 3.0


def mask_box(mask, category: str, *, threshold: float = 0.7) -> tuple[float, float, float, float]:
  """Bounding box of a mask with the edits of its category (GAN2Shape's published code).

  Args:
    mask: [size, size] or [size, size, 1] in [0, 1].
    category: one of `CATEGORIES`; cat, horse and head leave the box as it is.
    threshold: pixels at or above it belong to the object.

  Returns:
    top, bottom, left, right in pixels.

  Raises:
    ValueError: no pixel reaches the threshold, or the category is unknown.
  """
  if category not in CATEGORIES:
    raise ValueError(f'unknown category {category!r}: expected one of {", ".join(CATEGORIES)}')
  mask = np.asarray(mask).reshape(np.shape(mask)[:2])
  rows, columns = np.where(mask >= threshold)
  if not rows.size:
    raise ValueError(f'the mask is empty: no pixel reaches {threshold}')
  top, bottom = float(rows.min()), float(rows.max())
  left, right = float(columns.min()), float(columns.max())
  if category == 'synface':
    top -= (bottom - top) / 6
  elif category == 'face':
    bottom = float(mask.shape[0] - 1)
    left, right = left + (right - left) / 12, right - (right - left) / 12
  elif category in ('car', 'church'):
    bottom += (bottom - top) / 6
  return top, bottom, left, right


def prior_depth(
  mask,
  *,
  shape: str = 'ellipsoid',
  category: str = 'face',
  near: float = 0.91,
  far: float = 1.02,
  image_centered: bool = False,
):
  """The shape that reconstruction starts from (GAN2Shape, section 3.2).

  Args:
    mask: [size, size] or [size, size, 1] in [0, 1].
    shape: 'ellipsoid', a cap of a sphere stretched over the mask's box; 'dome', half of a
      superellipsoid, flatter in front and steep at the rim, as heads are; 'asymmetric', the
      ellipsoid with its nearest point moved sideways by a third of the half-width; 'flat', `far`
      all over.
    category: see `mask_box`.
    near: depth of the cap's nearest point, camera units.
    far: depth of its rim and of everything outside.
    image_centered: stretch vertically about the image's centre instead of the box's, as published:
      masks off the centre then get shifted caps.

  Returns:
    [size, size] depth.

  Raises:
    ValueError: an unknown shape or category, or an empty mask.
  """
  if shape not in SHAPES:
    raise ValueError(f'unknown prior shape {shape!r}: expected one of {", ".join(SHAPES)}')
  height, width = np.shape(mask)[:2]
  if shape == 'flat':
    return np.full((height, width), far, np.float32)
  top, bottom, left, right = mask_box(mask, category)
  half_width = max((right - left) / 2, 0.5)
  stretch = max(bottom - top, 1.0) / (2 * half_width)
  center_v, center_u = (top + bottom) / 2, (left + right) / 2
  fixed_v = height / 2 if image_centered else center_v
  v, u = np.meshgrid(np.arange(height), np.arange(width), indexing='ij')
  v = (v - fixed_v) / stretch + fixed_v
  radius = np.hypot(v - center_v, u - center_u) / half_width
  if shape == 'dome':
    x, y = np.abs(u - center_u) / half_width, np.abs(v - center_v) / half_width
    radius = (x**_DOME_OUTLINE + y**_DOME_OUTLINE) ** (1 / _DOME_OUTLINE)
    dome = far - (far - near) * np.sqrt(1 - np.minimum(radius, 1) ** _DOME_PROFILE)
    return dome.astype(np.float32)
  if shape == 'asymmetric':
    # Distances are to a centre a third to the right, stretched so that the rim stays in place.
    x, y = (u - center_u) / half_width, (v - center_v) / half_width
    shift, rim = 1 / 3, np.sqrt(np.maximum(1 - y**2, 1e-6))
    side = np.where(x > shift * rim, 1 - shift, 1 + shift) * rim
    radius = np.hypot((x - shift * rim) / side * rim, y)
  height_of_cap = far - near
  rim_radius = np.sqrt(_SPHERE_RADIUS**2 - (_SPHERE_RADIUS - height_of_cap) ** 2)
  inside = np.minimum(radius, 1) * rim_radius
  cap = near + _SPHERE_RADIUS - np.sqrt(_SPHERE_RADIUS**2 - inside**2)
  return np.where(radius <= 1, cap, far).astype(np.float32)


def cholesky(covariance):
  """Lower Cholesky factor of a covariance matrix [n, n]."""
  return jnp.linalg.cholesky(covariance)


def view_from_normals(normals, prior: ViewLightPrior, settings: Settings):
  """Views from standard normals: mean + L z, the yaw's spread scaled by `view_scale`.

  Args:
    normals: [6] standard normals.
    prior: the views' Gaussian.
    settings: `view_scale`; `scale_mean_yaw` scales the mean yaw too, as published.

  Returns:
    [6] view in network units.
  """
  mean = prior.view_mean
  deviation = cholesky(prior.view_cov) @ normals
  scale = jnp.ones(6).at[1].set(settings.view_scale)
  if settings.scale_mean_yaw:
    return (mean + deviation) * scale
  return mean + deviation * scale


def light_from_normals(normals, prior: ViewLightPrior):
  """Lights [4] in network units from standard normals [4]: mean + L z."""
  return prior.light_mean + cholesky(prior.light_cov) @ normals


def sample_view(key, prior: ViewLightPrior, settings: Settings):
  """Draws a view [6] in network units from the prior."""
  return view_from_normals(jax.random.normal(key, (6,)), prior, settings)
