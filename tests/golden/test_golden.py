"""Replays reference fixtures: `pytest tests/golden --golden DIR`."""

import importlib
import pathlib
import pkgutil

from tests import golden

for module in pkgutil.iter_modules(golden.__path__):
  importlib.import_module(f'tests.golden.{module.name}')


def pytest_generate_tests(metafunc):
  if 'fixture_path' in metafunc.fixturenames:
    folder = metafunc.config.getoption('--golden')
    paths = [p for p in sorted(pathlib.Path(folder).glob('*.npz')) if golden.find_replay(p.name)]
    assert paths, f'no fixture of a known name in {folder}'
    metafunc.parametrize('fixture_path', paths, ids=lambda p: p.stem)


def test_golden(fixture_path, capsys):
  report = golden.Report()
  golden.find_replay(fixture_path.name)(golden.Fixture(fixture_path), report)
  assert report.rows, f'{fixture_path.name}: the replay compared nothing'
  name, error, tolerance = report.worst()
  with capsys.disabled():
    print(
      f'\n{fixture_path.name}: {len(report.rows)} arrays, largest error {error:.2g} '
      f'of {tolerance:.2g} allowed ({name})',
      end='',
    )
  assert not report.failures(), '\n'.join(report.failures())


def test_report_fails_on_a_difference():
  report = golden.Report()
  report.check('x', [1.0, 2.0], [1.0, 2.1], 1e-2)
  assert report.failures()
