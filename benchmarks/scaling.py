"""What the parallel forms cost: the same pictures on 1 to 8 devices, and what passes between them.

  python -m benchmarks.scaling --json=scaling.json

The devices are simulated on one processor (as many as --devices names), so that nothing gets faster
with more of them: the time of a picture's iteration beside that of the plain form on one device
tells what the parallel form adds. `collectives` counts operations between devices in the compiled
step. On a machine with real devices, --simulate=False measures those.
"""

import sys
from collections.abc import Sequence

import jax

from benchmarks.support import commands, layouts, results, subjects
from benchmarks.support.timing import Effort, measure
from gan2shape_jax.pipeline import setup
from gan2shape_jax.pipeline.assembly import assemble
from gan2shape_jax.reconstruction import parallel
from gan2shape_jax.runtime import cpu_devices


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, rounds=3, seconds=1.0)
  parser.add_argument('--devices', type=int, nargs='+', default=[1, 2, 4, 8])
  parser.add_argument('--step', type=int, default=3, choices=(1, 2, 3))
  parser.add_argument('--simulate', default='True', choices=('True', 'False'))
  options = parser.parse_args(arguments)
  if options.simulate == 'True':
    jax.config.update('jax_platforms', 'cpu')
    cpu_devices.divide(max(options.devices))
  result = results.begin('scaling', arguments, options.rounds)
  result['setting'] = {'step': options.step}
  result['rows'] = _measure(options)
  return results.finish(result, _format(result), options.json)


def _measure(options):
  config = subjects.load_config(options.config)
  config.sampling.collect_iters = 1
  shared = assemble(config)
  instance = subjects.first_instance(config, shared.frozen)
  effort = Effort(rounds=options.rounds, seconds=options.seconds)

  def row(name, place):
    print(f'{name} ...', file=sys.stderr, flush=True)
    laid = layouts.LaidOut(shared, place, instance, config.stages.first)
    call, text = laid.compiled(options.step)
    timing = measure(call, effort)
    return {
      'form': name,
      'pictures': place.pictures,
      'seconds': timing.seconds,
      'seconds_a_picture': timing.seconds / place.pictures,
      'collectives': layouts.collectives(text),
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
  return rows


def _format(result):
  lines = [
    f'step {result["setting"]["step"]} of a picture, against one device',
    '',
    f'{"":16}{"pictures":>9}{"s a picture":>13}{"ratio":>7}  between devices',
  ]
  for row in result['rows']:
    between = ', '.join(row['collectives']) or 'nothing'
    lines.append(
      f'{row["form"]:16}{row["pictures"]:9d}{row["seconds_a_picture"]:13.4f}{row["ratio"]:7.2f}'
      f'  {between}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
