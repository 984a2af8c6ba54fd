"""Latents of own pictures: found once, kept for what they were found for, shown, warned of."""

import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError, Preempted
from gan2shape_jax.models.lpips import CONVS_PER_LEVEL
from gan2shape_jax.pipeline.frozen_weights import load_frozen
from gan2shape_jax.pipeline.picture_latents import Found, LatentFinder
from gan2shape_jax.pipeline.preparation import Preparation, prepare
from gan2shape_jax.pipeline.sources import draw_samples
from gan2shape_jax.reconstruction import domain
from gan2shape_jax.reconstruction.state import Settings
from gan2shape_jax.runtime.progress import Progress
from gan2shape_jax.storage.checkpoints import Checkpoints
from tests.conftest import TESTDATA
from tests.support import command

SIZE = 64


@pytest.fixture(scope='module')
def config(request):
  """A tiny GAN of 32 px, and few iterations."""
  config = get_default_config()
  path = TESTDATA / 'golden' / 'a_stylegan2_32.pt'
  config.gan.weights = str(path)
  config.loss.discriminator_features = 3
  config.inversion.iterations = 2
  return config


@pytest.fixture(scope='module', autouse=True)
def _few_own_images():
  """What the GAN's own images look like is learnt from few of them, and once for each GAN."""
  whole, known = domain.own_domain, {}

  def few(frozen, settings, size):
    key = id(frozen.generator)
    if key not in known:
      known[key] = frozen, whole(frozen, settings, size, count=64)
    return known[key][1]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(domain, 'own_domain', few)
    yield


@pytest.fixture(scope='module')
def frozen(config):
  return load_frozen(config)


@pytest.fixture(scope='module')
def own(frozen):
  """An image of the GAN itself, as a picture without a latent."""
  return picture_of(draw_samples(frozen, Settings(), SIZE, [3]).images[0])


def picture_of(image, name='me'):
  path = command.ROOT / f'{name}.png'  # for messages only
  return data.Picture(name, np.asarray(image), None, None, None, None, path)


def find(config, frozen, picture, folder, capsys, **options):
  """A new finder, as in a new process -> what was found, what was printed."""
  capsys.readouterr()
  progress = Progress(1, label=picture.name)
  found = LatentFinder(config, frozen, **options).find(picture, folder, progress)
  return found, capsys.readouterr().err


def changed(config, **settings):
  config = config.copy_and_resolve_references()
  config.inversion.update(settings)
  return config


def test_a_latent_is_found_once(config, frozen, own, tmp_path, capsys):
  found, printed = find(config, frozen, own, tmp_path, capsys)
  assert 'compiling inversion' in printed
  assert not found.changed
  assert found.latent.shape == frozen.mean_latent.shape
  assert {path.name for path in tmp_path.iterdir()} == {'latent.npz', 'inversion.png'}
  written = (tmp_path / 'latent.npz').stat().st_mtime_ns
  (tmp_path / 'inversion.png').unlink()
  again, printed = find(config, frozen, own, tmp_path, capsys)
  assert 'inver' not in printed
  assert again.metrics == found.metrics
  np.testing.assert_array_equal(again.latent, found.latent)
  assert (tmp_path / 'latent.npz').stat().st_mtime_ns == written
  with Image.open(tmp_path / 'inversion.png') as sheet:
    assert sheet.width > 3 * 192


def test_what_it_was_found_for_is_looked_at(config, frozen, own, tmp_path, capsys):
  find(config, frozen, own, tmp_path, capsys)

  def finds_anew(reason, config=config, frozen=frozen, picture=own):
    found, printed = find(config, frozen, picture, tmp_path, capsys)
    assert f'latent.npz was found for {reason}: inverting again' in printed
    assert found.changed
    assert 'again' not in find(config, frozen, picture, tmp_path, capsys)[1]

  # LPIPS has no weight here, so its setting does not matter.
  _, printed = find(changed(config, lam_perceptual=0.1), frozen, own, tmp_path, capsys)
  assert 'again' not in printed
  finds_anew('inversion.iterations 2 (now 3)', config=changed(config, iterations=3))
  picture = own._replace(image=own.image[:, ::-1])
  finds_anew('another picture, inversion.iterations 3 (now 2)', picture=picture)
  generator = frozen.generator | {'constant': frozen.generator['constant'] * 1.01}
  finds_anew('another GAN', frozen=frozen._replace(generator=generator), picture=picture)


def test_files_without_a_record_and_damaged_ones(config, frozen, own, tmp_path, capsys):
  found, _ = find(config, frozen, own, tmp_path, capsys)
  path = tmp_path / 'latent.npz'
  np.savez(path, latent=found.latent, image_l1=np.float32(0.1))
  again, printed = find(config, frozen, own, tmp_path, capsys)
  assert 'found for something it does not tell: inverting again' in printed
  assert again.metrics == found.metrics
  with np.load(path) as kept:
    assert json.loads(str(kept['record']))['settings']['inversion.iterations'] == 2
  path.write_text('no archive')
  with pytest.raises(DataError, match=r'latent.npz: expected an .npz archive'):
    find(config, frozen, own, tmp_path, capsys)


def test_given_latents_are_taken_and_stopping_writes_nothing(config, frozen, own, tmp_path, capsys):
  given, printed = find(config, frozen, own._replace(latent=np.ones(3)), tmp_path, capsys)
  assert given == Found(given.latent, {})
  assert not printed
  with pytest.raises(Preempted, match='stopped during inversion'):
    find(config, frozen, own, tmp_path, capsys, stop=lambda: True)
  assert not list(tmp_path.iterdir())


def test_lpips_counts_where_it_is_configured(config, frozen, own, tmp_path, capsys):
  key, width, vgg = jax.random.key(0), 3, {}
  for k in range(sum(CONVS_PER_LEVEL)):
    kernel = jax.random.normal(jax.random.fold_in(key, k), (3, 3, width, 4)) / 4
    vgg[f'conv_{k}'] = {'kernel': kernel, 'bias': jnp.zeros(4)}
    width = 4
  vgg |= {f'head_{k}': {'weight': jnp.ones(4)} for k in range(len(CONVS_PER_LEVEL))}
  plain, _ = find(config, frozen, own, tmp_path, capsys)
  config = changed(config, lam_perceptual=5.0)
  config.loss.perceptual = 'lpips'
  frozen = frozen._replace(perceptual=vgg)
  found, printed = find(config, frozen, own, tmp_path, capsys)
  assert 'another GAN' in printed  # its weights, VGG16's among them
  assert np.abs(found.latent - plain.latent).max() > 0.01
  assert np.isfinite(found.latent).all()


def test_pictures_unlike_the_gans_own_are_told(config, frozen, tmp_path, capsys):
  noise = np.random.default_rng(0).uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)
  found, printed = find(config, frozen, picture_of(noise), tmp_path, capsys)
  assert found.metrics['gan_distance'] > 1
  assert 'warning: ' in printed
  assert 'me.png is unlike what this GAN makes' in printed
  drawn = draw_samples(frozen, Settings(), SIZE, range(40, 72)).images
  distances = domain.domain_distance(domain.own_domain(frozen, Settings(), SIZE), frozen, drawn)
  assert np.median(distances) < 1
  assert np.mean(distances > 1) < 0.1


def test_another_latent_begins_the_fit_again(tmp_path):
  """Checkpoints of a fit to the latent before are of no use."""
  checkpoints = Checkpoints(tmp_path / 'me' / 'checkpoints')
  checkpoints.save(2, {'x': np.zeros(3)})
  picture = picture_of(np.zeros((SIZE, SIZE, 3), np.float32))
  picture = picture._replace(mask=np.ones((SIZE, SIZE, 1), np.float32))
  plan = SimpleNamespace(total=lambda: 1, prior_iterations=0)
  config = get_default_config()
  for changed, newest in ((False, 2), (True, None)):
    found = Found(np.zeros(4, np.float32), {}, changed)
    preparation = Preparation(
      config,
      tmp_path,
      [picture],
      SimpleNamespace(plan=plan, frozen=None),
      SimpleNamespace(find=lambda *_, found=found: found),
      lambda picture: (picture.mask, 'given'),
    )
    assert prepare(preparation, 0).checkpoints.latest() == newest


def test_the_command(tmp_path):
  """A head and a checkerboard through the embedded GAN; the same command finds nothing to do."""
  photos = tmp_path / 'photos'
  photos.mkdir()
  content = (data.embedded_path('heads') / 'image' / '002.png').read_bytes()
  (photos / 'head.png').write_bytes(content)
  board = (np.indices((80, 80)) // 10).sum(0) % 2 * 255
  Image.fromarray(board.astype(np.uint8)).save(photos / 'board.png')
  workdir = tmp_path / 'found'

  def call():
    arguments = (
      f'--config.data.images={photos}',
      f'--workdir={workdir}',
      '--config.inversion.iterations=2',
    )
    return subprocess.run(
      [sys.executable, str(command.ROOT / 'experiments' / 'invert.py'), *arguments],
      env=command.environment(),
      capture_output=True,
      text=True,
      timeout=300,
    )

  first = call()
  assert first.returncode == 0, first.stderr
  assert 'board.png is unlike what this GAN makes' in first.stderr
  assert 'head.png is unlike' not in first.stderr
  assert 'inversion_l1  gan_distance' in first.stdout
  arrays = data.errors.read_arrays(workdir / 'latents.npz', ('w', 'names', 'gan_distance'))
  assert arrays['names'].tolist() == ['board', 'head']
  assert arrays['w'].shape == (2, 256)
  board, head = arrays['gan_distance']
  assert head < 1.1
  assert board > 2
  assert {path.name for path in workdir.iterdir()} == {'board', 'head', 'latents.npz'}
  assert (workdir / 'head' / 'inversion.png').is_file()
  second = call()
  assert second.returncode == 0, second.stderr
  assert 'compiling' not in second.stderr
  assert second.stdout == first.stdout
  again = data.errors.read_arrays(workdir / 'latents.npz', ('w',))
  np.testing.assert_array_equal(again['w'], arrays['w'])
