"""From a configuration to settings, networks and plan: the only place that reads ConfigDicts."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.models.networks import (
  Encoder,
  EncoderDecoder,
  ResidualEncoder,
  default_group_norm_base,
  default_width,
)
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.reconstruction.state import Networks, Settings
from gan2shape_jax.renderer import Camera

NETWORKS = Networks._fields


def settings_from_config(config: ConfigDict) -> Settings:
  """The static numbers of the method; `config.published` sets the published departures."""
  camera, loss, sampling = config.camera, config.loss, config.sampling
  return Settings(
    camera=Camera(camera.fov, camera.rotation_center),
    min_depth=camera.min_depth,
    max_depth=camera.max_depth,
    border_depth=camera.border_depth,
    border_weight=1.02 if config.published else camera.border_weight,
    rotation_range=camera.rotation_range,
    xy_translation_range=camera.xy_translation_range,
    z_translation_range=camera.z_translation_range,
    pixel_offset=0.5 if config.published else config.renderer.pixel_offset,
    supersample=2 if config.published else config.renderer.supersample,
    march_steps=config.renderer.march_steps,
    perceptual=loss.perceptual,
    lam_perceptual=loss.lam_perceptual,
    lam_smooth=loss.lam_smooth,
    lam_regular=loss.lam_regular,
    lam_view=loss.lam_view,
    lam_light=loss.lam_light,
    smooth_huber=loss.smooth_huber,
    discriminator_features=loss.discriminator_features,
    view_scale=sampling.view_scale,
    scale_mean_yaw=config.published or sampling.scale_mean_yaw,
    rand_light=tuple(sampling.rand_light),
    relative_encoding=sampling.relative_encoding,
    use_mask=sampling.use_mask,
    f1_depth=sampling.f1_depth,
    truncation=config.gan.truncation,
    crop=config.gan.crop,
    origin_size=config.gan.origin_size,
    batch_size=sampling.batch_size,
    learning_rate=config.optimizer.learning_rate,
    beta1=config.optimizer.beta1,
    beta2=config.optimizer.beta2,
    weight_decay=config.optimizer.weight_decay,
  )


def plan_from_config(config: ConfigDict, *, trained: bool) -> Plan:
  """Lengths of all steps; networks that come trained need no fit to the prior."""
  stages = [config.stages.first] + [config.stages.later] * (config.stages.count - 1)
  return Plan(
    tuple(StagePlan(s.step1, s.step2, s.step3, s.flip1, s.flip3) for s in stages),
    0 if trained else config.prior.iterations,
    config.sampling.collect_iters,
    config.published or config.sampling.skip_first_batch,
  )


def build_modules(config: ConfigDict, latent_size: int) -> dict:
  """The five networks as flax modules, by name.

  Args:
    config: widths; zeros stand for the published ones of the image size.
    latent_size: of the GAN.

  Returns:
    A dict of modules: depth, albedo, view, light, encoder.
  """
  size, nets = config.image_size, config.networks
  width = nets.width or default_width(size)
  # Group norms keep the published number of channels a group at other widths as well.
  base = nets.group_norm_base or max(
    1, default_group_norm_base(size) * width // default_width(size)
  )
  return {
    'depth': EncoderDecoder(1, width, base, bottleneck=nets.bottleneck),
    'albedo': EncoderDecoder(3, width, base, bottleneck=nets.bottleneck, final_tanh=True),
    'view': Encoder(6, width),
    'light': Encoder(4, width),
    'encoder': ResidualEncoder(latent_size, nets.encoder_width),
  }


def build_networks(modules: dict) -> Networks:
  """Apply functions of the modules: (params, images) -> raw outputs."""

  def apply(module):
    return lambda params, images: module.apply({'params': params}, images)

  depth = apply(modules['depth'])
  return Networks(
    depth=lambda params, images: depth(params, images)[..., 0],
    **{name: apply(modules[name]) for name in NETWORKS if name != 'depth'},
  )


def initial_params(modules: dict, image_size: int, key) -> dict:
  """Parameters of the five networks from a random key, in one compilation."""

  def init(key):
    image = jnp.zeros((1, image_size, image_size, 3))
    return {
      name: modules[name].init(jax.random.fold_in(key, k), image)['params']
      for k, name in enumerate(NETWORKS)
    }

  return jax.jit(init)(key)
