"""Cars, LSUN at 128 px (GAN2Shape, section 4).

  python experiments/run.py --config=configs/lsun_car.py

Settings and variants are in gan2shape_jax/presets/lsun_car.py; a copy of that file is a
configuration of one's own.
"""

from gan2shape_jax.presets.lsun_car import get_config

__all__ = ['get_config']
