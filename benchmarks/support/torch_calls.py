"""Calls of the PyTorch networks, to be timed beside ours; none where PyTorch is not installed."""

import functools
import importlib.util
import math
from collections.abc import Callable

import numpy as np

from gan2shape_jax import gan_training
from gan2shape_jax.weights.array_files import flatten


def generator_calls(params: dict, latents: np.ndarray, threads: int) -> dict[str, Callable]:
  """Pass -> function that gives images or gradients, in PyTorch.

  Args:
    params: of `models.stylegan2`.
    latents: [B, layers, w_dim].
    threads: that PyTorch uses.

  Returns:
    Empty where PyTorch is not installed.
  """
  if importlib.util.find_spec('torch') is None:
    return {}
  import torch

  from benchmarks.support import torch_gan

  torch.set_num_threads(threads)
  torch.set_flush_denormal(True)
  arrays = {name: np.asarray(array) for name, array in flatten(params).items()}
  for name, array in arrays.items():  # to the units of a training, which `torch_gan` takes
    if name.endswith('kernel') and not name.startswith('mapping'):
      arrays[name] = array * np.float32(math.sqrt(math.prod(array.shape[:-1])))
  held = {name: value.detach() for name, value in torch_gan.convert(arrays).items()}
  noise = []
  for k in range(latents.shape[1] // 2):
    names = [f'block{4 * 2**k}/{name}/noise' for name in ('up', 'conv')[not k :]]
    noise += [held[name][None] for name in names]
  given = torch.tensor(latents)

  def forward():
    with torch.no_grad():
      images = torch_gan.synthesize(held, given, noise)
    return images.permute(0, 2, 3, 1).numpy()

  def backward():
    w = given.clone().requires_grad_()
    total = torch_gan.synthesize(held, w, noise).square().mean()
    return torch.autograd.grad(total, w)[0].numpy()

  return {'forward': forward, 'and backward': backward}


def training_calls(settings: gan_training.GanSettings, images: np.ndarray) -> dict[str, Callable]:
  """Functions that run one update of the GAN's training each, in PyTorch.

  Args:
    settings: of the training.
    images: uint8 [batch, H, W, 3].

  Returns:
    Empty where PyTorch is not installed, or for settings that it does not know.
  """
  if importlib.util.find_spec('torch') is None or settings.augment or settings.dtype != 'float32':
    return {}
  import torch

  from benchmarks.support import torch_gan

  state = gan_training.initial_state(settings)
  generator, discriminator, slow = (
    torch_gan.convert(flatten(tree))
    for tree in (state.generator, state.discriminator, state.average)
  )
  adam = lambda params: torch.optim.Adam(
    torch_gan.trained(params), lr=settings.learning_rate, betas=(settings.beta1, settings.beta2)
  )
  optimizers = {'generator': adam(generator), 'discriminator': adam(discriminator)}
  numbers = torch_gan.Numbers(
    settings.r1_weight,
    settings.r1_every,
    settings.path_weight,
    settings.path_every,
    settings.path_decay,
  )
  keep = 0.5 ** (settings.batch_size / settings.ema_half_life)

  def draws(count):
    layers = settings.num_layers
    sizes = [4 * 2 ** ((k + 1) // 2) for k in range(layers - 1)]
    return torch_gan.Draws(
      torch.randn(count, 2, settings.latent_size),
      torch.randint(1, layers + 1, (count,)),
      [torch.randn(count, 1, size, size) for size in sizes],
    )

  def discriminator_call(r1):
    real = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch_gan.discriminator_update(
      generator,
      discriminator,
      optimizers['discriminator'],
      real,
      draws(settings.batch_size),
      numbers,
      r1=r1,
    )

  def generator_call(path):
    drawn = None
    if path:
      size, count = settings.image_size, settings.path_batch
      drawn = draws(count), torch.randn(count, 3, size, size)
    torch_gan.generator_update(
      generator,
      discriminator,
      optimizers['generator'],
      draws(settings.batch_size),
      numbers,
      path=drawn,
    )
    torch_gan.average(slow, generator, keep)

  torch.set_flush_denormal(True)
  calls = (discriminator_call, discriminator_call, generator_call, generator_call)
  return {
    kind: functools.partial(call, regular)
    for kind, call, regular in zip(
      gan_training.Updates._fields, calls, (False, True, False, True), strict=True
    )
  }
