"""Weights of the perceptual distance: VGG16 as torchvision names it, and the LPIPS v0.1 heads.

VGG16 files hold `features.N.weight` and `features.N.bias` (a classifier in them is ignored), the
heads' files `linK.model.1.weight`, K in 0..4. Widths are read from the weights.
"""

from collections.abc import Mapping

import numpy as np

from gan2shape_jax.models import lpips
from gan2shape_jax.weights.array_files import compare_names, floating_arrays

_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def perceptual_from_state_dicts(
  vgg: Mapping[str, np.ndarray],
  heads: Mapping[str, np.ndarray],
  *,
  path: str = 'state dicts',
) -> dict:
  """Parameters of `models.lpips` from the two published files' names and layouts.

  Args:
    vgg: VGG16's arrays by torchvision's names; `classifier.*` is ignored.
    heads: the five linear heads' arrays, `linK.model.1.weight` of shape [1, C, 1, 1].
    path: where they come from, for messages.

  Returns:
    Nested dict of float32 arrays, as `models.lpips` describes.

  Raises:
    WeightsError: if names are missing or left over, or shapes do not fit; all are listed.
  """
  # The names in a foreign file need not be text; `floating_arrays` refuses those.
  vgg = {k: v for k, v in vgg.items() if not str(k).startswith('classifier.')}
  vgg, heads = floating_arrays(vgg, path), floating_arrays(heads, path)
  expected, channels, widths = {}, 3, []
  for number in _NUMBERS:
    weight = vgg.get(f'features.{number}.weight')
    features = weight.shape[0] if weight is not None and weight.ndim else channels
    expected[f'features.{number}.weight'] = (features, channels, 3, 3)
    expected[f'features.{number}.bias'] = (features,)
    channels = features
    widths.append(features)
  last = np.cumsum(lpips.CONVS_PER_LEVEL) - 1
  for level, index in enumerate(last):
    expected[f'lin{level}.model.1.weight'] = (1, widths[index], 1, 1)
  found = {name: value.shape for name, value in (vgg | heads).items()}
  compare_names(expected, found, path=path)
  params = {}
  for i, number in enumerate(_NUMBERS):
    kernel = vgg[f'features.{number}.weight'].transpose(2, 3, 1, 0)
    params[f'conv_{i}'] = {
      'kernel': _float32(kernel),
      'bias': _float32(vgg[f'features.{number}.bias']),
    }
  for level in range(len(last)):
    weight = heads[f'lin{level}.model.1.weight'][0, :, 0, 0]
    params[f'head_{level}'] = {'weight': _float32(weight)}
  return params


def _float32(values):
  return np.ascontiguousarray(values, np.float32)
