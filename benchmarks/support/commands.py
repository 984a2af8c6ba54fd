"""The command line that all benchmarks have; nothing here loads JAX."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def parser(
  text: str,
  *,
  config: str | None = 'configs/heads.py',
  rounds: int | None = 5,
  seconds: float = 2.0,
) -> argparse.ArgumentParser:
  """A parser of the flags that all benchmarks have.

  Args:
    text: the module's docstring.
    config: the configuration that is measured unless another is given; None: there is none.
    rounds: by default; None where nothing is repeated.
    seconds: by default.
  """
  found = argparse.ArgumentParser(
    description=text, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  if config is not None:
    found.add_argument('--config', default=str(ROOT / config), help='FILE[:VARIANT]')
  if rounds is not None:
    found.add_argument('--rounds', type=int, default=rounds, help='of which the median is taken')
    found.add_argument('--seconds', type=float, default=seconds, help='length of a round')
  found.add_argument('--json', metavar='PATH', help='write the result there as well')
  return found


def command_line(module: str, arguments: Sequence[str] | None) -> str:
  """What somebody types to measure the same again.

  Args:
    module: of `benchmarks`.
    arguments: of the command; None for the process's own.

  Returns:
    The command without `--json`; of paths outside the repository only the last part, so that
    nothing tells whose machine it was.
  """
  given, words = list(sys.argv[1:] if arguments is None else arguments), []
  while given:
    word = given.pop(0)
    if word == '--json':
      del given[:1]
    elif not word.startswith('--json='):
      name, equals, value = word.rpartition('=')
      words.append(f'{name}{equals}{_without_folders(value)}')
  return shlex.join(['python', '-m', f'benchmarks.{module}', *words])


def _without_folders(value):
  path = pathlib.Path(value)
  if not path.is_absolute():
    return value
  return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
