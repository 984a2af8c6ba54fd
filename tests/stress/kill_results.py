"""Results that are killed while they are written, and written to their end by the same command.

  python -m tests.stress.kill_results --kills=50 --seed=0

A process reconstructs a head into a folder, with factors that are known in place of the fit; all
else (lock, checkpoints, results, table, page) is the command's own. It is killed at random moments
of its writing and started again; every end has to equal the undisturbed one, file by file and byte
by byte, with nothing left over. Prints how many kills hit which file.
"""

import argparse
import collections
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from tests.support import command

SECONDS = 300  # of one process
_BEGUN = 'begun'
_LEFT_OVER = ('.partial-', '.lock-', '.metrics.csv.', 'traceback-')


def write(workdir: str) -> None:
  """Reconstructs the head as `gan2shape-jax run` does but for the fit."""
  import numpy as np

  from gan2shape_jax.artefacts import results, rotation_path
  from gan2shape_jax.config import get_default_config
  from gan2shape_jax.pipeline import collection, picture_results, preparation
  from gan2shape_jax.pipeline.jobs import Fit
  from gan2shape_jax.runtime.progress import Stopwatch
  from tests.support import known_factors

  class StillClock(Stopwatch):
    def add(self, part, seconds):
      super().add(part, 1.0)

  def fit(jobs):
    (job,) = jobs
    state = {'x': np.arange(300_000.0)}
    if job.newest() is None:
      job.checkpoints.save(7, state)
    restored = job.checkpoints.restore(7, state)
    if not np.array_equal(restored['x'], state['x']):
      raise ValueError('the checkpoint is another')
    return [Fit({}, known_factors.factors_of(job.picture))]

  def gan_frames(shared, params, instance, factors, max_yaw, max_pitch):
    count = len(rotation_path(max_yaw, max_pitch).views)
    return {'gan_rotate': np.repeat(instance.image[None], count, axis=0)}

  config = get_default_config()
  config.data.num = 1
  known_factors.replace(setattr, config, fit)
  collection.Stopwatch = preparation.Stopwatch = StillClock
  picture_results.gan_frames = gan_frames
  results.display_size = lambda size, *_: size  # quick to draw; as many files
  print(_BEGUN, flush=True)
  collection.reconstruct_all(config, workdir)


def _start(workdir):
  """A process that has begun; all keep their programs beside the folder."""
  cache = {
    'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  process = subprocess.Popen(
    [sys.executable, '-m', 'tests.stress.kill_results', f'--write={workdir}'],
    cwd=command.ROOT,
    env=command.environment() | cache,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  while (line := process.stdout.readline()) and line.strip() != _BEGUN:
    pass
  return process


def _finish(process):
  """Waits for the end; returns what is wrong with it."""
  _, told = process.communicate(timeout=SECONDS)
  if process.returncode or 'Traceback' in told:
    return [f'status {process.returncode}: {told[-300:]!r}']
  return []


def _contents(workdir):
  """The files of a run but for its curves, which tell the time."""
  files = [path for path in workdir.rglob('*') if path.is_file()]
  found = {str(path.relative_to(workdir)): path.read_bytes() for path in files}
  return {name: content for name, content in found.items() if not name.startswith('events/')}


def _differences(found, expected):
  wrong = [f'{name} is left over' for name in found if name not in expected]
  wrong += [f'{name} is missing' for name in expected if name not in found]
  return wrong + [f'{n} differs' for n in expected if n in found and found[n] != expected[n]]


def kill(kills: int, seed: int) -> tuple[collections.Counter, list[str]]:
  """Kills so many processes; returns what they had written last, and what is wrong with the ends.

  Args:
    kills: how many.
    seed: of the moments.
  """
  chance = random.Random(seed)
  outcomes, wrong = collections.Counter(), []
  with tempfile.TemporaryDirectory() as place:
    whole, run = pathlib.Path(place) / 'whole', pathlib.Path(place) / 'run'
    wrong += _finish(_start(run))  # compiles
    process = _start(whole)
    begin = time.monotonic()
    wrong += _finish(process)
    length = time.monotonic() - begin
    expected = _contents(whole)
    wrong += [name for name in expected if any(part in name for part in _LEFT_OVER)]
    left = kills
    while left > 0:
      shutil.rmtree(run, ignore_errors=True)
      for _ in range(min(left, chance.randint(1, 4))):
        process = _start(run)
        time.sleep(chance.uniform(0, length))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left -= 1
        files = [path for path in run.rglob('*') if path.is_file()]
        newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
        told = 'nothing' if newest is None else newest.name.split('-')[-1]
        outcomes[told if process.returncode < 0 else 'all, it had ended'] += 1
      errors = _finish(_start(run)) + _differences(_contents(run), expected)
      wrong += [f'seed {seed}, {left} left: {error}' for error in errors]
  return outcomes, wrong


def main() -> int:
  """Kills, or is what is killed; returns the exit status."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--write')
  given = parser.parse_args()
  if given.write:
    write(given.write)
    return 0
  begin = time.monotonic()
  outcomes, wrong = kill(given.kills, given.seed)
  told = ', '.join(f'{name} {number}' for name, number in outcomes.most_common())
  print(f'killed after: {told}; {time.monotonic() - begin:.0f} s', file=sys.stderr)
  print('\n'.join(wrong[:20]))
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main())
