"""How fast the embedded GAN makes images, beside other ways to compute the same.

  python -m benchmarks.generator --batches 1 8 16 --json=generator.json

What differs is the modulated convolution. Ours scales what goes into and comes out of a convolution
that all samples share, and splits upsampling in phases. The others: the shared convolution with
upsampling in its plain form (zeros put in between, then blurred); a kernel for every sample under
`vmap`; the same as one grouped convolution with plain upsampling, which is how the method's authors
do it; and plain PyTorch where it is installed (`benchmarks/torch_gan.py`). flaxmodels 0.1.3 is not
among them: it does not run on jax 0.10 (`jnp.reshape` has lost an argument). All take the same
weights, latents and noise, and take turns in each round. 'and backward' is the gradient of the mean
square to the latents of each layer. Differences are the largest, against ours' largest value.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import gan_training, measuring
from gan2shape_jax.models import resampling, stylegan2
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.storage import atomic_files
from gan2shape_jax.weights.array_files import flatten

PASSES = 'forward', 'and backward'
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


def torch_calls(params: dict, latents: np.ndarray, threads: int) -> dict[str, Callable]:
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

  from benchmarks import torch_gan

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

  return dict(zip(PASSES, (forward, backward), strict=True))


def measure_batch(params: dict, batch: int, options) -> list[dict]:
  """A row for each way and pass at one batch size."""
  width, layers = stylegan2.latent_size(params), stylegan2.num_layers(params)
  z = jax.random.normal(jax.random.key(batch), (batch * layers, width))
  latents = stylegan2.mapping(params, z).reshape(batch, layers, width)
  calls, memory = {}, {}
  for way in options.ways:
    convolve = WAYS[way]

    def show(params, latents, convolve=convolve):
      if convolve is ours:  # the product's own
        return stylegan2.synthesize(params, latents)
      return synthesize(params, latents, convolve)

    loss = lambda latents, params, show=show: jnp.square(show(params, latents)).mean()
    forward = lambda latents, params, show=show: show(params, latents)
    for name, function in zip(PASSES, (forward, jax.grad(loss)), strict=True):
      compiled = jax.jit(function).lower(latents, params).compile()
      memory[way, name] = compiled.memory_analysis().temp_size_in_bytes / 2**20
      calls[way, name] = lambda compiled=compiled: jax.block_until_ready(compiled(latents, params))
  cores = measuring.machine()['cores']
  for name, call in torch_calls(params, np.asarray(latents), cores).items():
    calls['PyTorch', name] = call
  results = {name: np.asarray(call()) for name, call in calls.items()}
  taken = gan_training.measure(calls, options.rounds, options.seconds)
  return [
    {
      'way': way,
      'pass': name,
      'batch': batch,
      'seconds': seconds,
      'images_a_second': batch / seconds,
      'times_ours': seconds / taken['ours', name],
      'temp_mib': memory.get((way, name)),
      'difference': _difference(results[way, name], results['ours', name]),
    }
    for (way, name), seconds in taken.items()
  ]


def _difference(found, wanted):
  return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the report."""
  parser = measuring.parser(__doc__, seconds=0.2)
  parser.add_argument('--batches', type=int, nargs='+', default=[1, 8, 16])
  parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=WAYS, metavar='WAY')
  options = parser.parse_args(arguments)
  options.ways = ['ours', *(way for way in options.ways if way != 'ours')]
  versions = measuring.versions()
  if importlib.util.find_spec('torch'):
    import torch

    versions['torch'] = torch.__version__
  params = load_frozen(measuring.load_config(options.config)).generator
  report = {
    'machine': measuring.machine(),
    'versions': versions,
    'resolution': stylegan2.resolution(params),
    'rows': [],
  }
  for batch in options.batches:
    print(f'batch {batch} ...', file=sys.stderr, flush=True)
    report['rows'] += measure_batch(params, batch, options)
    if options.json:  # at once: a run that is cut short keeps what it measured
      atomic_files.write_json(options.json, report)
  print(_format(report))
  return report


def _format(report):
  lines = [
    *measuring.heading(report),
    f'images of {report["resolution"]} px',
    '',
    f'{"":26}{"":13}{"batch":>6}{"ms":>9}{"images/s":>10}{"x ours":>8}{"temp MiB":>10}'
    f'{"difference":>12}',
  ]
  for row in report['rows']:
    memory = '-' if row['temp_mib'] is None else f'{row["temp_mib"]:.1f}'
    lines.append(
      f'{row["way"]:26}{row["pass"]:13}{row["batch"]:6d}{1e3 * row["seconds"]:9.2f}'
      f'{row["images_a_second"]:10.1f}{row["times_ours"]:8.2f}{memory:>10}{row["difference"]:12.1e}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
