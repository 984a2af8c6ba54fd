"""The weights that a configuration names: the GAN, perceptual features, the prior, networks."""

import functools
import pathlib
from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from gan2shape_jax.data import load_prior, locate
from gan2shape_jax.data.mvn_files import read_mvn_files
from gan2shape_jax.errors import WeightsError
from gan2shape_jax.models import stylegan2
from gan2shape_jax.models.discriminator import discriminator_resolution, num_features
from gan2shape_jax.pipeline import setup
from gan2shape_jax.reconstruction import latent_space
from gan2shape_jax.reconstruction.state import Frozen, ViewLightPrior
from gan2shape_jax.weights import (
  converted,
  load_safetensors,
  read_stylegan2,
  read_torch_file,
)
from gan2shape_jax.weights.array_files import compare_names, is_safetensors
from gan2shape_jax.weights.network_checkpoints import networks_from_checkpoint
from gan2shape_jax.weights.perceptual import perceptual_from_state_dicts

_MEAN_LATENT_SAMPLES = 4096


def check_files(config: ConfigDict):
  """Refuses a configuration whose weight files are not there, naming all that are missing.

  Raises:
    WeightsError: one line.
  """
  wanted = {
    'gan.weights': locate(config.gan.weights, 'stylegan2.safetensors'),
    'prior.view_light': locate(config.prior.view_light, 'prior.npz'),
    'networks.pretrained': locate(config.networks.pretrained, 'networks.safetensors'),
    'parsing.weights': config.parsing.weights,
    'loss.perceptual_weights': config.loss.perceptual_weights
    if config.loss.perceptual == 'lpips'
    else '',
  }
  missing = [
    f'{path} ({setting})'
    for setting, value in wanted.items()
    for path in _paths(value)
    if not path.is_file()
  ]
  if missing:
    raise WeightsError(
      f'no such file: {", ".join(missing)}; the configuration file tells where they come from'
    )


def _paths(value) -> list[pathlib.Path]:
  """The files that a setting names, separated by commas; '' names none."""
  if isinstance(value, pathlib.Path) and value.is_file():
    return [value]
  parts = [part.strip() for part in str(value).split(',')]
  return [locate(part) for part in parts if part not in ('', '.')]


def load_frozen(config: ConfigDict, *, critic: bool | None = None) -> Frozen:
  """The GAN, the perceptual weights and the prior that a configuration names.

  Original files are converted, and kept converted (`weights.converted`).

  Args:
    config: a whole configuration.
    critic: whether the GAN's discriminator must be there; None where the configuration's fits
      compare by it. Where it is there it is loaded anyway.

  Raises:
    WeightsError: files are missing or damaged, or the GAN has no discriminator.
    DataError: the prior is not a Gaussian.
  """
  check_files(config)
  path = locate(config.gan.weights, 'stylegan2.safetensors')
  gan = converted('stylegan2', [path], functools.partial(_gan, path))
  generator, discriminator = gan['generator'], gan.get('discriminator')
  check_critic(discriminator, config, critic)
  if discriminator is not None:
    _check_discriminator(discriminator, config, path)
  perceptual = None
  if config.loss.perceptual == 'lpips':
    if not config.loss.perceptual_weights:
      raise WeightsError(
        'loss.perceptual is lpips but loss.perceptual_weights names no file: expected one made by '
        'experiments/convert_weights.py --kind=lpips'
      )
    perceptual = load_perceptual(config.loss.perceptual_weights)
  # Not jnp.asarray: that compiles a program for every shape.
  generator, discriminator, perceptual = jax.device_put((generator, discriminator, perceptual))
  mean = gan.get('mean_latent')
  if mean is None:
    mean = jax.jit(stylegan2.mean_latent, static_argnums=2)(
      generator, jax.random.key(0), _MEAN_LATENT_SAMPLES
    )[0]
  prior = jax.device_put(load_view_light(config.prior.view_light))
  return with_basis(
    config, Frozen(generator, discriminator, perceptual, jax.device_put(mean), prior)
  )


def with_basis(config, frozen):
  """Frozen weights with the directions in which latents are refined, where a mode does that."""
  basis = None
  if setup.refine_iterations(config):
    basis = jax.device_put(latent_space.basis(frozen.generator, _MEAN_LATENT_SAMPLES))
  return frozen._replace(latent_basis=basis, latent_directions=None)


def check_critic(discriminator, config, critic=None):
  """Refuses a GAN that lacks the discriminator; see `load_frozen`."""
  if critic is None:
    critic = config.loss.perceptual == 'discriminator' and config.mode != 'predict'
  if critic and discriminator is None:
    raise WeightsError(
      f'{locate(config.gan.weights, "stylegan2.safetensors")}: expected a discriminator beside the '
      'generator; without one, loss.perceptual is lpips or none'
    )


def _check_discriminator(discriminator, config, path):
  """Refuses more feature maps than a discriminator has."""
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


def _gan(path) -> dict:
  """The groups of a StyleGAN2 file that it has."""
  parts = read_stylegan2(path)._asdict()
  return {name: part for name, part in parts.items() if part is not None}


def load_perceptual(value: str) -> Mapping:
  """VGG16 and LPIPS heads from one safetensors file, or from the two original files 'A,B'.

  Raises:
    WeightsError: a file is damaged, or is another.
  """
  paths = _paths(value)
  if len(paths) == 1 and is_safetensors(paths[0]):
    return load_safetensors(paths[0])
  if len(paths) != 2:
    raise WeightsError(
      f'loss.perceptual_weights={value}: expected a safetensors file, or VGG16 and LPIPS heads as '
      'two files with a comma between'
    )

  def convert():
    states = [read_torch_file(path) for path in paths]
    for path, state in zip(paths, states, strict=True):
      if not isinstance(state, Mapping):
        raise WeightsError(f'{path}: expected a dict of tensors')
    return perceptual_from_state_dicts(*states, path=value)

  return converted('lpips', paths, convert)


def load_view_light(value: str) -> ViewLightPrior:
  """The Gaussians of views and lights from an .npz, or from the two original files 'VIEW,LIGHT'.

  Raises:
    DataError: a file is damaged or holds no Gaussian.
  """
  paths = _paths(locate(value, 'prior.npz'))
  return read_mvn_files(*paths) if len(paths) == 2 else load_prior(value)


def load_pretrained(path: pathlib.Path, expected: dict) -> dict:
  """Starting parameters from a file.

  Args:
    path: a safetensors file of some networks' parameters by name, or a checkpoint of GAN2Shape or
      Unsup3d.
    expected: all five networks' parameters, or their shapes.

  Returns:
    Parameters of the networks that the file holds.

  Raises:
    WeightsError: the file is missing or damaged, or a network's names or shapes do not fit.
  """
  if is_safetensors(path):
    loaded = load_safetensors(path)
  else:

    def convert():
      content = read_torch_file(path)
      if not isinstance(content, Mapping):
        raise WeightsError(f'{path}: expected a dict of networks')
      return networks_from_checkpoint(content, path=str(path))[0]

    loaded = converted('networks', [path], convert)
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
  return jax.device_put(loaded)
