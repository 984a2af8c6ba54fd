"""How many images a second each of the GAN's four updates trains on, beside plain PyTorch.

  python -m benchmarks.gan_training --json=gan_training.json

Ours and PyTorch's (`benchmarks/torch_gan.py`, the same networks, batch and losses, checked equal in
tests/unit/test_gan_updates.py) are timed in turns in one run, so that what else the machine does
falls on both; medians over the rounds. Ours take as many devices as a training takes by default,
into which a processor is divided, and one alone. Without PyTorch only ours are timed. A mixture of
the four as a training has them ('training') ends the table. Measure on a machine that does nothing
else: the load average is printed.
"""

import functools
import importlib.util
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from benchmarks import measuring
from gan2shape_jax import gan_training
from gan2shape_jax.reconstruction.parallel import data_mesh
from gan2shape_jax.runtime import cpu_devices
from gan2shape_jax.weights.array_files import flatten

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = gan_training.Updates._fields


def our_calls(
  settings: gan_training.GanSettings, images: np.ndarray, devices: int = 1
) -> dict[str, Callable]:
  """Functions without arguments that run one update each, going on from the last one's state.

  Args:
    settings: of the training.
    images: uint8 [batch, H, W, 3].
    devices: over which the batch is split.

  Returns:
    name -> function.
  """
  mesh = data_mesh(jax.devices()[:devices])
  programs = gan_training.build(settings, mesh)
  held = [gan_training.place_state(gan_training.initial_state(settings), mesh)]

  def call(kind):
    number = np.uint32(7)
    batch = (gan_training.place_images(images, mesh, settings),) if 'discr' in kind else ()
    held[0], terms = getattr(programs, kind)(held[0], *batch, number)
    jax.block_until_ready((held[0], terms))

  return {kind: functools.partial(call, kind) for kind in KINDS}


def torch_calls(settings: gan_training.GanSettings, images: np.ndarray) -> dict[str, Callable]:
  """The same in PyTorch; empty where it is not installed, or for settings it does not know."""
  if importlib.util.find_spec('torch') is None or settings.augment or settings.dtype != 'float32':
    return {}
  import torch

  from benchmarks import torch_gan

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
    for kind, call, regular in zip(KINDS, calls, (False, True, False, True), strict=True)
  }


def measure(calls: dict[str, Callable], rounds: int, seconds: float) -> dict[str, float]:
  """Seconds of each function: medians over rounds in which all take turns.

  Args:
    calls: functions without arguments.
    rounds: how many.
    seconds: of a round for each function, filled with whole calls.

  Returns:
    name -> seconds of a call.
  """
  counts = {}
  for name, call in calls.items():
    call()
    counts[name] = max(1, math.ceil(seconds / max(_seconds(call, 1), 1e-6)))
  taken = {name: [] for name in calls}
  for _ in range(rounds):
    for name, call in calls.items():
      taken[name].append(_seconds(call, counts[name]))
  return {name: statistics.median(values) for name, values in taken.items()}


def _seconds(call, count):
  start = time.perf_counter()
  for _ in range(count):
    call()
  return (time.perf_counter() - start) / count


def mean_iteration(seconds: dict[str, float], settings: gan_training.GanSettings) -> float:
  """Seconds of an iteration with regularisers as often as a training has them."""
  mix = lambda plain, regular, every: (seconds[plain] * (every - 1) + seconds[regular]) / every
  return mix('discriminator', 'discriminator_r1', settings.r1_every) + mix(
    'generator', 'generator_path', settings.path_every
  )


def benchmark(settings: gan_training.GanSettings, rounds: int, seconds: float) -> dict:
  """Measures everything: plain numbers and strings, as written by `--json`."""
  load = os.getloadavg()[0]
  size, batch = settings.image_size, settings.batch_size
  images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
  devices = gan_training.most_devices(settings, jax.local_device_count())
  ours, theirs = our_calls(settings, images, devices), torch_calls(settings, images)
  calls = {'jax': ours} | ({'torch': theirs} if theirs else {})
  if devices > 1:
    calls['one device'] = our_calls(settings, images)
  taken = measure(
    {(side, name): own[name] for name in KINDS for side, own in calls.items()}, rounds, seconds
  )
  sides = {}
  for side in calls:
    own = {name: taken[side, name] for name in KINDS}
    own['training'] = mean_iteration(own, settings)
    sides[side] = own
  packages = measuring.versions()
  if theirs:
    import torch

    packages['torch'] = torch.__version__
  report = {
    'machine': measuring.machine(load),
    'versions': packages,
    'setting': {
      'image_size': size,
      'batch_size': batch,
      'devices': devices,
      'widths': list(settings.widths),
      'path_batch': settings.path_batch,
      'augment': list(settings.augment),
      'dtype': settings.dtype,
    },
    'images_a_second': {
      side: {name: batch / value for name, value in own.items()} for side, own in sides.items()
    },
    'seconds': sides,
  }
  if theirs:
    report['times_as_fast'] = {
      name: sides['torch'][name] / sides['jax'][name] for name in sides['jax']
    }
  return report


def format_report(report: dict) -> str:
  """The report as text for a terminal."""
  setting = report['setting']
  lines = [
    *measuring.heading(report),
    f'{setting["image_size"]} px, batch {setting["batch_size"]}, widths {setting["widths"]}, '
    f'{setting["dtype"]}, augmentation: {", ".join(setting["augment"]) or "none"}; '
    f'{setting["devices"]} device(s)',
    '',
    f'{"images a second":24}' + ''.join(f'{side:>12}' for side in report['seconds']),
  ]
  for name in report['seconds']['jax']:
    row = f'{name:24}'
    for side in report['seconds']:
      row += f'{report["images_a_second"][side][name]:12.2f}'
    if 'times_as_fast' in report:
      row += f'   {report["times_as_fast"][name]:.2f} times as fast'
    lines.append(row)
  if 'times_as_fast' not in report:
    lines.append('no comparison: PyTorch is not installed, or does not know these settings')
  return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command.

  Args:
    arguments: of the command line; None for the process's own.

  Returns:
    The report.
  """
  parser = measuring.parser(__doc__, config='configs/train_heads.py', seconds=4.0)
  options = parser.parse_args(arguments)
  settings = gan_training.settings_from_config(measuring.load_config(options.config))
  cpu_devices.divide(gan_training.most_devices(settings, cpu_devices.device_count()))
  report = benchmark(settings, options.rounds, options.seconds)
  return measuring.show(report, format_report(report), options.json)


if __name__ == '__main__':
  main()
