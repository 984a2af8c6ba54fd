"""How close two sets of images are as sets: FID, KID, precision and recall over features [n, d].

The features are whatever one network makes of all images (`evaluation.image_features`); figures of
different networks do not compare, with published FIDs neither.

Sources: Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017 (FID); Binkowski
et al., Demystifying MMD GANs, ICLR 2018 (KID); Kynkaanniemi et al., Improved Precision and Recall
Metric, NeurIPS 2019.
"""

import numpy as np

_ROWS = 512  # compared at once


def frechet_distance(first, second) -> float:
  """FID: the squared Frechet distance of the Gaussians fitted to two sets of features.

  |m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)); the root's trace is the sum of the singular
  values of sqrt(S1) sqrt(S2), which stays real for covariances without full rank. Biased upwards
  for few samples: compare at equal numbers.

  Args:
    first: [n, d] features.
    second: [m, d] features.

  Returns:
    The distance, at least 0.
  """
  first, second = _checked(first, second, least=2)
  mean1, mean2 = first.mean(0), second.mean(0)
  # With X = U s V^T centred, sqrt(S) is V s V^T / sqrt(n - 1), and V^T alone leaves traces as they
  # are: neither the covariances nor their roots are formed.
  factor1, factor2 = (_root_factor(x) for x in (first, second))
  root = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
  spread = np.square(factor1).sum() + np.square(factor2).sum()
  return max(float(np.square(mean1 - mean2).sum() + spread - 2 * root), 0.0)


def _root_factor(x):
  """[r, d] with S = factor^T factor, of the covariance of x."""
  _, values, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
  return values[:, None] * directions / np.sqrt(len(x) - 1)


def kernel_distance(first, second) -> float:
  """KID: the unbiased squared MMD with the kernel (x . y / d + 1)^3.

  Args:
    first: [n, d] features.
    second: [m, d] features.

  Returns:
    The distance; its mean is 0 for samples of one distribution, so it can be below.
  """
  first, second = _checked(first, second, least=2)
  total, own = _kernel_sums(first, second)[0], 0.0
  for x in (first, second):
    whole, diagonal = _kernel_sums(x, x)
    own += (whole - diagonal) / (len(x) * (len(x) - 1))
  return float(own - 2 * total / (len(first) * len(second)))


def _kernel_sums(x, y):
  """The sums of the kernel over all pairs, and over the pairs (k, k)."""
  width, total = x.shape[1], 0.0
  for start in range(0, len(x), _ROWS):
    total += np.power(x[start : start + _ROWS] @ y.T / width + 1, 3).sum()
  shared = min(len(x), len(y))
  return total, np.power((x[:shared] * y[:shared]).sum(1) / width + 1, 3).sum()


def precision_recall(real, fake, *, neighbours: int = 3) -> tuple[float, float]:
  """The share of fakes within the real set's reach, and of real ones within the fakes'.

  A set reaches as far as each of its samples' distance to its `neighbours`-th nearest other one.

  Args:
    real: [n, d] features.
    fake: [m, d] features.
    neighbours: k, below n and m.

  Returns:
    (precision, recall), 0 to 1.
  """
  if neighbours < 1:
    raise ValueError(f'{neighbours} neighbours: expected at least 1')
  real, fake = _checked(real, fake, least=neighbours + 1)
  return _within(fake, real, neighbours), _within(real, fake, neighbours)


def _within(points, references, neighbours):
  """The share of points that lie within any reference's radius."""
  radii = np.concatenate(
    [  # the nearest is the sample itself
      np.partition(_squares(references[k : k + _ROWS], references), neighbours)[:, neighbours]
      for k in range(0, len(references), _ROWS)
    ]
  )
  hits = [
    (_squares(points[k : k + _ROWS], references) <= radii[None]).any(1)
    for k in range(0, len(points), _ROWS)
  ]
  return float(np.concatenate(hits).mean())


def _squares(x, y):
  """Squared distances [n, m], by a product of matrices: many times faster than pair by pair."""
  return np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None] - 2 * (x @ y.T)


def _checked(first, second, *, least):
  """Both as float64 [n, d] and [m, d]."""
  first, second = (np.asarray(x, np.float64) for x in (first, second))
  for x in (first, second):
    if x.ndim != 2 or x.shape[1:] != first.shape[1:] or not x.size:
      raise ValueError(f'features {first.shape} and {second.shape}: expected [n, d] and [m, d]')
    if len(x) < least:
      raise ValueError(f'{len(x)} samples: expected at least {least}')
    if not np.isfinite(x).all():
      raise ValueError('features that are not finite')
  return first, second
