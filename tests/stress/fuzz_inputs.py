"""Damaged inputs, many of them: every one is read, or refused in one line within its limits.

  python -m tests.stress.fuzz_inputs --count=1000 --seed=0

Files are damaged as disks, transfers and attackers do it: cut off, bytes changed, blocks zeroed or
exchanged, lengths enlarged. Prints the outcomes, and the first inputs that ended otherwise.
"""

import argparse
import collections
import contextlib
import io
import pathlib
import resource
import shutil
import sys
import tempfile
import time

import numpy as np

from gan2shape_jax import artefacts, data, evaluation, weights
from gan2shape_jax.config import get_default_config
from gan2shape_jax.data.latents import read_latent
from gan2shape_jax.errors import ArtefactError, CheckpointError, DataError, FitError, WeightsError
from gan2shape_jax.pipeline import finished, picture_inputs
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import atomic_files, workdir
from gan2shape_jax.storage.checkpoints import Checkpoints

TESTDATA = pathlib.Path(__file__).parents[1] / 'testdata'
HEADS = data.embedded_path('heads')
KNOWN = (WeightsError, DataError, ArtefactError)
SECONDS, GIB = 10, 2


def damaged(content: bytes, random: np.random.Generator) -> bytes:
  """The content of a file after one to three accidents."""
  content = bytearray(content)
  for _ in range(random.integers(1, 4)):
    if len(content) < 16:
      break
    # Half of them near the beginning or the end, where the structure is.
    edge = random.choice([len(content), 400])
    place = int(random.integers(min(edge, len(content) - 8)))
    place = len(content) - 8 - place if random.random() < 0.3 else place
    kind = random.integers(6)
    if kind == 0:
      del content[place:]
    elif kind == 1:
      content[place] = random.integers(256)
    elif kind == 2:
      size = int(random.integers(1, 200))
      content[place : place + size] = bytes(len(content[place : place + size]))
    elif kind == 3:
      content[place : place + 4] = random.choice([b'\xff' * 4, b'\x7f\xff\xff\xff', b'\0\0\0\x40'])
    elif kind == 4:
      other = int(random.integers(len(content) - 8))
      content[place : place + 8], content[other : other + 8] = (
        content[other : other + 8], content[place : place + 8],
      )  # fmt: skip
    else:
      del content[place : place + int(random.integers(1, 20))]
  return bytes(content)


def sources() -> dict:
  """What is damaged: kind -> (files, function that reads one)."""
  networks = [TESTDATA / 'golden' / 'a_stylegan2_32.pt', TESTDATA / 'torch_stream.pt']
  networks += [TESTDATA / 'torch_zip.pt', HEADS / 'prior.npz']
  pictures = [*sorted((TESTDATA / 'pictures').rglob('*.*')), HEADS / 'image' / '000.png']
  pictures = [path for path in pictures if path.suffix not in ('.txt', '.HEIC')]
  latents = [path for path in sorted((TESTDATA / 'latents').rglob('*.*')) if path.suffix != '.png']
  return {
    'weights': (networks, _read_weights),
    'pictures': (pictures, lambda path: data.read_image(path, 64)),
    'latents': (latents, read_latent),
  }


def fuzz_folders(count: int, seed: int) -> tuple[collections.Counter, list[str]]:
  """Looks at work folders of which one file is damaged, as the same command does at its start."""
  random = np.random.default_rng(seed)
  outcomes, wrong = collections.Counter(), []
  with tempfile.TemporaryDirectory() as place:
    whole, run = pathlib.Path(place) / 'whole', pathlib.Path(place) / 'run'
    _make_folder(whole)
    files = sorted(path.relative_to(whole) for path in whole.rglob('*') if path.is_file())
    for number in range(count):
      shutil.rmtree(run, ignore_errors=True)
      shutil.copytree(whole, run)
      name = files[random.integers(len(files))]
      (run / name).write_bytes(damaged((whole / name).read_bytes(), random))
      try:
        with contextlib.redirect_stderr(io.StringIO()) as told:
          outcome = _look(run)
        if len(told.getvalue().splitlines()) > 2:
          outcome = f'told too much: {told.getvalue()!r:.200}'
      except (*KNOWN, FitError, CheckpointError) as error:
        outcome = 'refused' if len(str(error).splitlines()) == 1 else f'{error!r:.200}'
      except Exception as error:
        outcome = f'{type(error).__name__}: {error!s:.200}'
      outcomes[outcome] += 1
      if outcome not in ('whole', 'made again', 'refused'):
        wrong.append(f'folders {seed}/{number}, {name}: {outcome}')
  return outcomes, wrong


def _make_folder(run):
  config = get_default_config()
  pictures = data.load_pictures(config.data, 64)
  folder = run / '000'
  shape = (64, 64)
  arrays = {name: np.ones((*shape, 3), np.float32) for name in ('texture', 'image')}
  arrays |= {'canonical_depth': pictures[0].depth, 'mask': pictures[0].mask}
  arrays |= {'camera': np.float32([10, 1]), 'turned': np.float32([30, 10])}
  atomic_files.write_arrays(folder / 'factors.npz', arrays)
  atomic_files.write_json(folder / 'metrics.json', {'image_l1': 0.1})
  finished.finish(folder, {'step 1': 1.0}, picture_inputs.digests(pictures, 0))
  atomic_files.write_text(run / 'config.json', workdir.check_workdir(run, config))
  evaluation.write_metrics(run / 'metrics.csv', [finished.row('000', folder)])
  artefacts.write_page(run, ['000'])
  checkpoints = Checkpoints(run / '001' / 'checkpoints')
  picture_inputs.keep_matching(checkpoints.folder, {'picture': 'x'}, Progress(1))
  for step in (1, 2):
    checkpoints.save(step, {'x': np.arange(500.0), 'n': step})


def _look(run):
  config = get_default_config()
  pictures = data.load_pictures(config.data, 64)
  workdir.check_workdir(run, config)
  made_again = not finished.is_finished(run / '000', pictures, 0)
  if not made_again:
    finished.row('000', run / '000')
    made_again = not finished.is_current(run, ['000'])
    artefacts.write_page(run, ['000'])
  picture_inputs.keep_matching(run / '001' / 'checkpoints', {'picture': 'x'}, Progress(1))
  checkpoints = Checkpoints(run / '001' / 'checkpoints')
  step = checkpoints.recover(Progress(1).note)
  if step is not None:
    tree = checkpoints.restore(step, {'x': np.zeros(500), 'n': 0})
    if tree['n'] != step or not np.array_equal(tree['x'], np.arange(500.0)):
      return 'other numbers than were saved'
  return 'whole' if step == 2 and not made_again else 'made again'


def _read_weights(path):
  if path.suffix == '.npz':
    return data.load_prior(path)
  return weights.read_stylegan2(path)


def _peak():
  """The most memory that this process has had, GiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fuzz(kind: str, count: int, seed: int) -> tuple[collections.Counter, list[str]]:
  """Reads `count` damaged files of a kind; returns the outcomes and what should not have been."""
  files, read = sources()[kind]
  random = np.random.default_rng(seed)
  contents = {path: path.read_bytes() for path in files}
  outcomes, wrong, before = collections.Counter(), [], _peak()
  with tempfile.TemporaryDirectory() as folder:
    for number in range(count):
      source = files[random.integers(len(files))]
      path = pathlib.Path(folder) / f'x{source.suffix}'
      path.write_bytes(damaged(contents[source], random))
      begin = time.monotonic()
      try:
        read(path)
        outcome = 'read'
      except KNOWN as error:
        outcome = 'refused'
        if len(str(error).splitlines()) != 1 or path.name not in str(error):
          outcome = f'refused badly: {error!r:.200}'
      except Exception as error:
        outcome = f'{type(error).__name__}: {error!s:.200}'
      if time.monotonic() - begin > SECONDS:
        outcome = f'took {time.monotonic() - begin:.0f} s'
      outcomes[outcome] += 1
      if outcome not in ('read', 'refused'):
        wrong.append(f'{kind} {seed}/{number}, of {source.name}: {outcome}')
  taken = _peak() - before  # by which the process grew: tests before it may have needed more
  if taken > GIB:
    wrong.append(f'{kind}: took {taken:.1f} GiB')
  return outcomes, wrong


def main() -> int:
  """Fuzzes all kinds; returns the exit status."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--count', type=int, default=1000)
  parser.add_argument('--seed', type=int, default=0)
  given = parser.parse_args()
  failed = []
  for kind in sources():
    begin = time.monotonic()
    outcomes, wrong = fuzz(kind, given.count, given.seed)
    told = ', '.join(f'{number} {outcome}' for outcome, number in outcomes.most_common(5))
    print(f'{kind}: {told}; {time.monotonic() - begin:.0f} s', file=sys.stderr)
    failed += wrong
  outcomes, wrong = fuzz_folders(given.count // 5, given.seed)
  print(f'folders: {dict(outcomes)}', file=sys.stderr)
  failed += wrong
  print('\n'.join(failed[:20]))
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main())
