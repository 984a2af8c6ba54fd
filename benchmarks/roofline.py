"""How far each step is from what the machine can do: arithmetic and memory against measured peaks.

  python -m benchmarks.roofline --config=configs/heads.py:published --json=roofline.json

Floating-point operations and bytes of a step are those XLA counts in the compiled program (bytes
as if nothing stayed in caches, so their share can exceed 1); the machine's peaks are measured in
the same run, by a product of matrices and by a sum over an array larger than all caches. The bound
is the larger of the two times at these peaks.
"""

import sys
from collections.abc import Sequence

from benchmarks.support import commands, results, subjects
from benchmarks.support.peaks import peaks
from benchmarks.support.step_programs import three_steps
from benchmarks.support.timing import Effort, measure, stepping
from gan2shape_jax.pipeline.assembly import assemble


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  options = commands.parser(__doc__, seconds=1.0).parse_args(arguments)
  effort = Effort(rounds=options.rounds, seconds=options.seconds)
  config = subjects.load_config(options.config)
  result = results.begin('roofline', arguments, options.rounds)
  result['setting'] = {
    'image_size': config.image_size,
    'batch_size': config.sampling.batch_size,
    'mirrored': {f'step {step}': bool(config.stages.first[f'flip{step}']) for step in (1, 3)},
  }
  result['peaks'] = peak = peaks(effort)
  for name, program, make in three_steps(config, assemble(config)):
    print(f'{name} ...', file=sys.stderr, flush=True)
    state, rest, static = make()
    compiled = program.lower(state, *rest, **static).compile()
    cost = compiled.cost_analysis()
    advance = lambda state, compiled=compiled, rest=rest: compiled(state, *rest)
    seconds = measure(stepping(advance, state), effort).seconds
    flops, moved = cost['flops'], cost.get('bytes accessed', 0.0)
    bound = max(flops / peak['flops'], moved / peak['bytes'])
    result['rows'].append(
      {
        'step': name,
        'seconds': seconds,
        'gigaflops': flops / 1e9,
        'gigabytes': moved / 1e9,
        'share_of_flops': flops / seconds / peak['flops'],
        'share_of_bytes': moved / seconds / peak['bytes'],
        'share_of_bound': bound / seconds,
      }
    )
  return results.finish(result, _format(result), options.json)


def _format(result):
  peak = result['peaks']
  lines = [
    f'peaks: {peak["flops"] / 1e9:.1f} GFLOP/s, {peak["bytes"] / 1e9:.1f} GB/s',
    '',
    f'{"":8}{"s":>9}{"GFLOP":>9}{"GB":>8}{"of FLOP/s":>11}{"of GB/s":>9}{"of bound":>10}',
  ]
  for row in result['rows']:
    lines.append(
      f'{row["step"]:8}{row["seconds"]:9.4f}{row["gigaflops"]:9.2f}{row["gigabytes"]:8.2f}'
      f'{row["share_of_flops"]:11.0%}{row["share_of_bytes"]:9.0%}{row["share_of_bound"]:10.0%}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
