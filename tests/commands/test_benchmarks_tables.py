"""Results have one form and tell nothing of whose machine it was; tables are made of them alone."""

import importlib
import json
import pathlib
import re
import socket
import subprocess
import sys

import pytest

from benchmarks import all as everything
from benchmarks import fits, tables
from benchmarks.support import commands, markdown, results

MODULES = sorted(path.stem for path in (commands.ROOT / 'benchmarks').glob('*.py'))
MEASURING = sorted(set(MODULES) - {'all', 'tables'})
MARKED = 'before\n<!-- table: fits -->\n{}<!-- end -->\nafter\n'


@pytest.fixture(scope='module')
def result():
  begun = results.begin('fits', ['--pictures', '1', '--json=/secret/x.json'], rounds=1)
  row = {'pictures': 1, 'compiled_programs': 'none', 'seconds': 115.2, 'peak_memory_gib': 2.31}
  return begun | {'rows': [row]}


def test_documents_are_up_to_date(capsys):
  assert tables.main(['--check']) == []


def test_every_benchmark_has_a_table_and_is_measured_with_the_others():
  assert set(markdown.TABLES) == set(MEASURING)
  assert set(everything.MEASURED) == set(MEASURING) - {'full_size'}  # a category, not ours


@pytest.mark.parametrize('name', MODULES)
def test_commands_explain_themselves(name, capsys):
  with pytest.raises(SystemExit) as ended:
    importlib.import_module(f'benchmarks.{name}').main(['--help'])
  assert ended.value.code == 0
  shown = capsys.readouterr().out
  assert f'python -m benchmarks.{name}' in shown
  assert ('--json' in shown) == (name in MEASURING)


def test_a_result_names_command_machine_and_versions(result, tmp_path):
  assert set(results.PARTS) <= set(result)
  assert result['command'] == 'python -m benchmarks.fits --pictures 1'
  assert re.fullmatch(r'\d{4}-\d\d-\d\d', result['date'])
  assert {'processor', 'cores', 'memory_gib'} <= set(result['machine'])
  assert {'python', 'jax', 'jaxlib', 'numpy', 'flax'} <= set(result['versions'])
  assert result['calibration']['seconds'] > 0
  results.keep(result, tmp_path / 'x.json')
  text = (tmp_path / 'x.json').read_text()
  assert json.loads(text) == result
  assert_anonymous(text)


def assert_anonymous(text):
  for secret in (str(pathlib.Path.home()), str(commands.ROOT), socket.gethostname()):
    found = re.search(rf'(?<![\w.-]){re.escape(secret)}(?![\w.-])', text)
    assert len(secret) < 3 or not found, secret


def test_committed_results_are_whole_and_anonymous():
  for path in commands.RESULTS.glob('*.json'):
    text = path.read_text()
    found = json.loads(text)
    assert set(results.PARTS) <= set(found), path.name
    assert found['rows'], path.name
    assert found['command'].startswith(f'python -m benchmarks.{path.stem}'), path.name
    assert_anonymous(text)
    assert '/tmp' not in text, path.name


def test_commands_are_told_without_folders(tmp_path):
  given = ['--json', 'a.json', f'--config={tmp_path}/mine.py:small', '--ways', 'a way']
  told = commands.command_line('steps', given)
  assert told == "python -m benchmarks.steps --config=mine.py:small --ways 'a way'"
  own = f'--config={commands.ROOT}/configs/heads.py'
  assert commands.command_line('steps', [own]).endswith(' --config=configs/heads.py')


def test_a_table_is_made_of_its_result(result):
  earlier = MARKED.format(f'{tables.WITHOUT_RECORD}: 115 s\n')
  assert tables.fill(earlier, {}) == earlier
  made = tables.fill(earlier, {'fits': result})
  assert '| 1 | none | 115 | 2.3 |' in made
  assert '`python -m benchmarks.fits --pictures 1`' in made
  assert tables.WITHOUT_RECORD not in made
  assert made.startswith('before\n')
  assert made.endswith('after\n')
  assert tables.fill(made, {'fits': result}) == made
  assert max(map(len, made.splitlines())) <= 100


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (MARKED.format('115 s\n'), 'there is no fits.json'),
    (MARKED.replace('fits', 'nonsense'), 'expected one of'),
    ('<!-- table: fits -->\n', 'has no end'),
  ],
)
def test_figures_without_a_record_say_so(text, message):
  with pytest.raises(tables.TableError, match=message):
    tables.fill(text, {})


def test_an_altered_figure_is_noticed(result, tmp_path, monkeypatch, capsys):
  document = tmp_path / 'a.md'
  monkeypatch.setattr(tables, 'documents', lambda: [document])
  (tmp_path / 'fits.json').write_text(json.dumps(result))
  document.write_text(MARKED.format(''))
  given = [f'--results={tmp_path}']
  assert tables.main(given) == ['a.md']
  assert tables.main([*given, '--check']) == []
  document.write_text(document.read_text().replace('| 115 |', '| 95 |'))
  with pytest.raises(SystemExit) as ended:
    tables.main([*given, '--check'])
  assert ended.value.code == 1
  assert 'out of date: a.md' in capsys.readouterr().err


def test_figures_have_two_digits_or_none_after_the_point():
  given = 421.3, 8.13, 0.347, 0.05, None
  assert [markdown.number(value) for value in given] == ['421', '8.1', '0.35', '0.05', '-']


def test_whole_fits_are_processes(monkeypatch, tmp_path, capsys):
  noted = tmp_path / 'noted'
  program = f'import sys; open({str(noted)!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")'
  monkeypatch.setattr(fits, 'COMMAND', (sys.executable, '-c', program))
  result = fits.main(['--pictures', '3', '--config.stages.count=1'])
  assert [row['compiled_programs'] for row in result['rows']] == [
    'none',
    'kept from an earlier run',
  ]
  assert all(row['seconds'] > 0 and row['peak_memory_gib'] > 0 for row in result['rows'])
  first, second = (line.split() for line in noted.read_text().splitlines())
  assert '--config.data.num=3' in first
  assert '--config.stages.count=1' in first
  caches = {word for word in (*first, *second) if word.startswith('--compilation_cache')}
  folders = {word for word in (*first, *second) if word.startswith('--workdir')}
  assert (len(caches), len(folders)) == (1, 2)
  assert '| 3 | none |' in markdown.block('fits', result)
  monkeypatch.setattr(fits, 'COMMAND', (sys.executable, '-c', 'raise SystemExit("full disk")'))
  with pytest.raises(SystemExit, match='full disk'):
    fits.main([])


def test_a_benchmark_that_fails_leaves_the_last_result(monkeypatch, tmp_path):
  kept = tmp_path / 'fits.json'
  kept.write_text('{"old": true}')
  codes = iter([1, 0])

  def run(given, **_):
    path = pathlib.Path(given[-1].removeprefix('--json='))
    path.write_text('{"new": true}')
    return subprocess.CompletedProcess(given, next(codes))

  monkeypatch.setattr(everything.subprocess, 'run', run)
  with pytest.raises(SystemExit, match='fits failed'):
    everything.main(['--only', 'fits', f'--results={tmp_path}'])
  assert json.loads(kept.read_text()) == {'old': True}
  assert set(everything.main(['--only', 'fits', f'--results={tmp_path}'])) == {'fits'}
  assert json.loads(kept.read_text()) == {'new': True}
  assert list(tmp_path.iterdir()) == [kept]
