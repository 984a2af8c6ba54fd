"""A configuration's programs at full size, and what they work on, without any of its files."""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan2shape_jax.models import lpips
from gan2shape_jax.pipeline import network_modules, setup
from gan2shape_jax.reconstruction import programs
from gan2shape_jax.reconstruction.state import Frozen, Instance, Projections, ViewLightPrior
from gan2shape_jax.weights.array_files import unflatten
from gan2shape_jax.weights.stylegan2_shapes import published_shapes

LATENT_SIZE = 512
GANS = {
  'stylegan2-car-config-f.pt': (512, 2),
  'stylegan2-church-config-f.pt': (256, 2),
  'stylegan2-cat-config-f.pt': (256, 2),
  'stylegan2-celeba-config-e.pt': (128, 1),
  'stylegan2-synface-config-e.pt': (128, 1),
}
"""File names of the published GANs -> their resolution and channel multiplier."""

_VGG16_WIDTHS = (64, 128, 256, 512, 512)


class FullSize(NamedTuple):
  """What a configuration's programs work on; arrays, or their shapes.

  Attributes:
    params: the five networks' parameters.
    frozen: GAN, perceptual weights, priors.
    instance: a picture.
    projections: one batch of them.
  """

  params: dict
  frozen: Frozen
  instance: Instance
  projections: Projections


def full_size_shapes(config: ConfigDict) -> FullSize:
  """Shapes and types of everything that the three steps of a configuration work on.

  Args:
    config: a configuration whose gan.weights is named as one of `GANS`.

  Returns:
    A `FullSize` of `jax.ShapeDtypeStruct`.
  """
  shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
  tree = lambda shapes: unflatten({name: shape(*sizes) for name, sizes in shapes.items()})
  gan = GANS[pathlib.Path(config.gan.weights).name]
  generator, discriminator = map(tree, published_shapes(*gan))
  prior = ViewLightPrior(shape(6), shape(6, 6), shape(4), shape(4, 4))
  perceptual = _lpips_shapes(shape) if config.loss.perceptual == 'lpips' else None
  frozen = Frozen(generator, discriminator, perceptual, shape(LATENT_SIZE), prior)
  size, batch = config.image_size, config.sampling.batch_size
  params = network_modules.parameter_shapes(
    network_modules.build_modules(config, LATENT_SIZE), size
  )
  instance = Instance(shape(size, size, 3), shape(size, size, 1), shape(LATENT_SIZE))
  projections = Projections(
    shape(1, batch, size, size, 3),
    shape(1, batch, size, size, 1),
    shape(1, batch, 6),
    shape(1, batch, 4),
    shape(1, 6),
    shape(1, size, size),
  )
  return FullSize(params, frozen, instance, projections)


def _lpips_shapes(shape):
  params, channels, index = {}, 3, 0
  for level, count in enumerate(lpips.CONVS_PER_LEVEL):
    for _ in range(count):
      width = _VGG16_WIDTHS[level]
      params[f'conv_{index}'] = {'kernel': shape(3, 3, channels, width), 'bias': shape(width)}
      channels, index = width, index + 1
    params[f'head_{level}'] = {'weight': shape(channels)}
  return params


def count_parameters(tree) -> int:
  """The number of values in a tree of arrays or shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def run_all(config: ConfigDict, everything: FullSize, call):
  """Runs one iteration of each program, as the driver does.

  Args:
    config: a whole configuration.
    everything: what they work on, arrays or (where `call` traces only) shapes.
    call: (name, function, arguments) -> what the function returns.

  Returns:
    The parameters at the end.
  """
  modules = network_modules.build_modules(config, LATENT_SIZE)
  built = programs.build(
    network_modules.build_networks(modules), setup.settings_from_config(config)
  )
  params, frozen, instance, projections = everything
  stage, key = config.stages.first, jax.random.key(0)
  if built.begin is not None:
    begin = lambda p, i, f: built.begin(p, i, None, f)
    params = call('begin', begin, params, instance, frozen)
  fresh = lambda step: call('', lambda p: built.fresh(jax.tree.map(jnp.copy, p), step), params)
  scene = call(
    'observe', lambda p, i, f: built.observe(p, i, f, flip=stage.flip1), params, instance, frozen
  )
  call('step 1', built.step1, fresh(1), scene, instance, frozen)
  origin = call('origin', built.origin, params, instance, frozen)
  call('step 2', built.step2, fresh(2), origin, instance.latent, key, frozen, 0)
  call('collect', built.collect, params, origin, instance.latent, key, frozen, 0)
  step3 = lambda s, i, p, f, n: built.step3(s, i, p, f, n, 0.0, flip=stage.flip3)
  state, terms = call('step 3', step3, fresh(3), instance, projections, frozen, jnp.int32(0))
  return state, terms


def drawn(shapes: FullSize) -> FullSize:
  """Arrays of the shapes: weights small, masks one, covariances diagonal."""
  leaves, tree = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  draw = lambda key, leaf: 0.02 * jax.random.normal(key, leaf.shape)
  drawn = jax.tree.unflatten(tree, [draw(*pair) for pair in zip(keys, leaves, strict=True)])
  prior = drawn.frozen.prior._replace(view_cov=0.05 * jnp.eye(6), light_cov=0.05 * jnp.eye(4))
  return drawn._replace(
    frozen=drawn.frozen._replace(prior=prior),
    instance=drawn.instance._replace(mask=jnp.ones_like(drawn.instance.mask)),
  )
