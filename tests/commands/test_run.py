"""A whole run through the command line: what it writes, and how it survives being interrupted."""

import csv
import json
import pathlib
import random
import re
import signal
import struct
import time

import imageio_ffmpeg
import numpy as np
import pytest
import trimesh
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from gan2shape_jax.data import embedded_path
from tests.support import command

TOTAL = 10 + 6 + 2  # iterations of command.TINY
STEP3 = 2 + 2  # those before step 3

# docs/results.md
PICTURES = ('picture', 'sheet', 'views', 'gan_views', 'relight', 'gan_relight', 'mesh')
VIDEOS = ('rotate_3d', 'rotate_3d_object', 'rotate_gan', 'relight_3d', 'relight_gan')
ARRAYS = {
  'canonical_depth': (64, 64),
  'view_depth': (64, 64),
  'valid': (64, 64),
  'normal': (64, 64, 3),
  'albedo': (64, 64, 3),
  'texture': (64, 64, 3),
  'mask': (64, 64, 1),
  'view': (6,),
  'light': (4,),
  'latent': None,
  'image': (64, 64, 3),
  'reconstruction': (64, 64, 3),
  'camera': (2,),
  'turned': (2,),
}
OTHERS = ('factors.npz', 'metrics.json', 'timing.json', 'mesh.glb', 'mesh.obj', 'mesh.mtl')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An unbroken run: its folder, what it printed, its seconds."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  begin = time.monotonic()
  result = command.call(*command.TINY, f'--workdir={workdir}', timeout=1800)
  assert result.returncode == 0, result.stderr
  return workdir, result, time.monotonic() - begin


def test_every_documented_file_is_there(whole):
  workdir, _, _ = whole
  expected = {*OTHERS, *(f'{name}.png' for name in PICTURES)}
  expected |= {f'{name}.{ending}' for name in VIDEOS for ending in ('mp4', 'gif')}
  assert {path.name for path in (workdir / '000').iterdir()} == expected
  assert {path.name for path in workdir.iterdir()} == {
    '000',
    'config.json',
    'events',
    'index.html',
    'metrics.csv',
  }


def test_every_file_loads(whole):
  folder = whole[0] / '000'
  arrays = command.arrays_of(whole[0])
  assert set(arrays) == set(ARRAYS)
  for name, shape in ARRAYS.items():
    assert shape is None or arrays[name].shape == shape
    assert arrays[name].dtype == np.float32
    assert np.isfinite(arrays[name]).all()
  for name in PICTURES:
    with Image.open(folder / f'{name}.png') as picture:
      picture.load()
  for name in VIDEOS:
    assert imageio_ffmpeg.count_frames_and_secs(str(folder / f'{name}.mp4'))[0] > 20
    with Image.open(folder / f'{name}.gif') as picture:
      assert picture.n_frames > 10
  for ending in ('glb', 'obj'):
    assert len(trimesh.load(folder / f'mesh.{ending}', force='mesh').faces)
  seconds = json.loads((folder / 'timing.json').read_text())
  assert {'load', 'compile step 3', 'step 3', 'results', 'checkpoints'} <= set(seconds)


def test_table_of_metrics(whole):
  workdir, result, _ = whole
  metrics = json.loads((workdir / '000' / 'metrics.json').read_text())
  with open(workdir / 'metrics.csv', newline='', encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  assert [row['name'] for row in rows] == ['000', 'mean', 'std']
  assert all(float(rows[0][name]) == pytest.approx(value) for name, value in metrics.items())
  header, line = result.stdout.splitlines()[:2]
  assert header.split() == list(rows[0])
  assert line.split()[0] == '000'
  assert 'side_x100' in header
  assert f'results: {workdir / "index.html"}' in result.stdout
  page = (workdir / 'index.html').read_text(encoding='utf-8')
  assert '000' in page
  assert not re.search(r'(src|href)="https?:', page)


def test_curves(whole):
  (path,) = (whole[0] / 'events').iterdir()
  content, place, points = path.read_bytes(), 0, []
  while place < len(content):
    (length,) = struct.unpack_from('<Q', content, place)
    event = Event.FromString(content[place + 12 : place + 12 + length])
    points += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    place += length + 16
  totals = {step: tag for tag, step, _ in points if tag.endswith('/total')}
  assert sorted(totals) == list(range(1, TOTAL + 1))
  assert totals[1] == '000/step_1/total'
  assert totals[STEP3 + 1] == totals[TOTAL - 2] == '000/step_3/total'
  assert totals[TOTAL] == '000/step_1/total'  # the finish


def test_progress_is_shown_at_most_once_a_second(whole):
  _, result, seconds = whole
  lines = result.stderr.splitlines()
  notes = [line for line in lines if 'compiling' in line]
  assert list(dict.fromkeys(notes)) == [
    f'000 compiling {part}' for part in ('step 1', 'step 2', 'step 3')
  ]
  assert sum('it/s' in line for line in lines) <= seconds + 1
  assert 'Traceback' not in result.stderr


def test_a_second_call_does_nothing(whole):
  workdir, first, _ = whole
  checkpoints = workdir / '000' / 'checkpoints' / 'steps'
  checkpoints.mkdir(parents=True)  # as if killed before their removal
  before = {path: path.stat().st_mtime_ns for path in workdir.rglob('*') if path.is_file()}
  again = command.call(*command.TINY, f'--workdir={workdir}')
  assert again.returncode == 0
  assert again.stdout == first.stdout
  assert again.stderr == ''
  assert not checkpoints.parent.exists()
  assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob('*') if path.is_file()}


class Interrupted:
  """A run that is stopped and started again."""

  def __init__(self, workdir, log, *given):
    self.workdir, self.log, self.given = workdir, log, (*given, f'--workdir={workdir}')
    self.process = None

  def newest(self):
    """Iterations of the newest checkpoint."""
    steps = self.workdir / '000' / 'checkpoints' / 'steps'
    names = [path.name for path in steps.iterdir()] if steps.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=0)

  def start_until(self, condition):
    """Starts the command and waits until a condition holds."""
    with open(self.log, 'wb') as stderr:
      self.process = command.start(*self.given, stderr=stderr)
    while not condition():
      assert self.process.poll() is None, self.log.read_text()
      time.sleep(0.005)

  def kill(self, number):
    """Sends a signal; returns the exit code and the seconds to the end."""
    begin = time.monotonic()
    self.process.send_signal(number)
    return self.process.wait(timeout=120), time.monotonic() - begin


def test_interrupted_runs_end_with_the_same_arrays(whole, tmp_path):
  run = Interrupted(
    tmp_path / 'run', tmp_path / 'log', *command.TINY,
    '--config.results.videos=False', '--config.results.mesh=False',
  )  # fmt: skip
  try:
    # Killed at some moment after the first checkpoint.
    run.start_until(lambda: run.newest() >= 1)
    time.sleep(random.uniform(0, 3))
    run.kill(signal.SIGKILL)
    # Killed within step 3, which needs its projections and its optimiser again.
    if run.newest() <= STEP3:
      run.start_until(lambda: run.newest() > STEP3)
      run.kill(signal.SIGKILL)
    # Asked to stop, at some moment in the second stage.
    run.start_until(lambda: run.newest() >= STEP3 + 6)
    code, seconds = run.kill(signal.SIGTERM)
    assert code == 0
    assert seconds < 20
    assert 'the same command goes on' in run.log.read_text()
    assert run.newest() >= STEP3 + 6
    # Killed while results are written.
    run.start_until(lambda: 'writing results' in run.log.read_text())
    assert run.newest() == TOTAL
    run.kill(signal.SIGKILL)
  finally:
    if run.process and run.process.poll() is None:
      run.process.kill()
      run.process.wait()
  given = (*run.given, '--config.data.num=1')
  result = command.call(*given)
  assert result.returncode == 0, result.stderr
  assert f'goes on at iteration {TOTAL}/{TOTAL}' in result.stderr
  unbroken, broken = command.arrays_of(whole[0]), command.arrays_of(run.workdir)
  assert {name: a.tobytes() for name, a in unbroken.items()} == {
    name: a.tobytes() for name, a in broken.items()
  }
  names = {path.name for path in (whole[0] / '000').iterdir()}
  assert {path.name for path in (run.workdir / '000').iterdir()} == {
    name for name in names if not name.startswith(('mesh.', 'gan_', *VIDEOS))
  }
  assert not list(run.workdir.rglob('.partial-*'))


def test_sigterm_while_compiling(tmp_path):
  """Also before any checkpoint: the command ends well, and its folder is fit to go on with."""
  run = Interrupted(tmp_path / 'run', tmp_path / 'log', *command.TINY, '--compilation_cache=')
  run.start_until(lambda: 'compiling' in run.log.read_text())
  try:
    code, seconds = run.kill(signal.SIGTERM)
  finally:
    run.process.kill()
    run.process.wait()
  assert code == 0
  assert seconds < 20
  assert 'the same command goes on' in run.log.read_text()


def test_a_picture_of_ones_own_with_networks_as_the_unknowns(tmp_path):
  folder = tmp_path / 'photos'
  folder.mkdir()
  with Image.open(embedded_path('heads') / 'image' / '001.png') as head:
    picture = Image.new('RGBA', (300, 400), (0, 0, 0, 0))
    picture.paste(head.convert('RGBA').resize((300, 300)), (0, 50))
  picture.save(folder / 'me.png')
  workdir = tmp_path / 'run'
  result = command.call(
    *command.TINY,
    f'--workdir={workdir}',
    f'--config.data.images={folder}',
    '--config.inversion.iterations=3',
    '--config.fit.factors=networks',
    '--config.stages.count=1',
    '--config.stages.first.flip1=False',
    '--config.stages.first.flip3=False',
    '--config.loss.discriminator_features=1',
    '--config.results.videos=False',
    '--config.results.mesh=False',
  )
  assert result.returncode == 0, result.stderr
  notes = [line for line in result.stderr.splitlines() if 'compiling' in line]
  assert [line.split('compiling ')[1] for line in dict.fromkeys(notes)] == [
    'inversion',
    'prior fit',
    'step 1',
    'step 2',
    'step 3',
  ]
  assert 'mask of the fit: an ellipse in the middle' in result.stderr
  assert 'me mask of the results: ' in result.stderr
  arrays = command.arrays_of(workdir, 'me')
  assert arrays['image'].shape == (64, 64, 3)
  with np.load(workdir / 'me' / 'latent.npz') as kept:
    np.testing.assert_array_equal(kept['latent'], arrays['latent'])
    metrics = json.loads((workdir / 'me' / 'metrics.json').read_text())
    assert metrics['inversion_l1'] == pytest.approx(float(kept['image_l1']))
  names = {path.name for path in pathlib.Path(workdir / 'me').iterdir()}
  assert names == {
    'factors.npz',
    'inversion.png',
    'latent.npz',
    'metrics.json',
    'timing.json',
    'picture.png',
    'sheet.png',
    'views.png',
    'relight.png',
  }
