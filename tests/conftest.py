"""Test set-up: eight simulated devices, programs compiled hastily and once, strict shapes."""

import os

from tests.support.command import HASTY

os.environ['JAX_PLATFORMS'] = os.environ.get('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8 {HASTY}'
)

import pathlib
import shutil
import tempfile

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

# Files of tests that compile or draw for long; `-m fast` leaves them out.
SLOW = (
  'api', 'artefacts', 'bad_input', 'benchmarks', 'benchmarks_nets', 'configs', 'direct', 'docs',
  'driver', 'evaluate', 'fitting', 'gan_augmentation', 'gan_losses', 'gan_quality', 'gan_training',
  'gan_updates', 'golden', 'head_rendering', 'hosts', 'importers', 'interruption', 'inversion',
  'invert_command', 'joint_driver', 'kill_results', 'page', 'parallel', 'parsing', 'photo_texture',
  'precision', 'predict', 'pretrain', 'projection_table', 'refinement', 'renderer',
  'renderer_conventions', 'run', 'samples', 'shapes', 'stylegan2', 'true_views', 'view_terms',
  'warping', 'wheel', 'without_discriminator',
)  # fmt: skip

TESTDATA = pathlib.Path(__file__).parent / 'testdata'


def pytest_addoption(parser):
  parser.addoption(
    '--golden',
    type=pathlib.Path,
    default=TESTDATA / 'golden',
    help='folder of reference fixtures to replay (default: the subset in tests/testdata/golden)',
  )


def pytest_collection_modifyitems(items):
  for item in items:
    if item.path.stem.removeprefix('test_') not in SLOW:
      item.add_marker('fast')


def pytest_configure(config):
  """One folder of compiled programs for the session's processes, commands included."""
  if not hasattr(config, 'workerinput'):
    os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='compiled-')
  jax.config.update('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR'])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ.pop('JAX_COMPILATION_CACHE_DIR'), ignore_errors=True)


@pytest.fixture
def testdata():
  return TESTDATA
