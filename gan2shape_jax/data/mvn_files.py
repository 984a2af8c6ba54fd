"""The prior of views and lights in the original's pair of PyTorch files."""

import os
from collections.abc import Mapping

import numpy as np

from gan2shape_jax.data.embedded import check_prior
from gan2shape_jax.errors import DataError, WeightsError
from gan2shape_jax.reconstruction.state import ViewLightPrior
from gan2shape_jax.weights import read_torch_file


def read_mvn_files(view: str | os.PathLike, light: str | os.PathLike) -> ViewLightPrior:
  """Reads the Gaussians of views and lights that the original GAN2Shape comes with.

  Args:
    view: NAME_view_mvn.pth, a PyTorch file of {'mean': [6], 'cov': [6, 6]}.
    light: NAME_light_mvn.pth, {'mean': [4], 'cov': [4, 4]}.

  Returns:
    A `ViewLightPrior` of float32 numpy arrays.

  Raises:
    DataError: a file cannot be read or does not hold such a Gaussian.
  """
  arrays = {}
  for kind, path in (('view', view), ('light', light)):
    try:
      content = read_torch_file(path)
    except WeightsError as error:
      raise DataError(str(error)) from None
    found = content if isinstance(content, Mapping) else {}
    for name in ('mean', 'cov'):
      if not isinstance(found.get(name), np.ndarray):
        raise DataError(f"{path}: expected a dict with the tensors 'mean' and 'cov'")
      arrays[f'{kind}_{name}'] = found[name]
  return check_prior(arrays, f'{view} and {light}')
