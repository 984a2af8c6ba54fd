"""Test set-up: eight simulated devices, hasty compilation, strict shapes, the golden fixtures."""

import os

from tests.command import HASTY

os.environ['JAX_PLATFORMS'] = os.environ.get('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8 {HASTY}'
)

import pathlib

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

TESTDATA = pathlib.Path(__file__).parent / 'testdata'


def pytest_addoption(parser):
  parser.addoption(
    '--golden',
    type=pathlib.Path,
    default=TESTDATA / 'golden',
    help='folder of reference fixtures to replay (default: the subset in tests/testdata/golden)',
  )


@pytest.fixture
def testdata():
  return TESTDATA
