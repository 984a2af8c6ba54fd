"""One pass of step 1 with constants for networks, and its metrics (fixtures c_shading_*)."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from gan2shape_jax import evaluation, renderer
from gan2shape_jax.reconstruction import autoencoder, observation
from gan2shape_jax.reconstruction.state import Frozen, Instance, Method, Networks, Settings
from tests.golden import replays
from tests.golden.scene import PUBLISHED, channels_last, prior_of

LOSS, MAP = 1e-4, 1e-3
TERMS = {
  'l1': 'loss_l1_im',
  'l1_mirror': 'loss_l1_im_flip',
  'smooth': 'loss_smooth',
  'total': 'loss_total',
}


def settings_of(fixture, raw) -> Settings:
  """Ranges of depths and views and weights of terms, solved for in the arrays."""
  depth, raw = np.float64(fixture['depth'][0]), np.float64(raw)
  unit = np.tanh(raw - raw.mean())
  half, middle = np.polyfit(unit[:, 2:-2].ravel(), depth[:, 2:-2].ravel(), 1)
  unblended = middle + half * unit
  kept, border = np.polyfit(
    unblended[:, [0, 1, -2, -1]].ravel(), depth[:, [0, 1, -2, -1]].ravel(), 1
  )
  scales = fixture['view_trans'][0] / fixture['view'][0]
  data_terms = sum(fixture[k] for k in ('loss_l1_im', 'loss_l1_im_flip') if k in fixture)
  number = lambda x: round(float(x), 4)
  return Settings(
    min_depth=number(middle - half),
    max_depth=number(middle + half),
    border_depth=number(border / (1 - kept)),
    rotation_range=number(np.rad2deg(scales[:3].mean())),
    xy_translation_range=number(scales[3:5].mean()),
    z_translation_range=number(scales[5]),
    perceptual='none',
    lam_smooth=number((fixture['loss_total'] - data_terms) / fixture['loss_smooth']),
    **(PUBLISHED | {'border_weight': number(1 - kept)}),
  )


def step(fixture, inputs, settings):
  """The loss as a function of the networks' outputs, with everything computed on the way."""
  returns = lambda params, images: params
  networks = Networks(returns, returns, returns, returns, None)
  frozen = Frozen(None, None, None, None, prior_of(fixture.arrays))
  method = Method(networks, settings, frozen)
  instance = Instance(
    channels_last(inputs['in_input_im'])[0], channels_last(inputs['in_input_mask'])[0], None
  )
  flip = len(fixture['depth']) == 2

  def loss(raw):
    scene = observation.observe(method, raw, instance, flip=flip)
    terms, images = observation.picture_terms(method, raw['albedo'][0], scene, instance)
    mask = autoencoder.canonical_mask(instance.mask, scene.depths[0], scene.view, settings)
    return terms['total'], (terms, images, scene, mask)

  return loss


def check_maps(fixture, report, albedo, scene, images, settings):
  size = images.shape[1]
  light = renderer.light_from_code(scene.light)
  albedos = jnp.stack([albedo, autoencoder.mirror(albedo)])[: len(images)]
  normals = scene.shapes.normals
  diffuse = jax.vmap(lambda n: renderer.diffuse_shading(n, light))(normals)
  texture = jax.vmap(lambda a, n: renderer.lambertian(a, n, light))(albedos, normals)
  view_normals = jax.vmap(lambda d: renderer.normals_from_depth(d, settings.camera))(
    scene.shapes.view_depth
  )
  forward = jax.vmap(lambda d: renderer.forward_grid(d, scene.view, settings.camera))(scene.depths)
  far = settings.max_depth + settings.depth_margin
  differs = (np.asarray(scene.shapes.view_depth) < far) != (fixture['recon_depth'] < far)
  report.check_fraction('recon_depth coverage', differs, 2e-3)
  same = ~scipy.ndimage.binary_dilation(differs, np.ones((1, 3, 3)))  # normals look one pixel far
  where = {
    'recon_depth': same,
    'recon_normal': same[..., None],
    'grid_2d_from_canon': same[..., None],
    'recon_im': same[:, None],
  }
  like = lambda x, name: jnp.broadcast_to(x, fixture[name].shape)
  for name, ours, tolerance in (
    ('depth', scene.depths, 1e-5),
    ('view_trans', scene.view[None], 1e-5),
    ('light', like(scene.light, 'light'), 1e-5),
    ('light_a', like(light.ambient, 'light_a'), 1e-5),
    ('light_b', like(light.diffuse, 'light_b'), 1e-5),
    ('light_d', like(light.direction, 'light_d'), 1e-5),
    ('normal', normals, MAP),
    ('diffuse_shading', diffuse[:, None], MAP),
    ('shading', (light.ambient + light.diffuse * diffuse)[:, None], MAP),
    ('texture', jnp.moveaxis(texture, -1, 1), MAP),
    ('albedo', jnp.moveaxis(albedos, -1, 1), 1e-6),
    ('recon_depth', scene.shapes.view_depth, 2e-5),
    ('recon_normal', view_normals, MAP),
    ('grid_2d_from_canon', scene.shapes.grid / (size - 1) * 2 - 1, MAP),
    ('grid_2d_forward', forward / (size - 1) * 2 - 1, MAP),
    ('recon_im', jnp.moveaxis(images, -1, 1), MAP),
  ):
    if name in fixture:
      report.check(name, ours, fixture[name], tolerance, where=where.get(name))


def check_metrics(fixture, report, view_depth, valid, truth, camera):
  figures = evaluation.evaluate(view_depth, valid, truth, None, camera)
  for name, ours in (
    ('acc_mae_masked', figures['mae']),
    ('acc_mse_masked', figures['mse']),
    ('acc_sie_masked', figures['side_x100'] / 100),
    ('acc_normal_masked', figures['mad']),
    ('metric_SIDE', figures['side_x100'] / 100),
    ('metric_MAD', figures['mad']),
  ):
    report.check(name, np.reshape(ours, fixture[name].shape), fixture[name], LOSS)
  if 'normal_gt' in fixture:
    normals = renderer.normals_from_depth(jnp.asarray(truth), camera)
    report.check('normal_gt', normals[None], fixture['normal_gt'], MAP)
    mask = evaluation.evaluation_mask(truth, valid)
    errors = evaluation.scale_invariant_map(view_depth, truth, mask)
    report.check('sie_map_masked', errors[None], fixture['sie_map_masked'], MAP)
    angles = evaluation.angle_map(view_depth, truth, mask, camera)
    report.check('norm_err_map_masked', angles[None], fixture['norm_err_map_masked'], MAP)


@replays('c_shading_and_metrics_*.npz')
def replay_shading_and_metrics(fixture, report):
  inputs = fixture
  if 'in_input_im' not in inputs:
    inputs = fixture.sibling('c_shading_and_metrics_plain.npz')
  raw = {
    'depth': jnp.asarray(inputs['in_depth_raw'][:, 0]),
    'albedo': channels_last(inputs['in_albedo']),
    'view': jnp.asarray(inputs['in_view_raw']),
    'light': jnp.asarray(inputs['in_light_raw']),
  }
  settings = settings_of(fixture, inputs['in_depth_raw'][0, 0])
  loss = step(fixture, inputs, settings)
  grads, (terms, images, scene, mask) = jax.jit(jax.grad(loss, has_aux=True))(raw)
  for ours, name in TERMS.items():
    if name in fixture:
      report.check(name, terms[ours], fixture[name], LOSS)
  check_maps(fixture, report, raw['albedo'][0], scene, images, settings)
  if 'canon_mask' in fixture:
    report.check('canon_mask', mask[None], channels_last(fixture['canon_mask']), MAP)
  check_metrics(
    fixture,
    report,
    np.asarray(scene.shapes.view_depth[0]),
    np.asarray(scene.shapes.valid[0]),
    inputs['in_depth_gt'][0],
    settings.camera,
  )
  # The smoothness term takes signs of rounding noise: a few gradients may jump.
  for name, ours, tolerance, quantile in (
    ('grad_depth_raw', grads['depth'][:, None], 5e-3, 0.99),
    ('grad_albedo', jnp.moveaxis(grads['albedo'], -1, 1), 5e-3, 1),
    ('grad_view_raw', grads['view'], 2e-3, 1),
    ('grad_light_raw', grads['light'], 2e-3, 1),
  ):
    report.check(name, ours, fixture[name], tolerance, quantile=quantile)
