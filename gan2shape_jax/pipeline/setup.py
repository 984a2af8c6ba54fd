"""From a configuration to the static numbers of the method, the plan and the prior shape."""

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import SettingsError
from gan2shape_jax.reconstruction import priors
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.reconstruction.state import FitSettings, RandomLight, Settings
from gan2shape_jax.renderer import Camera


def chosen_devices(setting: str, count: int) -> list:
  """This process's first devices.

  Args:
    setting: that gives the count, for the error.
    count: how many; 0 is all.

  Raises:
    SettingsError: there are fewer.
  """
  devices = jax.local_devices()
  if not 0 <= count <= len(devices):
    raise SettingsError(f'{setting}={count}: expected 0 (all) to {len(devices)}, what there are')
  return devices[: count or None]


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
    precision=config.precision,
    perceptual=loss.perceptual,
    lam_perceptual=loss.lam_perceptual,
    lam_smooth=loss.lam_smooth,
    lam_regular=loss.lam_regular,
    lam_view=loss.lam_view,
    lam_light=loss.lam_light,
    lam_relief=loss.lam_relief,
    smooth_huber=loss.smooth_huber,
    discriminator_features=loss.discriminator_features,
    view_scale=sampling.view_scale,
    scale_mean_yaw=config.published or sampling.scale_mean_yaw,
    random_light=_random_light(sampling.random_light),
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
    lights=sampling.lights,
    fit=_fit_settings(config),
  )


def _random_light(given) -> RandomLight:
  ranges = {name: tuple(given[name]) for name in ('x', 'y', 'strength')}
  return RandomLight(**ranges, ambient=given.ambient)


def fits_factors(config: ConfigDict) -> bool:
  """Whether the factors themselves are fitted; joint training and prediction need networks."""
  return _fits_one(config) and config.fit.factors == 'direct'


def refine_iterations(config: ConfigDict) -> int:
  """Steps on the latents of projections; only the fit of single pictures takes any."""
  return config.projection.refine_iterations if _fits_one(config) else 0


def _fits_one(config):
  return config.mode == 'fit' and not config.published


def _fit_settings(config) -> FitSettings:
  trained, direct = bool(config.networks.pretrained), fits_factors(config)
  values = dict(config.fit) | {
    # Where networks are fitted, the draws are what teaches the view network (`loss.lam_view`).
    'views': config.fit.views if trained and direct else 'drawn',
    'factors': 'direct' if direct else 'networks',
    'box': tuple(config.fit.box),
    'refine_start': config.projection.start if trained else 'encoder',
    'refine_rate': config.projection.refine_rate,
    'lam_latent': config.projection.lam_latent,
    'collect_iters': config.sampling.collect_iters,
  }
  del values['finish']
  return FitSettings(**values)


def plan_from_config(config: ConfigDict, *, trained: bool) -> Plan:
  """Lengths of all steps; networks that come trained need no fit to the prior.

  A prediction has no steps at all.
  """
  if config.mode == 'predict':
    return Plan((), 0, config.sampling.collect_iters)
  stages = [config.stages.first] + [config.stages.later] * (config.stages.count - 1)
  plans = [StagePlan(s.step1, s.step2, s.step3, s.flip1, s.flip3) for s in stages]
  direct = fits_factors(config)
  if direct and config.fit.finish:
    # Step 3 weighs the picture as one of many; at last its own pixels are what is wanted.
    plans.append(StagePlan(config.fit.finish, 0, 0, flip1=True, flip3=False))
  return Plan(
    tuple(plans),
    0 if trained or direct else config.prior.iterations,
    config.sampling.collect_iters,
    config.published or config.sampling.skip_first_batch,
    refine_iterations(config),
  )


def prior_depth(config: ConfigDict, mask):
  """The shape that a configuration starts from, [size, size], in a mask.

  Raises:
    ValueError: as `priors.prior_depth`.
  """
  prior = config.prior
  return priors.prior_depth(
    mask,
    shape=prior.shape,
    category=prior.category,
    near=prior.near,
    far=prior.far,
    image_centered=config.published or prior.image_centered,
  )
