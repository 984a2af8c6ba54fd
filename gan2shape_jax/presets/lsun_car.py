"""Cars, LSUN at 128 px (GAN2Shape, section 4).

  python experiments/run.py --config=configs/lsun_car.py --config.data.images=/my/cars \
      --workdir=runs/lsun_car

Files, looked for in checkpoints/ as the GAN2Shape release lays them out (the settings named take
any other place; the originals are read as they are):

  stylegan2/stylegan2-car-config-f.pt       gan.weights: StyleGAN2 of 512 px, rosinality layout
                                            {'g_ema', 'd'}
  view_light/car_{view,light}_mvn.pth       prior.view_light: Gaussians of views and lights
  parsing/pspnet_voc.pth                    parsing.weights: PSPNet of 21 VOC classes
  perceptual/vgg16.pth                      loss.perceptual_weights: torchvision's VGG16 (528 MB)
  perceptual/lpips_vgg.pth                  with it, the VGG heads of LPIPS v0.1 (7 kB)

The GAN2Shape release has all but the perceptual ones, which torchvision and the package lpips have.
gan.weights takes NVIDIA's StyleGAN2 .pkl networks too.

Cost: 700/700/600 iterations of steps 1/2/3, then 3 x 200/500/400 (5300 in all), after 1000 that fit
the ellipsoid; 32 pseudo samples an iteration, published as one image shared by four devices.
"""

from gan2shape_jax.config import get_default_config, stage


def get_config(variant: str = ''):
  """Published numbers of lsun_car; there are no variants."""
  if variant:
    raise ValueError(f'unknown variant {variant!r} of the preset lsun_car: expected none')
  config = get_default_config()
  config.image_size = 128
  config.gan.weights = 'checkpoints/stylegan2/stylegan2-car-config-f.pt'
  config.prior.view_light = (
    'checkpoints/view_light/car_view_mvn.pth,checkpoints/view_light/car_light_mvn.pth'
  )
  config.parsing.weights = 'checkpoints/parsing/pspnet_voc.pth'
  config.loss.perceptual = 'lpips'
  config.loss.perceptual_weights = (
    'checkpoints/perceptual/vgg16.pth,checkpoints/perceptual/lpips_vgg.pth'
  )
  config.prior.category = 'car'
  config.sampling.relative_encoding = False
  config.sampling.use_mask = True
  config.sampling.batch_size = 32  # published: 8 on each of four devices
  config.stages.first = stage(700, 700, 600, flip1=False, flip3=False)
  config.stages.later = stage(200, 500, 400, flip1=False, flip3=False)
  config.results.max_yaw = 45.0
  return config
