"""One look without a fit, and damaged pictures passed over."""

import json
import shutil

import numpy as np
import pytest

from configs import heads
from gan2shape_jax import data
from gan2shape_jax.errors import DataError, SettingsError
from gan2shape_jax.pipeline import collection
from gan2shape_jax.pipeline.config_checks import check_config


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pictures')
  source = data.embedded_path('heads') / 'image'
  for name in ('000', '001'):
    shutil.copy(source / f'{name}.png', folder)
  (folder / '0005.png').write_bytes((source / '002.png').read_bytes()[:500])
  config = heads.get_config()
  config.mode = 'predict'
  config.data.images = str(folder)
  config.results.videos = config.results.mesh = False
  return config


def test_a_damaged_picture_stops_the_run_unless_told_otherwise(config, tmp_path):
  with pytest.raises(DataError, match=r'0005\.png: expected a complete picture'):
    collection.reconstruct_all(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_damaged_pictures_are_passed_over_and_named(config, tmp_path, capsys):
  config = config.copy_and_resolve_references()
  config.data.on_error = 'skip'
  workdir = tmp_path / 'run'
  rows = collection.reconstruct_all(config, workdir)
  assert [row['name'] for row in rows] == ['000', '001']
  failed = json.loads((workdir / 'failed.json').read_text())
  assert list(failed) == ['0005']
  assert 'expected a complete picture' in failed['0005']
  assert '2 done, 1 failed: 0005' in capsys.readouterr().err
  for row in rows:
    assert 0 < row['milliseconds'] < 60_000
    assert row['image_l1'] < 0.3
    with np.load(workdir / row['name'] / 'factors.npz') as factors:
      assert 'latent' not in factors  # nothing was inverted
      assert 0.9 < factors['canonical_depth'].min() < factors['canonical_depth'].max() < 1.1


def test_a_prediction_needs_trained_networks(config):
  config = config.copy_and_resolve_references()
  config.networks.pretrained = ''
  with pytest.raises(SettingsError, match=r'networks\.pretrained'):
    check_config(config)
