"""The object's mask taken from the picture itself and from what a fit knows of its shape.

GAN2Shape (section 3.2) takes masks from parsing networks. Without one, a rough region says where
the object is, and its rim is where colours change: those inside follow a mixture of Gaussians,
those outside a smooth field over the picture or another mixture (GrabCut, Rother et al., 2004), and
a random walker with these priors (Grady, 2005) joins pixels of like colour. Mixtures and regions
are found in turns. All of it is numpy and scipy on one picture.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from gan2shape_jax import data, renderer
from gan2shape_jax.reconstruction.state import Factors

_ROUNDS = 6
_INSIDE, _OUTSIDE = 5, 4  # Gaussians
_DEGREE = 3  # of the smooth field outside
_NOISE = 1.5 / 255  # the least deviation that the smooth field is given: rounding, compression
_COLOUR_CAP = 6.0  # log odds that one pixel's colour can have
_START_CAP = 1.5  # log odds of the start region
_RELIEF_CAP = 0.3  # log odds of the relief
_UNLIKE = 0.05  # share of colours inside that belong to no Gaussian
_FIRST_UNLIKE = 0.5  # in the first round, when little is known of the inside
_BORDER = 0.1  # of the picture: outside colours are first looked for this near its border
_DATA_WEIGHT = 0.1  # of a pixel's own odds against its neighbours'
_LEAST_BOND = 1e-3
_STEEPNESS = 2.0  # of the rim, per pixel

_LEAST_SHARE, _MOST_SHARE = 0.02, 0.85  # of the picture that an object covers
_MOST_BORDER = 0.45  # of the picture's border
_LEAST_AGREEMENT = 0.3  # intersection over union with the start
_LEAST_CONTRAST = 0.8  # pixels whose colour alone tells the side, 0.5 by chance


class _Mixture(NamedTuple):
  shares: np.ndarray  # [k]
  means: np.ndarray  # [k, 3]
  covariances: np.ndarray  # [k, 3, 3]


# Op by op it would compile a program for each of some dozens of operations.
_depth_in_view = jax.jit(renderer.depth_in_view, static_argnames=('near', 'far'))


def mask_of_picture(
  image, factors: Factors, camera: renderer.Camera, *, start=None, near=0.8, far=1.2
) -> tuple[np.ndarray, str]:
  """The mask of a picture whose factors are known.

  Args:
    image: [size, size, 3] in [-1, 1].
    factors: of the picture; its depth and view are used.
    camera: of the picture.
    start: [size, size, 1] in [0, 1], 1 where the object is expected; without it
      `data.elliptic_mask`.
    near: smallest depth in the view, camera units.
    far: largest.

  Returns:
    As `mask_from_fit`.

  Raises:
    ValueError: as `mask_from_fit`.
  """
  seen = _depth_in_view(factors.depth, factors.view, camera, near=near, far=far)
  view_depth, valid = (np.asarray(part) for part in jax.device_get(seen))
  start = data.elliptic_mask(len(image)) if start is None else start
  return mask_from_fit(image, start, view_depth=view_depth, valid=valid)


def mask_from_fit(image, start, *, view_depth=None, valid=None) -> tuple[np.ndarray, str]:
  """The object's mask in the picture's frame, or the start where the picture does not tell it.

  Args:
    image: [size, size, 3] in [-1, 1].
    start: [size, size, 1] in [0, 1], 1 where the object is expected. It tells which object is meant
      and has to meet it, but its rim does not matter.
    view_depth: [size, size] depth in the picture's view, camera units. What stands out before the
      plane through the depths outside the start is a little more likely to be the object.
    valid: [size, size], [size, size, 1], above 0 where `view_depth` is a surface; all by default.

  Returns:
    The mask, float32 [size, size, 1] in [0, 1], above 0.5 inside: one piece without holes; and one
    line that says where it is from. Where the segment fills the picture or vanishes, hardly meets
    the start, or has the colours of what is outside, the mask is `start` and the line says why.

  Raises:
    ValueError: a shape is not as above, a number is not finite, or `start` nowhere reaches 0.5.
  """
  image, start, relief = _checked(image, start, view_depth, valid)
  size = len(image)
  colours = (image.reshape(-1, 3) + 1) / 2
  place = np.clip(start.ravel(), 1e-3, 1 - 1e-3)
  odds = (
    np.clip(np.log(place / (1 - place)), -_START_CAP, _START_CAP) + _RELIEF_CAP * relief.ravel()
  )
  join = _random_walker(colours, size)
  inside = start.ravel()
  colour_odds = np.zeros_like(odds)
  for k in range(_ROUNDS):
    colour_odds = _colour_odds(colours, inside, size, first=k == 0)
    inside = join(1 / (1 + np.exp(-colour_odds - odds)))
  piece = _piece(inside.reshape(size, size) > 0.5, start > 0.5)
  if doubt := _doubt(piece, start > 0.5, colour_odds.reshape(size, size)):
    return start[..., None].astype(np.float32), f'the start region, as {doubt}'
  distance = ndimage.distance_transform_edt(piece) - ndimage.distance_transform_edt(~piece)
  mask = 1 / (1 + np.exp(-np.clip(_STEEPNESS * distance, -30, 30)))
  return mask.astype(np.float32)[..., None], "the picture's colours and the shape"


def _checked(image, start, view_depth, valid):
  """float64 image [s, s, 3], start [s, s], relief [s, s] in [-1, 1]."""
  image, start = np.asarray(image, np.float64), np.asarray(start, np.float64)
  size = len(image)
  if image.shape != (size, size, 3):
    raise ValueError(f'image: expected [size, size, 3], its shape is {image.shape}')
  if start.shape != (size, size, 1):
    raise ValueError(f'start: expected [{size}, {size}, 1], its shape is {start.shape}')
  if not (np.isfinite(image).all() and np.isfinite(start).all()):
    raise ValueError('image and start: expected finite numbers')
  if start.max() < 0.5:
    raise ValueError(f'start: expected 1 on the object, its largest value is {start.max():.2g}')
  start = np.clip(start[..., 0], 0, 1)
  if view_depth is None:
    return image, start, np.zeros((size, size))
  view_depth = np.asarray(view_depth, np.float64)
  valid = np.ones((size, size)) if valid is None else np.asarray(valid, np.float64)
  if view_depth.shape != (size, size) or valid.size != size**2:
    raise ValueError(
      f'view_depth and valid: expected [{size}, {size}], their shapes are {view_depth.shape} and '
      f'{valid.shape}'
    )
  valid = valid.reshape(size, size) > 0
  if not np.isfinite(view_depth[valid]).all():
    raise ValueError('view_depth: expected finite numbers where it is valid')
  return image, start, _relief(view_depth, valid, start)


def _relief(view_depth, valid, start):
  """How far the surface stands before the background's plane: 1 far, -1 not, 0 where unknown."""
  plane = _monomials(len(start), 1)
  outside = (valid & (start < 0.5)).ravel()
  if outside.sum() < plane.shape[1] or not (valid & (start > 0.5)).any():
    return np.zeros(start.shape)
  fitted = np.linalg.lstsq(plane[outside], view_depth.ravel()[outside], rcond=None)[0]
  height = np.where(valid, (plane @ fitted).reshape(start.shape) - view_depth, 0)
  most = np.median(height[valid & (start > 0.5)])
  if most <= 0:
    return np.zeros(start.shape)
  return np.where(valid, np.clip(2 * height / most - 1, -1, 1), 0)


def _colour_odds(colours, inside, size, *, first):
  """Log p(colour | inside) - log p(colour | outside), [pixels], bounded."""
  weight_in = np.where(inside > 0.5, inside, 0) + 1e-6
  weight_out = np.where(inside < 0.5, 1 - inside, 0)
  if first:  # much of the object may lie outside the start: the border shows it least
    place = (np.arange(size) + 0.5) / size
    depth = np.minimum.outer(np.minimum(place, 1 - place), np.minimum(place, 1 - place))
    weight_out = weight_out * np.exp(-((depth.ravel() / _BORDER) ** 2))
  weight_out = weight_out + 1e-6
  field = _smooth_field(colours, weight_out, size)
  mixed = _log_mixture(colours, _mixture(colours, weight_out, _OUTSIDE))
  share = 0.5
  for _ in range(5):
    total = np.logaddexp(np.log(share) + field, np.log1p(-share) + mixed)
    taken = np.exp(np.log(share) + field - total)
    share = np.clip((weight_out * taken).sum() / weight_out.sum(), 0.01, 0.99)
  outside = np.logaddexp(np.log(share) + field, np.log1p(-share) + mixed)
  unlike = _FIRST_UNLIKE if first else _UNLIKE
  own = _log_mixture(colours, _mixture(colours, weight_in, _INSIDE))
  return np.clip(
    np.logaddexp(np.log1p(-unlike) + own, np.log(unlike)) - outside, -_COLOUR_CAP, _COLOUR_CAP
  )


def _smooth_field(colours, weight, size):
  """Log density [pixels] of colours around a polynomial over the picture, fitted robustly."""
  basis, robust = _monomials(size, _DEGREE), weight
  for _ in range(6):
    weighted = basis * robust[:, None]
    ridge = 1e-8 * robust.sum() * np.eye(basis.shape[1])
    rest = colours - basis @ np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ colours)
    error = np.sqrt(_square(rest) / 3)
    order = np.argsort(error)
    upto = np.cumsum(weight[order])
    scale = error[order][np.searchsorted(upto, upto[-1] / 2)] + _NOISE
    robust = weight / (1 + (error / (2 * scale)) ** 2) ** 2
  # The robust weights cut the tails, so that the spread reads too small by about this factor.
  covariance = 1.5 * (robust[:, None] * rest).T @ rest / robust.sum()
  return _log_normal(rest, covariance + _NOISE**2 * np.eye(3))


def _monomials(size, degree):
  """[size * size, terms] of x^i y^j with i + j <= degree, x and y in [-1, 1]."""
  y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing='ij')
  powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
  return np.stack([x**i * y**j for i, j in powers], -1).reshape(size**2, -1)


def _mixture(colours, weight, count):
  """A mixture of Gaussians of weighted colours [n, 3]: far points, k-means, a little EM."""
  means = [weight @ colours / weight.sum()]
  distance = _square(colours - means[0])
  for _ in range(count - 1):
    means.append(colours[np.argmax(distance * weight)])
    distance = np.minimum(distance, _square(colours - means[-1]))
  means = np.stack(means)
  for _ in range(5):
    nearest = np.argmin(_square(means)[:, None] - 2 * means @ colours.T, 0)
    members = weight * (nearest == np.arange(count)[:, None])
    total = members.sum(1)[:, None]
    means = np.where(total > 1e-6, members @ colours / np.maximum(total, 1e-9), means)
  mixture = _Mixture(np.full(count, 1 / count), means, np.tile(0.02 * np.eye(3), (count, 1, 1)))
  squares = (colours[:, :, None] * colours[:, None, :]).reshape(-1, 9)
  for _ in range(3):
    parts = _log_parts(colours, mixture)
    members = np.exp(parts - np.logaddexp.reduce(parts, 0)) * weight
    total = members.sum(1) + 1e-9
    means = members @ colours / total[:, None]
    spread = (members @ squares / total[:, None]).reshape(-1, 3, 3)
    spread = spread - means[:, :, None] * means[:, None, :]
    mixture = _Mixture(total / total.sum(), means, spread + 1e-4 * np.eye(3))
  return mixture


def _log_parts(colours, mixture):
  """[k, n] log of each Gaussian's share times its density."""
  return np.stack(
    [
      np.log(share + 1e-12) + _log_normal(colours - mean, covariance)
      for share, mean, covariance in zip(*mixture, strict=True)
    ]
  )


def _log_mixture(colours, mixture):
  return np.logaddexp.reduce(_log_parts(colours, mixture), 0)


def _square(vectors):
  return np.einsum('nc,nc->n', vectors, vectors)


def _log_normal(rest, covariance):
  """Log density of the normal distribution around 0 at [n, 3]."""
  whitened = rest @ np.linalg.inv(np.linalg.cholesky(covariance)).T
  logdet = np.linalg.slogdet(2 * np.pi * covariance)[1]
  return -0.5 * (_square(whitened) + logdet)


def _random_walker(colours, size):
  """Makes (probabilities [pixels]) -> the same, evened out among neighbours of like colour."""
  index = np.arange(size**2).reshape(size, size)
  pairs = [
    (index[:, :-1], index[:, 1:], 1.0),
    (index[:-1], index[1:], 1.0),
    (index[:-1, :-1], index[1:, 1:], 0.5**0.5),
    (index[:-1, 1:], index[1:, :-1], 0.5**0.5),
  ]
  one = np.concatenate([first.ravel() for first, _, _ in pairs])
  other = np.concatenate([second.ravel() for _, second, _ in pairs])
  nearness = np.concatenate([np.full(first.size, near) for first, _, near in pairs])
  change = ((colours[one] - colours[other]) ** 2).sum(1)
  bond = nearness * (np.exp(-change / (2 * change.mean() + 1e-6)) + _LEAST_BOND)
  bonds = sparse.coo_array((bond, (one, other)), shape=(size**2, size**2))
  bonds = (bonds + bonds.T).tocsr()
  system = sparse.diags_array(bonds.sum(1) + _DATA_WEIGHT) - bonds
  factorised = splu(
    system.tocsc(),
    permc_spec='MMD_AT_PLUS_A',
    diag_pivot_thresh=0.0,
    options={'SymmetricMode': True},
  )
  return lambda probability: factorised.solve(_DATA_WEIGHT * probability)


def _piece(inside, start):
  """The piece with most of the start, its holes filled; nothing where none meets it."""
  labels, count = ndimage.label(inside)
  met = np.bincount(labels[start], minlength=count + 1)
  met[0] = 0
  return ndimage.binary_fill_holes((labels == np.argmax(met)) & (met.max() > 0))


def _doubt(piece, start, colour_odds):
  """Why the piece is not to be trusted, or ''."""
  share = piece.mean()
  if share < _LEAST_SHARE or share > _MOST_SHARE:
    return f'what stands out covers {share:.0%} of the picture'
  border = np.concatenate([piece[0], piece[-1], piece[1:-1, 0], piece[1:-1, -1]]).mean()
  if border > _MOST_BORDER:
    return f"what stands out covers {border:.0%} of the picture's border"
  agreement = (piece & start).sum() / (piece | start).sum()
  if agreement < _LEAST_AGREEMENT:
    return f'what stands out shares {agreement:.0%} of its area with it'
  contrast = ((colour_odds[piece] > 0).mean() + (colour_odds[~piece] < 0).mean()) / 2
  if contrast < _LEAST_CONTRAST:
    return f'colours tell inside from outside for {contrast:.0%} of the pixels (50% by chance)'
  return ''
