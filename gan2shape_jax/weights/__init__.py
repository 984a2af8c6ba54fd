"""Foreign checkpoints and safetensors files -> params, with names compared and listed."""

from gan2shape_jax.errors import WeightsError
from gan2shape_jax.weights.array_files import load_safetensors, save_safetensors
from gan2shape_jax.weights.cache import converted
from gan2shape_jax.weights.parsing_files import load_parsing
from gan2shape_jax.weights.stylegan2_files import (
  StyleGAN2,
  load_mean_latent,
  load_stylegan2,
  read_stylegan2,
)
from gan2shape_jax.weights.torch_files import read_torch_file

__all__ = [
  'StyleGAN2',
  'WeightsError',
  'converted',
  'load_mean_latent',
  'load_parsing',
  'load_safetensors',
  'load_stylegan2',
  'read_stylegan2',
  'read_torch_file',
  'save_safetensors',
]
