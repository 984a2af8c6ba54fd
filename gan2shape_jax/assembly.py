"""Everything that the pictures of a run share: frozen weights, networks, compiled programs."""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.data import load_prior, locate
from gan2shape_jax.models import stylegan2
from gan2shape_jax.models.discriminator import discriminator_resolution, num_features
from gan2shape_jax.reconstruction import programs, setup
from gan2shape_jax.reconstruction.driver import Plan
from gan2shape_jax.reconstruction.state import Frozen, Networks, Settings
from gan2shape_jax.weights import WeightsError, load_safetensors, load_stylegan2
from gan2shape_jax.weights.files import compare_names

_MEAN_LATENT_SAMPLES = 4096


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
  """

  settings: Settings
  plan: Plan
  networks: Networks
  frozen: Frozen
  programs: programs.Programs
  params: dict
  trained: bool


def assemble(config: ConfigDict) -> Assembly:
  """Loads the weights that a configuration names and builds the programs.

  Args:
    config: a whole configuration.

  Returns:
    An `Assembly`.

  Raises:
    WeightsError: a weight file is missing, damaged or does not fit.
    DataError: the prior of views and lights is missing or not a Gaussian.
  """
  settings = setup.settings_from_config(config)
  frozen = load_frozen(config)
  modules = setup.build_modules(config, stylegan2.latent_size(frozen.generator))
  networks = setup.build_networks(modules)
  loaded, trained = {}, bool(config.networks.pretrained)
  if trained:
    path = locate(config.networks.pretrained, 'networks.safetensors')
    loaded = load_pretrained(path, setup.parameter_shapes(modules, config.image_size))
  missing = [name for name in setup.NETWORKS if name not in loaded]
  key = jax.random.key(config.seed)
  params = loaded | setup.initial_params(modules, config.image_size, key, names=missing)
  return Assembly(
    settings,
    setup.plan_from_config(config, trained=trained),
    networks,
    frozen,
    programs.build(networks, settings),
    params,
    trained,
  )


def load_frozen(config: ConfigDict) -> Frozen:
  """The GAN, the perceptual weights and the prior that a configuration names.

  Raises:
    WeightsError: a file is missing or damaged, or has no discriminator.
    DataError: the prior is missing or not a Gaussian.
  """
  path = locate(config.gan.weights, 'stylegan2.safetensors')
  generator, discriminator = load_stylegan2(path)
  if discriminator is None:
    raise WeightsError(f'{path}: expected a discriminator beside the generator')
  wanted = config.loss.discriminator_features
  if not 1 <= wanted <= num_features(discriminator):
    raise WeightsError(
      f'{path}: the discriminator has {num_features(discriminator)} feature maps, '
      f'loss.discriminator_features asks for {wanted}'
    )
  size = discriminator_resolution(discriminator)
  if wanted == num_features(discriminator) and size != config.image_size:
    raise WeightsError(
      f'{path}: the discriminator takes all {wanted} of loss.discriminator_features only from '
      f'images of {size} pixels, image_size is {config.image_size}: expected fewer features'
    )
  perceptual = None
  if config.loss.perceptual == 'lpips':
    if not config.loss.perceptual_weights:
      raise WeightsError(
        'loss.perceptual is lpips but loss.perceptual_weights names no file: expected one made by '
        'experiments/convert_weights.py --kind=lpips'
      )
    perceptual = load_safetensors(config.loss.perceptual_weights)
  generator, discriminator, perceptual = jax.tree.map(
    jnp.asarray, (generator, discriminator, perceptual)
  )
  mean = jax.jit(stylegan2.mean_latent, static_argnums=2)(
    generator, jax.random.key(0), _MEAN_LATENT_SAMPLES
  )[0]
  prior = jax.tree.map(jnp.asarray, load_prior(locate(config.prior.view_light, 'prior.npz')))
  return Frozen(generator, discriminator, perceptual, mean, prior)


def load_pretrained(path: pathlib.Path, expected: dict) -> dict:
  """Starting parameters from a file.

  Args:
    path: a safetensors file of some networks' parameters by name.
    expected: all five networks' parameters, or their shapes.

  Returns:
    Parameters of the networks that the file holds.

  Raises:
    WeightsError: the file is missing or damaged, or a network's names or shapes do not fit.
  """
  loaded = load_safetensors(path)
  unknown = sorted(set(loaded) - set(expected))
  if unknown or not loaded:
    raise WeightsError(
      f'{path}: expected networks out of {", ".join(expected)}, '
      f'found {", ".join(unknown) or "none"}'
    )
  shapes = lambda tree: {
    jax.tree_util.keystr(where, simple=True, separator='/'): leaf.shape
    for where, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  compare_names(shapes({name: expected[name] for name in loaded}), shapes(loaded), path=path)
  return jax.tree.map(jnp.asarray, loaded)
