"""What import-linter cannot say: who reads flags, and that configurations stand alone."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LIBRARY = sorted((ROOT / 'gan2shape_jax').rglob('*.py'))
RENDERER = sorted((ROOT / 'gan2shape_jax' / 'renderer').glob('*.py'))
ALGORITHM = sorted((ROOT / 'gan2shape_jax' / 'reconstruction').glob('*.py'))
COMMANDS = ROOT / 'gan2shape_jax' / 'cli'
PRESETS = sorted((ROOT / 'gan2shape_jax' / 'presets').glob('[a-z]*.py'))
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))


def imported(path):
  """Full names of the modules (and of what is taken from them) that a file imports."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: a relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def outside(names, *allowed):
  return {n for n in names if not any(n == a or n.startswith(f'{a}.') for a in allowed)}


def test_there_are_files_to_look_at():
  assert len(LIBRARY) > 40
  assert len(RENDERER) > 3
  assert [path.name for path in CONFIGS] == [path.name for path in PRESETS]
  assert list(COMMANDS.glob('*.py'))


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_reads_no_flags_but_in_its_commands(path):
  flags = {
    name
    for name in imported(path)
    if name.startswith(('absl.flags', 'absl.app', 'argparse', 'ml_collections.config_flags'))
  }
  assert not flags or path.parent == COMMANDS


@pytest.mark.parametrize('path', RENDERER, ids=lambda path: path.name)
def test_the_renderer_needs_only_jax_and_numpy(path):
  standard = ('collections', 'dataclasses', 'functools', 'math', 'typing')
  assert not outside(imported(path), 'jax', 'numpy', 'gan2shape_jax.renderer', *standard)


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.name)
def test_presets_import_only_the_defaults(path):
  standard = ('collections', 'math', 'typing')
  allowed = ('gan2shape_jax.config', 'gan2shape_jax.presets', 'ml_collections', *standard)
  assert not outside(imported(path), *allowed)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.name)
def test_configuration_files_are_the_presets(path):
  assert imported(path) == {f'gan2shape_jax.presets.{path.stem}.get_config'}


def test_torch_is_not_needed_anywhere():
  files = [*LIBRARY, *(ROOT / 'experiments').glob('*.py'), *CONFIGS]
  assert not {path for path in files if outside(imported(path)) & {'torch', 'torchvision'}}


@pytest.mark.parametrize('path', ALGORITHM, ids=lambda path: path.name)
def test_no_function_of_the_algorithm_takes_more_than_seven_arguments(path):
  functions = (ast.FunctionDef, ast.Lambda)
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, functions):
      given = node.args
      named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
      count = len([name for name in named if name.arg not in ('self', 'cls')])
      count += sum(rest is not None for rest in (given.vararg, given.kwarg))
      assert count <= 7, f'{path}:{node.lineno}: {getattr(node, "name", "lambda")}: {count}'


@pytest.mark.parametrize('path', LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_private_is_used_by_its_own_class_alone(path):
  tree = ast.parse(path.read_text(encoding='utf-8'))
  private = lambda name: name.startswith('_') and not name.endswith('_') and name != '_'
  own = set()  # names that this module gives
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      own.add(node.name)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
      own.add(node.attr)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      own.add(node.id)
    elif isinstance(node, ast.Constant):  # set by its name
      own.add(node.value)
  used = {n.attr: n.lineno for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
  own |= {'_replace', '_fields', '_asdict', '_exit'}  # public, of named tuples and of `os`
  foreign = {name: line for name, line in used.items() if private(name) and name not in own}
  assert not foreign, f'{path}: {foreign}'
