"""Pixel losses, depth metrics, resizing, cropping and grid sampling (fixture d_pixel_losses)."""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import evaluation, renderer
from gan2shape_jax.models import resampling
from gan2shape_jax.reconstruction.losses import photometric_loss, smoothness_loss
from tests.golden import replays
from tests.golden.scene import channels_last

LOSS, GRADIENT, IMAGE = 1e-5, 1e-4, 1e-5
SCALE_DECAY = 2.3  # a later entry of a list of maps counts less by this factor


def pixels(grid, size):
  """Grid coordinates -1 to 1 (first to last pixel centre) as pixel coordinates."""
  return (jnp.asarray(grid) + 1) / 2 * (size - 1)


def channels_first(images):
  return np.moveaxis(np.asarray(images), -1, 1)


def check_losses(fixture, report):
  first, second = channels_last(fixture['im1']), channels_last(fixture['im2'])
  mask, soft, sigma = (channels_last(fixture[k]) for k in ('mask', 'soft_mask', 'conf_sigma'))
  for name, options in (
    ('photometric', {}),
    ('photometric_mask', {'mask': mask}),
    ('photometric_soft_mask', {'mask': soft}),
    ('photometric_mask_sigma', {'mask': mask, 'sigma': sigma}),
  ):
    loss = lambda x, options=options: photometric_loss(x, second, **options)
    value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(first))
    report.check(name, value, fixture[name], LOSS)
    if f'grad_{name}' in fixture:
      report.check(f'grad_{name}', channels_first(grad), fixture[f'grad_{name}'], GRADIENT)
  value, grad = jax.jit(jax.value_and_grad(smoothness_loss))(jnp.asarray(fixture['depth']))
  report.check('smooth_depth', value, fixture['smooth_depth'], LOSS)
  report.check('grad_smooth_depth', grad, fixture['grad_smooth_depth'], GRADIENT)
  of_image, grad = jax.jit(jax.value_and_grad(smoothness_loss))(jnp.asarray(first))
  report.check('smooth_im', of_image, fixture['smooth_im'], LOSS)
  report.check('grad_smooth_im', channels_first(grad), fixture['grad_smooth_im'], GRADIENT)
  report.check('smooth_list', of_image + value / SCALE_DECAY, fixture['smooth_list'], LOSS)


def check_metrics(fixture, report):
  camera = renderer.Camera()
  depth, other, masks = fixture['depth'], fixture['depth2'], fixture['mask'][:, 0]
  maps, masked, sides, angles, deviations = [], [], [], [], []
  for d, e, mask in zip(depth, other, masks, strict=True):
    maps.append(evaluation.scale_invariant_map(d, e))
    masked.append(evaluation.scale_invariant_map(d, e, mask))
    sides.append(evaluation.scale_invariant_depth_error(d, e, mask))
    angles.append(evaluation.angle_map(d, e, mask, camera))
    deviations.append(evaluation.mean_angle_deviation(d, e, mask, camera))
  report.check('sc_inv_err_map', maps, fixture['sc_inv_err_map'], IMAGE)
  report.check('sc_inv_err_map_mask', masked, fixture['sc_inv_err_map_mask'], IMAGE)
  report.check('side_per_image', sides, fixture['side_per_image'], LOSS, relative_to='value')
  name = 'angular_distance_map_mask_degrees'
  report.check(name, angles, fixture[name], 1e-4)
  name = 'mad_per_image_degrees'
  report.check(name, deviations, fixture[name], LOSS, relative_to='value')


def check_resampling(fixture, report):
  images = jnp.asarray(channels_last(fixture['resize_in']))
  for name in fixture.arrays:
    kind, _, size = name.rpartition('_')
    if kind == 'resize_to':
      ours = channels_first(resampling.resize(images, int(size)))
    elif kind == 'resize_3d_to':
      ours = resampling.resize(jnp.asarray(fixture['resize_3d_in'])[..., None], int(size))[..., 0]
    elif kind == 'crop':
      ours = channels_first(resampling.center_crop(images, int(size)))
    else:
      continue
    report.check(name, ours, fixture[name], IMAGE)


def check_sampling(fixture, report):
  images = jnp.asarray(channels_last(fixture['resize_in']))
  weights = jnp.asarray(channels_last(fixture['r_grid']))
  size = images.shape[1]

  def weighted(images, grid):
    samples = jax.vmap(renderer.sample_bilinear)(images, pixels(grid, size))
    return jnp.sum(samples * weights), samples

  (grad_images, grad_grid), samples = jax.grad(weighted, (0, 1), has_aux=True)(
    images, jnp.asarray(fixture['grid'])
  )
  report.check(
    'grid_sample_bilinear', channels_first(samples), fixture['grid_sample_bilinear'], IMAGE
  )
  nearest = jax.vmap(renderer.sample_nearest)(images, pixels(fixture['grid'], size))
  report.check(
    'grid_sample_nearest', channels_first(nearest), fixture['grid_sample_nearest'], IMAGE
  )
  name = 'grad_input_of_grid_sample'
  report.check(name, channels_first(grad_images), fixture[name], GRADIENT)
  report.check('grad_grid_of_grid_sample', grad_grid, fixture['grad_grid_of_grid_sample'], GRADIENT)


@replays('d_pixel_losses*.npz')
def replay_pixel_losses(fixture, report):
  check_losses(fixture, report)
  check_metrics(fixture, report)
  check_resampling(fixture, report)
  check_sampling(fixture, report)
