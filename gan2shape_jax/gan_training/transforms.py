"""Geometric and colour transforms of one image by matrices; composed first, applied once.

Geometric matrices are 3x3 and act on (x, y, 1), positions in pixels from the image's centre, x to
the right and y down: content at position q of the image goes to `matrix @ q`. Beyond the borders
an image goes on mirrored at its outermost pixels' centres. Colour matrices are 4x4 and act on
(r, g, b, 1), colours in [-1, 1].
"""

import jax
import jax.numpy as jnp

from gan2shape_jax.renderer.warping import sample_bilinear

_LUMA = 3**-0.5  # each component of the unit vector along grey


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
  """Moves an image's content, with bilinear sampling.

  Args:
    image: [H, W, C].
    matrix: [3, 3] geometric, invertible.

  Returns:
    [H, W, C].
  """
  height, width, _ = image.shape
  x = jnp.arange(width) - (width - 1) / 2
  y = jnp.arange(height) - (height - 1) / 2
  x, y = jnp.meshgrid(x, y)
  inverse = _inverse(matrix)
  u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] + (width - 1) / 2
  v = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] + (height - 1) / 2
  grid = jnp.stack((_mirrored(u, width), _mirrored(v, height)), -1)
  return sample_bilinear(image, grid)


def recolour(image: jax.Array, matrix: jax.Array) -> jax.Array:
  """Maps every colour: [H, W, 3] -> [H, W, 3]."""
  rgb = jnp.einsum('hwc,dc->hwd', image, matrix[:3, :3], precision=jax.lax.Precision.HIGHEST)
  return rgb + matrix[None, None, :3, 3]


def translation(x, y) -> jax.Array:
  """Moves content by (x, y) pixels."""
  return _rows((1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0))


def scaling(x, y) -> jax.Array:
  """Makes content x times as wide and y times as high; negative numbers flip it."""
  return _rows((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))


def rotation(angle) -> jax.Array:
  """Turns content clockwise by radians."""
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return _rows((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0))


def quarter_turns(count) -> jax.Array:
  """Turns content clockwise by a whole number of right angles, exactly."""
  cos = jnp.array((1.0, 0.0, -1.0, 0.0))[count % 4]
  sin = jnp.array((0.0, 1.0, 0.0, -1.0))[count % 4]
  return _rows((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0))


def brightness(amount) -> jax.Array:
  """Adds to all channels."""
  return jnp.eye(4).at[:3, 3].set(amount)


def contrast(factor) -> jax.Array:
  """Multiplies all channels."""
  return jnp.diag(jnp.stack([jnp.asarray(factor, jnp.float32)] * 3 + [jnp.float32(1)]))


def luma_flip(flip) -> jax.Array:
  """Mirrors colours at the plane of no luma where `flip` is 1, not where it is 0."""
  return _affine(jnp.eye(3) - 2 * flip * jnp.full((3, 3), _LUMA**2))


def hue(angle) -> jax.Array:
  """Turns colours about the grey axis by radians (by Rodrigues' formula)."""
  across = _LUMA * jnp.array(((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0)))
  along = jnp.full((3, 3), _LUMA**2)
  return _affine(
    jnp.cos(angle) * jnp.eye(3) + jnp.sin(angle) * across + (1 - jnp.cos(angle)) * along
  )


def saturation(factor) -> jax.Array:
  """Multiplies the distance from grey."""
  along = jnp.full((3, 3), _LUMA**2)
  return _affine(along + factor * (jnp.eye(3) - along))


def _affine(matrix):
  return jnp.eye(4).at[:3, :3].set(matrix)


def _rows(*rows):
  return jnp.stack([jnp.stack([jnp.asarray(x, jnp.float32) for x in row]) for row in rows])


def _inverse(matrix):
  """Of a matrix whose last row is (0, 0, 1)."""
  (a, b, x), (c, d, y) = matrix[0], matrix[1]
  determinant = a * d - b * c
  turned = _rows((d, -b, 0.0), (-c, a, 0.0), (0.0, 0.0, determinant)) / determinant
  return (
    turned.at[0, 2]
    .set(-(turned[0, 0] * x + turned[0, 1] * y))
    .at[1, 2]
    .set(-(turned[1, 0] * x + turned[1, 1] * y))
  )


def _mirrored(position, size):
  """Folds positions into [0, size - 1] by mirroring at both ends."""
  period = 2.0 * (size - 1)
  folded = jnp.abs(position - period * jnp.round(position / period))
  return jnp.minimum(folded, size - 1.0)
