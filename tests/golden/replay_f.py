"""Whole steps: losses, intermediate results, gradients, Adam (fixtures f_*)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan2shape_jax.reconstruction import (
  autoencoder,
  observation,
  priors,
  step1_albedo,
  step2_projection,
  step3_shape,
)
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Factors, Method, Projections
from gan2shape_jax.weights.network_checkpoints import network_from_state_dict, network_to_state_dict
from tests.golden import replays
from tests.golden.replay_de import light_code
from tests.golden.scene import channels_last, settings_of, whole_step

NAMES = {
  'l1': 'loss_l1_im',
  'perceptual': 'loss_perc_im',
  'l1_mirror': 'loss_l1_im_flip',
  'perceptual_mirror': 'loss_perc_im_flip',
  'smooth': 'loss_smooth',
  'total': 'loss_total',
}


def adam():
  return optax.chain(optax.add_decayed_weights(5e-4), optax.adam(1e-4, 0.9, 0.999))


def with_taps(params, shapes):
  return {
    kind: {'params': params[kind]['params'], 'taps': tuple(jnp.zeros(s) for s in shapes[kind])}
    for kind in shapes
  }


def check_gradients(report, fixture, grads, keys, prefix=''):
  """Gradient norms per network and per parameter, and gradients of raw outputs."""
  stored = fixture.sibling('f_networks.npz')
  for kind, grad in grads.items():
    key = keys[kind]
    by_name = network_to_state_dict(kind, grad['params'])
    names = [str(n) for n in stored[f'param_names_{key}']]
    norms = np.array([np.linalg.norm(np.asarray(by_name[n], np.float64)) for n in names])
    total = np.linalg.norm(norms)
    for name, value, tolerance in (
      (f'{prefix}gradnorm_{key}', total, 3e-3),
      (f'{prefix}gradnorm_per_param_{key}', norms, 1e-2),
    ):
      exact = name + '_f64' if name + '_f64' in fixture else name
      if exact in fixture:
        report.check(name, value, fixture[exact], tolerance)
    for call, tap in enumerate(grad['taps']):
      name = f'{prefix}grad_of_output_{key}'
      name = name if f'{name}_call{call}' not in fixture else f'{name}_call{call}'
      exact = name + '_f64' if name + '_f64' in fixture else name
      if exact in fixture and (prefix or kind != 'depth'):
        reference = fixture[exact]
        if kind == 'depth':
          tap = tap[:, None]
        elif kind == 'albedo':
          tap = jnp.moveaxis(tap, -1, 1)
        # 99% of the values; the few others hang on a max-pooling's or a kink's choice.
        report.check(name, tap, reference, 5e-3, quantile=0.99)


@replays('f_step1_*.npz')
def replay_step1(fixture, report):
  networks, params, instance, frozen, scene, keys = whole_step(fixture.path.parent)
  flip = 'loss_l1_im_flip' in fixture
  size = instance.image.shape[0]
  shapes = {
    'depth': [(1, size, size)],
    'albedo': [(1, size, size, 3)],
    'view': [(1, 6)],
    'light': [(1, 4)],
  }

  def loss(trained, instance, frozen, settings):
    method = Method(networks, settings, frozen)
    seen = observation.observe(method, trained, instance, flip=flip)
    albedo = networks.albedo(trained['albedo'], instance.image[None])[0]
    terms, images = observation.picture_terms(method, albedo, seen, instance)
    return terms['total'], (terms, images, seen, albedo)

  @jax.jit
  def evaluate(trained, instance, frozen, lam_smooth):
    settings = dataclasses.replace(settings_of(scene), lam_smooth=lam_smooth)
    loss_of = lambda t: loss(t, instance, frozen, settings)
    return jax.grad(loss_of, has_aux=True)(trained)

  trained, settings = with_taps(params, shapes), settings_of(scene)
  for prefix, smooth in (('', settings.lam_smooth), ('nosmooth_', 0.0)):
    grads, (terms, images, seen, albedo) = evaluate(trained, instance, frozen, smooth)
    check_gradients(report, fixture, grads, keys, prefix)
    if not prefix:
      for ours, name in NAMES.items():
        if name in fixture:
          report.check(name, terms[ours], fixture[name], 1e-4)
      report.check('depth', seen.depths, fixture['depth'], 1e-3)
      report.check('view_trans', seen.view[None], fixture['view_trans'], 1e-4)
      report.check('light', seen.light[None], fixture['light'][:1], 1e-4)
      report.check('recon_depth', seen.shapes.view_depth, fixture['recon_depth'], 1e-3)
      report.check('recon_im', images, channels_last(fixture['recon_im']), 1e-3)
      size_grid = seen.shapes.grid / (size - 1) * 2 - 1
      report.check('grid_2d_from_canon', size_grid, fixture['grid_2d_from_canon'], 1e-3)
      if 'albedo' in fixture:
        report.check('albedo', albedo[None], channels_last(fixture['albedo']), 1e-3)
        report.check('normal', seen.shapes.normals, fixture['normal'], 1e-3)
      if 'canon_mask' in fixture:
        mask = autoencoder.canonical_mask(instance.mask, seen.depths[0], seen.view, settings)
        wrong = np.abs(mask[None] - channels_last(fixture['canon_mask'])) > 1e-3
        report.check_fraction('canon_mask', wrong, 2e-3)


@replays('f_step2_*.npz')
def replay_step2(fixture, report):
  networks, params, instance, frozen, scene, keys = whole_step(fixture.path.parent)
  crop = int(fixture['crop'])
  settings = settings_of(
    scene,
    relative_encoding=bool(fixture['relative_enc']),
    truncation=float(np.round(fixture['truncation'], 6)),
    f1_depth=int(fixture['F1_d']),
    crop=max(crop, 0),
    origin_size=int(fixture['origin_size']),
  )
  method = Method(networks, settings, frozen)
  own = jax.jit(gan_images, static_argnames='size')(
    method.gan, instance.latent[None], size=instance.image.shape[0]
  )
  report.check('gan_im', own, channels_last(fixture['gan_im']), 1e-3)
  origin = step2_projection.Origin(None, None, None, own[0])
  images, masks = channels_last(fixture['pseudo_im']), channels_last(fixture['mask'])
  count = images.shape[0]

  @jax.jit
  def evaluate(trained, images, masks, origin, latent, method):
    terms = lambda t: step2_projection.loss(t, method, images, masks, origin, latent)
    projected, _ = step2_projection.project(trained, method, images, origin, latent)
    grads, terms = jax.grad(terms, has_aux=True)(trained)
    return grads, terms, projected

  width = instance.latent.shape[-1]
  batch = count + 1 if settings.relative_encoding else count
  trained = with_taps(params, {'encoder': [(batch, width)]})
  grads, terms, projected = evaluate(trained, images, masks, origin, instance.latent, method)
  for ours, name in (
    ('l1', 'loss_l1'),
    ('features', 'loss_rec'),
    ('latent_norm', 'loss_latent_norm'),
    ('total', 'loss_total'),
  ):
    report.check(name, terms[ours], fixture[name], 1e-4)
  report.check('proj_im', projected, channels_last(fixture['proj_im']), 1e-3)
  offsets = jax.jit(step2_projection.latent_offsets)(params, method, images, origin)
  report.check('latent', offsets + instance.latent[None], fixture['latent'], 1e-3)
  (tap,) = grads['encoder']['taps']
  report.check('grad_of_output', tap[:count], fixture['grad_of_output_netEnc_call0'], 5e-3)
  if settings.relative_encoding:
    report.check('grad_of_output_1', tap[count:], fixture['grad_of_output_netEnc_call1'], 5e-3)
  check_gradients(report, fixture, {'encoder': grads['encoder'] | {'taps': ()}}, keys)
  if 'canon_normal' in fixture:
    replay_pseudo(fixture, report, settings)


def replay_pseudo(fixture, report, settings):
  """The pseudo samples that a step-2 fixture was made with, from its draws."""
  light = light_code({'light_a': fixture['canon_light_a'], 'light_b': fixture['canon_light_b']})
  depth = jnp.asarray(fixture['canon_depth'][0])
  factors = Factors(
    depth,
    channels_last(fixture['canon_albedo'])[0],
    jnp.zeros(6),
    light,
    jnp.ones((*depth.shape, 1)),
  )
  origin = step2_projection.Origin(None, factors, jnp.asarray(fixture['canon_normal'][0]), None)
  draws = step2_projection.Draw(
    jnp.asarray(fixture['draw_view_samples']),
    jnp.stack([fixture['draw_light_dx'], fixture['draw_light_dy']], axis=-1),
    jnp.asarray(fixture['draw_diffuse_draw'].reshape(-1)),
  )
  sample = jax.jit(jax.vmap(lambda d: step2_projection.pseudo_sample(origin, d, settings)))
  images, masks = sample(draws)
  same = np.abs(masks - channels_last(fixture['mask'])) <= 1e-5
  report.check_fraction('mask', ~same, 2e-3)
  report.check('pseudo_im', images, channels_last(fixture['pseudo_im']), 1e-3, where=same)


@replays('f_step3_*.npz')
def replay_step3(fixture, report):
  networks, params, instance, frozen, scene, keys = whole_step(fixture.path.parent)
  flip = 'flip3' in fixture.path.stem
  images = channels_last(fixture['proj_im'])
  count, size = images.shape[:2]
  samples = Projections(images, channels_last(fixture['mask']), *[None] * 4)
  shapes = {
    'depth': [(1, size, size)],
    'albedo': [(1, size, size, 3)],
    'view': [(1, 6), (count, 6)],
    'light': [(1, 4), (count, 4)],
  }

  @jax.jit
  def evaluate(trained, instance, samples, frozen, lam_smooth):
    settings = dataclasses.replace(settings_of(scene), lam_smooth=lam_smooth)
    method = Method(networks, settings, frozen)
    loss = lambda t: step3_shape.loss(t, method, instance, samples, flip=flip)
    return jax.grad(loss, has_aux=True)(trained)

  trained = with_taps(params, shapes)
  for prefix, smooth in (('', settings_of(scene).lam_smooth), ('nosmooth_', 0.0)):
    grads, terms = evaluate(trained, instance, samples, frozen, smooth)
    check_gradients(report, fixture, grads, keys, prefix)
    if not prefix:
      report.check('loss_total', terms['total'], fixture['loss_total'], 1e-4)
      for ours, name in NAMES.items():
        if f'part1_{name}' in fixture and ours != 'total':
          report.check(f'part1_{name}', terms[ours], fixture[f'part1_{name}'], 1e-4)
        if name in fixture and f'projection_{ours}' in terms:
          report.check(name, terms[f'projection_{ours}'], fixture[name], 1e-4)


@replays('f_adam_step1_netA.npz')
def replay_adam_step1(fixture, report):
  networks, params, instance, frozen, scene, _ = whole_step(fixture.path.parent)
  settings = settings_of(scene)
  method = Method(networks, settings, frozen)
  seen = observation.observe(method, params, instance, flip=False)
  optimizer = adam()
  trained = {'albedo': params['albedo']}
  state = optimizer.init(trained)
  loss = lambda t: step1_albedo.loss(t, method, seen, instance)

  @jax.jit
  def update(trained, state):
    (total, _), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    updates, state = optimizer.update(grads, state, trained)
    return optax.apply_updates(trained, updates), state, total, grads

  for k, reference in enumerate(fixture['loss_total_before_each_step']):
    trained, state, total, grads = update(trained, state)
    report.check(f'loss[{k}]', total, reference, 1e-4)
    if not k:
      ours = network_to_state_dict('albedo', grads['albedo']['params'])
      scale = max(np.abs(v).max() for v in fixture.group('grad_step0').values())
      for name, value in fixture.group('grad_step0').items():
        report.check(
          f'grad_step0/{name}', ours[name] / scale, value / scale, 1e-2, relative_to='one'
        )
  ours = network_to_state_dict('albedo', trained['albedo']['params'])
  after = fixture.group('after3')
  everything = np.concatenate([np.ravel(ours[n] - after[n]) for n in after])
  zeros = np.zeros_like(everything)
  report.check('after3 99%', everything, zeros, 1e-5, relative_to='one', quantile=0.99)
  report.check('after3', everything, zeros, 3e-4, relative_to='one')


@replays('f_ellipsoid_init.npz')
def replay_ellipsoid_init(fixture, report):
  networks, _, instance, _, scene, _ = whole_step(fixture.path.parent)
  settings = settings_of(scene, border_weight=0.0)
  far = float(np.round(fixture['ellipsoid'].max(), 6))
  for category in priors.CATEGORIES:  # the file does not name its category
    ellipsoid = priors.prior_depth(
      np.asarray(instance.mask), category=category, near=0.91, far=far, image_centered=True
    )
    if np.abs(ellipsoid - fixture['ellipsoid'][0]).max() < 1e-4:
      break
  report.check('ellipsoid', ellipsoid[None], fixture['ellipsoid'], 1e-5)
  target = jnp.asarray(fixture['ellipsoid'][0])
  trained = {
    'params': jax.tree.map(jnp.asarray, network_from_state_dict('depth', fixture.group('start'))),
    'taps': (),
  }
  optimizer = adam()
  state = optimizer.init(trained)

  @jax.jit
  def update(trained, state):
    loss = lambda t: jnp.mean(
      (autoencoder.predict_depth(networks, t, instance.image, settings) - target) ** 2
    )
    value, grads = jax.value_and_grad(loss)(trained)
    updates, state = optimizer.update(grads, state, trained)
    return optax.apply_updates(trained, updates), state, value

  for k, reference in enumerate(fixture['mse_before_each_step']):
    trained, state, value = update(trained, state)
    report.check(f'mse[{k}]', value, reference, 1e-3)
