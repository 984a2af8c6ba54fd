"""Discriminator loss, priors, sampling and pseudo samples (fixtures d_discriminator*, e_*)."""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models.discriminator import discriminator_features
from gan2shape_jax.reconstruction import priors, step2_projection
from gan2shape_jax.reconstruction.autoencoder import view_from_code
from gan2shape_jax.reconstruction.losses import discriminator_feature_loss
from gan2shape_jax.reconstruction.state import Factors, RandomLight, Settings
from tests.golden import replays
from tests.golden.scene import PUBLISHED, channels_last, checkpoint, prior_of


@replays('d_discriminator_loss_*.npz')
def replay_discriminator_loss(fixture, report):
  resolution = int(fixture.path.stem.rsplit('_', 1)[1])
  _, discriminator = checkpoint(fixture, resolution)
  features = jax.jit(lambda x: discriminator_features(discriminator, x, count=4))

  @jax.jit
  @jax.value_and_grad
  def evaluate(fake, real, mask):
    return discriminator_feature_loss(features(fake), real, mask)

  sizes = sorted({int(n.rsplit('_', 1)[1]) for n in fixture.arrays if n.startswith('fake_')})
  for size in sizes:
    real = features(channels_last(fixture[f'real_{size}']))
    for kind in ('mask', 'soft_mask', 'nomask'):
      mask = None if kind == 'nomask' else channels_last(fixture[f'{kind}_{size}'])
      value, grad = evaluate(channels_last(fixture[f'fake_{size}']), real, mask)
      report.check(f'loss_{kind}_{size}', value, fixture[f'loss_{kind}_{size}'], 1e-5)
      name = f'grad_fake_{kind}_{size}'
      if name in fixture:
        report.check(name, grad, channels_last(fixture[name]), 1e-4)


@replays('e_ellipsoid.npz')
def replay_ellipsoid(fixture, report):
  for name in fixture.arrays:
    if name.startswith('ellipsoid_'):
      category, kind, size, *far = name.removeprefix('ellipsoid_').split('_')
      mask = fixture[f'mask_{kind}_{size}'][0, 0]
      far = float(far[0].removeprefix('far')) if far else 1.02
      ours = priors.prior_depth(mask, category=category, near=0.91, far=far, image_centered=True)
      report.check(name, ours[None], fixture[name], 1e-5)
    elif name.startswith('range_'):
      kind, size = name.split('_')[-2:]
      top, bottom, left, right = priors.mask_box(fixture[f'mask_{kind}_{size}'][0, 0], 'cat')
      report.check(name, [bottom, top, right, left], fixture[name], 1e-5)


@replays('e_view_light_sampling.npz')
def replay_sampling(fixture, report):
  prior = prior_of(fixture.arrays)
  settings = Settings(view_scale=float(fixture['view_scale']), **PUBLISHED)
  report.check('view_cholesky', priors.cholesky(prior.view_cov), fixture['view_cholesky'], 1e-5)
  report.check('light_cholesky', priors.cholesky(prior.light_cov), fixture['light_cholesky'], 1e-5)
  views = jax.vmap(lambda n: priors.view_from_normals(n, prior, settings))(fixture['view_normals'])
  report.check('view_samples', views, fixture['view_samples'], 1e-5)
  physical = jax.vmap(lambda v: view_from_code(v, settings))(views)
  report.check('view_samples_transformed', physical, fixture['view_samples_transformed'], 1e-5)
  lights = jax.vmap(lambda n: priors.light_from_normals(n, prior))(fixture['light_normals'])
  report.check('light_samples', lights, fixture['light_samples'], 1e-5)


def light_code(fixture):
  """A light code with the given strengths; its direction is drawn anew for every sample."""
  strengths = [float(fixture[n].ravel()[0]) * 2 - 1 for n in ('light_a', 'light_b')]
  return jnp.asarray([*strengths, 0.0, 0.0])


@replays('e_pseudo_images.npz')
def replay_pseudo_images(fixture, report):
  depth = jnp.asarray(fixture['depth'][0])
  factors = Factors(
    depth,
    channels_last(fixture['albedo'])[0],
    jnp.zeros(6),
    light_code(fixture),
    channels_last(fixture['canon_mask'])[0],
  )
  origin = step2_projection.Origin(None, factors, jnp.asarray(fixture['normal'][0]), jnp.zeros(()))
  x0, x1, y0, y1, k0, k1, ambient = (float(x) for x in fixture['rand_light'])
  lights = RandomLight((x0, x1), (y0, y1), (k0, k1), ambient)
  prior = prior_of(fixture.arrays)
  for suffix, use_mask in (('', False), ('_use_mask', True)):
    settings = Settings(random_light=lights, use_mask=use_mask, **PUBLISHED)
    views = fixture[f'view_samples{suffix}']
    draws = step2_projection.Draw(
      jnp.asarray(views),
      jnp.stack([fixture[f'light_dx{suffix}'], fixture[f'light_dy{suffix}']], axis=-1),
      jnp.asarray(fixture[f'diffuse_draw{suffix}'].reshape(-1)),
    )
    drawn = jax.vmap(lambda n, s=settings: priors.view_from_normals(n, prior, s))(
      fixture[f'view_normals{suffix}']
    )
    scales = np.median((views / np.asarray(drawn))[:, 1])  # the file does not name view_scale
    report.check(f'view_samples{suffix}', drawn.at[:, 1].multiply(scales), views, 1e-5)
    sample = jax.jit(jax.vmap(lambda d, s=settings: step2_projection.pseudo_sample(origin, d, s)))
    images, masks = sample(draws)
    reference = channels_last(fixture[f'pseudo_mask{suffix}'])
    report.check(f'pseudo_im{suffix}', images, channels_last(fixture[f'pseudo_im{suffix}']), 5e-4)
    report.check_fraction(
      f'pseudo_mask{suffix}', np.abs(np.asarray(masks) - np.asarray(reference)) > 1e-5, 2e-3
    )
