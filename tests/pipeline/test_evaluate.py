"""The command that measures the reconstruction beside what looks at no picture."""

import csv
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from configs import heads
from experiments import evaluate
from gan2shape_jax import data
from gan2shape_jax.errors import DataError
from gan2shape_jax.instruments import depth_table
from gan2shape_jax.pipeline import collection, setup
from gan2shape_jax.reconstruction.state import Factors

ROOT = pathlib.Path(evaluate.__file__).parent.parent


def command(*arguments):
  return subprocess.run(
    [sys.executable, str(ROOT / 'experiments' / 'evaluate.py'), *map(str, arguments)],
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.fixture
def config():
  config = heads.get_config()
  config.data.num = 2
  return config


def test_baselines_from_the_command_line(tmp_path):
  done = command(
    '--baselines_only',
    f'--workdir={tmp_path}',
    '--config.prior.near=0.95',
    '--config.prior.far=1.03',
  )
  assert done.returncode == 0, done.stderr
  with (tmp_path / 'evaluation.csv').open() as file:
    rows = {row['name']: row for row in csv.DictReader(file)}
  assert list(rows) == [
    'constant depth',
    'mean true depth of 4 (oracle)',
    'ellipsoid 0.91 to 1.02',
    'ellipsoid 0.95 to 1.03 (config.prior)',
    'ellipsoid 0.97 to 1.03',
    "start: config.prior, picture's mask",
    'initial networks',
  ]
  # Within what four heads vary of the figures of twenty.
  for name, side, mad in (
    ('constant depth', 1.54, 41.8),
    ('ellipsoid 0.91 to 1.02', 2.19, 31.9),
    ('ellipsoid 0.95 to 1.03 (config.prior)', 1.50, 27.3),
    ('ellipsoid 0.97 to 1.03', 1.19, 24.1),
  ):
    assert abs(float(rows[name]['side_x100']) - side) < 0.3
    assert abs(float(rows[name]['mad']) - mad) < 2.5
    assert rows[name]['n'] == '4'
    assert f'| {name} | ' in (tmp_path / 'evaluation.md').read_text()
    assert name in done.stdout
  assert list(tmp_path.glob('.*')) == []


def test_pictures_without_true_depth_are_one_line(tmp_path):
  images = data.embedded_path('heads') / 'image'
  done = command(f'--workdir={tmp_path}', f'--config.data.images={images}')
  assert done.returncode == 1
  assert 'expected true depths' in done.stderr
  assert len(done.stderr.splitlines()) == 1


def test_the_reconstruction_comes_last(config, tmp_path, monkeypatch):
  rows = [{'side_x100': 1.0, 'mad': 10.0}, {'side_x100': 2.0, 'mad': 20.0}, {'side_x100': None}]
  monkeypatch.setattr(collection, 'reconstruct_all', lambda *_, **__: rows)
  table = depth_table.evaluate_all(config, tmp_path)
  assert table[-1] == {
    'name': 'reconstruction',
    'side_x100': 1.5,
    'side_x100_std': 0.5,
    'mad': 15.0,
    'mad_std': 5.0,
    'n': 2,
  }
  assert table[1]['name'] == 'mean true depth of 4 (oracle)'  # the folder's, not the selection's
  assert depth_table.format_rows(table).endswith('  1.50 ± 0.50     15.0 ± 5.0  2')


def test_trained_starting_networks_are_measured(config, tmp_path, monkeypatch):
  settings = setup.settings_from_config(config)
  plane = np.full((64, 64), 1.0, np.float32)
  factors = Factors(
    plane, plane[..., None] * np.zeros(3), np.zeros(6), np.zeros(4), plane[..., None]
  )
  shared = SimpleNamespace(
    settings=settings,
    frozen=SimpleNamespace(mean_latent=None),
    params=None,
  )
  monkeypatch.setattr(depth_table, 'assemble', lambda config: shared)
  monkeypatch.setattr(depth_table.fits, 'starting_factors', lambda shared: lambda instance: factors)
  config.networks.pretrained = 'networks.safetensors'
  table = depth_table.evaluate_all(config, tmp_path, baselines_only=True)
  constant, networks = table[0], table[-1]
  assert networks['name'] == 'initial networks'
  for column in ('side_x100', 'mad', 'n'):  # these networks see a plane
    np.testing.assert_allclose(networks[column], constant[column], rtol=1e-4)


def test_an_empty_region_names_the_picture(config):
  picture = data.load_pictures(config.data, config.image_size)[0]
  picture = picture._replace(region=np.zeros_like(picture.region))
  with pytest.raises(DataError, match=r'000.*mask is empty'):
    depth_table.baseline_rows(config, [picture])
