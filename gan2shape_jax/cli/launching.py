"""What the commands over a configuration share: flags, the compilation cache, errors in one line.

A command is a function (config, workdir, stop) -> text to print.
"""

import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from gan2shape_jax import presets

_DEFAULT = 'heads'

# Without a default: with one, the flags beside it are parsed here, beyond the reach of `parse`.
_CONFIG = config_flags.DEFINE_config_file(
  'config', None, f'preset, file, preset:variant or file:variant; {_DEFAULT} where none is given'
)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/heads', 'folder for the results')
_CACHE = flags.DEFINE_string(
  'compilation_cache',
  None,
  "folder for compiled programs, reused by later runs; '' for none. Without this flag it is "
  'JAX_COMPILATION_CACHE_DIR of the environment, else ~/.cache/gan2shape_jax',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'host:port of process 0, for many hosts that JAX does not find by itself (docs/devices.md)',
)
_PROCESSES = flags.DEFINE_integer('num_processes', 0, 'with --coordinator: how many there are')
_PROCESS = flags.DEFINE_integer('process_id', -1, 'with --coordinator: number of this one')
_GRACE = 10.0  # seconds between SIGTERM and the end, whatever is going on


def launch(work: Callable, *, many_hosts: bool = False):
  """Parses the flags, runs a command and ends the process.

  Args:
    work: (config, workdir, stop) -> the text to print at the end, where stop() tells whether
      SIGTERM has come. What it is known to raise becomes one line and exit status 1; after SIGTERM
      the status is 0, as everything is saved.
    many_hosts: whether it may be started alike in several processes.
  """
  app.run(lambda argv: _run(work, many_hosts, argv), flags_parser=parse)


def _run(work, many_hosts, argv):
  if len(argv) > 1:
    return _failed(
      f'unknown argument {argv[1]!r}: settings are given as --config.NAME=VALUE', code=2
    )
  logging.set_verbosity(logging.WARNING)
  stop = watch_for_termination()
  import jax

  from gan2shape_jax import artefacts, checkpoints, data, hosts, weights, workdir
  from gan2shape_jax.reconstruction import setup

  folder = _CACHE.value
  if folder is None:
    folder = os.environ.get('JAX_COMPILATION_CACHE_DIR') or '~/.cache/gan2shape_jax'
  jax.config.update('jax_compilation_cache_dir', os.path.expanduser(folder) or None)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
  known = (
    artefacts.ArtefactError,
    checkpoints.CheckpointError,
    workdir.FitError,
    data.DataError,
    hosts.HostsError,
    setup.SettingsError,
    weights.WeightsError,
  )
  try:
    if many_hosts:
      hosts.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    else:
      hosts.require_one(f'{pathlib.Path(sys.argv[0]).name}', _COORDINATOR.value)
    report = work(_CONFIG.value, _WORKDIR.value, stop)
    if hosts.is_first():
      print(report)
  except workdir.Preempted as error:
    print(f'{error}; the same command goes on from there', file=sys.stderr)
    return hosts.leave(0)
  except known as error:
    return hosts.leave(_failed(error))
  except KeyboardInterrupt:
    return _failed('interrupted: the same command goes on from the last checkpoint', code=130)
  return 0


def watch_for_termination() -> Callable[[], bool]:
  """Returns a function that tells whether SIGTERM has come.

  Python sees a signal only between its own steps, not while a program is being compiled. So a
  thread is woken beside, and ends the process if that takes too long: everything on disk is whole
  at any time, and compiling follows a checkpoint, so nothing is lost.
  """
  received = threading.Event()
  signal.signal(signal.SIGTERM, lambda *_: received.set())
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)

  def wait():
    while signal.SIGTERM not in os.read(read, 1):
      pass
    threading.Event().wait(_GRACE)
    print('stopped: the same command goes on from the last checkpoint', file=sys.stderr, flush=True)
    os._exit(0)

  threading.Thread(target=wait, daemon=True).start()
  return received.is_set


def parse(argv: Sequence[str]) -> list[str]:
  """Reads the flags; what is wrong with them ends the process with one line."""
  given = [a for a in argv if re.match(r'--?config(=|$)', a)]
  if not given:
    given = [f'--config={_DEFAULT}']
    argv = [*argv[:1], *given, *argv[1:]]
  try:
    rest = flags.FLAGS(_with_files(argv))
    _ = _CONFIG.value.seed  # a file that could not be loaded is told at its first use
  except Exception as error:  # whatever a configuration file raises
    name = re.sub(r"""^["']+|["'].*$""", '', str(error.args[0] if error.args else error))
    flag = next((a for a in argv if re.search(rf'[.]{re.escape(name)}(=|$)', a)), None)
    if flag and isinstance(error, AttributeError | KeyError):
      message = f'{flag}: there is no setting {name!r} (gan2shape_jax/config.py)'
    else:
      message = _reason(f'{type(error).__name__}: {error}', given[0])
    sys.exit(_failed(message, code=2))
  return rest


def _with_files(argv):
  """Puts the file of a preset where its name is given."""
  found = list(argv)
  for k, argument in enumerate(argv):
    match = re.fullmatch(r'(--?config=)([^:]+)(:.*)?', argument)
    if match is None and k and re.fullmatch('--?config', argv[k - 1]):
      match = re.fullmatch(r'()([^:]+)(:.*)?', argument)
    if match and match[2] in presets.names():
      found[k] = f'{match[1]}{presets.path_of(match[2])}{match[3] or ""}'
  return found


def _reason(text, given):
  """One line out of an error of flags or of a configuration file."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  errors = [line for line in lines if re.match(r'\w*Error: |\[Errno \d+\]', line)]
  flagged = [line for line in lines if 'flag' in line.lower()]
  if len(lines) == 1 and flagged:
    return re.sub(r'^\w+: ', '', lines[0])
  return f'{given}: {re.sub(r"^(ValueError|OSError): ", "", (errors or lines)[-1])}'


def _failed(message, code=1):
  print(f'error: {message}', file=sys.stderr)
  return code
