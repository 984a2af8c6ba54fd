"""The five networks of a configuration: flax modules, apply functions, starting parameters."""

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
from gan2shape_jax.reconstruction.state import Networks

NETWORKS = Networks._fields


def network_widths(config: ConfigDict) -> tuple[int, int]:
  """The networks' first width and the groups of their first group norm.

  Zeros stand for the published numbers of the image size; at other widths the published number of
  channels a group is kept.
  """
  size, nets = config.image_size, config.networks
  width = nets.width or default_width(size)
  published = default_group_norm_base(size) * width // default_width(size)
  return width, nets.group_norm_base or max(1, published)


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
