"""How many images a second each of the GAN's four updates trains on, beside plain PyTorch.

  python -m benchmarks.gan_training --json=gan_training.json

Ours and PyTorch's (`support/torch_gan.py`, the same networks, batch and losses, checked equal in
tests/unit/test_gan_updates.py) are timed in turns in one run, so that what else the machine does
falls on both; medians over the rounds. Ours take as many devices as a training takes by default,
into which a processor is divided, and one alone. Without PyTorch only ours are timed. A mixture of
the four as a training has them ('training') ends the table. Measure on a machine that does nothing
else: the load average is printed.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from benchmarks.support import commands, results, subjects
from benchmarks.support.timing import measure_in_turns
from benchmarks.support.torch_calls import training_calls
from gan2shape_jax import gan_training
from gan2shape_jax.reconstruction.parallel import data_mesh
from gan2shape_jax.runtime import cpu_devices

KINDS = gan_training.Updates._fields
OURS, ALONE, THEIRS = 'ours', 'ours on one device', 'PyTorch'


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


def mean_iteration(seconds: dict[str, float], settings: gan_training.GanSettings) -> float:
  """Seconds of an iteration with regularisers as often as a training has them."""
  mix = lambda plain, regular, every: (seconds[plain] * (every - 1) + seconds[regular]) / every
  return mix('discriminator', 'discriminator_r1', settings.r1_every) + mix(
    'generator', 'generator_path', settings.path_every
  )


def benchmark(settings: gan_training.GanSettings, rounds: int, seconds: float, result: dict):
  """Measures everything.

  Args:
    settings: of the training.
    rounds: of which the median is taken.
    seconds: length of a round.
    result: what `results.begin` gave; rows and setting are added.
  """
  size, batch = settings.image_size, settings.batch_size
  images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
  devices = gan_training.most_devices(settings, jax.local_device_count())
  calls = {OURS: our_calls(settings, images, devices)}
  if devices > 1:
    calls[ALONE] = our_calls(settings, images)
  if theirs := training_calls(settings, images):
    calls[THEIRS] = theirs
  in_turns = {(side, name): own[name] for name in KINDS for side, own in calls.items()}
  taken = measure_in_turns(in_turns, rounds, seconds)
  result['setting'] = {
    'image_size': size,
    'batch_size': batch,
    'devices': devices,
    'widths': list(settings.widths),
    'path_batch': settings.path_batch,
    'augment': list(settings.augment),
    'dtype': settings.dtype,
  }
  of_sides = {side: {name: taken[side, name] for name in KINDS} for side in calls}
  for side, own in of_sides.items():
    own['training'] = mean_iteration(own, settings)
    for name, value in own.items():
      result['rows'].append(
        {
          'side': side,
          'update': name,
          'seconds': value,
          'images_a_second': batch / value,
          'times_ours': value / of_sides[OURS][name],
        }
      )


def format_result(result: dict) -> str:
  """The result as text for a terminal."""
  setting = result['setting']
  sides = list(dict.fromkeys(row['side'] for row in result['rows']))
  lines = [
    f'{setting["image_size"]} px, batch {setting["batch_size"]}, widths {setting["widths"]}, '
    f'{setting["dtype"]}, augmentation: {", ".join(setting["augment"]) or "none"}; '
    f'{setting["devices"]} device(s)',
    '',
    f'{"images a second":24}' + ''.join(f'{side:>20}' for side in sides),
  ]
  for name in (*KINDS, 'training'):
    rows = {row['side']: row for row in result['rows'] if row['update'] == name}
    line = f'{name:24}' + ''.join(f'{rows[side]["images_a_second"]:20.2f}' for side in sides)
    if THEIRS in rows:
      line += f'   {rows[THEIRS]["times_ours"]:.2f} times as fast as PyTorch'
    lines.append(line)
  if THEIRS not in sides:
    lines.append('no comparison: PyTorch is not installed, or does not know these settings')
  return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, config='configs/train_heads.py', seconds=4.0)
  options = parser.parse_args(arguments)
  settings = gan_training.settings_from_config(subjects.load_config(options.config))
  cpu_devices.divide(gan_training.most_devices(settings, cpu_devices.device_count()))
  result = results.begin('gan_training', arguments, options.rounds)
  benchmark(settings, options.rounds, options.seconds, result)
  return results.finish(result, format_result(result), options.json)


if __name__ == '__main__':
  main()
