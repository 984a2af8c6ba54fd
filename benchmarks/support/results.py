"""The one form in which every benchmark writes what it measured.

A result has `command`, `date`, `machine`, `versions`, `calibration` and `rows`; `setting`, where it
is there, says what was measured, and other entries are the command's own. Figures of different
days and machines compare as ratios to the calibration; claims are ratios within one result.
"""

import datetime
import os
import statistics
from collections.abc import Sequence

from benchmarks.support import commands, machine
from benchmarks.support.calibration import calibrate
from gan2shape_jax.storage.atomic_files import write_json

PARTS = 'command', 'date', 'machine', 'versions', 'calibration', 'rows'


def begin(module: str, arguments: Sequence[str] | None, rounds: int = 3) -> dict:
  """A result without rows: to be made before anything else is measured.

  Args:
    module: of `benchmarks`, whose command measures.
    arguments: of the command; None for the process's own.
    rounds: of the calibration.
  """
  load = os.getloadavg()[0]
  return {
    'command': commands.command_line(module, arguments),
    'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
    'machine': machine.describe(load),
    'versions': machine.versions(),
    'calibration': {'seconds': statistics.median(calibrate(rounds)), 'rounds': rounds},
    'rows': [],
  }


def keep(result: dict, path: str | None) -> None:
  """Writes a result, whole or not at all, where a path is given.

  Commands that take long call it after each part, so that a run cut short keeps what it measured.
  """
  if path:
    write_json(path, result)


def finish(result: dict, text: str, path: str | None) -> dict:
  """Prints the text of a result below its heading, writes the result, and returns it."""
  print('\n'.join([*heading(result), text]))
  keep(result, path)
  return result


def heading(result: dict) -> list[str]:
  """The lines about machine, versions and calibration with which a result's text begins."""
  found = result['machine']
  device = f', {found["accelerators"]} {found["accelerator"]}' if 'accelerator' in found else ''
  return [
    f'{found["processor"]}, {found["cores"]} cores{device}, '
    f'load average {found["load_average_at_start"]:.1f}',
    ', '.join(f'{name} {version}' for name, version in result['versions'].items()),
    f'calibration: {result["calibration"]["seconds"]:.4f} s',
  ]
