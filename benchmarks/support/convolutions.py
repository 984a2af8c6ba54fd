"""Ways to compute the generator's modulated convolution, and the generator with any of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan2shape_jax.models import resampling, stylegan2

_SAME = ((1, 1), (1, 1))
_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def ours(layer, x, style, demodulation, up):
  """The shared convolution with scaled activations, as `models.stylegan2` has it."""
  x = x * stylegan2.per_channel(style, x)
  kernel = layer['kernel']
  x = resampling.upsample_conv(x, kernel) if up else resampling.conv(x, kernel, _SAME)
  return x * stylegan2.per_channel(demodulation, x)


def shared_plain(layer, x, style, demodulation, up):
  """The shared convolution, upsampling in the plain form."""
  x = x * stylegan2.per_channel(style, x)
  kernel = layer['kernel']
  x = _plain_up(x, kernel, 1) if up else resampling.conv(x, kernel, _SAME)
  return x * stylegan2.per_channel(demodulation, x)


def vmapped(layer, x, style, demodulation, up):
  """A kernel for every sample under `vmap`, upsampling in phases."""
  if up:
    convolve = lambda x, kernel: resampling.upsample_conv(x[None], kernel)[0]
  else:
    convolve = lambda x, kernel: resampling.conv(x[None], kernel, _SAME)[0]
  return jax.vmap(convolve)(x, _kernels(layer, style, demodulation))


def grouped(layer, x, style, demodulation, up):
  """A kernel for every sample in one grouped convolution, upsampling in the plain form."""
  kernels = _kernels(layer, style, demodulation)
  batch, height, width, channels = x.shape
  kernel = jnp.moveaxis(kernels, 0, 3).reshape(*kernels.shape[1:4], -1)
  x = jnp.moveaxis(x, 0, 2).reshape(1, height, width, batch * channels)
  if up:
    x = _plain_up(x, kernel, batch)
  else:
    x = lax.conv_general_dilated(
      x, kernel, (1, 1), _SAME, dimension_numbers=_DIMENSIONS, feature_group_count=batch
    )
  x = x.reshape(*x.shape[1:3], batch, -1)
  return jnp.moveaxis(x, 2, 0)


WAYS = {
  'ours': ours,
  'shared, plain upsampling': shared_plain,
  'vmapped kernels': vmapped,
  'grouped kernels': grouped,
}


def _kernels(layer, style, demodulation):
  """[B, 3, 3, I, O] modulated and demodulated."""
  return jnp.einsum('hwio,bi,bo->bhwio', layer['kernel'], style, demodulation)


def _plain_up(x, kernel, groups):
  """Transposed convolution of stride 2 in `groups` groups, then the blur."""
  x = lax.conv_general_dilated(
    x,
    kernel[::-1, ::-1],
    (1, 1),
    ((2, 2), (2, 2)),
    lhs_dilation=(2, 2),
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )
  blur = 4 * np.outer(resampling.FILTER, resampling.FILTER)
  return resampling.upfirdn2d(x, blur, padding=(1, 1))


def synthesize(params: dict, latents: jax.Array, convolve: Callable) -> jax.Array:
  """The generator with any of `WAYS`.

  Args:
    params: of `models.stylegan2`.
    latents: [B, layers, w_dim].
    convolve: (layer, x [B, H, W, I], style [B, I], demodulation [B, O], up) -> [B, H', W', O].

  Returns:
    [B, H, W, 3] images.
  """

  def styled(layer, x, latent, up=False):
    style = stylegan2.linear(layer['style'], latent)
    energy = jnp.square(layer['kernel']).sum((0, 1))
    demodulation = lax.rsqrt(jnp.square(style) @ energy + 1e-8)
    x = convolve(layer, x, style, demodulation, up)
    noise = layer['noise_strength'] * layer['noise'][None]
    return stylegan2.activate(x + noise + stylegan2.per_channel(layer['bias'], x))

  constant = params['constant']
  x, images = jnp.broadcast_to(constant, (len(latents), *constant.shape)), None
  for k in range(stylegan2.num_layers(params) // 2):
    block = params[f'block{4 * 2**k}']
    if k:
      x = styled(block['up'], x, latents[:, 2 * k - 1], up=True)
      images = resampling.upsample(images)
    x = styled(block['conv'], x, latents[:, 2 * k])
    to_rgb = block['to_rgb']
    style = stylegan2.linear(to_rgb['style'], latents[:, 2 * k + 1])
    rgb = jnp.einsum('bhwc,bc,co->bhwo', x, style, to_rgb['kernel'])
    rgb = rgb + stylegan2.per_channel(to_rgb['bias'], x)
    images = rgb if images is None else images + rgb
  return images
