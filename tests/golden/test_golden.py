"""Replays reference fixtures: `pytest tests/golden --golden DIR`."""

import importlib
import json
import os
import pathlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

from tests import golden
from tests.support import command

for module in pkgutil.iter_modules(golden.__path__):
  if module.name.startswith('replay_'):
    importlib.import_module(f'tests.golden.{module.name}')


def pytest_generate_tests(metafunc):
  if 'fixture_path' in metafunc.fixturenames:
    folder = metafunc.config.getoption('--golden')
    paths = [p for p in sorted(pathlib.Path(folder).glob('*.npz')) if golden.find_replay(p.name)]
    assert paths, f'no fixture of a known name in {folder}'
    metafunc.parametrize('fixture_path', paths, ids=lambda p: p.stem)


@pytest.fixture(scope='module')
def replayed(request):
  """What the replays of the selected files came to, by name, from one process for all."""
  calls = [getattr(item, 'callspec', None) for item in request.session.items]
  paths = [call.params['fixture_path'] for call in calls if call and 'fixture_path' in call.params]
  done = subprocess.run(
    [sys.executable, '-m', 'tests.golden', *map(str, paths)],
    cwd=command.ROOT, env=os.environ | {'PYTHONPATH': str(command.ROOT)},
    capture_output=True, text=True, timeout=1200,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return {entry['name']: entry for entry in map(json.loads, done.stdout.splitlines())}


def test_golden(fixture_path, replayed, capsys):
  entry = replayed[fixture_path.name]
  assert not entry['error'], entry['error']
  report = golden.Report([tuple(row) for row in entry['rows']], entry['missing'])
  assert report.rows, f'{fixture_path.name}: the replay compared nothing'
  name, error, tolerance = report.worst()
  with capsys.disabled():
    print(
      f'\n{fixture_path.name}: {len(report.rows)} arrays, largest error {error:.2g} '
      f'of {tolerance:.2g} allowed ({name})'
      + (f'; not in the file: {", ".join(report.missing)}' if report.missing else ''),
      end='',
    )
  assert not report.failures(), '\n'.join(report.failures())


def test_report_fails_on_a_difference():
  report = golden.Report()
  report.check('x', [1.0, 2.0], [1.0, 2.1], 1e-2)
  assert report.failures()


def test_a_file_with_fewer_arrays_is_compared_in_what_it_holds(request, tmp_path):
  folder = pathlib.Path(request.config.getoption('--golden'))
  arrays = dict(golden.Fixture(folder / 'd_pixel_losses.npz').arrays)
  left_out = {name for name in arrays if name.startswith('grad_')} | {'smooth_im'}
  assert len(left_out) > 2
  path = tmp_path / 'd_pixel_losses.npz'
  np.savez(path, **{name: array for name, array in arrays.items() if name not in left_out})
  report = golden.Report()
  golden.find_replay(path.name)(golden.Fixture(path), report)
  assert report.rows
  assert not report.failures()
  assert 'smooth_im' in report.missing
  with pytest.raises(KeyError, match='no nothing'):
    np.asarray(golden.Fixture(path)['nothing'])
