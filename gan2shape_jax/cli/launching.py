"""What the commands over a configuration share: flags, the compilation cache, errors in one line.

A command is a function (config, workdir, stop) -> text to print.
"""

import os
import pathlib
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from gan2shape_jax import presets
from gan2shape_jax.cli import interruption
from gan2shape_jax.config import RENAMED, get_default_config
from gan2shape_jax.errors import Gan2ShapeError, Preempted

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


def launch(work: Callable, *, many_hosts: bool = False):
  """Parses the flags, runs a command and ends the process.

  Args:
    work: (config, workdir, stop) -> the text to print at the end, where stop() tells whether
      SIGTERM or Ctrl-C has come. What it raises becomes one line and exit status 1; after SIGTERM
      the status is 0, as everything is saved, after Ctrl-C 130.
    many_hosts: whether it may be started alike in several processes.
  """
  app.run(lambda argv: _run(work, many_hosts, argv), flags_parser=parse)


def _run(work, many_hosts, argv):
  if len(argv) > 1:
    return _failed(
      f'unknown argument {argv[1]!r}: settings are given as --config.NAME=VALUE', code=2
    )
  logging.set_verbosity(logging.WARNING)
  import jax

  from gan2shape_jax.runtime import hosts

  stop = interruption.watch()
  if os.environ.get('HOME') == '':
    del os.environ['HOME']  # else ~ would be the root of the file system
  jax.config.update('jax_compilation_cache_dir', _cache_folder())
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
  try:
    if many_hosts:
      hosts.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    else:
      hosts.require_one(f'{pathlib.Path(sys.argv[0]).name}', _COORDINATOR.value)
    folder = os.path.expanduser(_WORKDIR.value)
    if folder.startswith('~'):
      return hosts.leave(_failed(f'--workdir={folder}: expected a path, ~ names no home folder'))
    report = work(_CONFIG.value, folder, stop)
    if hosts.is_first():
      print(report)
  except Preempted as error:
    print(f'{error}; the same command goes on from there', file=sys.stderr)
    return hosts.leave(interruption.status())
  except Gan2ShapeError as error:
    if interruption.by_hand():  # what the command had started ended by Ctrl-C as well
      print(f'stopped: {interruption.GOES_ON}', file=sys.stderr)
      return hosts.leave(interruption.status())
    return hosts.leave(_failed(error))
  except Exception as error:  # a mistake of this program, or an input that nobody thought of
    return hosts.leave(_failed(_unforeseen(error, _WORKDIR.value)))
  return 0


def _cache_folder() -> str | None:
  """The folder for compiled programs, or None."""
  folder = _CACHE.value
  if folder is None:
    folder = os.environ.get('JAX_COMPILATION_CACHE_DIR') or '~/.cache/gan2shape_jax'
  found = os.path.expanduser(folder)
  if found.startswith('~'):
    print(f'compiled programs are not kept: {folder} names no home folder', file=sys.stderr)
    return None
  if found and '://' not in found:
    try:
      os.makedirs(found, exist_ok=True)
    except OSError as error:  # else JAX warns at each program
      print(
        f'compiled programs are not kept: cannot make {found} ({error.strerror})', file=sys.stderr
      )
      return None
  return found or None


def _unforeseen(error, folder) -> str:
  """One line of an error, whose traceback is kept in the work folder, or beside it in a pinch."""
  text = ''.join(traceback.format_exception(error))
  for place in (folder, None):
    try:
      handle, path = tempfile.mkstemp('.txt', 'traceback-', place)
      with os.fdopen(handle, 'w', encoding='utf-8', errors='backslashreplace') as file:
        file.write(text)
      kept = f'its traceback is in {path}'
      break
    except OSError:
      kept = 'its traceback could not be kept'
  reason = ' '.join(str(error).split())[:300]
  return f'{type(error).__name__}: {reason} (not foreseen; {kept})'


def parse(argv: Sequence[str]) -> list[str]:
  """Reads the flags; what is wrong with them ends the process with one line."""
  given = [a for a in argv if re.match(r'--?config(=|$)', a)]
  if not given:
    given = [f'--config={_DEFAULT}']
    argv = [*argv[:1], *given, *argv[1:]]
  for argument in argv:
    for old, new in RENAMED.items():
      if re.match(rf'--?config[.]{re.escape(old)}([.=]|$)', argument):
        sys.exit(_failed(f'{argument}: {old} is now called {new}', code=2))
  try:
    rest = flags.FLAGS(_with_files(argv))
    _ = _CONFIG.value.seed  # a file that could not be loaded is told at its first use
  except Exception as error:  # whatever a configuration file raises
    text = str(error.args[0] if error.args else error)
    # A name in quotes, perhaps with a suggestion after it.
    first = re.match(r"""[\'"\\]*([\w.]+)""", text)
    name = first[1] if first else ''
    guess = re.search(r'Did you mean \\?"([^"\\]+)', text)
    flag = next((a for a in argv if re.search(rf'[.]{re.escape(name)}([.=]|$)', a)), None)
    if flag and isinstance(error, AttributeError | KeyError):
      hint = f', but there is {guess[1]!r}' if guess else ''
      message = f'{flag}: there is no setting {name!r}{hint} (gan2shape_jax/config.py)'
    elif beyond := next((a for a in argv if _is_beyond(a)), None):
      name = re.sub(r'^--?config[.]|=.*$', '', beyond, flags=re.DOTALL)
      message = f'{beyond}: there is no setting {name!r} (gan2shape_jax/config.py)'
    else:
      message = _reason(f'{type(error).__name__}: {error}', given[0])
    sys.exit(_failed(message, code=2))
  return rest


def _is_beyond(flag) -> bool:
  """Whether a flag names a part of a setting that has none, or has an empty name."""
  match = re.match('--?config[.]([^=]*)', flag)
  place = get_default_config()
  for name in match[1].split('.') if match else ():
    if not isinstance(place, ConfigDict) or not name:
      return True
    place = place.get(name)
  return False


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
  text = '\\n'.join(str(message).splitlines())  # names of files may have line breaks
  print(f'error: {text.encode("utf-8", "backslashreplace").decode()}', file=sys.stderr)
  return code
