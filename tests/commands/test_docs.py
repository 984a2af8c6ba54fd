"""What README and docs/ show works: Python is run, flags of commands are read, settings exist.

A block that cannot be run says why on the line before it: `<!-- not run: REASON -->`.
"""

import contextlib
import doctest
import fnmatch
import functools
import importlib
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

import gan2shape_jax
from gan2shape_jax import api, presets, renderer
from gan2shape_jax.artefacts import results
from gan2shape_jax.data import embedded_path
from gan2shape_jax.reconstruction import domain
from gan2shape_jax.renderer import Camera
from gan2shape_jax.storage import atomic_files
from tests.pipeline.test_api import SMALL
from tests.support import command, documented
from tests.support.documented import PAGES, ROOT
from tests.unit.test_artefacts import make_factors

_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# Models of the documentation, small and without steps 2 and 3, whose programs take the longest to
# compile; what a page sets itself counts. The networks are the trained ones: they predict.
_TINY = {name: value for name, value in SMALL.items() if not name.startswith('networks.')}
_TINY |= {'results.sheets': False, 'results.mesh': False}
_PHOTO = embedded_path('heads') / 'image' / '001.png'
_FILES = ('.md', '.npz', '.png', '.py')  # endings that are no settings

_REAL_LOAD = api.load
_LOADED = {}  # models that were asked for: the same one compiles once


def _blocks(*languages):
  return [
    block for page in PAGES for block in documented.blocks(page) if block.language in languages
  ]


def _load(preset='heads', overrides=None, /, **settings):
  """In place of `load`: tiny, but for what is asked for."""
  dotted = {name.replace('__', '.'): value for name, value in settings.items()}
  changed = _TINY | dict(overrides or {}) | dotted
  key = f'{preset}: {changed}'
  if key not in _LOADED:
    _LOADED[key] = _REAL_LOAD(preset, changed)
  return _LOADED[key]


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A folder to run documentation in: a photo, one head of a run, and `load` made tiny."""
  shutil.copy(_PHOTO, tmp_path / 'photo.png')
  factors, camera = make_factors(), Camera()
  result = results.result_from_factors('000', factors.albedo, factors, camera)
  atomic_files.write_arrays(
    tmp_path / 'runs' / 'heads' / '000' / 'factors.npz', results.factor_arrays(result, camera)
  )
  few = functools.partial(domain.own_domain, count=64)
  monkeypatch.setattr(domain, 'own_domain', few)  # what the GAN's own images look like
  monkeypatch.setattr(api, 'load', _load)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_there_is_something_to_look_at():
  assert len(_blocks('bash')) > 8
  assert len(_blocks('python')) > 6


@pytest.mark.parametrize('page', PAGES, ids=_NAMES)
def test_every_block_says_what_it_is(page):
  for block in documented.blocks(page):
    assert block.language in ('bash', 'python', 'text'), f'{block}: language {block.language!r}'
  # Of four spaces: it would be passed over here.
  assert not re.search(r'\n\n {4}\S', documented.sentences(page)), 'an indented block'


@pytest.mark.parametrize('page', PAGES, ids=_NAMES)
def test_python_runs(page, folder):
  names = {}
  for block in documented.blocks(page):
    if block.language == 'python' and not block.reason:
      with contextlib.redirect_stdout(None):
        exec(compile(block.text, str(block), 'exec'), names)


class _IfShown(doctest.OutputChecker):
  """Compares where an example shows what comes out."""

  def check_output(self, want, got, optionflags):
    return not want or super().check_output(want, got, optionflags)


def _public_modules():
  found = [gan2shape_jax, presets]
  for package in ('api', 'evaluation', 'renderer'):
    found.append(importlib.import_module(f'gan2shape_jax.{package}'))
    for inner in pkgutil.iter_modules(found[-1].__path__, f'{found[-1].__name__}.'):
      found.append(importlib.import_module(inner.name))
  return found


def test_examples_of_docstrings_run(folder):
  examples = [
    test
    for module in _public_modules()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module)
    if test.examples
  ]
  assert len(examples) >= 4
  for test in examples:
    test.globs = {'gan2shape_jax': gan2shape_jax}
    said = []
    doctest.DocTestRunner(_IfShown()).run(test, out=said.append)
    assert not said, ''.join(said)


def _calls(text, folder):
  """The programs that lines of bash call, with their arguments; none of them is run."""
  record = folder / 'called'
  record.write_text('')
  shim = f'#!/bin/sh\n{{ printf "%s\\n" "$0" "$@"; echo; }} >> {shlex.quote(str(record))}\n'
  programs = [f'bin/{name}' for name in ('gan2shape-jax', 'mkdocs', 'pip', 'python', 'python3')]
  programs += ['.venv/bin/python', '.venv/bin/pip']
  programs += [str(path.relative_to(ROOT)) for path in (ROOT / 'experiments').glob('*.sh')]
  for name in programs:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(shim)
    (folder / name).chmod(0o700)
  done = subprocess.run(
    ['/bin/bash', '-euc', text],
    cwd=folder,
    env={'HOME': str(folder), 'PATH': str(folder / 'bin')},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, f'{text}\n{done.stderr}'
  calls = [call.split('\n') for call in record.read_text().split('\n\n')[:-1]]
  assert calls, f'{text}\ncalls nothing'
  return [[os.path.relpath(first, folder), *rest] for first, *rest in calls]


def _check_pip(arguments):
  """That a call of pip installs what is there to be installed."""
  extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())
  extras = extras['tool']['setuptools']['dynamic']['optional-dependencies']
  verb, *rest = arguments
  assert verb == 'install'
  for word in rest:
    if match := re.fullmatch(r'\.(?:\[(.*)\])?', word):
      assert set(filter(None, (match[1] or '').split(','))) <= set(extras), word
    elif word not in ('-e', '-q', '--no-deps'):
      Requirement(word)


def _with_flags(calls):
  """Of calls, those of this repository's commands; the others are looked at here."""
  ci = (ROOT / '.ci' / 'run').read_text()
  for program, *arguments in calls:
    name = program.rpartition('/')[2]
    if name == 'gan2shape-jax':
      yield [name, *arguments]
    elif name == 'pip':
      _check_pip(arguments)
    elif name == 'mkdocs':
      assert arguments == ['serve']
    elif program.endswith('.sh'):
      assert len(arguments) == 1, f'{program}: expected a folder'
    elif arguments[:2] == ['-m', 'venv']:
      assert arguments[2:] == ['.venv']
    elif arguments[:2] == ['-m', 'pytest']:
      assert f'python {shlex.join(arguments)} ' in ci
    else:
      assert arguments[0] == '-m' or (ROOT / arguments[0]).is_file(), arguments
      yield arguments


def _failures(commands):
  done = subprocess.run(
    [sys.executable, '-m', 'tests.support.command_lines'],
    cwd=ROOT,
    env=command.environment(),
    input=json.dumps(commands),
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return [
    f'{shlex.join(c)}\n{f}' for c, f in zip(commands, json.loads(done.stdout), strict=True) if f
  ]


def test_commands_are_understood(tmp_path):
  texts = [block.text for block in _blocks('bash') if not block.reason]
  texts += [text for page in PAGES for text in documented.quoted_commands(page)]
  calls = [call for text in texts for call in _calls(text, tmp_path)]
  commands = [list(call) for call in sorted({tuple(call) for call in _with_flags(calls)})]
  assert len(commands) > 20
  assert not _failures(commands)


def test_commands_that_are_not_understood_are_told():
  wrong = [
    ['experiments/run.py', '--config.data.number=1'],
    ['experiments/run.py', '--config=configs/heads.py:none'],
    ['experiments/run.py', '--config.stages.count=0'],
    ['experiments/run.py', 'photo.png'],
    ['experiments/sample.py', '--number=3'],
    ['gan2shape-jax', 'walk'],
    ['-m', 'benchmarks.scaling', '--stride=2'],
    ['experiments/convert_weights.py', '--kind=none', 'a', 'b'],
  ]
  right = [['experiments/run.py', '--config.data.num=1'], ['gan2shape-jax', 'run']]
  assert len(_failures(wrong)) == len(wrong)
  assert not _failures(right)


def _is_setting(name, config):
  """Whether a dotted name, perhaps with * in it, is a setting or a section of a configuration."""
  first, _, rest = name.partition('.')
  found = fnmatch.filter(config, first)
  if not rest:
    return bool(found)
  return any(hasattr(config[key], 'keys') and _is_setting(rest, config[key]) for key in found)


def _is_function(name):
  """Whether a dotted name is that of something in a package here."""
  package, _, inner = name.partition('.')
  modules = {'renderer': renderer, 'data': gan2shape_jax.api.calls.data}
  return hasattr(modules.get(package), inner)


@pytest.mark.parametrize('page', PAGES, ids=_NAMES)
def test_settings_that_are_named_exist(page):
  config = presets.get_config('heads').to_dict()
  named = re.findall(r'--config\.([\w.]*\w)', page.read_text(encoding='utf-8'))
  for text in documented.quoted(page):
    match = re.fullmatch(r'(?:config\.)?(\w+\.[\w.*]+)(?:=.*)?', text)
    if not match or match[1].endswith(_FILES) or _is_function(match[1]):
      continue
    if match[1].partition('.')[0] in config:
      named.append(match[1])
  unknown = [name for name in named if not _is_setting(name, config)]
  assert not unknown


@pytest.mark.parametrize(
  ('name', 'values'),
  [
    ('renderer', {'size': 24, 'pictures': 2, 'iterations': 12}),
    ('tutorial', {'picture': str(_PHOTO), 'settings': _TINY, 'results': 'saved'}),
  ],
)
def test_notebooks_run(name, values, tmp_path, monkeypatch):
  import nbclient
  import nbformat

  for variable in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_CONFIG_DIR'):
    monkeypatch.setenv(variable, str(tmp_path / variable))
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  # Programs that were compiled above are read.
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
  book = nbformat.read(ROOT / 'docs' / 'notebooks' / f'{name}.ipynb', as_version=4)
  (k,) = [k for k, cell in enumerate(book.cells) if 'parameters' in cell.metadata.get('tags', ())]
  defaults = {}
  exec(book.cells[k].source, defaults)
  assert set(values) <= set(defaults)
  lines = [f'{key} = {value!r}' for key, value in values.items()]
  book.cells.insert(k + 1, nbformat.v4.new_code_cell('\n'.join(lines)))
  work = tmp_path / 'work'
  work.mkdir()
  nbclient.NotebookClient(book, timeout=300, resources={'metadata': {'path': str(work)}}).execute()


@pytest.mark.parametrize('name', ['renderer', 'tutorial'])
def test_notebooks_are_small(name):
  path = ROOT / 'docs' / 'notebooks' / f'{name}.ipynb'
  assert path.stat().st_size < 300_000
  book = json.loads(path.read_text(encoding='utf-8'))
  outputs = [output for cell in book['cells'] for output in cell.get('outputs', [])]
  assert not [output for output in outputs if output['output_type'] == 'error']
  assert not re.search('/(root|home|tmp)/', path.read_text(encoding='utf-8'))
