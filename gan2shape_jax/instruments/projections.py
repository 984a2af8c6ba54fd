"""How projections follow what they were projected from: views, colours, and whose head they show.

Functions of arrays, so that any projections can be measured. Angles are in degrees, pitch and yaw
in this order. Views told and views drawn are compared by slope and correlation: the judge tells
them against a true head's front, they are drawn against the canonical shape's, which may differ by
a constant.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gan2shape_jax.instruments.view_judge import Judge, judge_views

ANGLES = ('pitch', 'yaw')


class Measured(NamedTuple):
  """Measurements of n projections of one picture.

  Attributes:
    drawn: [n, 2] pitch and yaw drawn for the pseudo samples.
    judged: [n, 2] what the judge tells of the projections.
    judged_pseudo: [n, 2] what it tells of the pseudo samples themselves.
    l1: [n] mean absolute difference from the pseudo samples inside their masks, on [-1, 1].
    identity: [n] cosine of the features of projection and of the picture's own image by the GAN.
    others: [n] mean cosine with images of other heads.
  """

  drawn: np.ndarray
  judged: np.ndarray
  judged_pseudo: np.ndarray
  l1: np.ndarray
  identity: np.ndarray
  others: np.ndarray


class Identities(NamedTuple):
  """What the identity of projections is compared with.

  Attributes:
    features: images [n, size, size, 3] in [-1, 1] -> [n, d].
    center: [d] mean of the features of the GAN's images; cosines are of what is left of it.
    own: [d] of the picture's own image by the GAN.
    others: [m, d] of images of other heads.
  """

  features: Callable
  center: np.ndarray
  own: np.ndarray
  others: np.ndarray


def measure(
  images,
  views,
  pseudo,
  masks,
  *,
  judge: Judge,
  identities: Identities,
  rotation_range: float,
) -> Measured:
  """Measures the projections of one picture.

  Args:
    images: [n, size, size, 3] projections in [-1, 1].
    views: [n, 6] drawn for the pseudo samples, network units.
    pseudo: [n, size, size, 3] pseudo samples.
    masks: [n, size, size, 1] of the pseudo samples.
    judge: of views.
    identities: what they are compared with.
    rotation_range: degrees of a view of 1 in network units.

  Returns:
    `Measured`.

  Raises:
    ValueError: the judge takes pictures of another size.
  """
  images, pseudo = np.asarray(images, np.float32), np.asarray(pseudo, np.float32)
  features = identities.features(images)
  others = cosines(features, identities.others, identities.center)
  return Measured(
    drawn=np.asarray(views, np.float64)[:, : len(ANGLES)] * rotation_range,
    judged=judge_views(judge, images)[:, : len(ANGLES)],
    judged_pseudo=judge_views(judge, pseudo)[:, : len(ANGLES)],
    l1=masked_l1(images, pseudo, masks),
    identity=cosines(features, np.asarray(identities.own)[None], identities.center)[:, 0],
    others=others.mean(1),
  )


def regression(told, drawn) -> tuple[float, float]:
  """Slope of the least-squares line of one angle told on that drawn, and their correlation.

  Args:
    told: [n].
    drawn: [n].

  Returns:
    Slope and correlation; NaN where one of them does not vary.
  """
  told, drawn = (np.asarray(x, np.float64) - np.mean(x) for x in (told, drawn))
  covariance, spread, other = (told * drawn).mean(), (drawn**2).mean(), (told**2).mean()
  slope = covariance / spread if spread > 0 else np.nan
  return float(slope), float(covariance / np.sqrt(spread * other)) if spread * other else np.nan


def masked_l1(first, second, masks) -> np.ndarray:
  """Mean absolute difference of pictures inside masks.

  Args:
    first: [n, size, size, 3].
    second: [n, size, size, 3].
    masks: [n, size, size, 1] weights.

  Returns:
    float64 [n]; NaN where a mask is empty.
  """
  difference = np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))
  masks = np.asarray(masks, np.float64)
  weight = masks.sum((1, 2, 3)) * difference.shape[-1]
  total = (difference * masks).sum((1, 2, 3))
  return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)


def cosines(first, second, center) -> np.ndarray:
  """Cosines between all features of two sets, with their common part taken out.

  Args:
    first: [n, d].
    second: [m, d].
    center: [d].

  Returns:
    float64 [n, m], -1 to 1.
  """
  first, second = (np.asarray(x, np.float64) - np.asarray(center)[None] for x in (first, second))
  unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  return unit(first) @ unit(second).T


def table(names: Sequence[str], heads: Sequence[Measured]) -> list[dict]:
  """Rows of numbers, one for each head, one over all projections, one over all pseudo samples.

  Args:
    names: of the heads.
    heads: their measurements.

  Returns:
    Dicts with name, n, the slope and correlation of each angle, l1, identity, others. Pseudo
    samples, the scale for slopes, have the latter three as NaN.
  """
  rows = [_row(name, head) for name, head in zip(names, heads, strict=True)]
  every = Measured(*(np.concatenate(parts) for parts in zip(*heads, strict=True)))
  none = np.full_like(every.l1, np.nan)
  pseudo = every._replace(judged=every.judged_pseudo, l1=none, identity=none, others=none)
  return [*rows, _row('all projections', every), _row('all pseudo samples', pseudo)]


def format_markdown(rows: Sequence[dict]) -> str:
  """The rows as a table in Markdown, with what they are."""
  lines = [
    '| | yaw slope | yaw correlation | pitch slope | pitch correlation | L1 | identity | others |',
    '|---|---|---|---|---|---|---|---|',
  ]
  columns = [f'{angle}_{kind}' for angle in ('yaw', 'pitch') for kind in ('slope', 'correlation')]
  number = lambda value, digits: f'{value:.{digits}f}' if np.isfinite(value) else ''
  for row in rows:
    cells = [row['name'], *(number(row[name], 2) for name in columns)]
    cells += [number(row['l1'], 3), number(row['identity'], 2), number(row['others'], 2)]
    lines.append(f'| {" | ".join(cells)} |')
  note = (
    'Slope and correlation: of the views that the judge tells on those drawn. L1: mean absolute '
    'difference of projection and pseudo sample inside its mask, pictures in [-1, 1]. identity, '
    "others: cosine of the discriminator's deepest features, less their mean, with the GAN's image "
    "of the picture's latent, and with those of other heads."
  )
  return '\n'.join([*lines, '', note, ''])


def _row(name, head):
  row = {'name': name, 'n': len(head.l1)}
  for k, angle in enumerate(ANGLES):
    slope, correlation = regression(head.judged[:, k], head.drawn[:, k])
    row |= {f'{angle}_slope': slope, f'{angle}_correlation': correlation}
  means = {field: float(np.mean(getattr(head, field))) for field in ('l1', 'identity', 'others')}
  return row | means
