"""Measures everything that the documentation tells, writes the results, and makes the tables.

  python -m benchmarks.all                           about a quarter of an hour on two cores
  python -m benchmarks.all --only steps roofline
  python -m benchmarks.all --results=FOLDER          leaves the repository's own alone

Each benchmark runs in a process of its own, one after the other; a result takes the place of the
last one when its command has ended well. Measure on a machine that does nothing else.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks import tables
from benchmarks.support.commands import RESULTS, ROOT

MEASURED = {
  'steps': ('--rounds=3', '--seconds=0.5'),
  'roofline': ('--rounds=3', '--seconds=0.5'),
  'generator': (
    '--batches', '16', '--rounds=3', '--ways', 'shared, plain upsampling', 'grouped kernels',
  ),
  'renderer': ('--sizes', '64', '128', '--views', '16', '--ways', 'fragments', 'splat'),
  'scaling': ('--step=2', '--devices', '1', '2', '4', '--rounds=3', '--seconds=0.5'),
  'throughput': ('--instances', '1', '2', '--forms', 'vmap', '--rounds=3', '--seconds=0.5'),
  'gan_training': ('--rounds=3', '--seconds=1'),
  'fits': ('--pictures', '1'),
}  # fmt: skip
"""Name of a benchmark -> what it is given, so that all of them take a quarter of an hour."""

_BUSY = 0.5  # load average from which something else seems to run


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
  """The command; returns the seconds of each benchmark."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--only', nargs='+', default=list(MEASURED), choices=MEASURED, metavar='NAME')
  parser.add_argument('--results', type=pathlib.Path, default=RESULTS, help='folder of results')
  options = parser.parse_args(arguments)
  if (load := os.getloadavg()[0]) > _BUSY:
    print(f'the load average is {load:.1f}: is the machine busy?', file=sys.stderr)
  options.results.mkdir(parents=True, exist_ok=True)
  taken = {}
  for name in options.only:
    print(f'== {name}', flush=True)
    begin = time.monotonic()
    measure(name, options.results)
    taken[name] = time.monotonic() - begin
    print(f'== {name} took {taken[name]:.0f} s\n', flush=True)
  print(f'{sum(taken.values()):.0f} s in all')
  if options.results.resolve() == RESULTS:
    print('\n'.join(f'tables made anew: {name}' for name in tables.main([])))
  return taken


def measure(name: str, folder: pathlib.Path):
  """Runs a benchmark and puts its result into a folder.

  Args:
    name: one of `MEASURED`.
    folder: of results, which exists.

  Raises:
    SystemExit: it failed; the folder is as it was.
  """
  with tempfile.TemporaryDirectory(dir=folder) as beside:
    path = pathlib.Path(beside) / f'{name}.json'
    given = [sys.executable, '-m', f'benchmarks.{name}', *MEASURED[name], f'--json={path}']
    if subprocess.run(given, cwd=ROOT, check=False).returncode:
      raise SystemExit(f'{name} failed: nothing was written')
    os.replace(path, folder / f'{name}.json')


if __name__ == '__main__':
  main()
