"""How good a depth map is (SIDE, MAD, MAE and MSE against the truth, tables of them), and a GAN's
images as a set (FID, KID, precision and recall).
"""

from gan2shape_jax.evaluation.depth import (
  angle_map,
  baseline_depths,
  confine,
  erode,
  evaluate,
  evaluation_mask,
  mean_absolute_error,
  mean_angle_deviation,
  mean_squared_error,
  scale_invariant_depth_error,
  scale_invariant_map,
)
from gan2shape_jax.evaluation.distribution import (
  frechet_distance,
  kernel_distance,
  precision_recall,
)
from gan2shape_jax.evaluation.image_features import discriminator_means, random_features
from gan2shape_jax.evaluation.tables import format_table, summarize, write_metrics

__all__ = [
  'angle_map',
  'baseline_depths',
  'confine',
  'discriminator_means',
  'erode',
  'evaluate',
  'evaluation_mask',
  'format_table',
  'frechet_distance',
  'kernel_distance',
  'mean_absolute_error',
  'mean_angle_deviation',
  'mean_squared_error',
  'precision_recall',
  'random_features',
  'scale_invariant_depth_error',
  'scale_invariant_map',
  'summarize',
  'write_metrics',
]
