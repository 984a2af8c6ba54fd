"""How long whole fits take as a user runs them, with and without compiled programs at hand.

  python -m benchmarks.fits --json=fits.json
  python -m benchmarks.fits --pictures 1 4 --config.stages.count=2

Runs `experiments/run.py` for the first pictures of a configuration: once with an empty folder of
compiled programs, then with what is kept there, in a new process and a new work folder each time.
Seconds are the process's, its start and its results included. Settings (`--config.NAME=VALUE`) are
passed on.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.support import commands, results

COMMAND = sys.executable, str(commands.ROOT / 'experiments' / 'run.py')


def run(arguments: Sequence[str]) -> dict:
  """Runs the command.

  Args:
    arguments: that it is given.

  Returns:
    Its `seconds` and `peak_memory_gib`.

  Raises:
    SystemExit: it failed; its last lines are in the message.
  """
  with tempfile.TemporaryFile('w+') as errors:
    begin = time.perf_counter()
    process = subprocess.Popen(
      [*COMMAND, *arguments],
      cwd=commands.ROOT,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=errors,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      errors.seek(0)
      raise SystemExit(f'a run ended with status {process.returncode}\n{errors.read()[-2000:]}')
  unit = 1 if sys.platform == 'darwin' else 1024  # bytes there, KiB elsewhere
  return {'seconds': seconds, 'peak_memory_gib': usage.ru_maxrss * unit / 2**30}


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the result."""
  parser = commands.parser(__doc__, rounds=None)
  parser.add_argument('--pictures', type=int, nargs='+', default=[1])
  options, settings = parser.parse_known_args(arguments)
  for unknown in settings:
    if not unknown.startswith('--config.'):
      parser.error(f'unrecognized argument: {unknown}')
  result = results.begin('fits', arguments)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for count in options.pictures:
      for kept in (False, True):
        name = 'kept from an earlier run' if kept else 'none'
        print(f'{count} pictures, compiled programs: {name} ...', file=sys.stderr, flush=True)
        measured = run(
          [
            f'--config={options.config}',
            f'--config.data.num={count}',
            f'--workdir={folder / f"{count}-{kept}"}',
            f'--compilation_cache={folder / f"compiled-{count}"}',
            *settings,
          ]
        )
        result['rows'].append({'pictures': count, 'compiled_programs': name} | measured)
        results.keep(result, options.json)
  return results.finish(result, _format(result), options.json)


def _format(result):
  lines = [f'{"pictures":>8}{"s":>9}{"GiB":>6}  compiled programs']
  for row in result['rows']:
    lines.append(
      f'{row["pictures"]:8d}{row["seconds"]:9.1f}{row["peak_memory_gib"]:6.1f}'
      f'  {row["compiled_programs"]}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
