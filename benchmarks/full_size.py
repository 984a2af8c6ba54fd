"""One iteration of each step at a configuration's full size, with weights drawn at random.

  python -m benchmarks.full_size --config=configs/celeba.py
  python -m benchmarks.full_size --config=configs/lsun_car.py --batch_size=8

Tells what a configuration costs on a machine before its weight files are there: all networks have
the published widths, none of the files is needed. Prints the seconds to compile and to run each
program, and the peak memory of the process.
"""

import pathlib
import time
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from benchmarks.support import commands, machine, results, subjects
from benchmarks.support.full_size_programs import (
  GANS,
  count_parameters,
  drawn,
  full_size_shapes,
  run_all,
)
from gan2shape_jax.pipeline import config_checks


def benchmark(config: ConfigDict, result: dict):
  """Compiles and runs one iteration of each program, printing what each takes.

  Args:
    config: a whole configuration.
    result: what `results.begin` gave; rows and the rest are added.
  """
  shapes = full_size_shapes(config)
  parts = ('generator', shapes.frozen.generator), *shapes.params.items()
  result['parameters'] = {name: count_parameters(part) for name, part in parts}
  for name, count in result['parameters'].items():
    print(f'{name:14} {count:12,} parameters')
  batch = config.sampling.batch_size
  result['setting'] = {'image_size': config.image_size, 'batch_size': batch}
  print(f'\nbatch size {batch}\n{"":8} {"compile s":>10} {"run s":>10}')

  def timed(name, function, *arguments):
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    middle = time.perf_counter()
    output = jax.block_until_ready(compiled(*arguments))
    if name:
      row = {'program': name, 'compile_seconds': middle - begin}
      result['rows'].append(row | {'seconds': time.perf_counter() - middle})
      print(f'{name:8} {middle - begin:10.1f} {result["rows"][-1]["seconds"]:10.2f}', flush=True)
    return output

  run_all(config, drawn(shapes), timed)
  result['peak_memory_mib'] = machine.peak_memory()


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, config='configs/celeba.py', rounds=None)
  parser.add_argument('--batch_size', type=int, default=2, help='pseudo samples an iteration')
  options = parser.parse_args(arguments)
  config = subjects.load_config(options.config)
  config_checks.check_config(config)
  config.sampling.batch_size = options.batch_size
  if pathlib.Path(config.gan.weights).name not in GANS:
    parser.error(f'gan.weights={config.gan.weights}: expected one of {", ".join(GANS)}')
  result = results.begin('full_size', arguments)
  benchmark(config, result)
  memory = result['peak_memory_mib']['process'] / 1024
  return results.finish(result, f'peak memory: {memory:.1f} GiB', options.json)


if __name__ == '__main__':
  main()
