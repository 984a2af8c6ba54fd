"""Joint training: a killed run goes on, the shape is held at first, the file starts networks."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import heads
from gan2shape_jax.errors import FitError, Preempted
from gan2shape_jax.pretraining.starting_networks import pretrain
from gan2shape_jax.storage import folder_lock


@pytest.fixture
def config():
  config = heads.get_config()
  config.networks.width = 4
  config.networks.bottleneck = 8
  config.networks.encoder_width = 4
  config.networks.pretrained = ''
  config.pretraining.batch_size = 2
  config.pretraining.prior_iterations = 2
  config.pretraining.iterations = 4
  config.pretraining.fixed_shape = 1
  config.pretraining.shared_shape = 1
  config.pretraining.ramp = 1
  return config


def test_a_stopped_training_goes_on_to_the_same_networks(config, tmp_path):
  whole = load_file(pretrain(config, tmp_path / 'whole', every=100, dtype='float32'))
  stops = iter([False] * 2 + [True])
  with pytest.raises(Preempted, match='at iteration 3; saved'):
    pretrain(config, tmp_path / 'broken', every=2, dtype='float32', stop=lambda: next(stops))
  assert [path.name for path in (tmp_path / 'broken' / 'checkpoints' / 'steps').iterdir()] == ['3']
  assert not (tmp_path / 'broken' / 'networks.safetensors').exists()
  broken = load_file(pretrain(config, tmp_path / 'broken', every=2, dtype='float32'))
  assert whole.keys() == broken.keys()
  assert all(np.array_equal(whole[name], broken[name]) for name in whole)
  assert {name.split('/')[0] for name in whole} == {'depth', 'albedo', 'view', 'light'}
  assert all(np.isfinite(array).all() for array in whole.values())


def test_a_folder_takes_one_training_at_a_time(config, tmp_path):
  with folder_lock.locked(tmp_path), pytest.raises(FitError, match='another run is at work'):
    pretrain(config, tmp_path, every=100, dtype='float32')
  assert not list(tmp_path.iterdir())
