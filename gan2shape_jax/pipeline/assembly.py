"""Everything that the pictures of a run share: frozen weights, networks, compiled programs."""

from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from gan2shape_jax.data import locate
from gan2shape_jax.errors import SettingsError, WeightsError
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import frozen_weights, network_modules, setup
from gan2shape_jax.reconstruction import latent_space, programs
from gan2shape_jax.reconstruction.driver import Plan
from gan2shape_jax.reconstruction.state import Frozen, Method, Networks, Settings


class Assembly(NamedTuple):
  """What a run loads and compiles once.

  Attributes:
    settings: static numbers of the method.
    plan: lengths of the steps.
    networks: apply functions.
    frozen: weights that nothing trains.
    programs: jitted functions.
    params: the networks' starting parameters, the same for every picture.
    trained: whether `params` come trained (no fit to the prior is needed).
    drawn: names of the networks whose starting parameters are random.
  """

  settings: Settings
  plan: Plan
  networks: Networks
  frozen: Frozen
  programs: programs.Programs
  params: dict
  trained: bool
  drawn: tuple[str, ...] = ()

  @property
  def method(self) -> Method:
    """Networks, settings and frozen weights together."""
    return Method(self.networks, self.settings, self.frozen)


def assemble(config: ConfigDict, *, frozen: Frozen | None = None) -> Assembly:
  """Loads the weights that a configuration names and builds the programs.

  Args:
    config: a whole configuration.
    frozen: what `load_frozen` has loaded for these weight files already, under whatever mode;
      None loads it.

  Returns:
    An `Assembly`.

  Raises:
    WeightsError: a weight file is missing, damaged or does not fit.
    DataError: the prior of views and lights is missing or not a Gaussian.
  """
  settings = setup.settings_from_config(config)
  if frozen is None:
    frozen = frozen_weights.load_frozen(config)
  else:
    frozen_weights.check_critic(frozen.discriminator, config)
    frozen = frozen_weights.with_basis(config, frozen)
  layers = stylegan2.num_modules(frozen.generator) - 1
  if config.sampling.f1_depth > layers:
    raise SettingsError(
      f'sampling.f1_depth={config.sampling.f1_depth}: expected at most {layers}, the mapping '
      'layers of the GAN'
    )
  modules = network_modules.build_modules(config, stylegan2.latent_size(frozen.generator))
  networks = network_modules.build_networks(modules)
  loaded, trained = {}, bool(config.networks.pretrained)
  if trained:
    path = locate(config.networks.pretrained, 'networks.safetensors')
    loaded = frozen_weights.load_pretrained(
      path, network_modules.parameter_shapes(modules, config.image_size)
    )
  drawn = tuple(name for name in network_modules.NETWORKS if name not in loaded)
  params = loaded | _drawn(modules, config, drawn)
  if setup.refine_iterations(config) and settings.fit.refine_start == 'directions':
    if not {'view', 'light'} <= set(loaded):
      raise WeightsError(
        f'projection.start=directions: networks.pretrained={config.networks.pretrained!r} has no '
        'view and light networks, expected both, or projection.start=encoder'
      )
    method = Method(networks, settings, frozen)
    directions = latent_space.view_light_directions(method, params, config.image_size)
    frozen = frozen._replace(latent_directions=jax.device_put(directions))
  return Assembly(
    settings,
    setup.plan_from_config(config, trained=trained),
    networks,
    frozen,
    programs.build(networks, settings),
    params,
    trained,
    drawn,
  )


def with_seed(shared: Assembly, config: ConfigDict) -> Assembly:
  """The same assembly with the random starting parameters of another seed.

  Args:
    shared: an assembly.
    config: its configuration but for the seed.
  """
  modules = network_modules.build_modules(config, stylegan2.latent_size(shared.frozen.generator))
  return shared._replace(params=shared.params | _drawn(modules, config, shared.drawn))


def _drawn(modules, config, names):
  key = jax.random.key(config.seed)
  return network_modules.initial_params(modules, config.image_size, key, names=names)
