"""What the parallel forms cost: the same pictures on 1 to 8 devices, and what passes between them.

  python -m benchmarks.scaling --json=scaling.json

The devices are simulated on one processor (as many as --devices names), so that nothing gets faster
with more of them: the time of a picture's iteration beside that of the plain form on one device
tells what the parallel form adds. `collectives` counts operations between devices in the compiled
step. On a machine with real devices, --simulate=False measures those.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the report."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--config', default='configs/heads.py', help='FILE[:VARIANT]')
  parser.add_argument('--devices', type=int, nargs='+', default=[1, 2, 4, 8])
  parser.add_argument('--step', type=int, default=3, choices=(1, 2, 3))
  parser.add_argument('--simulate', default='True', choices=('True', 'False'))
  parser.add_argument('--rounds', type=int, default=3, help='of which the median is taken')
  parser.add_argument('--seconds', type=float, default=1.0, help='length of a round')
  parser.add_argument('--json', metavar='PATH', help='write the report there as well')
  options = parser.parse_args(arguments)
  if options.simulate == 'True' and 'jax' not in sys.modules:
    flag = f'--xla_force_host_platform_device_count={max(options.devices)}'
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {flag}'
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  from benchmarks import measuring

  report = _benchmark(options)
  return measuring.show(report, _format(report), options.json)


def collectives(text: str) -> list[str]:
  """The operations between devices in a compiled program's text."""
  names = 'all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter'
  return re.findall(rf'= \S+ ({names})(?:-start)?\(', text)


def _benchmark(options):
  from benchmarks import layout_steps, measuring
  from gan2shape_jax.pipeline import setup
  from gan2shape_jax.pipeline.assembly import assemble
  from gan2shape_jax.reconstruction import parallel

  config = measuring.load_config(options.config)
  config.sampling.collect_iters = 1
  shared = assemble(config)
  instance = measuring.first_instance(config, shared.frozen)
  effort = measuring.Effort(rounds=options.rounds, seconds=options.seconds)

  def row(name, place):
    print(f'{name} ...', file=sys.stderr, flush=True)
    laid = layout_steps.LaidOut(shared, place, instance, config.stages.first)
    text = laid.compiled_text(options.step)
    timing = measuring.measure(laid.call(options.step), effort)
    return {
      'form': name,
      'pictures': place.pictures,
      'seconds': timing.seconds,
      'seconds_a_picture': timing.seconds / place.pictures,
      'collectives': collectives(text),
    }

  devices = setup.chosen_devices('--devices', max(options.devices))
  rows = []
  for count in options.devices:
    rows.append(row(f'images on {count}', parallel.make_layout(devices[:count])))
  rows.append(row('2 images on 1', parallel.make_layout(devices[:1], per_device=2)))
  for count in options.devices:
    if count > 1 and not config.sampling.batch_size % count:
      rows.append(
        row(f'samples on {count}', parallel.make_layout(devices[:count], split='samples'))
      )
  for entry in rows:
    entry['ratio'] = entry['seconds_a_picture'] / rows[0]['seconds_a_picture']
  return {
    'machine': measuring.machine(),
    'versions': measuring.versions(),
    'step': options.step,
    'rows': rows,
  }


def _format(report):
  from benchmarks import measuring

  lines = [
    *measuring.heading(report),
    f'step {report["step"]} of a picture, against one device',
    '',
    f'{"":16}{"pictures":>9}{"s a picture":>13}{"ratio":>7}  between devices',
  ]
  for row in report['rows']:
    between = ', '.join(row['collectives']) or 'nothing'
    lines.append(
      f'{row["form"]:16}{row["pictures"]:9d}{row["seconds_a_picture"]:13.4f}{row["ratio"]:7.2f}'
      f'  {between}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
