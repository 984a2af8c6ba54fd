"""Values carried smoothly from where they are known to where they are not (pull-push pyramid).

Gortler et al., The Lumigraph, SIGGRAPH 1996 (section 3.4): averages of what is known are pulled up
a pyramid and pushed back down into the gaps, so that near gaps follow their surroundings and far
ones the mean of everything.
"""

import numpy as np


def smooth_fill(values, weights) -> np.ndarray:
  """Fills what is unknown.

  Args:
    values: [height, width, channels]; where the weight is 0 anything finite.
    weights: [height, width] in [0, 1], how well each is known.

  Returns:
    float32 [height, width, channels]: the values where the weight is 1, a smooth continuation of
    them where it is 0, in between a mean of both; 0 everywhere where nothing is known at all.
  """
  values, weights = np.asarray(values, np.float32), np.asarray(weights, np.float32)
  height, width = weights.shape
  side = 1 << int(max(height, width) - 1).bit_length()
  padding = ((0, side - height), (0, side - width))
  weights = np.pad(weights, padding)[..., None]
  products = np.pad(values, (*padding, (0, 0))) * weights
  levels = [(products, weights)]
  while levels[-1][1].shape[0] > 1:
    levels.append(tuple(_halved(maps) for maps in levels[-1]))
  filled = np.zeros_like(levels[-1][0])
  for products, weights in reversed(levels):
    if filled.shape != products.shape:
      filled = _doubled(filled)
    known = np.minimum(weights, 1)
    mean = products / np.maximum(weights, 1e-12)
    filled = known * mean + (1 - known) * filled
  return filled[:height, :width]


def _halved(maps):
  return maps[::2, ::2] + maps[1::2, ::2] + maps[::2, 1::2] + maps[1::2, 1::2]


def _doubled(maps):
  """Bilinear, pixels as areas."""
  for axis in (0, 1):
    padding = [(1, 1) if k == axis else (0, 0) for k in range(3)]
    padded = np.moveaxis(np.pad(maps, padding, mode='edge'), axis, 0)
    early, late = (0.75 * padded[1:-1] + 0.25 * side for side in (padded[:-2], padded[2:]))
    both = np.stack([early, late], axis=1).reshape(-1, *early.shape[1:])
    maps = np.moveaxis(both, 0, axis)
  return maps
