"""Reads the flags of commands as they would, and ends before their work.

  python -m tests.support.command_lines < COMMANDS

with a JSON list of argument lists on the standard input: those of scripts of experiments/ and
benchmarks/, of `-m benchmarks.NAME`, and of gan2shape-jax. Prints a JSON list of what is wrong with
each, '' if nothing is.
"""

import contextlib
import io
import json
import os
import pathlib
import runpy
import sys
import warnings


class _FlagsRead(Exception):  # noqa: N818, no error
  """The flags were read, and nothing is wrong with them."""


def _run(main, argv=None, flags_parser=None):
  """In place of absl.app.run."""
  from absl import flags

  from gan2shape_jax.cli import launching
  from gan2shape_jax.pipeline import config_checks

  if '--help' in sys.argv:
    raise _FlagsRead
  rest = (flags_parser or flags.FLAGS)(sys.argv if argv is None else argv)
  if flags_parser is launching.parse:
    if rest[1:]:
      sys.exit(f'error: unknown argument {rest[1]!r}')
    config_checks.check_config(flags.FLAGS.config)
  raise _FlagsRead


def _parse_args(parser, args=None, namespace=None):
  """In place of argparse.ArgumentParser.parse_args."""
  _, unknown = parser.parse_known_args(args, namespace)
  if unknown:
    parser.error(f'unknown arguments {unknown}')
  raise _FlagsRead


def _call(arguments):
  """Runs a command up to the end of its flags, in this process."""
  program, *rest = arguments
  try:
    if program == 'gan2shape-jax':
      from gan2shape_jax.cli import main

      sys.argv = arguments
      main.main()
    elif program == '-m':
      sys.argv = rest
      runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
      sys.argv = arguments
      sys.path.insert(0, str(pathlib.Path(program).parent.resolve()))
      runpy.run_path(program, run_name='__main__')
  except _FlagsRead:
    return
  raise AssertionError('it ended without reading flags')


def _failure(arguments) -> str:
  """What is wrong with a command, found in a process of its own: flags are global."""
  read, write = os.pipe()
  child = os.fork()
  if not child:
    os.close(read)
    said = io.StringIO()
    wrong = ''
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
      try:
        _call(arguments)
      except BaseException as error:
        wrong = f'{said.getvalue()}{type(error).__name__}: {error}'
    with os.fdopen(write, 'w', encoding='utf-8') as file:
      file.write(wrong)
    os._exit(0)
  os.close(write)
  with os.fdopen(read, encoding='utf-8') as file:
    wrong = file.read()
  _, status = os.waitpid(child, 0)
  return wrong or (f'ended with status {status}' if status else '')


def main():
  """Imports once what most commands import, then looks at each in a fork."""
  import argparse

  from absl import app

  from gan2shape_jax import api  # noqa: F401
  from gan2shape_jax.cli import launching  # noqa: F401

  app.run = _run
  argparse.ArgumentParser.parse_args = _parse_args
  # JAX has started no threads of its own yet: no device has been asked for.
  warnings.filterwarnings('ignore', r'os\.fork\(\) was called', RuntimeWarning)
  print(json.dumps([_failure(arguments) for arguments in json.load(sys.stdin)]))


if __name__ == '__main__':
  main()
