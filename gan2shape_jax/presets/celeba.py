"""Human faces, CelebA at 128 px (GAN2Shape, section 4).

  python experiments/run.py --config=configs/celeba.py:pretrain --config.data.images=/many/faces \
      --workdir=runs/celeba_pretrain
  python experiments/run.py --config=configs/celeba.py --config.data.images=/my/faces \
      --workdir=runs/celeba

Files, looked for in checkpoints/ as the GAN2Shape release lays them out (the settings named take
any other place; the originals are read as they are):

  stylegan2/stylegan2-celeba-config-e.pt    gan.weights: StyleGAN2 of 128 px, rosinality layout
                                            {'g_ema', 'd'}
  view_light/celeba_{view,light}_mvn.pth    prior.view_light: Gaussians of views and lights
  parsing/bisenet.pth                       parsing.weights: BiSeNet of 19 face classes
  perceptual/vgg16.pth                      loss.perceptual_weights: torchvision's VGG16 (528 MB)
  perceptual/lpips_vgg.pth                  with it, the VGG heads of LPIPS v0.1 (7 kB)
  pretrain/pretrain_celeba.pth              networks.pretrained: joint training's, by `pretrain`;
                                            '' starts from the ellipsoid

The GAN2Shape release has all but the perceptual ones, which torchvision and the package lpips have.
gan.weights takes NVIDIA's StyleGAN2 .pkl networks too.

Cost: 600/600/400 iterations of steps 1/2/3, then 3 x 200/500/300 (4600 in all) of 16 pseudo
samples; published: an image on each of four devices. `pretrain`: 1500/1500/1500, then
3 x 700/1000/1000 (12600), one of 200 images an iteration, on each of eight devices.
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Published numbers of celeba; `variant` is '' or 'pretrain'."""
  if variant not in ('', 'pretrain'):
    raise ValueError(f'unknown variant {variant!r} of the preset celeba: expected pretrain')
  config = get_default_config()
  config.image_size = 128
  config.gan.weights = 'checkpoints/stylegan2/stylegan2-celeba-config-e.pt'
  config.prior.view_light = (
    'checkpoints/view_light/celeba_view_mvn.pth,checkpoints/view_light/celeba_light_mvn.pth'
  )
  config.parsing.weights = 'checkpoints/parsing/bisenet.pth'
  config.loss.perceptual = 'lpips'
  config.loss.perceptual_weights = (
    'checkpoints/perceptual/vgg16.pth,checkpoints/perceptual/lpips_vgg.pth'
  )
  config.prior.category = 'face'
  config.sampling.view_scale = 1.2
  if variant == 'pretrain':
    config.mode = 'joint'
    config.data.num = 200
    config.sampling.batch_size = 8
    config.sampling.collect_iters = 4  # for each image; published: 800 batches over all
    config.stages.first = stage(1500, 1500, 1500, flip1=False, flip3=True)
    config.stages.later = stage(700, 1000, 1000, flip1=True, flip3=True)
    return config
  config.networks.pretrained = 'checkpoints/pretrain/pretrain_celeba.pth'
  config.stages.first = stage(600, 600, 400, flip1=False, flip3=True)
  config.stages.later = stage(200, 500, 300, flip1=False, flip3=False)
  return config
