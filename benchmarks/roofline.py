"""How far each step is from what the machine can do: arithmetic and memory against measured peaks.

  python -m benchmarks.roofline --config=configs/heads.py:published --json=roofline.json

Floating-point operations and bytes of a step are those XLA counts in the compiled program (bytes
as if nothing stayed in caches, so their share can exceed 1); the machine's peaks are measured in
the same run, by a product of matrices and by a sum over an array larger than all caches. The bound
is the larger of the two times at these peaks.
"""

import os
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks import measuring
from gan2shape_jax.pipeline.assembly import assemble

_MATRIX = 2048
_FLOATS = 1 << 26


def peaks(effort: measuring.Effort) -> dict[str, float]:
  """The machine's measured peaks: `flops` and `bytes` a second, in float32."""
  x = jax.random.normal(jax.random.key(0), (_MATRIX, _MATRIX))
  product = jax.jit(lambda x: x @ x)
  # In place: a new array each time would measure how fast the system hands out pages.
  scale = jax.jit(lambda x: x * 1.0001, donate_argnums=0)
  in_place = measuring.stepping(lambda x: (scale(x), None), jnp.ones(_FLOATS))
  return {
    'flops': 2 * _MATRIX**3 / measuring.measure(lambda: product(x), effort).seconds,
    'bytes': 8 * _FLOATS / measuring.measure(in_place, effort).seconds,
  }


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the report."""
  options = measuring.parser(__doc__, seconds=1.0).parse_args(arguments)
  effort = measuring.Effort(rounds=options.rounds, seconds=options.seconds)
  config = measuring.load_config(options.config)
  load = os.getloadavg()[0]
  peak = peaks(effort)
  rows = []
  for name, program, make in _programs(config):
    print(f'{name} ...', file=sys.stderr, flush=True)
    state, rest, static = make()
    cost = program.lower(state, *rest, **static).compile().cost_analysis()
    call = measuring.stepping(
      lambda state, program=program, rest=rest, static=static: program(state, *rest, **static),
      state,
    )
    seconds = measuring.measure(call, effort).seconds
    flops, moved = cost['flops'], cost.get('bytes accessed', 0.0)
    bound = max(flops / peak['flops'], moved / peak['bytes'])
    rows.append(
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
  report = {
    'machine': measuring.machine(load),
    'versions': measuring.versions(),
    'peaks': peak,
    'rows': rows,
  }
  return measuring.show(report, _format(report), options.json)


def _programs(config):
  """(name, program, () -> state, other arguments, static arguments) of each step."""
  shared = assemble(config)
  programs, frozen = shared.programs, shared.frozen
  instance = jax.device_put(measuring.first_instance(config, frozen))
  params = measuring.starting_params(shared, instance)
  key, flips = jax.random.key(0), config.stages.first
  fresh = lambda step: programs.fresh(jax.tree.map(jnp.copy, params), step)
  origin = programs.origin(params, instance, frozen)
  own = origin, instance.latent, key, frozen, 0

  def step1():
    scene = programs.observe(params, instance, frozen, flip=flips.flip1)
    return fresh(1), (scene, instance, frozen), {}

  def step3():
    batches = jax.tree.map(lambda leaf: leaf[None], programs.collect(params, *own))
    return fresh(3), (instance, batches, frozen, 0, 0.5), {'flip': flips.flip3}

  yield 'step 1', programs.step1, step1
  yield 'step 2', programs.step2, lambda: (fresh(2), own, {})
  yield 'step 3', programs.step3, step3


def _format(report):
  peak = report['peaks']
  lines = [
    *measuring.heading(report),
    f'peaks: {peak["flops"] / 1e9:.1f} GFLOP/s, {peak["bytes"] / 1e9:.1f} GB/s',
    '',
    f'{"":8}{"s":>9}{"GFLOP":>9}{"GB":>8}{"of FLOP/s":>11}{"of GB/s":>9}{"of bound":>10}',
  ]
  for row in report['rows']:
    lines.append(
      f'{row["step"]:8}{row["seconds"]:9.4f}{row["gigaflops"]:9.2f}{row["gigabytes"]:8.2f}'
      f'{row["share_of_flops"]:11.0%}{row["share_of_bytes"]:9.0%}{row["share_of_bound"]:10.0%}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
