"""The embedded heads: the full method on two processor cores in minutes.

  python experiments/run.py --config=configs/heads.py --workdir=runs/heads

Needs no other file. Variant `published` keeps the published widths, batch and lengths:

  python experiments/run.py --config=configs/heads.py:published --workdir=runs/heads_published
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Settings for the embedded heads; `variant` is '' or 'published'."""
  config = get_default_config()
  config.prior.category = 'head'
  config.prior.near, config.prior.far = 0.96, 1.03
  config.sampling.rand_light = (-0.9, 0.9, -0.7, 0.3, -0.1, 0.4, -0.4)
  if variant == 'published':
    return config
  if variant:
    raise ValueError(f'unknown variant {variant!r} of configs/heads.py: expected published')
  config.networks.width = 16
  config.sampling.batch_size = 8
  config.sampling.collect_iters = 25
  config.stages.count = 4
  config.stages.first = stage(100, 100, 100, flip1=True, flip3=True)
  config.stages.later = stage(50, 100, 100, flip1=True, flip3=True)
  return config
