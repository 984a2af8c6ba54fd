"""The static numbers of a StyleGAN2's training, from a configuration, with bad ones refused."""

import dataclasses
import math

from ml_collections import ConfigDict

from gan2shape_jax.errors import SettingsError
from gan2shape_jax.pipeline.config_checks import check_seed

GROUP = 4  # images that share one minibatch deviation in the discriminator
AUGMENTATIONS = ('blit', 'geometric', 'colour')
DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class GanSettings:
  """What the training's programs are built for; `config.gan_training` says what each number is.

  Attributes:
    decay: images shown when the learning rates begin to fall and when they reach zero, or () for
      constant ones; from `images_shown` and `decay_images`. The others have their names.
  """

  seed: int
  image_size: int
  latent_size: int
  mapping_layers: int
  widths: tuple[int, ...]
  batch_size: int
  learning_rate: float
  decay: tuple[int, ...]
  beta1: float
  beta2: float
  r1_weight: float
  r1_every: int
  path_weight: float
  path_every: int
  path_decay: float
  path_batch_shrink: int
  style_mixing: float
  ema_half_life: float
  ema_ramp_up: float
  mirror: bool
  augment: tuple[str, ...]
  augment_start: float
  augment_target: float
  augment_images: float
  augment_every: int
  dtype: str

  @property
  def group(self) -> int:
    """Images that share one minibatch deviation."""
    return min(GROUP, self.batch_size)

  @property
  def num_layers(self) -> int:
    """Latents that an image takes, one for each layer."""
    return 2 * len(self.widths)

  @property
  def path_batch(self) -> int:
    """Images of the path-length regularisation."""
    return max(1, self.batch_size // self.path_batch_shrink)


def settings_from_config(config: ConfigDict) -> GanSettings:
  """The settings that a configuration asks for.

  Args:
    config: a whole configuration; `seed`, `image_size` and `gan_training` count.

  Returns:
    Checked settings.

  Raises:
    SettingsError: one line that names the setting, its value and what is expected.
  """
  check_seed(config)
  if config.seed < 0:  # numpy's generators take none
    raise SettingsError(f'seed={config.seed}: expected at least 0 for gan_training')
  own = config.gan_training
  groups = tuple(part.strip() for part in own.augment.split(',') if part.strip())
  decay = (own.images_shown - own.decay_images, own.images_shown) if own.decay_images else ()
  given = {'seed': config.seed, 'image_size': config.image_size, 'augment': groups, 'decay': decay}
  names = [field.name for field in dataclasses.fields(GanSettings) if field.name not in given]
  settings = GanSettings(**given, **{name: own[name] for name in names})
  settings = dataclasses.replace(settings, widths=tuple(settings.widths))
  _check(settings, own)
  return settings


def check_devices(settings: GanSettings, devices: int):
  """Refuses batches that do not divide among devices with whole groups on each.

  Raises:
    SettingsError: one line.
  """
  step = settings.group * devices
  if settings.batch_size % step:
    raise SettingsError(
      f'gan_training.batch_size={settings.batch_size}: expected a multiple of {step} for {devices} '
      f'devices with groups of {settings.group} images on each'
    )
  if settings.path_batch % devices:
    raise SettingsError(
      f'gan_training.path_batch_shrink={settings.path_batch_shrink}: leaves {settings.path_batch} '
      f'images, expected a multiple of {devices}, the number of devices'
    )


def most_devices(settings: GanSettings, limit: int) -> int:
  """The largest number of devices, up to a limit, that `check_devices` lets pass."""
  shares = math.gcd(settings.batch_size // settings.group, settings.path_batch)
  return max(n for n in range(1, limit + 1) if shares % n == 0)


def _check(settings, own):
  def expect(name, true, wanted):
    value = own[name] if name in own else getattr(settings, name)
    place = name if name == 'image_size' else f'gan_training.{name}'
    if not true:
      raise SettingsError(f'{place}={value!r}: expected {wanted}')

  size, widths = settings.image_size, settings.widths
  expect('image_size', size >= 8 and size & (size - 1) == 0, 'a power of two of at least 8')
  blocks = size.bit_length() - 2
  positive = all(isinstance(width, int) and width > 0 for width in widths)
  expect(
    'widths', len(widths) == blocks and positive, f'{blocks} positive numbers, for 4 to {size} px'
  )
  for name in (
    'latent_size',
    'mapping_layers',
    'batch_size',
    'r1_every',
    'path_every',
    'path_batch_shrink',
    'augment_every',
  ):
    expect(name, getattr(settings, name) >= 1, 'at least 1')
  batch = settings.batch_size
  expect('batch_size', batch % settings.group == 0, f'up to {GROUP}, or a multiple of {GROUP}')
  for name in ('learning_rate', 'ema_half_life', 'augment_images'):
    expect(name, getattr(settings, name) > 0, 'more than 0')
  within = 0 <= own.decay_images <= own.images_shown
  expect('decay_images', within, f'0 to images_shown, {own.images_shown}')
  expect('cpu_devices', own.cpu_devices >= 0, 'at least 0')
  for name in ('r1_weight', 'path_weight', 'ema_ramp_up'):
    expect(name, getattr(settings, name) >= 0, 'at least 0')
  for name in ('style_mixing', 'augment_start', 'path_decay'):
    expect(name, 0 <= getattr(settings, name) <= 1, 'a number from 0 to 1')
  for name in ('beta1', 'beta2'):
    expect(name, 0 <= getattr(settings, name) < 1, 'at least 0 and less than 1')
  known = f'some of {", ".join(AUGMENTATIONS)}, separated by commas'
  expect('augment', set(settings.augment) <= set(AUGMENTATIONS), known)
  expect('dtype', settings.dtype in DTYPES, f'one of {", ".join(DTYPES)}')
