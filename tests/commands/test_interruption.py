"""Signals and mistakes end a command in one line."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.support import command

SCRIPTS = command.ROOT / 'experiments'


def run(code, *given):
  """Runs a script that lies, as it were, in experiments/; the status and the lines of stderr."""
  result = subprocess.run(
    [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{code}', *given],
    env=command.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  return result.returncode, result.stderr.splitlines()


SEND = """
import os, signal, time
from gan2shape_jax.cli import interruption
send = lambda number: os.kill(os.getpid(), number)
"""


@pytest.mark.parametrize(('number', 'status'), [('SIGTERM', 0), ('SIGINT', 130)])
def test_a_signal_before_anything_has_begun_ends_at_once(number, status):
  code, lines = run(f'{SEND}send(signal.{number})\ntime.sleep(60)')
  assert code == status
  assert lines == ['stopped: the same command goes on from the last checkpoint']


@pytest.mark.parametrize(('number', 'status'), [('SIGTERM', 0), ('SIGINT', 130)])
def test_a_signal_asks_for_the_end(number, status):
  code, lines = run(
    f'{SEND}stop = interruption.watch()\nassert not stop()\nsend(signal.{number})\n'
    'time.sleep(0.2)\nassert stop()\nsys.exit(interruption.status())'
  )
  assert (code, lines) == (status, [])


def test_a_second_ctrl_c_does_not_wait():
  begin = time.monotonic()
  code, lines = run(f'{SEND}interruption.watch()\nfor k in range(300): send(2); time.sleep(0.1)')
  assert code == 130
  assert len(lines) == 1
  assert time.monotonic() - begin < 8


def test_what_takes_too_long_ends_and_says_that_nothing_was_saved():
  code, lines = run(
    f'{SEND}interruption.GRACE = 0.3\ninterruption.watch()\nsend(15)\ntime.sleep(60)'
  )
  assert code == 0
  assert len(lines) == 1
  assert 'before a new checkpoint was whole: the same command goes on' in lines[0]


@pytest.mark.parametrize(
  ('save', 'told'),
  [
    ("time.sleep(0.1) or 'x is saved'", 'x is saved; the same command goes on'),
    ('1 / 0', 'nothing more could be saved (division by zero); the same command'),
    ("time.sleep(60) or 'x is saved'", 'before a new checkpoint was whole'),
  ],
)
def test_what_takes_too_long_is_saved_from_beside(save, told):
  code, lines = run(
    f'{SEND}interruption.GRACE = 0.4\nstop = interruption.watch()\n'
    f'stop.at_worst(lambda: {save})\nsend(15)\ntime.sleep(60)'
  )
  assert code == 0
  assert len(lines) == 1
  assert told in lines[0]


@pytest.mark.parametrize('delay', [0.15, 0.6, 1.5])
def test_ctrl_c_within_the_first_seconds(tmp_path, delay):
  with open(tmp_path / 'log', 'wb') as log:
    process = command.start(f'--workdir={tmp_path / "run"}', '--compilation_cache=', stderr=log)
  time.sleep(delay)
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=60) in (130, -2 if delay < 0.3 else 130)  # before any code of ours
  lines = (tmp_path / 'log').read_text().splitlines()
  assert 'Traceback' not in ''.join(lines) or delay < 0.3
  if delay > 0.3:
    assert lines[-1].startswith('stopped')  # within the grace, or at its end on a busy machine


MISTAKE = """
import command
def work(config, workdir, stop):
  raise ZeroDivisionError('of\\nnothing')
command.launch(work)
"""


@pytest.mark.parametrize('made', [True, False])
def test_what_nobody_foresaw_is_one_line_and_its_traceback_is_kept(tmp_path, made):
  workdir = tmp_path / 'run'
  if made:
    workdir.mkdir()
  code, lines = run(MISTAKE, f'--workdir={workdir}')
  assert code == 1
  assert len(lines) == 1
  assert lines[0].startswith('error: ZeroDivisionError: of nothing (not foreseen; its traceback')
  kept = pathlib.Path(lines[0].rpartition(' ')[2].rstrip(')'))
  assert (kept.parent == workdir) == made
  assert 'Traceback' in kept.read_text()
  os.remove(kept)


def test_no_home_folder(tmp_path, monkeypatch):
  work = 'import command\ncommand.launch(lambda *_: "done")'
  code, lines = run(
    f'import os; os.chdir({str(tmp_path)!r})\n{work}', '--compilation_cache=~nobody9/x'
  )
  assert code == 0
  assert lines == ['compiled programs are not kept: ~nobody9/x names no home folder']
  assert not list(tmp_path.iterdir())


# Where the system knows no home folder of the user either.
NOBODY = """
import os, pwd
def getpwuid(number):
  raise KeyError(number)
pwd.getpwuid = getpwuid
import command
def work(config, workdir, stop):
  import jax
  return str(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize('home', ['del os.environ["HOME"]', 'os.environ["HOME"] = ""'])
def test_home_is_not_set(tmp_path, home):
  code = f'{NOBODY}os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)\n{home}\n'
  code = f'{code}os.chdir({str(tmp_path)!r})\ncommand.launch(work)'
  status, lines = run(code)
  assert status == 0
  assert lines == ['compiled programs are not kept: ~/.cache/gan2shape_jax names no home folder']
  status, lines = run(code, '--workdir=~/x')
  assert status == 1
  assert lines[1:] == ['error: --workdir=~/x: expected a path, ~ names no home folder']
  assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').touch()
  place = tmp_path / 'file' / 'x'
  work = 'import command\ncommand.launch(lambda *_: "done")'
  code, lines = run(work, f'--compilation_cache={place}')
  assert code == 0
  assert lines == [f'compiled programs are not kept: cannot make {place} (Not a directory)']
