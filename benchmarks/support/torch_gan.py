"""The GAN's training in plain PyTorch: what ours is compared with, in numbers and in speed.

Written from the papers as PyTorch users write it: a kernel for every sample in grouped
convolutions, blurs as depthwise convolutions, autograd twice for the regularisers. Nothing is
shared with `gan2shape_jax` but the names of the parameters. Channels come first.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

_MAPPING = 0.01


class Draws(NamedTuple):
  """What a batch of images is made of: z [B, 2, w_dim], crossover [B], noise maps [B, 1, H, W]."""

  z: torch.Tensor
  crossover: torch.Tensor
  noise: list[torch.Tensor]


class Numbers(NamedTuple):
  """The numbers of a training that an update needs."""

  r1_weight: float
  r1_every: int
  path_weight: float
  path_every: int
  path_decay: float


def convert(flat: Mapping[str, np.ndarray], dtype=torch.float32) -> dict[str, torch.Tensor]:
  """Trained parameters by flat names, channels last -> leaf tensors, channels first."""
  tensors = {}
  for name, array in flat.items():
    array = np.asarray(array)
    if name.endswith('kernel'):
      order = {2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim]
      array = array.transpose(order)
    elif array.ndim == 3:
      array = array.transpose(2, 0, 1)
    tensors[name] = torch.tensor(np.ascontiguousarray(array), dtype=dtype)
    if not name.endswith('/noise'):
      tensors[name].requires_grad_()
  return tensors


def revert(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
  """The inverse of `convert`."""
  arrays = {}
  for name, tensor in tensors.items():
    array = tensor.detach().numpy()
    if name.endswith('kernel'):
      array = array.transpose({2: (1, 0), 4: (2, 3, 1, 0)}[array.ndim])
    elif array.ndim == 3:
      array = array.transpose(1, 2, 0)
    arrays[name] = array
  return arrays


def latents(params: dict, draws: Draws) -> torch.Tensor:
  """[B, layers, w_dim], mixed."""
  x = draws.z * torch.rsqrt(draws.z.square().mean(-1, keepdim=True) + 1e-8)
  k = 1
  while f'mapping/layer{k}/kernel' in params:
    weight, bias = params[f'mapping/layer{k}/kernel'], params[f'mapping/layer{k}/bias']
    x = functional.linear(x, weight * (_MAPPING / math.sqrt(weight.shape[1])), bias * _MAPPING)
    x = functional.leaky_relu(x, 0.2) * math.sqrt(2)
    k += 1
  layers = 2 * len(_sizes(params))
  second = torch.arange(layers)[None, :, None] >= draws.crossover[:, None, None]
  return torch.where(second, x[:, 1:2], x[:, 0:1])


def synthesize(params: dict, w: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
  """Images [B, 3, H, W]."""
  x = params['constant'][None].repeat(w.shape[0], 1, 1, 1)
  images = None
  for k, size in enumerate(_sizes(params)):
    block = f'block{size}'
    if k:
      x = _styled(params, f'{block}/up', x, w[:, 2 * k - 1], noise[2 * k - 1], up=True)
      images = _blur(_zeros_between(images), (2, 1), 4)
    x = _styled(params, f'{block}/conv', x, w[:, 2 * k], noise[2 * k])
    rgb = _modulated(params, f'{block}/to_rgb', x, w[:, 2 * k + 1], demodulate=False)
    rgb = rgb + params[f'{block}/to_rgb/bias'][None, :, None, None]
    images = rgb if images is None else images + rgb
  return images


def discriminate(params: dict, images: torch.Tensor) -> torch.Tensor:
  """Scores [B, 1]."""
  x = _activated(_conv(params, 'from_rgb', images), params['from_rgb/bias'])
  k = 1
  while f'block{k}/conv1/kernel' in params:
    block = f'block{k}'
    y = _activated(_conv(params, f'{block}/conv1', x, padding=1), params[f'{block}/conv1/bias'])
    y = _conv(params, f'{block}/conv2', _blur(y, (2, 2)), stride=2)
    y = _activated(y, params[f'{block}/conv2/bias'])
    x = (y + _conv(params, f'{block}/skip', _blur(x, (1, 1)), stride=2)) / math.sqrt(2)
    k += 1
  batch, channels, height, width = x.shape
  group = min(batch, 4)
  deviation = x.view(group, -1, channels, height, width).var(0, unbiased=False)
  deviation = (deviation + 1e-8).sqrt().mean((1, 2, 3)).repeat(group).view(batch, 1, 1, 1)
  x = torch.cat([x, deviation.expand(batch, 1, height, width)], 1)
  x = _activated(_conv(params, 'final_conv', x, padding=1), params['final_conv/bias'])
  weight = params['final_linear1/kernel'].flatten(1)
  x = functional.linear(x.flatten(1), weight / math.sqrt(weight.shape[1]))
  x = functional.leaky_relu(x + params['final_linear1/bias'], 0.2) * math.sqrt(2)
  weight = params['final_linear2/kernel']
  return functional.linear(x, weight / math.sqrt(weight.shape[1]), params['final_linear2/bias'])


def discriminator_update(
  generator: dict,
  discriminator: dict,
  optimizer: torch.optim.Optimizer,
  real: torch.Tensor,
  draws: Draws,
  numbers: Numbers,
  *,
  r1: bool,
) -> dict[str, float]:
  """One step of the discriminator; returns its terms."""
  with torch.no_grad():
    fake = synthesize(generator, latents(generator, draws), draws.noise)
  real = real.detach().requires_grad_(r1)
  fake_scores, real_scores = discriminate(discriminator, fake), discriminate(discriminator, real)
  loss = functional.softplus(fake_scores).mean() + functional.softplus(-real_scores).mean()
  terms, total = {'discriminator': loss.item()}, loss
  if r1:
    (gradient,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
    penalty = gradient.square().flatten(1).sum(1).mean()
    total = loss + numbers.r1_every * numbers.r1_weight / 2 * penalty
    terms['r1'] = penalty.item()
  _step(optimizer, discriminator, total)
  return terms


def generator_update(
  generator: dict,
  discriminator: dict,
  optimizer: torch.optim.Optimizer,
  draws: Draws,
  numbers: Numbers,
  *,
  path: tuple[Draws, torch.Tensor] | None,
  path_mean: float = 0.0,
) -> dict[str, float]:
  """One step of the generator; `path` holds draws and directions of the path lengths."""
  fake = synthesize(generator, latents(generator, draws), draws.noise)
  total = functional.softplus(-discriminate(discriminator, fake)).mean()
  terms = {'generator': total.item()}
  if path is not None:
    path_draws, directions = path
    w = latents(generator, path_draws)
    images = synthesize(generator, w, path_draws.noise)
    along = (images * directions).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(along, w, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    mean = path_mean + numbers.path_decay * (lengths.mean() - path_mean)
    penalty = (lengths - mean).square().mean()
    total = total + numbers.path_every * numbers.path_weight * penalty
    terms |= {'path': penalty.item(), 'path length': lengths.mean().item(), 'mean': mean.item()}
  _step(optimizer, generator, total)
  return terms


def trained(params: dict) -> list[torch.Tensor]:
  """The tensors that are trained."""
  return [tensor for tensor in params.values() if tensor.requires_grad]


def average(slow: dict, fast: dict, keep: float):
  """Moves a running average."""
  with torch.no_grad():
    for name, tensor in slow.items():
      tensor.lerp_(fast[name], 1 - keep)


def _step(optimizer, params, total):
  optimizer.zero_grad()
  used = trained(params)
  for tensor, gradient in zip(used, torch.autograd.grad(total, used), strict=True):
    tensor.grad = gradient
  optimizer.step()


def _sizes(params):
  return sorted({int(name.split('/')[0][5:]) for name in params if name.startswith('block')})


def _conv(params, name, x, stride=1, padding=0):
  weight = params[f'{name}/kernel']
  if weight.ndim == 2:
    weight = weight[:, :, None, None]
  scale = 1 / math.sqrt(weight[0].numel())
  return functional.conv2d(x, weight * scale, stride=stride, padding=padding)


def _activated(x, bias):
  return functional.leaky_relu(x + bias[None, :, None, None], 0.2) * math.sqrt(2)


def _styled(params, name, x, w, noise, up=False):
  x = _modulated(params, name, x, w, demodulate=True, up=up)
  return _activated(x + params[f'{name}/noise_strength'] * noise, params[f'{name}/bias'])


def _modulated(params, name, x, w, *, demodulate, up=False):
  batch, channels, height, width = x.shape
  affine = params[f'{name}/style/kernel']
  style = functional.linear(w, affine / math.sqrt(affine.shape[1]), params[f'{name}/style/bias'])
  weight = params[f'{name}/kernel']
  if weight.ndim == 2:
    weight = weight[:, :, None, None]
  weight = weight[None] / math.sqrt(weight[0].numel()) * style[:, None, :, None, None]
  if demodulate:
    weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
  x = x.reshape(1, batch * channels, height, width)
  if up:
    weight = weight.transpose(1, 2).reshape(batch * channels, -1, *weight.shape[3:])
    x = functional.conv_transpose2d(x, weight, stride=2, groups=batch)
    return _blur(x.view(batch, -1, *x.shape[2:]), (1, 1), 4)
  x = functional.conv2d(x, weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=batch)
  return x.view(batch, -1, height, width)


def _blur(x, padding, gain=1):
  batch, channels, height, width = x.shape
  line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
  kernel = (gain / 64) * torch.outer(line, line)[None, None]
  x = functional.pad(x.reshape(-1, 1, height, width), (*padding, *padding))
  x = functional.conv2d(x, kernel)
  return x.view(batch, channels, *x.shape[2:])


def _zeros_between(x):
  batch, channels, height, width = x.shape
  x = x.view(batch, channels, height, 1, width, 1)
  return functional.pad(x, (0, 1, 0, 0, 0, 1)).view(batch, channels, 2 * height, 2 * width)
