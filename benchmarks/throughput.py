"""Images an hour against pictures fitted side by side on one device, in both forms.

  python -m benchmarks.throughput --instances 1 2 4 --json=throughput.json
  python -m benchmarks.throughput --config=configs/celeba.py --instances 1 4 16 64

Times the three steps for so many copies of the configuration's first picture and adds them up over
the schedule; compilation, collecting projections and writing results are left out. `loop` takes
the pictures of a device one after the other, `vmap` all at once (`parallel.form`).
"""

import sys
from collections.abc import Sequence

import jax

from benchmarks.support import commands, layouts, machine, results, subjects
from benchmarks.support.timing import Effort, measure
from gan2shape_jax.pipeline.assembly import assemble
from gan2shape_jax.reconstruction import parallel


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, rounds=3, seconds=1.0)
  parser.add_argument('--instances', type=int, nargs='+', default=[1, 2, 4])
  parser.add_argument('--forms', nargs='+', default=['loop', 'vmap'], choices=['loop', 'vmap'])
  options = parser.parse_args(arguments)
  effort = Effort(rounds=options.rounds, seconds=options.seconds)
  config = subjects.load_config(options.config)
  config.sampling.collect_iters = 1
  result = results.begin('throughput', arguments, options.rounds)
  shared = assemble(config)
  instance = subjects.first_instance(config, shared.frozen)
  counts = {
    step: sum(getattr(stage, f'step{step}') for stage in shared.plan.stages) for step in (1, 2, 3)
  }
  result['setting'], rows = {'iterations': counts}, result['rows']
  for count in options.instances:
    for form in options.forms if count > 1 else options.forms[:1]:
      print(f'{count}, {form} ...', file=sys.stderr, flush=True)
      place = parallel.make_layout(jax.devices()[:1], per_device=count, form=form)
      laid = layouts.LaidOut(shared, place, instance, config.stages.first)
      seconds = {step: measure(laid.compiled(step)[0], effort).seconds / count for step in counts}
      total = sum(seconds[step] * counts[step] for step in counts)
      rows.append(
        {
          'instances': count,
          'form': form,
          'images_an_hour': 3600 / total,
          'seconds_an_image': total,
        }
        | {f'step{step}_seconds': value for step, value in seconds.items()}
      )
  for row in rows:
    row['ratio'] = row['images_an_hour'] / rows[0]['images_an_hour']
  result['peak_memory_mib'] = machine.peak_memory()
  return results.finish(result, _format(result), options.json)


def _format(result):
  lines = [
    'seconds an iteration of one picture, and images an hour of the whole schedule',
    '',
    ''.join((f'{"instances":>9} {"form":5}', *(f'{f"step {k}":>9}' for k in (1, 2, 3))))
    + f'{"images/h":>10}{"ratio":>7}',
  ]
  for row in result['rows']:
    steps = ''.join(f'{row[f"step{step}_seconds"]:9.4f}' for step in (1, 2, 3))
    lines.append(
      f'{row["instances"]:9d} {row["form"]:5}{steps}{row["images_an_hour"]:10.1f}'
      f'{row["ratio"]:7.2f}'
    )
  memory = ', '.join(f'{where} {mib:.0f} MiB' for where, mib in result['peak_memory_mib'].items())
  return '\n'.join([*lines, f'peak memory: {memory}'])


if __name__ == '__main__':
  main()
