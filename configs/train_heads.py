"""Training of a GAN of heads, of the embedded one's size, on a folder or archive of head images.

  python experiments/train_gan.py --config=configs/train_heads.py

Settings and variants are in gan2shape_jax/presets/train_heads.py; a copy of that file is a
configuration of one's own.
"""

from gan2shape_jax.presets.train_heads import get_config

__all__ = ['get_config']
