"""Replays the a_* fixtures: the StyleGAN2 generator and discriminator, frozen."""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models import discriminator, stylegan2
from gan2shape_jax.weights import load_stylegan2
from tests.golden import replays

TOLERANCE = 2e-5


def to_nhwc(array):
  return np.moveaxis(array, 1, -1)


def to_nchw(array):
  return np.moveaxis(np.asarray(array), -1, 1)


def load(fixture, ending):
  """The networks of the checkpoint beside the fixture, as jax arrays."""
  name = fixture.path.name.removesuffix(ending) + '.pt'
  return jax.tree.map(jnp.asarray, load_stylegan2(fixture.path.with_name(name)))


@replays('a_*_gen.npz')
def replay_generator(fixture, report):
  params, _ = load(fixture, '_gen.npz')
  assert stylegan2.resolution(params) == fixture['size']
  assert stylegan2.latent_size(params) == fixture['style_dim']
  layers = stylegan2.num_layers(params)
  for size, width in fixture['widths']:
    assert params[f'block{size}']['conv']['bias'].shape == (width,)

  def check(name, actual):
    report.check(name, actual, fixture[name], TOLERANCE)

  def mapping(z, **modules):
    return stylegan2.mapping(params, z, **modules)

  zero = np.zeros_like(fixture['z'][:1])
  check('w', mapping(fixture['z']))
  check('w_full', mapping(fixture['z']))
  for name in fixture.arrays:  # the numbers of modules stand in the names
    if name.startswith('h_depth'):
      check(name, mapping(fixture['z'], stop=int(name.removeprefix('h_depth'))))
    elif name.startswith('center_h_depth'):
      check(name, mapping(zero, stop=int(name.removeprefix('center_h_depth'))))
    elif name.startswith('w_skip'):
      start, of = name.removeprefix('w_skip').split('_of_')
      check(name, mapping(fixture[of], start=int(start)))
  check('center_w', mapping(zero))

  weights = to_nhwc(fixture['r_image'])
  mean = fixture['mean_latent']

  @jax.jit
  def image_and_gradient(latents, mean, psi):
    def weighted(latents):
      latents = stylegan2.truncate(latents, mean, psi)
      images, features = stylegan2.synthesize_features(params, latents)
      return jnp.sum(images * weights), (images, features)

    return jax.grad(weighted, has_aux=True)(latents)

  gradient, (images, features) = image_and_gradient(fixture['w'], mean, 1.0)
  check('image_from_w', to_nchw(images))
  check('grad_w', gradient)
  for k, feature in enumerate(features[1:]):
    if f'gen_feature_{k}' in fixture:
      check(f'gen_feature_{k}', to_nchw(feature))
  if 'image_from_z' in fixture:
    latents = mapping(fixture['z'])
    check('image_from_z', to_nchw(image_and_gradient(latents, mean, 1.0)[1][0]))
  gradient, (images, _) = image_and_gradient(fixture['w'], mean, 0.7)
  check('image_trunc07', to_nchw(images))
  check('grad_w_trunc07', gradient)
  if 'wplus' in fixture:
    assert fixture['wplus'].shape[1] == layers
    gradient, (images, _) = image_and_gradient(fixture['wplus'], mean[:, None], 1.0)
    check('image_from_wplus', to_nchw(images))
    check('grad_wplus', gradient)
  if 'image_mix' in fixture:
    mix = [fixture['w']] * 3 + [fixture['w'][::-1]] * (layers - 3)
    images, _ = image_and_gradient(np.stack(mix, 1), mean[:, None], 1.0)[1]
    check('image_mix', to_nchw(images))

  noise = [to_nhwc(fixture[f'noise_{k}']) for k in range(stylegan2.num_layers(params) - 1)]
  synthesize = jax.jit(stylegan2.synthesize)
  check('image_given_noise', to_nchw(synthesize(params, fixture['w'], noise=noise)))


@replays('a_*_disc.npz')
def replay_discriminator(fixture, report):
  _, params = load(fixture, '_disc.npz')
  assert discriminator.discriminator_resolution(params) == fixture['size']
  images = to_nhwc(fixture['d_in'])

  def check(name, actual):
    report.check(name, actual, fixture[name], TOLERANCE)

  def total_score(images):
    scores = discriminator.discriminate(params, images)
    return scores.sum(), scores

  gradient, scores = jax.jit(jax.grad(total_score, has_aux=True))(images)
  check('d_score', scores)
  check('grad_d_score', to_nchw(gradient))
  discriminate = jax.jit(discriminator.discriminate)
  check('d_score_batch1', discriminate(params, images[:1]))
  if 'd_score_batch8' in fixture:
    check('d_score_batch8', discriminate(params, to_nhwc(fixture['d_in8'])))

  count = sum(name.startswith('d_ftr4_feature_') for name in fixture.arrays)
  weights = [to_nhwc(fixture[f'r_ftr4_{k}']) for k in range(count)]

  def weighted(images):
    features = discriminator.discriminator_features(params, images, count=count)
    return sum(jnp.sum(f * r) for f, r in zip(features, weights, strict=True)), features

  gradient, features = jax.jit(jax.grad(weighted, has_aux=True))(images)
  for k in range(count):
    check(f'd_ftr4_feature_{k}', to_nchw(features[k]))
  check('grad_d_ftr4', to_nchw(gradient))
  last = discriminator.num_features(params)
  if last > count:
    everything = jax.jit(discriminator.discriminator_features, static_argnames='count')
    for k, feature in enumerate(everything(params, images, count=last)):
      if f'd_all_feature_{k}' in fixture:
        check(f'd_all_feature_{k}', to_nchw(feature))
