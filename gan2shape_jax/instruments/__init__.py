"""Measuring instruments: the method as a whole and its parts, where the truth is known.

  depth_table   the reconstruction against the true depth, beside baselines
  true_views    step 3 alone, on true pictures of a head in place of projections
  fits          the step 3 that is measured
  view_judge    a network that tells views, trained on rendered heads with their true views
  projections   step 2 alone: how projections follow the views drawn, judged by that network

Nothing of this is used by a reconstruction. experiments/evaluate.py is the command.
"""
