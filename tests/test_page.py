"""The page of results: everything inside it, no error in a browser, a mesh on the canvas."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from gan2shape_jax import artefacts
from gan2shape_jax.artefacts import files
from gan2shape_jax.renderer import Camera
from tests.test_artefacts import CAMERA, make_factors

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_BROWSER = next(filter(None, map(shutil.which, _BROWSERS)), None)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  for name, side in (('<ball>', 1.0), ('other', 2.0)):
    factors = make_factors()
    result = artefacts.result_from_factors(
      name, factors.albedo, factors, CAMERA, metrics={'SIDE': side, 'MAD': None}
    )
    folder = workdir / name
    files.write_arrays(folder / 'factors.npz', artefacts.results.factor_arrays(result, Camera()))
    files.write_json(folder / 'metrics.json', result.metrics)
    artefacts.pictures.write_png(folder / 'sheet.png', np.full((40, 300, 3), 99, np.uint8))
    artefacts.write_video(folder / 'rotate_3d', [factors.albedo] * 3)
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
  assert 'MAD –' in text
  assert text.count('<video ') == 2


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
  with pytest.raises(artefacts.ArtefactError, match=r'cannot read .*metrics\.json'):
    artefacts.write_page(tmp_path, ['absent'])
  files.write_text(tmp_path / 'a' / 'metrics.json', '[')
  with pytest.raises(artefacts.ArtefactError, match=r'cannot read .*metrics\.json'):
    artefacts.write_page(tmp_path, ['a'])
  files.write_json(tmp_path / 'a' / 'metrics.json', {})
  files.write_text(tmp_path / 'a' / 'factors.npz', 'no zip')
  with pytest.raises(artefacts.ArtefactError, match=r'cannot read .*factors\.npz'):
    artefacts.write_page(tmp_path, ['a'])
  assert not (tmp_path / 'index.html').exists()


@pytest.mark.skipif(_BROWSER is None, reason=f'none of {", ".join(_BROWSERS)} is installed')
def test_a_browser_draws_the_mesh_without_errors(page, tmp_path):
  flags = ['--headless', '--no-sandbox', '--disable-dev-shm-usage', '--enable-unsafe-swiftshader']
  flags += ['--use-angle=swiftshader', f'--user-data-dir={tmp_path}', '--window-size=1400,1600']
  flags += ['--enable-logging=stderr', '--timeout=20000', '--dump-dom', page.as_uri()]
  done = subprocess.run([_BROWSER, *flags], capture_output=True, text=True, timeout=60)
  console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
  assert console == []
  # The viewer says how many percent of the canvas the mesh covers, and WebGL's error.
  drawn = re.findall(r'data-drawn="(\d+)"', done.stdout)
  assert len(drawn) == 2, done.stderr
  assert all(25 < int(percent) < 90 for percent in drawn)
  assert re.findall(r'data-error="(\d+)"', done.stdout) == ['0', '0']
  # The textures may arrive after the page was read, but not both.
  assert max(int(count) for count in re.findall(r'data-colours="(\d+)"', done.stdout)) > 500
