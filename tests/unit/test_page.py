"""The page of results: everything inside it, no error in a browser, a mesh on the canvas."""

import re
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

from gan2shape_jax import artefacts
from gan2shape_jax.artefacts import image_files, results
from gan2shape_jax.errors import ArtefactError
from gan2shape_jax.renderer import Camera
from gan2shape_jax.storage import atomic_files
from tests.unit.test_artefacts import CAMERA, make_factors

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_BROWSER = next(filter(None, map(shutil.which, _BROWSERS)), None)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  for name, side in (('<ball>', 1.0), ('other', 2.0)):
    factors = make_factors()
    result = artefacts.result_from_factors(
      name, factors.albedo, factors, CAMERA, metrics={'side_x100': side, 'mad': None, 'own': 1}
    )
    folder = workdir / name
    atomic_files.write_arrays(folder / 'factors.npz', results.factor_arrays(result, Camera()))
    atomic_files.write_json(folder / 'metrics.json', result.metrics)
    image_files.write_png(folder / 'sheet.png', np.full((40, 300, 3), 99, np.uint8))
    artefacts.write_video(folder / 'rotate_3d', [factors.albedo] * 3)
    if side == 2:  # its mesh is a file, how far it may be turned is known
      arrays = dict(np.load(folder / 'factors.npz')) | {'turned': np.float32([40, 20])}
      atomic_files.write_arrays(folder / 'factors.npz', arrays)
      mesh = results.mesh_from_surface(artefacts.result_surface(result, CAMERA), CAMERA)
      artefacts.write_mesh(folder, mesh)
      image_files.write_png(folder / 'picture.png', np.full((50, 50, 3), 7, np.uint8))
  return artefacts.write_page(workdir, ['<ball>', 'other'], title='Balls & more')


def test_nothing_is_fetched(page):
  text = page.read_text()
  sources = re.findall(r'(?:src|href)="([^"]*)"', text)
  assert sources
  assert all(source.startswith(('data:', '#')) for source in sources)
  assert not re.findall(r'(?:https?:)?//[a-z]', re.sub(r'[\w+/=]{64,}', '', text))
  assert '{{' not in text
  assert '@import' not in text


def test_metrics_and_names(page):
  text = page.read_text()
  assert '<title>Balls &amp; more</title>' in text
  assert '<ball>' not in text
  assert re.search(r'mean</th><td>1\.5</td>', text)
  assert re.search(r'standard deviation</th><td>0\.5</td>', text)
  assert '<dt>MAD, degrees</dt><dd>–</dd>' in text
  assert '<dt>SIDE ×100</dt><dd>2</dd>' in text
  assert '<th scope="col">SIDE ×100</th>' in text
  assert '<dt>own</dt>' in text  # a metric without a known unit goes by its name
  assert text.count('<video ') == 2


def test_limits_of_turning_are_said_where_they_are_known(page):
  assert re.findall(r'Turned by up to ([\d.]+)°', page.read_text()) == ['40']


def test_of_a_large_collection_the_first_are_shown(page, monkeypatch, tmp_path):
  shutil.copytree(page.parent, tmp_path, dirs_exist_ok=True)
  monkeypatch.setattr(artefacts.page, '_SHOWN', 1)
  text = artefacts.write_page(tmp_path, ['<ball>', 'other']).read_text()
  assert text.count('<article ') == 1
  assert re.search(r'mean</th><td>1\.5</td>', text)
  assert '<a href="other/sheet.png">other</a>' in text
  assert '<a href="#&lt;ball&gt;">' in text
  (tmp_path / 'other' / 'sheet.png').unlink()
  assert (
    '<a href="other/metrics.json">'
    in artefacts.write_page(tmp_path, ['<ball>', 'other']).read_text()
  )


def test_missing_and_damaged_results_are_explained(tmp_path):
  with pytest.raises(ArtefactError, match=r'cannot read .*metrics\.json'):
    artefacts.write_page(tmp_path, ['absent'])
  atomic_files.write_text(tmp_path / 'a' / 'metrics.json', '[')
  with pytest.raises(ArtefactError, match=r'cannot read .*metrics\.json'):
    artefacts.write_page(tmp_path, ['a'])
  atomic_files.write_json(tmp_path / 'a' / 'metrics.json', {})
  atomic_files.write_text(tmp_path / 'a' / 'factors.npz', 'no zip')
  with pytest.raises(ArtefactError, match=r'cannot read .*factors\.npz'):
    artefacts.write_page(tmp_path, ['a'])
  factors = make_factors()
  result = artefacts.result_from_factors('a', factors.albedo, factors, CAMERA)
  atomic_files.write_arrays(tmp_path / 'a' / 'factors.npz', results.factor_arrays(result, CAMERA))
  for name in ('picture.png', 'mesh.glb'):
    atomic_files.write_text(tmp_path / 'a' / name, 'neither')
    with pytest.raises(ArtefactError, match=rf'cannot read .*{name}'):
      artefacts.write_page(tmp_path, ['a'])
    (tmp_path / 'a' / name).unlink()
  assert not (tmp_path / 'index.html').exists()


@pytest.mark.skipif(_BROWSER is None, reason=f'none of {", ".join(_BROWSERS)} is installed')
def test_a_browser_draws_the_mesh_without_errors(page, tmp_path):
  flags = ['--headless', '--no-sandbox', '--disable-dev-shm-usage', '--enable-unsafe-swiftshader']
  flags += ['--use-angle=swiftshader', f'--user-data-dir={tmp_path}', '--window-size=1400,3200']
  flags += ['--enable-logging=stderr', '--virtual-time-budget=5000', '--dump-dom', page.as_uri()]
  done = subprocess.run([_BROWSER, *flags], capture_output=True, text=True, timeout=120)
  console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
  assert console == []
  # The viewer says how many percent of the canvas the mesh covers, and WebGL's error.
  drawn = re.findall(r'data-drawn="(\d+)"', done.stdout)
  assert len(drawn) == 2, done.stderr
  assert all(25 < int(percent) < 90 for percent in drawn)
  assert re.findall(r'data-error="(\d+)"', done.stdout) == ['0', '0']
  # The textures may arrive after the page was read, but not both.
  assert max(int(count) for count in re.findall(r'data-colours="(\d+)"', done.stdout)) > 500


@pytest.mark.skipif(_BROWSER is None, reason=f'none of {", ".join(_BROWSERS)} is installed')
@pytest.mark.parametrize('width', [500, 1400])
def test_videos_stay_in_one_row_and_the_mesh_beside_the_picture(tmp_path, width):
  figures = '<figure><video></video></figure>' * 5
  stage = '<figure><img></figure><figure class="viewer"><canvas></canvas></figure>'
  source = resources.files('gan2shape_jax.artefacts').joinpath('page.html').read_text()
  measure = """
    const tops = (place) => [...document.querySelectorAll(place)].map(
      (figure) => Math.round(figure.getBoundingClientRect().top));
    document.body.dataset.videos = new Set(tops('.videos figure')).size;
    document.body.dataset.stage = new Set(tops('.stage figure')).size;
    const [picture, mesh] = document.querySelectorAll('.stage figure > :first-child');
    document.body.dataset.same = picture.offsetWidth === mesh.offsetWidth;
    document.body.dataset.overflow = document.documentElement.scrollWidth > window.innerWidth;
  """
  article = (
    f'<article><div class="stage">{stage}</div><div class="videos">{figures}</div></article>'
  )
  parts = {'TITLE': '', 'SUMMARY': '', 'ARTICLES': article, 'VIEWER': measure}
  for key, part in parts.items():
    source = source.replace('{{' + key + '}}', part)
  (tmp_path / 'page.html').write_text(source)
  flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
  flags += [f'--user-data-dir={tmp_path / "browser"}', f'--window-size={width},900', '--dump-dom']
  command = [_BROWSER, *flags, (tmp_path / 'page.html').as_uri()]
  dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
  found = dict(re.findall(r'data-(\w+)="(\w+)"', dom))
  assert found == {'videos': '1', 'stage': '1', 'same': 'true', 'overflow': 'false'}
