"""A processor is divided into devices before JAX has made its own, and only then."""

import subprocess
import sys

import pytest

from gan2shape_jax.runtime import cpu_devices
from tests.support import command


def run(program, flags=''):
  environment = command.environment() | {'XLA_FLAGS': flags}
  imports = 'import jax; from gan2shape_jax.runtime import cpu_devices'
  called = [sys.executable, '-c', f'{imports}; {program}']
  done = subprocess.run(called, capture_output=True, text=True, env=environment)
  assert done.returncode == 0, done.stderr
  return done.stdout.split()


@pytest.mark.parametrize(
  ('count', 'flags', 'expected'), [(3, '', 3), (1, '', 1), (3, f'{cpu_devices._FLAG}=2', 2)]
)
def test_a_processor_is_divided_once(count, flags, expected):
  tell = 'print(jax.device_count());'
  program = f'cpu_devices.divide({count}); {tell} cpu_devices.divide(9); {tell}'
  assert run(program, flags) == [str(expected)] * 2


def test_as_many_devices_as_cores_unless_a_number_is_wanted():
  assert 1 <= cpu_devices.device_count() <= 4
  assert cpu_devices.device_count(7) == 7
