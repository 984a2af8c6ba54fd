"""An installed wheel in an empty folder: README's lines of Python, and the console command."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from gan2shape_jax.data import embedded_path
from tests.support import command

# README's heads, as small as can be, with one stage and without what `save` would draw.
SETTINGS = command.settings() | {
  'stages.count': 1,
  'fit.finish': 1,
  'projection.refine_iterations': 0,
  'inversion.iterations': 2,
  'results.sheets': False,
  'results.videos': False,
  'results.mesh': False,
}
FLAGS = [f'--config.{name}={value}' for name, value in SETTINGS.items()]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """A folder into which the wheel is installed."""
  source, built, site = (tmp_path_factory.mktemp(name) for name in ('source', 'built', 'site'))
  for name in ('LICENSE', 'README.md', 'pyproject.toml'):
    shutil.copy(command.ROOT / name, source)
  for path in command.ROOT.glob('requirements*.txt'):
    shutil.copy(path, source)
  ignored = shutil.ignore_patterns('__pycache__')
  shutil.copytree(command.ROOT / 'gan2shape_jax', source / 'gan2shape_jax', ignore=ignored)
  pip = (sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check')
  # Built by the environment's own setuptools, so that the test needs no network.
  build = (*pip, 'wheel', '--no-deps', '--no-build-isolation', f'--wheel-dir={built}', str(source))
  subprocess.run(build, check=True, timeout=300)
  (wheel,) = built.glob('*.whl')
  install = (*pip, 'install', '--no-deps', f'--target={site}', str(wheel))
  subprocess.run(install, check=True, timeout=300)
  return site


@pytest.fixture
def call(site, tmp_path):
  """Calls a program in an empty folder, with the wheel's package."""

  def run(*arguments):
    return subprocess.run(
      [sys.executable, *map(str, arguments)],
      cwd=tmp_path,
      env=command.environment() | {'PYTHONPATH': str(site)},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=600,
    )

  return run


def readme_lines() -> str:
  """The lines of Python in README's section of that name."""
  section = (command.ROOT / 'README.md').read_text(encoding='utf-8').split('## From Python\n')[1]
  return re.search(r'```python\n(.*?)```', section, re.DOTALL)[1]


def test_a_wheel_has_what_it_needs(site):
  folder = site / 'gan2shape_jax'
  for name in ('presets/heads.py', 'embedded/heads/stylegan2.safetensors', 'artefacts/page.html'):
    assert (folder / name).is_file(), name
  assert not (site / 'configs').exists()


def test_lines_of_readme_equal_the_command_to_the_bit(site, call, tmp_path):
  shutil.copy(embedded_path('heads') / 'image' / '001.png', tmp_path / 'photo.png')
  assert len([line for line in readme_lines().splitlines() if line]) <= 5
  lines = readme_lines().replace("load('heads')", f"load('heads', {SETTINGS!r})")
  assert repr(SETTINGS) in lines
  (tmp_path / 'lines.py').write_text(f'{lines}print(gan2shape_jax.__file__)\n')
  result = call('lines.py')
  assert result.returncode == 0, result.stderr
  assert result.stderr == ''
  assert result.stdout == f'{site / "gan2shape_jax" / "__init__.py"}\n'
  assert {path.name for path in tmp_path.iterdir()} == {'lines.py', 'photo', 'photo.png'}
  photo, workdir = tmp_path / 'photo.png', tmp_path / 'run'
  result = command.call(*FLAGS, f'--config.data.images={photo}', f'--workdir={workdir}')
  assert result.returncode == 0, result.stderr
  ours, theirs = command.arrays_of(tmp_path, 'photo'), command.arrays_of(workdir, 'photo')
  assert set(ours) == set(theirs)
  for name, array in ours.items():
    assert array.tobytes() == theirs[name].tobytes(), name
  names = [
    {path.name for path in folder.iterdir()} for folder in (workdir / 'photo', tmp_path / 'photo')
  ]
  assert names[0] == names[1]


def test_the_console_command(site, call, tmp_path):
  script = site / 'bin' / 'gan2shape-jax'
  assert os.access(script, os.X_OK)
  refused = call(script, 'run', '--config=heads:nonsense')
  assert refused.returncode == 2
  assert refused.stderr == (
    "error: --config=heads:nonsense: unknown variant 'nonsense' of the preset heads: expected "
    'networks or published\n'
  )
  assert call(script, 'walk').stderr == (
    "error: unknown command 'walk': expected one of run, predict (--help)\n"
  )
  for arguments in (('--help',), ('run', '--help')):
    help_text = call(script, *arguments)
    assert help_text.returncode == 0
    for words in ('gan2shape-jax run', '--config.SECTION.NAME=VALUE', '--workdir', 'lsun_cat'):
      assert words in help_text.stdout
  nothing_drawn = [flag for flag in FLAGS if 'results.' in flag]
  done = call(script, 'predict', '--config.data.num=1', '--workdir=out', *nothing_drawn)
  assert done.returncode == 0, done.stderr
  assert 'milliseconds' in done.stdout
  assert (tmp_path / 'out' / '000' / 'factors.npz').is_file()
