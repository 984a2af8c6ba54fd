"""Synthetic faces of the Basel Face Model, 64 px: the benchmark with true depth.

  python experiments/run.py --config=configs/synface.py

Settings and variants are in gan2shape_jax/presets/synface.py; a copy of that file is a
configuration of one's own.
"""

from gan2shape_jax.presets.synface import get_config

__all__ = ['get_config']
