"""What is measured: a configuration, its first picture, and the parameters of its beginning."""

import importlib.util

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction.state import Frozen, Instance


def load_config(name: str) -> ConfigDict:
  """Reads FILE or FILE:VARIANT."""
  path, _, variant = name.partition(':')
  spec = importlib.util.spec_from_file_location('benchmark_config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant)


def first_instance(config: ConfigDict, frozen: Frozen) -> Instance:
  """The configuration's first picture; in place of what it lacks, an ellipse, the mean latent."""
  picture = data.load_pictures(config.data, config.image_size)[0]
  mask = data.elliptic_mask(config.image_size) if picture.mask is None else picture.mask
  latent = frozen.mean_latent if picture.latent is None else picture.latent
  return Instance(picture.image, mask, np.asarray(latent))


def starting_params(shared: Assembly, instance: Instance) -> dict:
  """What a run trains on a picture at its beginning, the networks' guesses included."""
  if shared.programs.begin is None:
    return shared.params
  return shared.programs.begin(shared.params, instance, None, shared.frozen)
