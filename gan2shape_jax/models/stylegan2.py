"""The frozen StyleGAN2 generator as pure functions of a dict of arrays; channels last.

A generator's params (made by `gan2shape_jax.weights.load_stylegan2`) hold plain weights: the
equalised learning rate's factors are multiplied in. With w_dim the latent size and C the widths:

  mapping/layer1..layerN/{kernel [w_dim, w_dim], bias [w_dim]}
  constant                    [4, 4, C]
  block4, block8, .../        one for each resolution
    up, conv/                 (block4 has no up)
      kernel [3, 3, C, C'], bias [C'], style/{kernel [w_dim, C], bias [C]},
      noise [H, W, 1], noise_strength []
    to_rgb/{kernel [C', 3], bias [3], style/...}

All sizes are read from these arrays. Everything computes in the type of the latents given.
A modulated convolution scales the activations before and after one convolution that the whole
batch shares; no kernel per sample is built.

Source:
  Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020; layer order and
  constants as in the PyTorch version that GAN2Shape (Pan et al., ICLR 2021) builds on.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gan2shape_jax.models import resampling

_GAIN = 2**0.5
_SLOPE = 0.2


def num_modules(params: dict) -> int:
  """The number of modules of the mapping network, its pixel norm counted as the first."""
  return len(params['mapping']) + 1


def latent_size(params: dict) -> int:
  """w_dim, the size of one latent (of z and of w)."""
  return params['mapping']['layer1']['kernel'].shape[0]


def resolution(params: dict) -> int:
  """The height and width of the images in pixels."""
  return params['constant'].shape[0] * 2 ** (len(_blocks(params)) - 1)


def num_layers(params: dict) -> int:
  """The number of latents that an image takes when every layer has its own (w+)."""
  return 2 * len(_blocks(params))


def mapping(params: dict, z: jax.Array, *, start: int = 0, stop: int | None = None) -> jax.Array:
  """Runs the modules `start` to `stop - 1` of the mapping network.

  Module 0 is the pixel norm, module k the k-th linear layer with its activation. The whole
  network is `mapping(params, z)`; a hidden code of module k goes on with `start=k`.

  Args:
    params: a generator.
    z: [B, w_dim], normal samples or the output of module `start - 1`.
    start: the first module.
    stop: one after the last module; None for all.

  Returns:
    [B, w_dim].

  Raises:
    ValueError: the range is not within the network.
  """
  total = num_modules(params)
  stop = total if stop is None else stop
  if not 0 <= start <= stop <= total:
    raise ValueError(f'modules {start} to {stop} of a mapping network that has {total}')
  for k in range(start, stop):
    if k == 0:
      mean_square = jnp.mean(jnp.square(z), axis=-1, keepdims=True)
      z = z * jax.lax.rsqrt(mean_square + 1e-8)
    else:
      layer = params['mapping'][f'layer{k}']
      z = activate(linear(layer, z))
  return z


def truncate(latents: jax.Array, mean: ArrayLike, psi: float) -> jax.Array:
  """Pulls latents towards a mean: `mean + psi * (latents - mean)`.

  Args:
    latents: [..., w_dim].
    mean: an array whose shape broadcasts with the latents' ([w_dim], [1, w_dim]).
    psi: 1 leaves the latents as they are, 0 gives the mean.

  Returns:
    [..., w_dim].
  """
  mean = jnp.broadcast_to(mean, latents.shape)
  return mean + psi * (latents - mean)


def mean_latent(params: dict, key: jax.Array, count: int) -> jax.Array:
  """The mean of `count` latents mapped from normal samples: [1, w_dim]."""
  dtype = params['mapping']['layer1']['kernel'].dtype
  z = jax.random.normal(key, (count, latent_size(params)), dtype)
  return mapping(params, z).mean(axis=0, keepdims=True)


def synthesize(
  params: dict, latents: jax.Array, *, noise: Sequence[jax.Array] | None = None
) -> jax.Array:
  """Makes images from latents.

  Args:
    params: a generator.
    latents: [B, w_dim], or [B, num_layers, w_dim] with a latent for each layer.
    noise: num_layers - 1 maps [H, W, 1] or [B, H, W, 1] of the sizes 4, 8, 8, 16, 16, ...;
      None for those of the weights.

  Returns:
    [B, H, W, 3], about -1 to 1, not clamped.

  Raises:
    ValueError: the latents or the noise do not fit the generator.
  """
  return synthesize_features(params, latents, noise=noise)[0]


def synthesize_features(
  params: dict, latents: jax.Array, *, noise: Sequence[jax.Array] | None = None
) -> tuple[jax.Array, list[jax.Array]]:
  """Makes images and returns the activations on the way too.

  Args:
    params: a generator.
    latents: as for `synthesize`.
    noise: as for `synthesize`.

  Returns:
    The images [B, H, W, 3], and for each resolution from 4 on the output of its last convolution
    [B, h, h, C].

  Raises:
    ValueError: the latents or the noise do not fit the generator.
  """
  blocks, count, width = _blocks(params), num_layers(params), latent_size(params)
  if latents.shape[-1:] != (width,) or latents.shape[1:-1] not in ((), (count,)):
    raise ValueError(f'latents {latents.shape}: expected [B, {width}] or [B, {count}, {width}]')
  if noise is not None and len(noise) != count - 1:
    raise ValueError(f'{len(noise)} noise maps: expected {count - 1}')
  slot = (lambda k: latents) if latents.ndim == 2 else (lambda k: latents[:, k])
  noise_of = (lambda k: None) if noise is None else (lambda k: noise[k])

  constant = params['constant'].astype(latents.dtype)
  x = jnp.broadcast_to(constant, (latents.shape[0], *constant.shape))
  images, features = jnp.zeros(()), []
  for k, block in enumerate(blocks):
    if k:
      x = _modulated_conv(block['up'], x, slot(2 * k - 1), noise_of(2 * k - 1), up=True)
      images = resampling.upsample(images)
    x = _modulated_conv(block['conv'], x, slot(2 * k), noise_of(2 * k), up=False)
    rgb = _to_rgb(block['to_rgb'], x, slot(2 * k + 1))
    images = images + rgb if k else rgb
    features.append(x)
  return images, features


def linear(layer: dict, x: jax.Array) -> jax.Array:
  """`x @ kernel + bias` in the type of x: [B, I] -> [B, O]."""
  return x @ layer['kernel'].astype(x.dtype) + layer['bias'].astype(x.dtype)[None]


def activate(x: jax.Array) -> jax.Array:
  """Leaky ReLU of slope 0.2 times sqrt(2)."""
  return jnp.where(x >= 0, _GAIN * x, (_GAIN * _SLOPE) * x)


def per_channel(vector: jax.Array, x: jax.Array) -> jax.Array:
  """A vector [C], or one per sample [B, C], shaped to broadcast with x [B, H, W, C]."""
  return vector.astype(x.dtype).reshape(-1, 1, 1, vector.shape[-1])


def _blocks(params):
  """The blocks from the smallest resolution to the largest."""
  names = [name for name in params if name.startswith('block')]
  return [params[name] for name in sorted(names, key=lambda name: int(name[len('block') :]))]


def _modulated_conv(layer, x, latents, noise, *, up):
  """Modulated, demodulated 3x3 convolution, noise, bias and activation."""
  kernel = layer['kernel']
  style = linear(layer['style'], latents)
  wide = jnp.promote_types(x.dtype, jnp.float32)
  energy = jnp.square(kernel.astype(wide)).sum((0, 1))
  demodulation = jax.lax.rsqrt(jnp.square(style.astype(wide)) @ energy + 1e-8)
  x = x * per_channel(style, x)
  x = resampling.upsample_conv(x, kernel) if up else resampling.conv(x, kernel, ((1, 1), (1, 1)))
  noise = (layer['noise'] if noise is None else noise).astype(x.dtype)
  if noise.shape[-3:] != (*x.shape[1:3], 1):
    raise ValueError(f'noise of shape {noise.shape}: expected {(*x.shape[1:3], 1)} at its end')
  noise = layer['noise_strength'].astype(x.dtype) * noise.reshape(-1, *noise.shape[-3:])
  return activate(x * per_channel(demodulation, x) + noise + per_channel(layer['bias'], x))


def _to_rgb(layer, x, latents):
  """Modulated 1x1 convolution to RGB, without demodulation, as one product per sample."""
  style = linear(layer['style'], latents)
  kernel = style[:, :, None] * layer['kernel'].astype(x.dtype)[None]
  rgb = jnp.einsum('bpc,bco->bpo', x.reshape(x.shape[0], -1, x.shape[-1]), kernel)
  return rgb.reshape(*x.shape[:3], -1) + per_channel(layer['bias'], x)
