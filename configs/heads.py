"""The embedded heads: the full method on two processor cores in minutes.

  python experiments/run.py --config=configs/heads.py --workdir=runs/heads

Needs no other file. Reconstruction starts from networks trained jointly on the GAN's own pictures
(experiments/pretrain.py); docs/heads.md tells how the numbers were found. Variant `published`
keeps the published widths, batch and lengths, and starts from an ellipsoid:

  python experiments/run.py --config=configs/heads.py:published --workdir=runs/heads_published
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Settings for the embedded heads; `variant` is '' or 'published'."""
  config = get_default_config()
  config.prior.category = 'head'
  config.prior.near, config.prior.far = 0.97, 1.035
  config.sampling.rand_light = (-0.9, 0.9, -0.7, 0.3, -0.1, 0.4, -0.4)
  if variant == 'published':
    return config
  if variant:
    raise ValueError(f'unknown variant {variant!r} of configs/heads.py: expected published')
  config.prior.shape = 'dome'
  config.camera.border_depth = 1.03
  config.networks.width = 16
  config.networks.bottleneck = 64
  config.networks.pretrained = 'embedded:heads'
  config.sampling.batch_size = 16
  config.sampling.lights = 'prior'
  config.sampling.collect_iters = 4
  config.fit.factors = 'direct'
  config.fit.box = (0.05, 0.89, 0.22, 0.78)
  config.projection.refine_iterations = 12
  config.loss.perceptual = 'none'
  config.loss.lam_view = 1.5
  config.loss.lam_light = 0.2
  config.loss.lam_relief = 0.1
  config.optimizer.learning_rate = 1.5e-4
  config.stages.first = stage(60, 40, 200, flip1=True, flip3=True)
  config.stages.later = stage(40, 10, 120, flip1=True, flip3=True)
  return config
