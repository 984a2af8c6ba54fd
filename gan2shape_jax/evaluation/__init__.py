"""How good a depth map is: SIDE, MAD, MAE and MSE against the truth, and tables of them."""

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
from gan2shape_jax.evaluation.tables import format_table, summarize, write_metrics

__all__ = [
  'angle_map',
  'baseline_depths',
  'confine',
  'erode',
  'evaluate',
  'evaluation_mask',
  'format_table',
  'mean_absolute_error',
  'mean_angle_deviation',
  'mean_squared_error',
  'scale_invariant_depth_error',
  'scale_invariant_map',
  'summarize',
  'write_metrics',
]
