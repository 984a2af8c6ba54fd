"""The embedded heads: the full method on two processor cores in minutes.

  python experiments/run.py --config=configs/heads.py --workdir=runs/heads

Needs no other file. Reconstruction starts from networks trained jointly on the GAN's own pictures
(experiments/pretrain.py); docs/experiments_log.md has how the numbers were found. Variants:

  networks   fits the networks' weights, not the factors themselves: better shapes than the default,
             without the picture's own sharpness (docs/what_works.md)
  published  the published widths, batch and lengths, from an ellipsoid

  python experiments/run.py --config=configs/heads.py:networks --workdir=runs/heads_networks
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Settings for the embedded heads; `variant` is '', 'networks' or 'published'."""
  config = get_default_config()
  config.prior.category = 'head'
  config.prior.near, config.prior.far = 0.97, 1.035
  lights = config.sampling.random_light
  lights.x, lights.y, lights.strength = (-0.9, 0.9), (-0.7, 0.3), (-0.1, 0.4)
  lights.ambient = -0.4
  if variant == 'published':
    return config
  if variant not in ('', 'networks'):
    raise ValueError(
      f'unknown variant {variant!r} of the preset heads: expected networks or published'
    )
  config.prior.shape = 'dome'
  config.camera.border_depth = 1.03
  config.networks.width = 16
  config.networks.bottleneck = 64
  config.networks.pretrained = 'embedded:heads'
  config.sampling.batch_size = 16
  config.loss.perceptual = 'none'
  config.loss.lam_view = 1.5
  config.loss.lam_light = 0.2
  config.loss.lam_relief = 0.1
  config.optimizer.learning_rate = 1.5e-4
  if variant == 'networks':
    config.sampling.collect_iters = 10
    config.stages.first = stage(60, 80, 60, flip1=True, flip3=True)
    config.stages.later = stage(20, 30, 30, flip1=True, flip3=True)
    return config
  config.sampling.lights = 'prior'
  config.sampling.collect_iters = 6
  config.fit.factors = 'direct'
  config.fit.box = (0.05, 0.89, 0.22, 0.78)
  # The GAN's turned pictures are not one rigid head: the more the shape learns from them, the
  # further it goes from the truth, also with the views that a judge sees in them
  # (docs/experiments_log.md). So it hardly moves.
  config.fit.views = 'told'
  config.fit.depth_rate, config.fit.view_rate, config.fit.own_view_rate = 5e-4, 3e-3, 1e-3
  config.fit.hold_views = 0.1
  config.fit.lam_own, config.fit.lam_mirror = 0.5, 0.5
  config.fit.lam_bend, config.fit.lam_relief = 2.0, 1.0
  config.projection.start = 'directions'
  config.projection.refine_iterations = 12
  config.projection.lam_latent = 0.5
  config.stages.count = 1
  config.stages.first = stage(60, 80, 100, flip1=True, flip3=True)
  config.stages.later = stage(40, 20, 60, flip1=True, flip3=True)  # where more are asked for
  return config
