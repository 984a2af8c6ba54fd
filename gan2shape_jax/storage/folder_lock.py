"""One run at a time in a work folder: a lock for each process of a run, freed by its death.

The lock is the system's own on an open file, so that a killed run leaves none behind, whatever it
leaves on the disk. Where a file system knows no locks, the file tells who made it: on the same
host a dead process's is taken over.
"""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Generator

from gan2shape_jax.errors import ArtefactError, FitError

try:
  import fcntl
except ImportError:  # not on Windows
  fcntl = None


@contextlib.contextmanager
def locked(workdir: pathlib.Path, process: int = 0) -> Generator[None, None, None]:
  """Keeps other runs out of a folder for the length of the block.

  Args:
    workdir: a folder that is there.
    process: number of this process in its run; those of one run share the folder.

  Raises:
    FitError: another run is in the folder; one line that names its host and process.
    ArtefactError: the folder cannot be written.
  """
  path = pathlib.Path(workdir) / f'.lock-{process}'
  try:
    file = _taken(path)
  except OSError as error:
    raise ArtefactError(f'cannot write {path}: {error.strerror or error}') from error
  try:
    yield
  finally:
    with contextlib.suppress(OSError):  # removed while it is still held: nobody takes it up
      path.unlink()
    os.close(file)


def _taken(path):
  """The open file of a lock that is ours now."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o644)
    try:
      if not _lock(file) and _is_foreign(owner := _owner(file)):
        raise _refusal(path, owner)
      if _is_at(path, file):
        me = {'host': socket.gethostname(), 'pid': os.getpid(), 'began': _began(os.getpid())}
        try:
          os.ftruncate(file, 0)
          os.pwrite(file, json.dumps(me).encode(), 0)
        except OSError:  # a full disk, for one
          os.unlink(path)
          raise
        return file
    except BlockingIOError:
      owner = _owner(file)
      os.close(file)
      raise _refusal(path, owner) from None
    except BaseException:
      with contextlib.suppress(OSError):
        os.close(file)
      raise
    os.close(file)  # its owner removed it meanwhile


def _lock(file) -> bool:
  """Whether the system locked the file; BlockingIOError where another process has it."""
  if fcntl is None:
    return False
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise
  except OSError:  # a file system without locks
    return False
  return True


def _is_at(path, file):
  try:
    return os.path.samestat(os.stat(path), os.fstat(file))
  except FileNotFoundError:
    return False


def _owner(file) -> dict:
  """What a lock's file tells of its maker; nothing where it is empty or damaged."""
  try:
    content = json.loads(os.pread(file, 1000, 0))
  except (ValueError, RecursionError):
    return {}
  return content if isinstance(content, dict) else {}


def _is_foreign(owner) -> bool:
  """Whether a process that a file names is alive, as far as can be told here."""
  pid = owner.get('pid')
  if not isinstance(pid, int):
    return False
  if owner.get('host') != socket.gethostname():
    return True
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except OSError:
    pass
  return pid != os.getpid() and owner.get('began') == _began(pid)


def _began(pid) -> str:
  """When a process began, in the system's ticks, as numbers of processes are used again."""
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[19]
  except (OSError, IndexError):
    return ''


def _refusal(path, owner):
  who = f'process {owner["pid"]} on {owner.get("host")}' if 'pid' in owner else 'another process'
  return FitError(
    f'{path.parent}: another run is at work in this folder ({who}): wait for its end or stop it, '
    f'or choose another --workdir (if there is none, remove {path.name})'
  )
