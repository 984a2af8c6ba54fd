"""Bad input ends in one line that names it and says what was expected; nothing is half-written."""

import functools
import pathlib
import pickle
import sys
from operator import getitem

import numpy as np
import pytest
from PIL import Image

from configs import heads
from gan2shape_jax.data import embedded_path
from gan2shape_jax.errors import DataError, SettingsError, WeightsError
from gan2shape_jax.pipeline import collection
from gan2shape_jax.pipeline.config_checks import check_config
from gan2shape_jax.weights import load_safetensors, save_safetensors
from tests.support import command

HEADS = embedded_path('heads')


def refused(result, *expected, alone=True):
  """Checks that a call ended in one line with all the words, and returns the line."""
  assert result.returncode not in (0, None)
  assert result.returncode > 0, 'killed'
  assert 'Traceback' not in result.stderr
  lines = result.stderr.strip().splitlines()
  assert len(lines) == 1 or not alone, result.stderr
  assert lines[-1].startswith('error: ')
  for words in expected:
    assert str(words) in lines[-1], lines[-1]
  return lines[-1]


def files_in(folder):
  return [path for path in pathlib.Path(folder).rglob('*') if path.is_file()]


# Flags: no JAX is loaded, so calling is cheap.


@pytest.mark.parametrize(
  ('flag', 'expected'),
  [
    ('--config.nonsense=1', ('--config.nonsense=1', "no setting 'nonsense'")),
    ('--config.sampling.nonsense=1', ('--config.sampling.nonsense=1', "no setting 'nonsense'")),
    (
      f'--config={command.ROOT}/configs/heads.py:nonsense',
      ('nonsense', 'expected networks or pub'),
    ),
    ('--config=heads:nonsense', ("unknown variant 'nonsense' of the preset heads",)),
    ('--config=configs/nowhere.py', ('configs/nowhere.py', 'No such file')),
    ('--config.seed=many', ('--config.seed=many', 'int')),
    ('--nonsense=1', ('nonsense',)),
    ('nonsense', ("'nonsense'", '--config.NAME=VALUE')),
  ],
)
def test_flags(tmp_path, flag, expected):
  refused(command.call(f'--workdir={tmp_path / "run"}', flag), *expected)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('import nowhere_at_all', 'nowhere_at_all'),
    ('def get_config(:', 'SyntaxError'),
    ('x = 1', 'get_config'),
  ],
)
def test_configuration_files(tmp_path, text, expected):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  refused(command.call(f'--config={path}'), path, expected)


def test_help_names_the_flags():
  result = command.call('--help')
  for words in ('--config', '--workdir', 'experiments/run.py', '--config.SECTION.NAME=VALUE'):
    assert words in result.stdout
  assert '--workdir' in command.call('--helpfull').stdout


# One call for each kind of error that the command knows.


def test_missing_picture(tmp_path):
  missing = tmp_path / 'nobody.png'
  result = command.call(f'--workdir={tmp_path / "run"}', f'--config.data.images={missing}')
  refused(result, missing, 'expected pictures')
  assert not list(tmp_path.iterdir())


def test_size_that_is_no_power_of_two(tmp_path):
  result = command.call(f'--workdir={tmp_path / "run"}', '--config.image_size=96')
  refused(result, 'image_size=96', 'power of two')
  assert not list(tmp_path.iterdir())


def test_text_instead_of_weights(tmp_path):
  path = tmp_path / 'gan.pt'
  path.write_text('these are no weights\n' * 9)
  workdir = tmp_path / 'run'
  refused(command.call(f'--workdir={workdir}', f'--config.gan.weights={path}'), path, 'expected')
  assert not files_in(workdir)


def test_workdir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  workdir = tmp_path / 'file' / 'run'
  refused(command.call(f'--workdir={workdir}'), workdir, 'cannot write')


def test_workdir_of_another_run(tmp_path):
  config = heads.get_config()
  config.seed = 7
  config.checkpoint.every = 17  # may differ
  (tmp_path / 'config.json').write_text(config.to_json_best_effort())
  line = refused(
    command.call(f'--workdir={tmp_path}'), tmp_path / 'config.json', 'seed 7', '0 here'
  )
  assert 'every' not in line
  assert files_in(tmp_path) == [tmp_path / 'config.json']


# A loss that explodes and a disk that is full: the same programs, compiled once.

_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope='module')
def exploding(tmp_path_factory):
  return (
    *command.TINY,
    '--config.fit.factors=networks',
    '--config.optimizer.learning_rate=1e30',
    f'--compilation_cache={tmp_path_factory.mktemp("cache")}',
  )


def test_loss_that_is_no_number(tmp_path, exploding):
  result = command.call(*exploding, f'--workdir={tmp_path}')
  line = refused(result, HEADS / 'image' / '000.png', 'prior fit', 'not finite', alone=False)
  assert 'learning_rate' in line
  assert not (tmp_path / '000' / 'factors.npz').exists()


def test_full_disk(tmp_path, exploding):
  limited = (sys.executable, '-c', _LIMITED)
  result = command.call(*exploding, f'--workdir={tmp_path}', prefix=limited)
  refused(result, tmp_path / '000' / 'checkpoints', 'cannot save', alone=False)
  assert not list((tmp_path / '000' / 'checkpoints' / 'steps').glob('[0-9]'))
  assert not list(tmp_path.rglob('.partial-*'))


# What the command prints is the error's text: the others are asked for in this process.


def settings(**changes):
  config = heads.get_config()
  config.networks.pretrained = ''
  for name, value in changes.items():
    section, _, name = name.rpartition('__')
    (functools.reduce(getitem, section.split('__'), config) if section else config)[name] = value
  return config


def line_of(error, config, workdir):
  with pytest.raises(error) as caught:
    collection.reconstruct_all(config, workdir)
  assert len(str(caught.value).splitlines()) == 1
  assert not files_in(workdir) if workdir.exists() else True
  return str(caught.value)


def test_truncated_picture(tmp_path):
  path = tmp_path / 'in' / '000.png'
  path.parent.mkdir()
  path.write_bytes((HEADS / 'image' / '000.png').read_bytes()[:2000])
  line = line_of(DataError, settings(data__images=str(path.parent)), tmp_path / 'run')
  assert line.startswith(f'{path}: expected a complete picture')


def test_damaged_picture_after_good_ones(tmp_path):
  folder = tmp_path / 'in'
  folder.mkdir()
  whole = (HEADS / 'image' / '000.png').read_bytes()
  (folder / 'a.png').write_bytes(whole)
  (folder / 'b.png').write_bytes(whole[:2000])
  line = line_of(DataError, settings(data__images=str(folder)), tmp_path / 'run')
  assert line.startswith(f'{folder / "b.png"}: ')


def test_empty_folder(tmp_path):
  (tmp_path / 'in').mkdir()
  line = line_of(DataError, settings(data__images=str(tmp_path / 'in')), tmp_path / 'run')
  assert line == f'{tmp_path / "in"}: expected pictures in this folder, there are none'


def test_weights_whose_widths_do_not_fit(tmp_path):
  params = load_safetensors(HEADS / 'stylegan2.safetensors')
  bias = params['generator']['block8']['conv']['bias']
  params['generator']['block8']['conv']['bias'] = np.concatenate([bias, bias])
  path = tmp_path / 'gan.safetensors'
  save_safetensors(path, params)
  line = line_of(WeightsError, settings(gan__weights=str(path)), tmp_path / 'run')
  assert str(path) in line
  assert f'block8/conv/bias {2 * bias.size} instead of {bias.size}' in line


class _RunsCode:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_weights_that_would_run_code(tmp_path):
  path, mark = tmp_path / 'gan.pt', tmp_path / 'it-ran'
  path.write_bytes(pickle.dumps({'g_ema': {'weight': _RunsCode(mark)}}))
  line = line_of(WeightsError, settings(gan__weights=str(path)), tmp_path / 'run')
  assert str(path) in line
  assert not mark.exists()


def test_damaged_record_of_a_run(tmp_path):
  (tmp_path / 'config.json').write_text('{"seed": 0')
  with pytest.raises(OSError, match='expected JSON') as caught:
    collection.reconstruct_all(settings(), tmp_path)
  assert str(tmp_path / 'config.json') in str(caught.value)


@pytest.mark.parametrize(
  ('change', 'expected'),
  [
    ({'image_size': 32}, 'image_size=32: expected a power of two of at least 64'),
    ({'image_size': 0}, 'image_size=0: '),
    ({'loss__perceptual': 'vgg'}, "loss.perceptual='vgg': expected one of lpips, discriminator"),
    ({'prior__shape': 'cube'}, "prior.shape='cube': expected one of ellipsoid"),
    ({'inversion__space': 'z'}, "inversion.space='z': expected one of w, w+"),
    ({'checkpoint__every': 0}, 'checkpoint.every=0: expected at least 1'),
    ({'stages__count': 0}, 'stages.count=0: expected at least 1'),
    ({'prior__iterations': -1}, 'prior.iterations=-1: expected at least 0'),
    ({'sampling__random_light__x': (3.0,)}, 'sampling.random_light.x=(3.0,): expected the lowest'),
    ({'networks__group_norm_base': 5}, 'networks.width='),
    ({'fit__box': (0.1, 0.9, 0.2)}, 'fit.box=(0.1, 0.9, 0.2): expected none or 4 numbers'),
    ({'fit__factors': 'voxels'}, "fit.factors='voxels': expected one of networks, direct"),
    ({'fit__finish': -1}, 'fit.finish=-1: expected at least 0'),
    ({'fit__hold_views': 1.0}, 'fit.hold_views=1.0: expected a part of 1'),
    ({'sampling__lights': 'lamp'}, "sampling.lights='lamp': expected one of range, prior"),
    (
      {'projection__refine_iterations': -1},
      'projection.refine_iterations=-1: expected at least 0',
    ),
  ],
)
def test_settings_that_no_run_can_have(change, expected):
  with pytest.raises(SettingsError) as caught:
    check_config(settings(**change))
  assert str(caught.value).startswith(expected)


def test_shipped_settings_are_accepted():
  for variant in ('', 'published'):
    check_config(heads.get_config(variant))


def test_pictures_with_latents_of_another_gan(tmp_path):
  """Needs the GAN, so it is the one test here that compiles something."""
  folder = tmp_path / 'in'
  folder.mkdir()
  Image.new('RGB', (64, 64), 'gray').save(folder / 'a.png')
  np.save(folder / 'a.npy', np.zeros(7, np.float32))
  config = settings(data__images=str(folder), data__latents=str(folder))
  line = line_of(DataError, config, tmp_path / 'run')
  assert line.startswith(f'{folder / "a.png"}: expected a latent [')
  assert line.endswith('the one given is [7]')
