"""A collection over several processes and devices, killed at random: nothing may be lost or differ.

  python -m tests.stress.soak --pictures=200 --kills=3
  python -m tests.stress.soak --pictures=10000 --kills=0     memory alone

Fits samples of the embedded GAN with tiny networks twice: undisturbed in one process, and in
several, of which all are killed (SIGKILL) at random moments and started again; each process has
some simulated devices. Every picture's arrays are compared. The report tells the largest
difference, the seconds, and the undisturbed process's resident memory when a tenth of the pictures
was done and at its end (Linux).
"""

import argparse
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from gan2shape_jax.storage import atomic_files
from tests.support import command

_TINY = (
  *command.TINY,
  '--config.stages.count=1',
  '--config.stages.first.step1=1',
  '--config.data.source=samples',
  '--config.results.sheets=False',
  '--config.results.videos=False',
  '--config.results.mesh=False',
)


def main(arguments: Sequence[str] | None = None) -> dict:
  """The command; returns the report."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--pictures', type=int, default=200)
  parser.add_argument('--processes', type=int, default=2)
  parser.add_argument('--devices', type=int, default=2, help='simulated, of each process')
  parser.add_argument('--kills', type=int, default=3)
  parser.add_argument('--seed', type=int, default=0, help='of the moments')
  parser.add_argument('--json', metavar='PATH', help='write the report there as well')
  options = parser.parse_args(arguments)
  with tempfile.TemporaryDirectory() as folder:
    report = _soak(options, pathlib.Path(folder))
  for name, value in report.items():
    print(f'{name}: {value}')
  if options.json:
    atomic_files.write_json(options.json, report)
  return report


def _soak(options, folder):
  given = (*_TINY, f'--config.data.num={options.pictures}', f'--compilation_cache={folder}/cache')
  if not options.kills:
    given = (*given, '--config.checkpoint.every=1000')
  print('undisturbed ...', file=sys.stderr, flush=True)
  begin = time.monotonic()
  process = _start(given, folder / 'whole', 1, options.devices)[0]
  memory = _watch(process, folder / 'whole', options.pictures)
  undisturbed = time.monotonic() - begin
  report = {'pictures': _done(folder / 'whole'), 'seconds_undisturbed': round(undisturbed, 1)}
  report |= memory
  return report | (_disturbed(options, given, folder, undisturbed) if options.kills else {})


def _disturbed(options, given, folder, undisturbed):
  moments = random.Random(options.seed)
  begin = time.monotonic()
  done = []
  for kill in range(options.kills):
    processes = _start(given, folder / 'run', options.processes, options.devices)
    # Long enough to compile, short enough not to end.
    time.sleep(moments.uniform(0.3, 0.9) * max(20.0, undisturbed / (options.kills + 1)))
    for process in processes:
      process.kill()
      process.wait()
    done.append(_done(folder / 'run'))
    print(f'killed {kill + 1}: {done[-1]} done', file=sys.stderr, flush=True)
  _wait(_start(given, folder / 'run', options.processes, options.devices))
  differences = []
  for path in sorted((folder / 'whole').glob('*/factors.npz')):
    with np.load(path) as a, np.load(folder / 'run' / path.parent.name / 'factors.npz') as b:
      differences.append(max(float(np.abs(a[name] - b[name]).max()) for name in a.files))
  return {
    'seconds_disturbed': round(time.monotonic() - begin, 1),
    'done_at_kills': done,
    'results': _done(folder / 'run'),
    'exactly_equal': sum(difference == 0 for difference in differences),
    'largest_difference': max(differences),
  }


def _watch(process, workdir, pictures):
  """Waits for a process; its resident memory when a tenth was done and when it was seen last."""
  early, latest = None, None
  while process.poll() is None:
    time.sleep(2)
    if _done(workdir) >= pictures // 10:
      latest = _resident(process.pid) or latest
      early = early or latest
  _wait([process])
  return {'megabytes_after_a_tenth': early, 'megabytes_at_the_end': latest}


def _resident(pid):
  """Resident memory of a process in MiB; None where the system does not tell or it has ended."""
  try:
    pages = int(pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1])
  except (OSError, IndexError):
    return None
  return pages * os.sysconf('SC_PAGE_SIZE') >> 20


def _done(workdir):
  return len(list(workdir.glob('*/timing.json')))


def _start(given, workdir, count, devices):
  """The command in `count` processes of so many devices each."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  environment = command.environment()
  environment['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={devices}'
  processes = []
  for process in range(count):
    together = (
      f'--coordinator={address}', f'--num_processes={count}', f'--process_id={process}'
    )  # fmt: skip
    given_all = command.arguments(*given, f'--workdir={workdir}', *(together if count > 1 else ()))
    processes.append(
      subprocess.Popen(
        given_all, env=environment, cwd=command.ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
      )
    )  # fmt: skip
  return processes


def _wait(processes):
  codes = [process.wait() for process in processes]
  if any(codes):
    raise SystemExit(f'a process ended with status {max(codes)}')


if __name__ == '__main__':
  main()
