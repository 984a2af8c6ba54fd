"""Training of a GAN of heads, of the embedded one's size, on a folder or archive of head images.

  python experiments/train_gan.py --config=configs/train_heads.py \
      --config.gan_training.images=heads.npz --workdir=runs/gan_heads

The numbers are those by which the embedded GAN was trained (gan2shape_jax/embedded/heads). Variant
`small` is for few images, a few thousand: it augments what the discriminator sees.
"""

from gan2shape_jax.config import get_default_config


def get_config(variant: str = ''):
  """Settings of the training; `variant` is '' or 'small'."""
  config = get_default_config()
  config.image_size = 64
  config.gan_training.images_shown = 88_000
  if variant == 'small':
    config.gan_training.augment = 'blit,geometric,colour'
  elif variant:
    raise ValueError(f'unknown variant {variant!r} of the preset train_heads: expected small')
  return config
