"""Networks, frozen weights and settings of the whole-step fixtures, from their arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.models.networks import Encoder, EncoderDecoder, ResidualEncoder
from gan2shape_jax.reconstruction.state import Frozen, Instance, Networks, Settings, ViewLightPrior
from gan2shape_jax.weights.autoencoder import network_from_state_dict
from gan2shape_jax.weights.perceptual import lpips_from_state_dicts
from gan2shape_jax.weights.stylegan2 import load_stylegan2

PUBLISHED = {
  'pixel_offset': 0.5,
  'supersample': 2,
  'march_steps': 128,
  'border_weight': 1.02,
  'scale_mean_yaw': True,
}


def channels_last(images):
  return jnp.asarray(np.moveaxis(np.asarray(images), 1, -1))
