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
from gan2shape_jax.reconstruction import priors
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.reconstruction.state import FitSettings, Networks, Settings
from gan2shape_jax.renderer import Camera

NETWORKS = Networks._fields

_SEEDS = -(2**31), 2**32 - 1
_SMALLEST_IMAGE = 64  # the networks halve so often
_CHOICES = {
  'data.on_error': ('stop', 'skip'),
  'results.texture': ('photo', 'albedo'),
  'mode': ('fit', 'predict', 'joint'),
  'precision': ('float32', 'bf16'),
  'loss.perceptual': ('lpips', 'discriminator', 'none'),
  'prior.shape': ('ellipsoid', 'dome', 'flat', 'asymmetric'),
  'inversion.space': ('w', 'w+'),
  'fit.factors': ('networks', 'direct'),
  'fit.views': ('drawn', 'told'),
  'projection.start': ('encoder', 'directions'),
  'sampling.lights': ('range', 'prior'),
  'parallel.split': ('images', 'samples'),
  'parallel.form': ('vmap', 'loop'),
}
_AT_LEAST_ONE = (
  'networks.bottleneck',
  'networks.encoder_width',
  'renderer.supersample',
  'sampling.batch_size',
  'sampling.collect_iters',
  'stages.count',
  'inversion.iterations',
  'checkpoint.every',
  'checkpoint.keep',
  'parallel.instances_per_device',
)
_NOT_NEGATIVE = (
  'data.num',
  'data.start',
  'gan.crop',
  'gan.origin_size',
  'networks.width',
  'networks.group_norm_base',
  'parallel.cpu_devices',
  'parallel.devices',
  'prior.iterations',
  'renderer.march_steps',
  'sampling.f1_depth',
  'fit.finish',
  'projection.refine_iterations',
  'results.texture_size',
  *(f'stages.{stage}.step{step}' for stage in ('first', 'later') for step in (1, 2, 3)),
)
# Beyond these a run would only use up the memory.
_AT_MOST = {
  'image_size': 4096,
  'renderer.march_steps': 4096,
  'renderer.supersample': 16,
  'sampling.batch_size': 4096,
}


class SettingsError(ValueError):
  """A setting that no run can have; the message is one line that names it."""


def check_config(config: ConfigDict):
  """Refuses settings that could only fail later.

  Raises:
    SettingsError: one line that names the setting, its value and what is expected.
  """

  def value(name):
    return config[name] if '.' not in name else value_in(config, *name.split('.'))

  def value_in(part, *names):
    return value_in(part[names[0]], *names[1:]) if names else part

  def expect(name, true, wanted):
    if not true:
      raise SettingsError(f'{name}={value(name)!r}: expected {wanted}')

  expect(
    'networks.pretrained',
    config.mode != 'predict' or config.networks.pretrained,
    'trained networks, as mode=predict fits none',
  )
  check_seed(config)
  size = config.image_size
  power = size > 0 and size & (size - 1) == 0
  expect('image_size', power and size >= _SMALLEST_IMAGE, 'a power of two of at least 64')
  for name, choices in _CHOICES.items():
    expect(name, value(name) in choices, f'one of {", ".join(choices)}')
  for name in _AT_LEAST_ONE:
    expect(name, value(name) >= 1, 'at least 1')
  for name in _NOT_NEGATIVE:
    expect(name, value(name) >= 0, 'at least 0')
  for name, most in _AT_MOST.items():
    expect(name, value(name) <= most, f'at most {most}')
  expect('prior.near', config.prior.near < config.prior.far, 'a depth below prior.far')
  side = config.gan.origin_size or size
  expect('gan.crop', config.gan.crop <= side, f"at most {side}, the GAN's image (gan.origin_size)")
  expect('sampling.rand_light', len(config.sampling.rand_light) == 7, '7 numbers')
  expect('fit.box', len(config.fit.box) in (0, 4), 'none or 4 numbers')
  expect('fit.hold_views', 0 <= config.fit.hold_views < 1, 'a part of 1')
  expect('camera.fov', 0 < config.camera.fov < 180, 'degrees between 0 and 180')
  depths = config.camera.min_depth, config.camera.max_depth
  expect('camera.min_depth', 0 < depths[0] < depths[1], 'a depth between 0 and camera.max_depth')
  width, base = network_widths(config)
  expect('networks.width', width % base == 0, f'a multiple of networks.group_norm_base, {base}')


def check_seed(config: ConfigDict):
  """Refuses seeds of which random keys would keep the last 32 bits only.

  Raises:
    SettingsError: one line.
  """
  # A negative one is the same as itself plus 2**32.
  if not _SEEDS[0] <= config.seed <= _SEEDS[1]:
    raise SettingsError(f'seed={config.seed}: expected a number from {_SEEDS[0]} to {_SEEDS[1]}')


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


def network_widths(config: ConfigDict) -> tuple[int, int]:
  """The networks' first width and the groups of their first group norm.

  Zeros stand for the published numbers of the image size; at other widths the published number of
  channels a group is kept.
  """
  size, nets = config.image_size, config.networks
  width = nets.width or default_width(size)
  published = default_group_norm_base(size) * width // default_width(size)
  return width, nets.group_norm_base or max(1, published)


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
    lights=sampling.lights,
    fit=_fit_settings(config),
  )


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


def build_modules(config: ConfigDict, latent_size: int) -> dict:
  """The five networks as flax modules, by name.

  Args:
    config: widths; zeros stand for the published ones of the image size.
    latent_size: of the GAN.

  Returns:
    A dict of modules: depth, albedo, view, light, encoder.
  """
  nets = config.networks
  width, base = network_widths(config)
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


def initial_params(modules: dict, image_size: int, key, *, names=NETWORKS) -> dict:
  """Parameters of the named networks from a random key, in one compilation.

  A network's parameters do not depend on which others are named.
  """
  return jax.jit(lambda key: _init(modules, image_size, key, names))(key)


def parameter_shapes(modules: dict, image_size: int) -> dict:
  """Shapes and types of all parameters, without computing any."""
  return jax.eval_shape(lambda: _init(modules, image_size, jax.random.key(0), NETWORKS))


def _init(modules, image_size, key, names):
  image = jnp.zeros((1, image_size, image_size, 3))
  return {
    name: modules[name].init(jax.random.fold_in(key, k), image)['params']
    for k, name in enumerate(NETWORKS)
    if name in names
  }
