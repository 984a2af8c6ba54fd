"""Synthetic faces of the Basel Face Model, 64 px: the benchmark with true depth.

  python experiments/run.py --config=configs/synface.py:pretrain --config.data.images=/many/faces \
      --workdir=runs/synface_pretrain
  python experiments/evaluate.py --config=configs/synface.py --config.data.images=/faces/image \
      --config.data.depths=/faces/depth --workdir=runs/synface

Files, looked for in checkpoints/ as the GAN2Shape release lays them out (the settings named take
any other place; the originals are read as they are):

  stylegan2/stylegan2-synface-config-e.pt   gan.weights: StyleGAN2 of 128 px, rosinality layout
                                            {'g_ema', 'd'}
  view_light/synface_{view,light}_mvn.pth   prior.view_light: Gaussians of views and lights
  parsing/bisenet.pth                       parsing.weights: BiSeNet of 19 face classes
  perceptual/vgg16.pth                      loss.perceptual_weights: torchvision's VGG16 (528 MB)
  perceptual/lpips_vgg.pth                  with it, the VGG heads of LPIPS v0.1 (7 kB)
  pretrain/pretrain_synface.pth             networks.pretrained: joint training's, by `pretrain`;
                                            '' starts from the ellipsoid

The GAN2Shape release has all but the perceptual ones, which torchvision and the package lpips have.
gan.weights takes NVIDIA's StyleGAN2 .pkl networks too.

Cost: 500/500/200 iterations of steps 1/2/3 of 16 pseudo samples; published: an image on each of
four devices. `pretrain`: 1500/1500/1500, then 7 x 700/1000/1000 (23400), one of 200 images an
iteration, on each of eight devices.
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Published numbers of synface; `variant` is '' or 'pretrain'."""
  if variant not in ('', 'pretrain'):
    raise ValueError(f'unknown variant {variant!r} of the preset synface: expected pretrain')
  config = get_default_config()
  config.image_size = 64
  config.gan.weights = 'checkpoints/stylegan2/stylegan2-synface-config-e.pt'
  config.prior.view_light = (
    'checkpoints/view_light/synface_view_mvn.pth,checkpoints/view_light/synface_light_mvn.pth'
  )
  config.parsing.weights = 'checkpoints/parsing/bisenet.pth'
  config.loss.perceptual = 'lpips'
  config.loss.perceptual_weights = (
    'checkpoints/perceptual/vgg16.pth,checkpoints/perceptual/lpips_vgg.pth'
  )
  config.gan.origin_size = 256
  config.gan.crop = 170
  config.prior.category = 'synface'
  config.sampling.f1_depth = 8
  config.sampling.view_scale = 1.2
  lights = config.sampling.random_light
  lights.x, lights.y, lights.strength = (-0.9, 0.9), (-0.3, 0.8), (-0.1, 0.7)
  lights.ambient = -0.4
  if variant == 'pretrain':
    config.mode = 'joint'
    config.data.num = 200
    config.sampling.batch_size = 12
    config.sampling.collect_iters = 5  # for each image; published: 1000 batches over all
    config.stages.count = 8
    config.stages.first = stage(1500, 1500, 1500, flip1=False, flip3=True)
    config.stages.later = stage(700, 1000, 1000, flip1=True, flip3=True)
    return config
  config.networks.pretrained = 'checkpoints/pretrain/pretrain_synface.pth'
  config.stages.count = 1
  config.stages.first = stage(500, 500, 200, flip1=False, flip3=True)
  return config
