"""Names, locks, changed inputs and damaged files of work folders."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import heads
from gan2shape_jax import data
from gan2shape_jax.errors import CheckpointError, DataError, FitError, Preempted
from gan2shape_jax.pipeline import collection, finished, joint_collection, picture_inputs
from gan2shape_jax.pipeline.jobs import Fit
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage import folder_lock, workdir
from gan2shape_jax.storage.checkpoints import Checkpoints
from tests.support import known_factors

ROOT = pathlib.Path(__file__).parents[2]


def photos(folder, **pictures):
  folder.mkdir(exist_ok=True)
  for name, value in pictures.items():
    Image.new('RGB', (16, 16), (value, 90, 90)).save(folder / f'{name}.png')
  return folder


def pictures_of(folder, **changes):
  config = heads.get_config()
  config.data.images = str(folder)
  for name, value in changes.items():
    config.data[name] = str(value)
  return data.load_pictures(config.data, 64)


# Names


@pytest.mark.parametrize(
  ('name', 'told'),
  [
    ('.', 'no folder'),
    ('..', 'no folder'),
    ('index.html', 'the run itself writes index.html'),
    ('metrics.csv', 'the run itself'),
    ('config.json', 'the run itself'),
    ('failed.json', 'the run itself'),
    ('events', 'the run itself'),
    ('.lock-0', 'the run itself'),
    (b'caf\xe9'.decode('utf-8', 'surrogateescape'), 'not UTF-8'),
  ],
)
def test_names_for_which_no_folder_can_be_made(name, told):
  with pytest.raises(DataError, match=told) as caught:
    workdir.check_names(['a', name], heads.get_config())
  line = str(caught.value)
  assert '\n' not in line
  line.encode()


def test_names_of_joint_trainings_and_profiles_are_refused_only_there():
  config = heads.get_config()
  names = ['checkpoints', 'networks.safetensors', 'profile', 'image', 'a b', 'ä', '...', 'x.png']
  workdir.check_names(names, config)
  config.profile = True
  with pytest.raises(DataError, match="'profile'"):
    workdir.check_names(names, config)
  config.mode, config.profile = 'joint', False
  with pytest.raises(DataError, match="'checkpoints'"):
    workdir.check_names(names, config)


def test_one_name_in_two_normal_forms():
  with pytest.raises(DataError, match='code points'):
    workdir.check_names(['caf\u00e9', 'cafe\u0301'], heads.get_config())


def test_names_are_checked_before_any_work(tmp_path):
  folder = photos(tmp_path / 'in', a=1)
  (folder / 'a.png').rename(folder / 'index.html.png')
  config = heads.get_config()
  config.data.images = str(folder)
  with pytest.raises(DataError, match=r'index\.html'):
    collection.reconstruct_all(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


# Locks


def test_a_folder_takes_one_run_at_a_time(tmp_path):
  with folder_lock.locked(tmp_path):
    with pytest.raises(FitError) as caught, folder_lock.locked(tmp_path):
      pass
    assert f'process {os.getpid()} on ' in str(caught.value)
    assert '\n' not in str(caught.value)
    with folder_lock.locked(tmp_path, 1):  # another process of the same run
      pass
  assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path):
  code = (
    'import os, pathlib, sys\n'
    'from gan2shape_jax.storage.folder_lock import locked\n'
    'with locked(pathlib.Path(sys.argv[1])):\n'
    '  os._exit(3)\n'
  )
  environment = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}
  assert subprocess.run([sys.executable, '-c', code, tmp_path], env=environment).returncode == 3
  assert (tmp_path / '.lock-0').exists()
  with folder_lock.locked(tmp_path):
    pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('owner', 'free'),
  [
    ('', True),
    ('{"pid": ', True),
    ('[1]', True),
    (json.dumps({'host': 'elsewhere', 'pid': 1}), False),
    (json.dumps({'host': folder_lock.socket.gethostname(), 'pid': 2**22 + 7}), True),
    (json.dumps({'host': folder_lock.socket.gethostname(), 'pid': 1, 'began': '-5'}), True),
  ],
)
def test_where_a_file_system_knows_no_locks(tmp_path, monkeypatch, owner, free):
  monkeypatch.setattr(folder_lock, '_lock', lambda file: False)
  (tmp_path / '.lock-0').write_text(owner)
  if free:
    with folder_lock.locked(tmp_path):
      pass
  else:
    with pytest.raises(FitError, match='elsewhere'), folder_lock.locked(tmp_path):
      pass


def test_a_lock_on_a_full_disk_or_through_a_link(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(os, 'pwrite', full)
    with pytest.raises(OSError, match=r'\.lock-0: No space'), folder_lock.locked(tmp_path):
      pass
  assert not list(tmp_path.iterdir())
  (tmp_path / '.lock-0').symlink_to(tmp_path / 'elsewhere')
  with pytest.raises(OSError, match=r'cannot write .*\.lock-0'), folder_lock.locked(tmp_path):
    pass
  assert not (tmp_path / 'elsewhere').exists()


def test_things_in_a_folder_that_are_not_ours(tmp_path):
  for name in ('.metrics.csv.x', '.partial-x'):
    (tmp_path / name).mkdir()
  workdir.check_workdir(tmp_path, heads.get_config())
  (tmp_path / 'steps' / '\u00b2').mkdir(parents=True)
  assert Checkpoints(tmp_path).latest() is None


def test_a_name_too_long_for_a_work_folder(tmp_path, done):
  pictures, _ = done
  assert not finished.is_finished(tmp_path / ('x' * 300), pictures, 0)
  with pytest.raises(OSError, match=r'cannot write .*too long'):
    workdir.check_workdir(tmp_path / ('x' * 300), heads.get_config())


# Inputs that change


def test_digests_follow_each_input(tmp_path):
  folder = photos(tmp_path / 'in', a=1)
  masks = photos(tmp_path / 'masks', a=255)
  np.save(tmp_path / 'in' / 'a.npy', np.zeros(5, np.float32))
  given = {'masks': masks, 'latents': folder}
  before = picture_inputs.digests(pictures_of(folder, **given), 0)
  assert set(before) == {'picture', 'mask', 'latent'}
  assert picture_inputs.digests(pictures_of(folder, **given), 0) == before
  changes = {
    'picture': lambda: photos(folder, a=2),
    'mask': lambda: photos(masks, a=254),
    'latent': lambda: np.save(folder / 'a.npy', np.ones(5, np.float32)),
  }
  for kind, change in changes.items():
    change()
    now = picture_inputs.digests(pictures_of(folder, **given), 0)
    assert picture_inputs.differences(before, now) == [kind]
    before = now
  assert picture_inputs.differences({}, now) == []
  without = picture_inputs.digests(pictures_of(folder), 0)
  assert picture_inputs.differences(before, without) == ['mask', 'latent']


def test_checkpoints_of_other_inputs_are_removed_and_it_is_said(tmp_path, capsys):
  folder, progress = tmp_path / 'checkpoints', Progress(1, label='a')
  now = {'picture': '1', 'latent found': 'x'}
  picture_inputs.keep_matching(folder, now, progress)
  Checkpoints(folder).save(3, {'x': 1})
  picture_inputs.keep_matching(folder, now, progress)
  assert Checkpoints(folder).latest() == 3
  assert capsys.readouterr().err == ''
  (folder / 'inputs.json').write_text('{"pic')  # damaged: made again
  picture_inputs.keep_matching(folder, now, progress)
  assert Checkpoints(folder).latest() == 3
  picture_inputs.keep_matching(folder, now | {'latent found': 'y'}, progress)
  assert capsys.readouterr().err.startswith('a latent found changed since the last run: ')
  assert Checkpoints(folder).latest() is None
  assert json.loads((folder / 'inputs.json').read_text())['latent found'] == 'y'


def test_a_picture_that_changes_between_interruption_and_continuation(
  tmp_path, monkeypatch, capsys
):
  folder = photos(tmp_path / 'in', a=200)
  Image.new('L', (64, 64), 255).save(tmp_path / 'a.png')
  np.save(folder / 'a.npy', np.zeros(5, np.float32))
  config = heads.get_config()
  config.data.images, config.data.latents = str(folder), str(folder)
  config.data.masks = str(tmp_path / 'a.png')
  config.results.sheets = config.results.videos = config.results.mesh = False
  began = []

  def fit(jobs):
    began.append(jobs[0].newest())
    if len(began) == 2:
      return [Fit({}, known_factors.factors_of(jobs[0].picture))]
    jobs[0].checkpoints.save(3, {'x': np.ones(9)})
    raise Preempted('saved')

  known_factors.replace(monkeypatch.setattr, config, fit)
  run = tmp_path / 'run'
  with pytest.raises(Preempted):
    collection.reconstruct_all(config, run)
  photos(folder, a=90)
  capsys.readouterr()
  collection.reconstruct_all(config, run)
  assert began == [None, None]
  said = [line for line in capsys.readouterr().err.splitlines() if 'changed' in line]
  assert said == [
    'a picture changed since the last run: its checkpoints are removed, the fit begins anew'
  ]
  with np.load(run / 'a' / 'factors.npz') as arrays:
    assert np.ptp(arrays['image'] - pictures_of(folder)[0].image) == 0
  collection.reconstruct_all(config, run)  # is done
  assert len(began) == 2
  assert not (run / 'a' / 'checkpoints').exists()


EMPTY_ZIP = b'PK\x05\x06' + bytes(18)


# What is done


@pytest.fixture
def done(tmp_path):
  """Pictures, and the folder of the first with results."""
  pictures = pictures_of(photos(tmp_path / 'in', a=1))
  folder = tmp_path / 'run' / 'a'
  folder.mkdir(parents=True)
  arrays = {'canonical_depth': np.arange(600.0), 'camera': np.ones(2)}
  np.savez_compressed(folder / 'factors.npz', **arrays)
  (folder / 'metrics.json').write_text('{"image_l1": 0.1}')
  finished.finish(folder, {'step 1': 1.234}, picture_inputs.digests(pictures, 0))
  return pictures, folder


def test_a_done_picture_is_done_until_an_input_changes(done, capsys):
  pictures, folder = done
  assert finished.is_finished(folder, pictures, 0)
  assert finished.row('a', folder) == {'name': 'a', 'image_l1': 0.1, 'seconds': 1.2}
  (folder / 'metrics.json').write_text('{"name": 3, "image_l1": 0.1}')
  assert finished.row('a', folder) == {'name': 'a', 'image_l1': 0.1, 'seconds': 1.2}
  assert capsys.readouterr().err == ''
  photos(folder.parent.parent / 'in', a=9)
  assert not finished.is_finished(folder, pictures, 0)
  assert capsys.readouterr().err == 'a is fitted again: picture changed\n'
  (folder.parent.parent / 'in' / 'a.png').unlink()  # what is done needs it no more
  assert finished.is_finished(folder, pictures, 0)
  (folder / 'timing.json').write_text('{"step 1": 2}')  # of an earlier version
  assert finished.is_finished(folder, pictures, 0)


@pytest.mark.parametrize('name', ['factors.npz', 'metrics.json', 'timing.json'])
@pytest.mark.parametrize(
  'content', [b'', b'\xff\x00PK', b'{"x": "y"}', b'[1]', b'{"a":' * 9**5, EMPTY_ZIP, None]
)
def test_damaged_results_are_made_again(done, capsys, name, content):
  pictures, folder = done
  path = folder / name
  whole = path.read_bytes()
  middle = len(whole) // 2
  broken = whole[:middle] + bytes(9) + whole[middle + 9 :] if content is None else content
  path.write_bytes(broken)
  assert not finished.is_finished(folder, pictures, 0)
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1
  assert str(path) in lines[0]


@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'name\n"', b'name,x\nb,1\nmean\nstd\n'])
def test_a_damaged_table_is_not_current(done, content):
  _, folder = done
  run = folder.parent
  (run / 'index.html').write_text('')
  (run / 'metrics.csv').write_text('name,x\n"a, b",1\nmean,\nstd,\n')
  os.rename(folder, run / 'a, b')
  assert finished.is_current(run, ['a, b'])
  (run / 'metrics.csv').write_bytes(content)
  assert not finished.is_current(run, ['a, b'])


# Checkpoints


def tree(value):
  half = np.full(3, value, np.float32).astype('bfloat16')
  return {
    'x': np.full((40, 50), value, np.float32),
    'half': half,
    'n': value,
    'e': np.zeros((0, 2)),
  }


def damage(folder, name, content=b''):
  (path,) = [path for path in folder.rglob(name) if path.is_file()]
  path.write_bytes(content or path.read_bytes()[:-200])


@pytest.mark.parametrize(
  ('name', 'content'),
  [('arrays.npz', b''), ('arrays.npz', b'PK'), ('metadata', b'{"kinds": '), ('metadata', b'[]')],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, name, content):
  checkpoints = Checkpoints(tmp_path)
  for step in (1, 2):
    checkpoints.save(step, tree(step))
  damage(tmp_path / 'steps' / '2', name, content)
  notes = []
  assert checkpoints.recover(notes.append) == 1
  assert len(notes) == 1
  assert str(tmp_path / 'steps' / '2') in notes[0]
  assert checkpoints.restore(1, tree(0))['n'] == 1
  assert checkpoints.recover(notes.append) == 1
  assert len(notes) == 1


def test_where_all_checkpoints_are_damaged(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, tree(1))
  damage(tmp_path / 'steps' / '1', 'arrays.npz')
  notes = []
  assert checkpoints.recover(notes.append, anew=False) is None
  assert not notes
  with pytest.raises(CheckpointError, match='cannot restore'):
    checkpoints.restore(1, tree(0))
  assert checkpoints.recover(notes.append) is None
  assert checkpoints.latest() is None
  assert len(notes) == 1


def test_a_step_with_damaged_projections_is_left_out(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, tree(1))
  checkpoints.save_projections(0, {'x': np.ones(900)})
  checkpoints.save(2, tree(2))
  stage_of = {1: None, 2: 0}.get
  assert checkpoints.recover(print, stage_of=stage_of) == 2
  damage(tmp_path / 'projections' / '0', 'arrays.npz')
  assert checkpoints.recover(print, stage_of=stage_of) == 1


# Joint trainings


def test_a_joint_training_goes_on_with_its_own_pictures_only(tmp_path):
  inputs = {'a': {'picture': '1'}, 'b': {'picture': '2', 'mask': '3'}}
  check = lambda now: joint_collection._check_pictures(tmp_path, now)
  (tmp_path / 'pictures.txt').write_text('a\nb\n')
  (tmp_path / 'checkpoints' / 'steps' / '5').mkdir(parents=True)
  check(inputs)  # of an earlier version: without digests
  (tmp_path / 'inputs.json').write_text(json.dumps(inputs))
  check(inputs)
  with pytest.raises(FitError, match='mask of b changed since then'):
    check(inputs | {'b': {'picture': '2', 'mask': '4'}})
  with pytest.raises(FitError, match='2 there, 1 here'):
    check({'a': inputs['a']})
