"""The embedded heads: the full method on two processor cores in minutes.

  python experiments/run.py --config=configs/heads.py

Settings and variants are in gan2shape_jax/presets/heads.py; a copy of that file is a
configuration of one's own.
"""

from gan2shape_jax.presets.heads import get_config

__all__ = ['get_config']
