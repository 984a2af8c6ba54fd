"""Settings that no run can have are refused before any work."""

from ml_collections import ConfigDict

from gan2shape_jax.errors import SettingsError
from gan2shape_jax.pipeline.network_modules import network_widths

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
  for name in ('x', 'y', 'strength'):
    ends = config.sampling.random_light[name]
    ordered = len(ends) == 2 and ends[0] <= ends[1]
    expect(f'sampling.random_light.{name}', ordered, 'the lowest and the highest number')
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
