"""NVIDIA's StyleGAN2 from its published formulas, in numpy and double precision; channels first.

Written for the tests of the importers, apart from everything in the package: each layer is the
formula itself, on the names that the layer has in the PyTorch or in the TensorFlow version. An
upsampling convolution is done as it is defined, first upsampling, then convolving.
"""

import numpy as np


def _dense(x, weight, bias, multiplier=1.0):
  """Weight [O, I]; both are multiplied at run time."""
  return x @ weight.T * (multiplier / np.sqrt(weight.shape[1])) + bias * multiplier


def _activate(x):
  return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def _resampled(x, up, down, before, after):
  """Zeros between pixels, padding, the [1, 3, 3, 1] filter with gain up^2, every down-th pixel."""
  count, channels, height, width = x.shape
  spread = np.zeros((count, channels, height * up, width * up))
  spread[:, :, ::up, ::up] = x
  padding = (before, after)
  padded = np.pad(spread, ((0, 0), (0, 0), padding, padding))
  taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) * up**2 / 64
  windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), (2, 3))
  return np.einsum('nchwij,ij->nchw', windows, taps[::-1, ::-1])[:, :, ::down, ::down]


def _correlated(x, weight, padding=0, stride=1):
  """Weight [O, I, K, K], or one per sample [N, O, I, K, K]."""
  size = weight.shape[-1]
  x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
  windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
  windows = windows[:, :, ::stride, ::stride]
  weight = weight if weight.ndim == 5 else weight[None].repeat(len(x), 0)
  return np.einsum('nihwab,noiab->nohw', windows, weight, optimize=True)


def _modulated(x, weight, style, *, up, convolve):
  """Modulated and demodulated; `convolve` is whether upsampling is followed by a true convolution.

  The TensorFlow version correlates there, the PyTorch version convolves.
  """
  weight = weight[None] * style[:, None, :, None, None]
  weight = weight / np.sqrt((weight**2).sum((2, 3, 4), keepdims=True) + 1e-8)
  if not up:
    return _correlated(x, weight, padding=1)
  x = _resampled(x, 2, 1, 3, 2)
  return _correlated(x, weight[..., ::-1, ::-1] if convolve else weight)


def _channels(vector):
  return vector[None, :, None, None]


def mapping_torch(state, z, depth):
  x = z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8)
  for k in range(depth):
    name = f'mapping.fc{k}'
    x = _activate(_dense(x, state[f'{name}.weight'], state[f'{name}.bias'], 0.01))
  return x


def synthesis_torch(state, w, sizes):
  def layer(x, name, up):
    style = _dense(w, state[f'{name}.affine.weight'], state[f'{name}.affine.bias'])
    x = _modulated(x, state[f'{name}.weight'], style, up=up, convolve=True)
    x = x + state[f'{name}.noise_const'] * state[f'{name}.noise_strength']
    return _activate(x + _channels(state[f'{name}.bias']))

  x = state['synthesis.b4.const'][None].repeat(len(w), 0)
  image = 0
  for size in sizes:
    block = f'synthesis.b{size}'
    if size > 4:
      x = layer(x, f'{block}.conv0', True)
      image = _resampled(image, 2, 1, 2, 1)
    x = layer(x, f'{block}.conv1', False)
    weight, name = state[f'{block}.torgb.weight'], f'{block}.torgb'
    style = _dense(w, state[f'{name}.affine.weight'], state[f'{name}.affine.bias'])
    style = style / np.sqrt(weight.shape[1])
    rgb = _correlated(x, weight[None] * style[:, None, :, None, None])
    image = image + rgb + _channels(state[f'{name}.bias'])
  return image


def mapping_tensorflow(state, z, depth):
  x = z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8)
  for k in range(depth):
    name = f'mapping/Dense{k}'
    x = _activate(_dense(x, state[f'{name}/weight'].T, state[f'{name}/bias'], 0.01))
  return x


def synthesis_tensorflow(state, w, sizes):
  def weights(name):
    weight = state[f'{name}/weight']  # [K, K, I, O]
    style = _dense(w, state[f'{name}/mod_weight'].T, state[f'{name}/mod_bias']) + 1
    return weight.transpose(3, 2, 0, 1) / np.sqrt(np.prod(weight.shape[:3])), style

  def layer(x, name, up, number):
    x = _modulated(x, *weights(name), up=up, convolve=False)
    x = x + state[f'synthesis/noise{number}'] * state[f'{name}/noise_strength']
    return _activate(x + _channels(state[f'{name}/bias']))

  x = state['synthesis/4x4/Const/const'].repeat(len(w), 0)
  image, number = 0, 0
  for size in sizes:
    block = f'synthesis/{size}x{size}'
    if size > 4:
      x = layer(x, f'{block}/Conv0_up', True, number)
      image = _resampled(image, 2, 1, 2, 1)
      number += 1
    x = layer(x, f'{block}/Conv' + '1' * (size > 4), False, number)
    number += 1
    weight, style = weights(f'{block}/ToRGB')
    rgb = _correlated(x, weight[None] * style[:, None, :, None, None])
    image = image + rgb + _channels(state[f'{block}/ToRGB/bias'])
  return image


def discriminate(layers, images, sizes):
  """The discriminator, the same in both versions.

  Args:
    layers: (resolution, layer) -> (weight [O, I, K, K] or [O, I], bias or None).
    images: [N, 3, H, W].
    sizes: resolutions from the largest to 8.
  """

  def layer(x, name, **options):
    weight, bias = layers[name]
    x = _correlated(x, weight / np.sqrt(np.prod(weight.shape[1:])), **options)
    return x if bias is None else _activate(x + _channels(bias))

  x = layer(images, (sizes[0], 'fromrgb'))
  for size in sizes:
    skip = layer(_resampled(x, 1, 2, 1, 1), (size, 'skip'))
    x = layer(x, (size, 'conv0'), padding=1)
    x = layer(_resampled(x, 1, 1, 2, 2), (size, 'conv1'), stride=2)
    x = (x + skip) * np.sqrt(0.5)
  group = min(4, len(x))
  grouped = x.reshape(group, -1, *x.shape[1:])
  deviation = np.sqrt(grouped.var(0) + 1e-8).mean((1, 2, 3))
  deviation = np.tile(deviation, group)[:, None, None, None] * np.ones((1, 1, 4, 4))
  x = layer(np.concatenate((x, deviation), 1), (4, 'conv'), padding=1)
  x = _activate(_dense(x.reshape(len(x), -1), *layers[4, 'fc']))
  return _dense(x, *layers[4, 'out'])
