"""Settings that no run can have, and folders that go on with other ones."""

import json

import numpy as np
import pytest

from configs import heads
from gan2shape_jax import artefacts
from gan2shape_jax.artefacts import page
from gan2shape_jax.data import embedded_path, load_pictures
from gan2shape_jax.errors import ArtefactError, FitError, SettingsError
from gan2shape_jax.pipeline import collection, config_checks, picture_results, setup
from gan2shape_jax.pipeline.masks import mask_finder
from gan2shape_jax.reconstruction.state import Factors
from gan2shape_jax.storage import atomic_files, workdir
from tests.support import command

HEADS = embedded_path('heads')


def settings(**changes):
  config = heads.get_config()
  for name, value in changes.items():
    section, _, name = name.rpartition('__')
    (config[section] if section else config)[name] = value
  return config


@pytest.mark.parametrize(
  ('change', 'expected'),
  [
    ({'seed': 2**40}, 'seed=1099511627776: expected a number from -2147483648 to 4294967295'),
    ({'seed': -(2**31) - 1}, 'seed=-2147483649: '),
    ({'image_size': 8192}, 'image_size=8192: expected at most 4096'),
    ({'renderer__march_steps': -1}, 'renderer.march_steps=-1: expected at least 0'),
    ({'renderer__march_steps': 10**9}, 'renderer.march_steps=1000000000: expected at most'),
    ({'renderer__supersample': 0}, 'renderer.supersample=0: expected at least 1'),
    ({'renderer__supersample': 99}, 'renderer.supersample=99: expected at most'),
    ({'sampling__batch_size': 10**7}, 'sampling.batch_size=10000000: expected at most'),
    ({'sampling__f1_depth': -1}, 'sampling.f1_depth=-1: expected at least 0'),
    ({'prior__near': 1.2}, 'prior.near=1.2: expected a depth below prior.far'),
    ({'gan__crop': 65}, 'gan.crop=65: expected at most 64'),
  ],
)
def test_bounds(change, expected):
  with pytest.raises(SettingsError) as caught:
    config_checks.check_config(settings(**change))
  assert str(caught.value).startswith(expected)


def test_bounds_leave_what_worked():
  for change in ({'seed': 2**32 - 1}, {'seed': -1}, {'gan__crop': 100, 'gan__origin_size': 128}):
    config_checks.check_config(settings(**change))


def test_more_mapping_layers_than_there_are():
  from gan2shape_jax.pipeline.assembly import assemble

  with pytest.raises(SettingsError, match=r'sampling\.f1_depth=50: expected at most'):
    assemble(settings(sampling__f1_depth=50))


@pytest.mark.parametrize(
  ('flag', 'guess'), [('sede', 'seed'), ('data.imags', 'images'), ('dat.images', 'data')]
)
def test_names_that_are_nearly_settings(tmp_path, flag, guess):
  result = command.call(f'--config.{flag}=1', f'--workdir={tmp_path / "run"}')
  (line,) = result.stderr.splitlines()
  assert line.startswith(f'error: --config.{flag}=1: there is no setting ')
  assert f'but there is {guess!r}' in line


def test_names_of_earlier_versions(tmp_path):
  for old, new in (('joint.iterations', 'pretraining'), ('sampling.rand_light', 'random_light')):
    result = command.call(f'--config.{old}=1', f'--workdir={tmp_path / "run"}')
    (line,) = result.stderr.splitlines()
    assert line.startswith(f'error: --config.{old}=1: ')
    assert line.endswith(new)


def test_a_folder_of_an_earlier_version_goes_on(tmp_path):
  config = settings()
  workdir.check_workdir(tmp_path, config)
  old = json.loads(config.to_json_best_effort())
  old['joint'] = old.pop('pretraining')
  light = old['sampling'].pop('random_light')
  old['sampling']['rand_light'] = [*light['x'], *light['y'], *light['strength'], light['ambient']]
  (tmp_path / 'config.json').write_text(json.dumps(old))
  assert json.loads(workdir.check_workdir(tmp_path, config))['sampling']['random_light'] == light
  old['sampling']['rand_light'][6] = 5.0
  (tmp_path / 'config.json').write_text(json.dumps(old))
  with pytest.raises(FitError, match=r'sampling\.random_light\.ambient 5\.0 there'):
    workdir.check_workdir(tmp_path, config)
  for damaged in (3, None, {'rand_light': 7}, {'rand_light': [1.0]}):
    (tmp_path / 'config.json').write_text(json.dumps(old | {'sampling': damaged}))
    with pytest.raises(FitError, match='holds a run with other settings'):
      workdir.check_workdir(tmp_path, config)


@pytest.mark.parametrize('name', ['data.images.x', 'seed.y', 'stages.first.step1.z', '', 'data.'])
def test_names_beyond_settings(tmp_path, name):
  flag = f'--config.{name}=1'
  result = command.call(flag, f'--workdir={tmp_path / "run"}')
  (line,) = result.stderr.splitlines()
  assert line == f'error: {flag}: there is no setting {name!r} (gan2shape_jax/config.py)'


# Folders


def test_what_may_change_in_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'photos').mkdir()
  first = settings(data__images='photos', results__mesh=False)
  run = tmp_path / 'run'
  (run / 'x').mkdir(parents=True)
  atomic_files.write_text(run / 'config.json', workdir.check_workdir(run, first))
  for change in (
    {'data__images': str(tmp_path / 'photos')},
    {'data__images': './photos/', 'results__max_yaw': 20.0},
    {'data__images': 'photos', 'data__on_error': 'skip', 'results__videos': False},
  ):
    workdir.check_workdir(run, settings(**change))
  for change in ({'data__images': 'others'}, {'data__images': 'photos', 'gan__weights': 'x.pt'}):
    with pytest.raises(FitError, match='other settings'):
      workdir.check_workdir(run, settings(**change))


def test_a_run_that_came_to_nothing_leaves_no_claim(tmp_path):
  path = tmp_path / 'config.json'
  with pytest.raises(ZeroDivisionError), workdir.claimed(tmp_path, '{}'):
    raise ZeroDivisionError
  assert not path.exists()
  (tmp_path / 'a' / 'checkpoints' / 'steps' / '1').mkdir(parents=True)
  with pytest.raises(ZeroDivisionError), workdir.claimed(tmp_path, '{}'):
    raise ZeroDivisionError
  assert path.exists()
  with workdir.claimed(tmp_path, '{"x": 1}'):
    pass
  assert json.loads(path.read_text()) == {'x': 1}


@pytest.fixture
def done(tmp_path):
  """A picture and a folder with its arrays alone, as of a run without sheets, videos, mesh."""
  config = settings(results__sheets=False, results__videos=False, results__mesh=False)
  picture = load_pictures(config.data, 64)[0]
  camera = setup.settings_from_config(config).camera
  view, light = np.zeros(6, np.float32), np.float32([0.5, 0.5, 0.1, 0.1])
  factors = Factors(picture.depth, picture.image, view, light, picture.mask)
  result = artefacts.result_from_factors('000', picture.image, factors, camera, mask=picture.mask)
  folder = tmp_path / '000'
  artefacts.write_results(
    folder, result, camera=camera, max_yaw=30.0, max_pitch=10.0,
    make_sheets=False, make_videos=False, make_mesh=False,
  )  # fmt: skip
  return config, picture, folder


def test_a_mesh_that_is_wanted_afterwards(done):
  config, picture, folder = done
  before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  find_mask = mask_finder(config)
  assert picture_results.write_missing(config, picture, folder, find_mask) == []
  config.results.mesh = True
  assert picture_results.missing_kinds(config, folder) == ['mesh']
  assert picture_results.write_missing(config, picture, folder, find_mask) == ['mesh']
  names = {path.name for path in folder.iterdir()}
  assert names == {'factors.npz', 'metrics.json', 'mesh.glb', 'mesh.obj', 'mesh.mtl', 'mesh.png'}
  assert before == {path: path.stat().st_mtime_ns for path in before}
  assert picture_results.write_missing(config, picture, folder, find_mask) == []
  config.results.sheets = True
  assert picture_results.write_missing(config, picture, folder, find_mask) == ['sheets']
  assert (folder / 'views.png').is_file()


def test_videos_of_the_gan_are_not_added_and_it_is_said(done, monkeypatch, capsys):
  config, _, folder = done
  config.results.videos = True
  monkeypatch.setattr(collection, 'write_missing', lambda *_: ['videos'])
  pictures = load_pictures(config.data, 64)[:1]
  assert collection._write_missing(config, folder.parent, pictures, [0])
  written, lacking = capsys.readouterr().err.splitlines()
  assert written == '000: videos written from its factors'
  assert lacking.startswith('000: views and lights through the GAN are not among them')
  assert f'remove {folder / "timing.json"}' in lacking
  (folder / 'rotate_gan.mp4').touch()
  assert not picture_results.lacks_gan_videos(config, folder)
  (folder / 'rotate_gan.mp4').unlink()
  config.mode = 'predict'
  assert not picture_results.lacks_gan_videos(config, folder)


def test_the_page_takes_names_as_they_are(done):
  _, _, folder = done
  names = ['{{ARTICLES}}', '{{VIEWER}}', '<b>&"\\1']
  for name in names:
    (folder.parent / name).mkdir()
    for file in ('factors.npz', 'metrics.json'):
      (folder.parent / name / file).write_bytes((folder / file).read_bytes())
  text = page.write_page(folder.parent, names).read_text()
  assert text.count('<article') == 3
  assert text.count('<h2>{{ARTICLES}}</h2>') == 1
  (folder.parent / names[0] / 'factors.npz').write_bytes(b'PK\x05\x06' + bytes(5))
  with pytest.raises(ArtefactError, match='cannot read') as caught:
    page.write_page(folder.parent, names)
  assert len(str(caught.value).splitlines()) == 1
