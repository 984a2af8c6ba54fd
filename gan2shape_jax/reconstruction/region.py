"""Where in the canonical frame the object is expected."""

import jax.numpy as jnp
import numpy as np

_RIM_SLOPE = 2.5  # of the weight's fall to zero at the rim, a unit of the radius


def box_mask(box, size: int):
  """A mask that is 1 in a box.

  Args:
    box: (top, bottom, left, right) in parts of the image.
    size: height and width, pixels.

  Returns:
    numpy float32 [size, size].
  """
  top, bottom, left, right = (round(edge * size) for edge in box)
  mask = np.zeros((size, size), np.float32)
  mask[top:bottom, left:right] = 1
  return mask


def region_weight(box, size: int, *, rim: float = 1.25):
  """Where pictures must be explained: the ellipse in a box with a soft rim, not the background.

  A background that stays when the object turns is no surface; left in, it would pull the views.

  Args:
    box: (top, bottom, left, right) in parts of the image, where the object is expected.
    size: height and width, pixels.
    rim: radius at which the weight is zero; 1 is the ellipse that touches the box.

  Returns:
    [size, size, 1] weights in [0, 1].
  """
  top, bottom, left, right = box
  position = (np.arange(size) + 0.5) / size
  x = (position - (left + right) / 2) / ((right - left) / 2)
  y = (position - (top + bottom) / 2) / ((bottom - top) / 2)
  radius = np.hypot(x[None, :], y[:, None])
  weight = np.clip(_RIM_SLOPE * (rim - radius), 0, 1)
  return jnp.asarray(weight, jnp.float32)[..., None]
