"""Maps and pictures at other resolutions.

Depth maps and what lies on them keep their corner pixels' centres where they are (the camera's
convention); a picture's pixels are areas, so that its border stays where it is.
"""

import numpy as np
from PIL import Image
from scipy import ndimage


def sampled(picture, grid, *, size: int, order: int = 1) -> np.ndarray:
  """Samples a picture of any resolution where a view's rays go.

  Args:
    picture: [n, n, channels]; pixels are areas: n x n of them cover what size x size cover at the
      resolution of the fit.
    grid: [height, width, 2] as of `Seen`.
    size: pixels along a side of the fit's pictures, whose outermost centres the grid's 0 and 1 are.
    order: of the spline: 1 bilinear, 3 cubic.

  Returns:
    float32 [height, width, channels]; beyond the border its outermost pixels go on.
  """
  picture = np.asarray(picture, np.float32)
  scale = len(picture) / size
  places = (grid * (size - 1) + 0.5) * scale - 0.5
  where = np.stack([places[..., 1], places[..., 0]])
  channels = [
    ndimage.map_coordinates(picture[..., k], where, order=order, mode='nearest')
    for k in range(picture.shape[-1])
  ]
  return np.stack(channels, axis=-1)


def enlarged(maps, size: int) -> np.ndarray:
  """Bilinear enlargement that keeps the corner pixels' centres where they are.

  Args:
    maps: [n, n, channels].
    size: new height and width.

  Returns:
    float32 [size, size, channels].
  """
  maps = np.asarray(maps, np.float32)
  at = np.linspace(0, len(maps) - 1, size, dtype=np.float32)
  low = np.minimum(at.astype(int), max(len(maps) - 2, 0))
  high = np.minimum(low + 1, len(maps) - 1)
  part = at - low
  rows = maps[low] * (1 - part)[:, None, None] + maps[high] * part[:, None, None]
  return rows[:, low] * (1 - part)[None, :, None] + rows[:, high] * part[None, :, None]


def reduced(maps, size: int) -> np.ndarray:
  """Smoothed shrinking that keeps the corner pixels' centres where they are.

  Args:
    maps: [n, n, channels], n at least `size`.
    size: new height and width.

  Returns:
    float32 [size, size, channels].
  """
  maps = np.asarray(maps, np.float32)
  if len(maps) == size:
    return maps
  width = 0.4 * (len(maps) - 1) / (size - 1)
  smooth = ndimage.gaussian_filter(maps, (width, width, 0), mode='nearest', truncate=3)
  at = np.linspace(0, len(maps) - 1, size)
  where = np.stack(np.meshgrid(at, at, indexing='ij'))
  channels = [
    ndimage.map_coordinates(smooth[..., k], where, order=1) for k in range(maps.shape[-1])
  ]
  return np.stack(channels, axis=-1)


def area_means(picture, size: int) -> np.ndarray:
  """A picture's means over the areas of fewer pixels; one that is no larger stays as it is.

  Args:
    picture: [n, n, channels].
    size: new height and width.

  Returns:
    float32 [min(n, size), min(n, size), channels].
  """
  picture = np.asarray(picture, np.float32)
  if len(picture) <= size:
    return picture
  channels = [
    Image.fromarray(np.ascontiguousarray(picture[..., k])).resize(
      (size, size), Image.Resampling.BOX
    )
    for k in range(picture.shape[-1])
  ]
  return np.stack([np.asarray(channel) for channel in channels], axis=-1)
