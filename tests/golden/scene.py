"""Networks, frozen weights and settings of the whole-step fixtures, read from their arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.reconstruction.state import Frozen, Instance, Networks, Settings, ViewLightPrior
from gan2shape_jax.weights.network_checkpoints import (
  CHECKPOINT_KEYS,
  network_from_params,
  network_from_state_dict,
)
from gan2shape_jax.weights.perceptual import perceptual_from_state_dicts
from gan2shape_jax.weights.stylegan2_files import load_stylegan2
from tests.golden import Missing

# The published code's departures; marching as densely as its rasteriser resolves.
PUBLISHED = {
  'pixel_offset': 0.5,
  'supersample': 2,
  'march_steps': 2048,
  'border_weight': 1.02,
  'scale_mean_yaw': True,
}


def channels_last(images):
  """NCHW -> NHWC."""
  if isinstance(images, Missing):
    return images
  return jnp.asarray(np.moveaxis(np.asarray(images), 1, -1))


def checkpoint(fixture, size):
  """Generator and discriminator of the folder's checkpoint of that resolution."""
  return jax.tree.map(jnp.asarray, load_stylegan2(fixture.path.with_name(f'a_stylegan2_{size}.pt')))


def vgg(fixture):
  """Weights of the perceptual loss in the fixture's folder."""
  (path,) = fixture.path.parent.glob('d_lpips_vgg16*.npz')
  weights = dict(np.load(path))
  named = lambda prefix: {k: v for k, v in weights.items() if k.startswith(prefix)}
  return perceptual_from_state_dicts(named('features'), named('lin'))


def settings_of(scene, **changes) -> Settings:
  """The settings that `f_scene` stores."""
  number = lambda name: round(float(scene[name]), 6)
  return Settings(
    min_depth=number('min_depth'),
    max_depth=number('max_depth'),
    border_depth=number('border_depth'),
    rotation_range=number('xyz_rotation_range'),
    xy_translation_range=number('xy_translation_range'),
    perceptual='lpips',
    lam_perceptual=number('lam_perc'),
    lam_smooth=number('lam_smooth'),
    lam_regular=number('lam_regular'),
    batch_size=int(scene['batchsize']),
    **(PUBLISHED | changes),
  )


def prior_of(arrays) -> ViewLightPrior:
  """Views' and lights' Gaussians; what a file does not give is zero mean, unit covariance."""
  get = lambda name, default: jnp.asarray(arrays[name]) if name in arrays else jnp.asarray(default)
  return ViewLightPrior(
    get('view_mean', np.zeros(6, np.float32)),
    get('view_cov', np.eye(6, dtype=np.float32)),
    get('light_mean', np.zeros(4, np.float32)),
    get('light_cov', np.eye(4, dtype=np.float32)),
  )


def tapped(module, squeeze=False):
  """Apply function whose output is raised by `params['taps']` of the same batch size.

  The gradient with respect to a tap is the gradient with respect to the network's raw output.
  """

  def apply(params, images):
    out = module.apply({'params': params['params']}, images)
    out = out[..., 0] if squeeze else out
    for tap in params['taps']:
      if tap.shape == out.shape:
        out = out + tap
    return out

  return apply


@functools.cache
def whole_step(folder):
  """(networks, params, instance, frozen, scene arrays) of a folder's f_scene and f_networks."""
  from tests.golden import Fixture

  scene = Fixture(folder / 'f_scene.npz')
  stored = Fixture(folder / 'f_networks.npz')
  size = scene['input_im'].shape[-1]
  kinds = {key: kind for kind, key in CHECKPOINT_KEYS.items()}
  modules, params = {}, {}
  for key, kind in kinds.items():
    weights = network_from_state_dict(kind, stored.group(key))
    base = int(scene['net_gn_base']) if kind in ('depth', 'albedo') else None
    modules[kind] = network_from_params(kind, weights, group_norm_base=base)
    params[kind] = {'params': jax.tree.map(jnp.asarray, weights), 'taps': ()}
  networks = Networks(**{kind: tapped(m, squeeze=kind == 'depth') for kind, m in modules.items()})
  generator, discriminator = checkpoint(scene, size)
  frozen = Frozen(
    generator,
    discriminator,
    jax.tree.map(jnp.asarray, vgg(scene)),
    jnp.asarray(scene['mean_latent'][0]),
    prior_of(scene.arrays),
  )
  instance = Instance(
    channels_last(scene['input_im'])[0],
    channels_last(scene['input_mask'])[0],
    jnp.asarray(scene['latent_w'][0]),
  )
  return networks, params, instance, frozen, scene, {kind: key for key, kind in kinds.items()}
