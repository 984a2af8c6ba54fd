"""Models: settings and weights, loaded once for any number of pictures."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gan2shape_jax import presets
from gan2shape_jax.errors import SettingsError
from gan2shape_jax.pipeline import config_checks
from gan2shape_jax.pipeline.assembly import Assembly, assemble, with_seed
from gan2shape_jax.pipeline.collection import make_run_layout
from gan2shape_jax.pipeline.fitting import Fitter
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.pipeline.masks import FindMask, check_category, mask_finder
from gan2shape_jax.pipeline.picture_latents import LatentFinder
from gan2shape_jax.runtime.profiling import Traces
from gan2shape_jax.runtime.progress import CalledProgress


class Ready(NamedTuple):
  """What pictures are fitted with, or looked at.

  Attributes:
    config: a whole configuration of one mode and seed.
    shared: its assembly.
    fitter: its programs.
  """

  config: ConfigDict
  shared: Assembly
  fitter: Fitter


class Model:
  """A GAN with its networks and settings, made by `load`.

  Programs are compiled when they are first needed, and kept for the pictures that follow. A model
  is not meant to be used by several threads at once.

  Attributes:
    config: the whole configuration, locked; `gan2shape_jax/config.py` explains each setting.
    size: height and width in pixels that pictures are brought to.
    frozen: the GAN's weights, the perceptual ones and the prior of views and lights.
  """

  def __init__(self, config: ConfigDict):
    """Loads the weights; `load` takes presets and changes of settings."""
    self.config = config.copy_and_resolve_references().lock()
    self.size = config.image_size
    self.frozen = load_frozen(self.config_for('predict'))
    self._ready: dict[str, Ready] = {}

  def __repr__(self):
    return f'Model({self.config.gan.weights!r}, {self.size} px)'

  def config_for(self, mode: str, seed: int | None = None) -> ConfigDict:
    """The configuration in another mode, and with another seed where one is given."""
    config = self.config.copy_and_resolve_references()
    config.mode = mode
    if seed is not None:
      config.seed = seed
    return config

  def ready(self, mode: str, seed: int | None = None, progress=None) -> Ready:
    """The programs of a mode.

    Args:
      mode: 'fit' or 'predict'.
      seed: of the fit; None is the configuration's.
      progress: function of `CalledProgress`, or None.

    Raises:
      SettingsError: the mode needs trained networks, or devices that are not there; or the seed
        is none.
      WeightsError: the networks' file is missing, damaged or does not fit; or the GAN lacks the
        discriminator that the fit compares by.
    """
    config = self.config_for(mode, seed)
    config_checks.check_seed(config)
    if mode not in self._ready:
      base = self.config_for(mode)
      config_checks.check_config(base)
      shared = assemble(base, frozen=self.frozen)
      fitter = Fitter(
        base, shared, make_run_layout(base, 1), None, lambda: False, Traces(None), CalledProgress
      )
      self._ready[mode] = Ready(base, shared, fitter)
    kept = self._ready[mode]
    shared = kept.shared
    if config.seed != kept.config.seed and shared.drawn:
      shared = with_seed(shared, config)
    make_progress = functools.partial(CalledProgress, call=progress)
    return Ready(config, shared, kept.fitter.renewed(config, shared, make_progress))

  @functools.cached_property
  def latent_finder(self) -> LatentFinder:
    """Finds latents of pictures."""
    return LatentFinder(self.config, self.frozen)

  @functools.cached_property
  def find_mask(self) -> FindMask:
    """Finds masks of pictures; making it raises WeightsError where the parsing weights are bad."""
    return mask_finder(self.config)


def load(
  preset: str | ConfigDict = 'heads', overrides: Mapping[str, Any] | None = None, /, **settings
) -> Model:
  """Loads a model.

  Args:
    preset: name of a preset, such as 'heads', or with its variant, such as 'heads:networks'
      (`gan2shape_jax.presets.names()`); or a whole configuration, which is copied.
    overrides: settings by their dotted names, {'stages.count': 1}: the names of the command line's
      --config.stages.count=1.
    **settings: the same as keywords, two underscores for each dot: stages__count=1. `mode` and
      the sections `data` and `checkpoint` do not matter here: the function called and its
      arguments say what is done with which picture.

  Returns:
    A `Model`.

  Raises:
    SettingsError: there is no such preset or setting, or its value is one that no run can have.
    WeightsError: a weight file is missing, damaged or does not fit.
    DataError: the prior of views and lights is missing or not a Gaussian.

  Example:
    >>> model = gan2shape_jax.load('heads', {'stages.count': 1}, seed=3)
  """
  if isinstance(preset, ConfigDict):
    config = preset.copy_and_resolve_references()
  else:
    try:
      config = presets.get_config(preset)
    except ValueError as error:
      raise SettingsError(str(error)) from None
  dotted = {name.replace('__', '.'): value for name, value in settings.items()}
  for name, value in (dict(overrides or {}) | dotted).items():
    _set(config, name, value)
  config.mode = 'fit'
  config_checks.check_config(config)
  check_category(config)
  return Model(config)


def _set(config, name, value):
  """Changes one setting; refuses one that is not there or is of another type."""
  *sections, last = name.split('.')
  section = config
  for part in sections:
    section = section[part] if isinstance(section, ConfigDict) and part in section else None
  if not isinstance(section, ConfigDict) or last not in section:
    raise SettingsError(f'{name}={value!r}: there is no setting {name!r} (gan2shape_jax/config.py)')
  if isinstance(section[last], ConfigDict):
    settings = ', '.join(f'{name}.{inner}' for inner in section[last])
    raise SettingsError(f'{name}: this is a section, expected one of its settings ({settings})')
  try:
    section[last] = value
  except (TypeError, ValueError):
    raise SettingsError(
      f'{name}={value!r}: expected {type(section[last]).__name__}, this is {type(value).__name__}'
    ) from None
