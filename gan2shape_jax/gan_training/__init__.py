"""Training of a StyleGAN2: losses, augmentation, updates over devices, and a resumable loop."""

from gan2shape_jax.gan_training.gan_settings import GanSettings, most_devices, settings_from_config
from gan2shape_jax.gan_training.gan_state import TrainState, initial_state
from gan2shape_jax.gan_training.training import step, train
from gan2shape_jax.gan_training.updates import Updates, build, place_images, place_state

__all__ = [
  'GanSettings',
  'TrainState',
  'Updates',
  'build',
  'initial_state',
  'most_devices',
  'place_images',
  'place_state',
  'settings_from_config',
  'step',
  'train',
]
