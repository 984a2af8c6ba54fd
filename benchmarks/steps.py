"""How fast the steps of a reconstruction are, what they compile in, and what the renderer costs.

  python -m benchmarks.steps --json=steps.json                     the embedded heads
  python -m benchmarks.steps --config=configs/heads.py:published   published widths and batch

Measures the programs that a run uses (`assembly.assemble`), on the configuration's first picture:
the median of several rounds after compilation, each round waited for. Beside them stands a fixed
workload in JAX, so that figures of different days and machines compare as ratios to it. Where
PyTorch is installed, a second workload that was timed beside the original implementation scales
the original's seconds to this machine. Measure on a machine that does nothing else: the load
average at the start is printed.
"""

import time
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from benchmarks.support import commands, machine, original, results, subjects
from benchmarks.support.calibration import calibrate_torch
from benchmarks.support.rendering import measure_renderer, measure_step3_renderer
from benchmarks.support.step_programs import calls_of_plan, measure_steps
from benchmarks.support.timing import Effort
from gan2shape_jax.pipeline.assembly import assemble


def benchmark(config: ConfigDict, effort: Effort, result: dict):
  """Measures everything.

  Args:
    config: a whole configuration.
    effort: how long to measure.
    result: what `results.begin` gave; rows and the rest are added.
  """
  start = time.perf_counter()
  shared = assemble(config)
  jax.block_until_ready((shared.params, shared.frozen))
  result['assemble_seconds'] = time.perf_counter() - start
  settings, calls = shared.settings, calls_of_plan(shared.plan)
  result['setting'] = {
    'image_size': config.image_size,
    'batch_size': settings.batch_size,
    'network_width': config.networks.width or 'published',
    'perceptual': settings.perceptual,
  }

  def add(kind, name, timing, **more):
    row = {'kind': kind, 'name': name, 'seconds': timing.seconds}
    row['times_calibration'] = timing.seconds / result['calibration']['seconds']
    result['rows'].append(row | {'compile_seconds': timing.compile_seconds} | more)

  timings = measure_steps(config, shared, effort)
  for name, timing in timings.items():
    add('step', name, timing, calls_an_image=calls.get(name, 0))
  for size in effort.sizes:
    for name, timing in measure_renderer(settings, size, effort).items():
      add('renderer', f'{effort.views} views of {size} px, {name}', timing)
  for flip in effort.flips:
    name = 'step 3 flip' if flip else 'step 3'
    timing = measure_step3_renderer(config, settings, effort, flip=flip)
    add('renderer within', name, timing, share=timing.seconds / timings[name].seconds)
  result['seconds_an_image'] = sum(timings[name].seconds * count for name, count in calls.items())
  result['compile_seconds_of_a_run'] = sum(timings[name].compile_seconds for name in calls)
  result['peak_memory_mib'] = machine.peak_memory()
  torch_seconds = calibrate_torch(max(effort.rounds, 7) if effort.rounds > 1 else 1)
  result['original'] = original.compare(timings, torch_seconds)


def format_result(result: dict) -> str:
  """The result as text for a terminal."""
  setting = result['setting']
  lines = [
    f'{setting["image_size"]} px, batch {setting["batch_size"]}, network width '
    f'{setting["network_width"]}, perceptual term: {setting["perceptual"]}',
    '',
    f'{"":42}{"s":>9}{"it/s":>9}{"x calib":>9}{"compile s":>11}{"calls":>7}',
  ]
  for row in result['rows']:
    within = row['kind'] == 'renderer within'
    name = f'renderer in {row["name"]}' if within else row['name']
    line = (
      f'{name:42}{row["seconds"]:9.4f}{1 / row["seconds"]:9.1f}{row["times_calibration"]:9.3f}'
      f'{row["compile_seconds"]:11.1f}'
    )
    if row['kind'] == 'step':
      line += f'{row["calls_an_image"]:7d}'
    lines.append(line + (f'   {row["share"]:.0%} of an iteration' if within else ''))
  memory = ', '.join(f'{where} {mib:.0f} MiB' for where, mib in result['peak_memory_mib'].items())
  lines += [
    '',
    f'an image: {result["seconds_an_image"]:.1f} s of iterations (results not written)',
    f'once a run: {result["compile_seconds_of_a_run"]:.1f} s of compilation, '
    f'{result["assemble_seconds"]:.1f} s of loading',
    f'peak memory: {memory}',
    *original.text(result['original'], setting),
  ]
  return '\n'.join(lines)


def shrink(config: ConfigDict):
  """Makes everything tiny and leaves mirror images out, to see whether it runs."""
  config.networks.width = config.networks.bottleneck = config.networks.encoder_width = 4
  config.sampling.batch_size, config.sampling.collect_iters = 2, 1
  config.loss.discriminator_features, config.renderer.march_steps = 1, 2
  config.fit.finish = 0  # with mirror images
  for stage in (config.stages.first, config.stages.later):
    stage.flip1 = stage.flip3 = False


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__)
  parser.add_argument('--smoke', action='store_true', help='tiny: does it run at all?')
  options = parser.parse_args(arguments)
  config = subjects.load_config(options.config)
  effort = Effort(options.rounds, options.seconds)
  if options.smoke:
    shrink(config)
    effort = Effort(1, 0.0, 2, (16,), (False,))
  result = results.begin('steps', arguments, effort.rounds)
  benchmark(config, effort, result)
  return results.finish(result, format_result(result), options.json)


if __name__ == '__main__':
  jax.config.update('jax_enable_compilation_cache', False)  # compilation is measured
  main()
