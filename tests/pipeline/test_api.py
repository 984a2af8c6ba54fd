"""The package from Python: what is loaded, refused, made, and written only when asked for."""

import json
import logging
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import gan2shape_jax
from gan2shape_jax import data, presets
from gan2shape_jax.data import embedded_path, given_picture
from gan2shape_jax.pipeline import collection
from gan2shape_jax.reconstruction import domain
from tests.conftest import TESTDATA
from tests.support import command

HEAD = embedded_path('heads') / 'image' / '001.png'
DATA = presets.get_config('heads').data

# Networks and lengths as small as can be, and a GAN of 32 px. Steps 2 and 3, which take the longest
# to compile, are left to tests/commands/test_wheel.py.
SMALL = {
  'gan.weights': str(TESTDATA / 'golden/a_stylegan2_32.pt'),
  'loss.discriminator_features': 3,
  'networks.pretrained': '',
  'networks.width': 4,
  'networks.encoder_width': 4,
  'networks.bottleneck': 8,
  'fit.factors': 'networks',
  'sampling.batch_size': 2,
  'sampling.collect_iters': 1,
  'projection.refine_iterations': 0,
  'inversion.iterations': 2,
  'prior.iterations': 2,
  'stages.count': 1,
  'stages.first.step1': 2,
  'stages.first.step2': 0,
  'stages.first.step3': 0,
  'results.videos': False,
}
TOTAL = 2 + 2


@pytest.fixture(scope='module')
def model():
  whole, known = domain.own_domain, {}

  def few(frozen, settings, size):
    """What the GAN's own images look like, learnt from few of them and once."""
    if 'domain' not in known:
      known['domain'] = whole(frozen, settings, size, count=64)
    return known['domain']

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(domain, 'own_domain', few)
    yield gan2shape_jax.load('heads', SMALL)


@pytest.fixture
def quiet(tmp_path, monkeypatch, capfd):
  """Afterwards: nothing was printed, and no file lies in the current folder."""
  folder = tmp_path / 'empty'
  folder.mkdir()
  monkeypatch.chdir(folder)
  capfd.readouterr()
  yield
  assert capfd.readouterr() == ('', '')
  assert not list(folder.iterdir())


# Importing.


def loaded_by(code):
  """Names of the modules that a new process has after running some code, and what it printed."""
  code = f'import time\nbegin = time.perf_counter()\n{code}\nprint(time.perf_counter() - begin)\n'
  code += 'import sys\nprint(*sys.modules)'
  environment = os.environ | {'PYTHONPATH': str(command.ROOT)}
  printed = subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
  ).stdout.splitlines()
  return {name.partition('.')[0] for name in printed[-1].split()}, printed[:-1]


def test_the_package_alone_loads_next_to_nothing():
  names, (seconds,) = loaded_by('import gan2shape_jax')
  assert not names & {'jax', 'flax', 'optax', 'numpy', 'ml_collections', 'absl'}
  assert float(seconds) < 0.2


def test_the_renderer_loads_jax_and_numpy_only():
  names, _ = loaded_by('from gan2shape_jax import renderer')
  assert {'jax', 'numpy'} <= names
  others = {'flax', 'optax', 'ml_collections', 'orbax', 'PIL', 'trimesh', 'imageio', 'absl', 'tqdm'}
  assert not names & others


def test_all_public_names_are_there():
  assert {'load', 'reconstruct', 'predict', 'invert', 'sample'} <= set(dir(gan2shape_jax))
  for name in gan2shape_jax.__all__:
    assert getattr(gan2shape_jax, name) is not None
  with pytest.raises(AttributeError, match='nonsense'):
    _ = gan2shape_jax.nonsense


# Loading.


@pytest.mark.parametrize(
  ('preset', 'overrides', 'expected'),
  [
    ('ears', {}, "unknown preset 'ears': expected one of celeba, heads, "),
    ('heads:nonsense', {}, "unknown variant 'nonsense' of the preset heads: expected networks or"),
    ('heads', {'nonsense': 1}, "nonsense=1: there is no setting 'nonsense'"),
    ('heads', {'seed.x': 1}, "seed.x=1: there is no setting 'seed.x'"),
    ('heads', {'stages.first': 1}, 'stages.first: this is a section, expected one of its settings'),
    ('heads', {'seed': 'many'}, "seed='many': expected int, this is str"),
    ('heads', {'image_size': 96}, 'image_size=96: expected a power of two'),
  ],
)
def test_settings_that_are_refused(preset, overrides, expected):
  with pytest.raises(gan2shape_jax.SettingsError) as caught:
    gan2shape_jax.load(preset, overrides)
  assert str(caught.value).startswith(expected)
  assert '\n' not in str(caught.value)


def test_missing_weights_are_named():
  with pytest.raises(gan2shape_jax.WeightsError, match=r'no such file: nowhere\.pt \(gan\.weights'):
    gan2shape_jax.load('heads', gan__weights='nowhere.pt')


def test_settings_by_dots_keywords_and_a_whole_configuration():
  own = presets.get_config('heads')
  own.update_from_flattened_dict(SMALL)
  before = own.to_json()
  model = gan2shape_jax.load(own, {'stages.count': 3}, seed=5, fit__lam_own=1)
  assert (model.config.stages.count, model.config.seed, model.config.fit.lam_own) == (3, 5, 1.0)
  assert own.to_json() == before
  assert model.size == 64
  with pytest.raises(AttributeError):
    model.config.nonsense = 1
  assert repr(model).endswith("a_stylegan2_32.pt', 64 px)")


# Pictures.


def test_a_picture_is_the_same_from_a_file_pil_and_bytes():
  with Image.open(HEAD) as file:
    small = file.convert('RGB')
  large = small.resize((100, 90), Image.Resampling.BICUBIC)
  for opened in (small, large):
    of_pil = given_picture(opened, 64, DATA)
    of_bytes = given_picture(np.asarray(opened), 64, DATA)
    np.testing.assert_array_equal(of_pil.image, of_bytes.image)
    np.testing.assert_array_equal(of_pil.photo(2048), of_bytes.photo(2048))
    of_floats = given_picture(np.asarray(opened) / 127.5 - 1, 64, DATA)
    np.testing.assert_allclose(of_floats.image, of_pil.image, atol=1e-5)
  of_file = given_picture(HEAD, 64, DATA)
  np.testing.assert_array_equal(of_file.image, given_picture(small, 64, DATA).image)
  assert (of_file.name, of_pil.name, of_file.path) == ('001', 'image', HEAD)
  exact = of_file.image
  assert given_picture(jax.numpy.asarray(exact), 64, DATA).image.tobytes() == exact.tobytes()


def test_masks_of_all_kinds():
  inside = np.zeros((64, 64), bool)
  inside[10:50, 20:40] = True
  masks = (inside, np.uint8(255) * inside, np.float64(inside), Image.fromarray(inside))
  for mask in (*masks, inside[..., None]):
    given = given_picture(HEAD, 64, DATA, mask=mask).mask
    np.testing.assert_array_equal(given, np.float32(inside)[..., None])


def test_embedded_pictures_come_with_what_is_known():
  picture = given_picture('embedded:heads/002', 64, DATA)
  assert picture.name == '002'
  assert all(x is not None for x in (picture.mask, picture.latent, picture.depth, picture.region))
  other = given_picture('embedded:heads/002', 64, DATA, latent=np.zeros(256))
  assert not other.latent.any()


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ({'image': 'nowhere.png'}, r'nowhere\.png: no such file, expected a picture'),
    ({'image': 'embedded:heads/9'}, r'embedded:heads/9: expected embedded:heads/NAME, NAME one of'),
    (
      {'image': np.zeros((3, 64, 64))},
      r'image: expected an array \[height, width\] or .* its shap',
    ),
    (
      {'image': np.zeros((64, 64, 3), int)},
      r'image: expected uint8 or floats in \[-1, 1\], .*int64',
    ),
    ({'image': np.full((64, 64, 3), 200.0)}, r'image: expected floats in \[-1, 1\], these are 200'),
    (
      {'image': np.full((64, 64, 3), np.nan)},
      r'image: expected floats in \[-1, 1\], these are nan',
    ),
    ({'image': np.zeros((4, 4, 3), np.uint8)}, 'image: expected a picture of at least 8x8 pixels'),
    ({'image': None}, 'image: expected a path, a PIL image or an array, this is NoneType'),
    ({'mask': np.zeros((64, 64, 3))}, r'mask: expected an array \[height, width\] or \[.*, 1\]'),
    ({'mask': np.zeros((64, 64), np.uint8)}, 'mask: expected a mask that is white on the object'),
    ({'latent': np.zeros((1, 2, 3))}, r'latent: expected finite floats \[w_dim\] or '),
  ],
)
def test_pictures_that_are_refused(given, expected):
  with pytest.raises(gan2shape_jax.DataError, match=expected) as caught:
    given_picture(size=64, config_data=DATA, **({'image': HEAD} | given))
  assert '\n' not in str(caught.value)


def test_floats_from_0_on_are_warned_of(caplog):
  given_picture(np.full((64, 64, 3), 0.3), 64, DATA)
  assert 'taken as -1 (black) to 1 (white)' in caplog.text


# Reconstruction, as a run has it.


@pytest.fixture(scope='module')
def shape_and_calls(model):
  calls = []
  shape = gan2shape_jax.reconstruct(HEAD, model, progress=lambda *given: calls.append(given))
  return shape, calls


@pytest.fixture(scope='module')
def run(model, tmp_path_factory):
  """The folder of the same picture in a run."""
  workdir = tmp_path_factory.mktemp('run')
  config = model.config_for('fit')
  config.data.images = str(HEAD)
  collection.reconstruct_all(config, workdir)
  return workdir


def test_a_reconstruction_equals_a_run_to_the_bit(shape_and_calls, run, tmp_path):
  shape, _ = shape_and_calls
  expected = command.arrays_of(run, '001')
  for name in set(expected) - {'camera', 'turned'}:
    assert getattr(shape, name).dtype == np.float32
    assert getattr(shape, name).tobytes() == expected[name].tobytes(), name
  assert shape.metrics == json.loads((run / '001' / 'metrics.json').read_text())
  folder = shape.save(tmp_path / 'saved')
  names = {path.name for path in folder.iterdir()}
  assert names == {path.name for path in (run / '001').iterdir()}
  written = command.arrays_of(tmp_path, 'saved')
  assert {k: v.tobytes() for k, v in written.items()} == {
    k: v.tobytes() for k, v in expected.items()
  }
  for name in ('metrics.json', 'latent.npz', 'inversion.png', 'sheet.png', 'mesh.obj'):
    assert (folder / name).read_bytes() == (run / '001' / name).read_bytes(), name
  assert shape.name == '001'
  assert repr(shape).startswith("Reconstruction('001', 64 px, image_l1=")


def test_progress_is_called_after_every_iteration(shape_and_calls):
  _, calls = shape_and_calls
  assert [call[:3] for call in calls[:2]] == [(1, 2, 'inversion'), (2, 2, 'inversion')]
  assert [call[:2] for call in calls[2:]] == [(k, TOTAL) for k in range(1, TOTAL + 1)]
  steps = [call[2] for call in calls[2:]]
  assert steps == ['stage 1/1 prior fit'] * 2 + ['stage 1/1 step 1'] * 2
  assert np.isfinite([call[3] for call in calls]).all()


def test_nothing_is_printed_and_no_file_written(model, quiet, caplog):
  caplog.set_level(logging.INFO, logger='gan2shape_jax')
  image = given_picture(HEAD, 64, DATA).image
  latent = gan2shape_jax.invert(image, model).latent
  mask = data.elliptic_mask(64)
  shape = gan2shape_jax.reconstruct(image, model, mask=mask, latent=latent, seed=1)
  again = gan2shape_jax.reconstruct(image, model, mask=mask, latent=latent, seed=1)
  other = gan2shape_jax.reconstruct(image, model, mask=mask, latent=latent)
  assert shape.canonical_depth.tobytes() == again.canonical_depth.tobytes()
  assert np.abs(shape.canonical_depth - other.canonical_depth).max() > 1e-4
  assert shape.latent.tobytes() == latent.tobytes()
  assert 'gan_distance' not in shape.metrics
  assert 'writing results' in caplog.text


def test_another_seed_is_that_of_a_run(model):
  """Also the networks' first parameters are the seed's."""
  own = model.ready('fit', 4).shared.params
  other = gan2shape_jax.load(model.config, seed=4).ready('fit').shared.params
  jax.tree.map(np.testing.assert_array_equal, own, other)


def test_errors_of_a_fit_and_of_the_caller(model):
  with pytest.raises(gan2shape_jax.SettingsError, match=f'seed={2**40}: expected a number from'):
    gan2shape_jax.reconstruct(HEAD, model, seed=2**40)
  with pytest.raises(gan2shape_jax.DataError, match=r'001\.png: expected a latent \[.*is \[7\]'):
    gan2shape_jax.reconstruct(HEAD, model, latent=np.zeros(7))

  def enough(done, *_):
    if done == 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    gan2shape_jax.reconstruct(HEAD, model, progress=enough)


def test_views_meshes_and_turntables(shape_and_calls, quiet):
  shape, _ = shape_and_calls
  own = shape.render(shape.view)
  assert own.texture.shape == (192, 192, 3)
  assert np.abs(own.texture).max() <= 1
  lit = shape.render(shape.view, shape.light)
  # Two steps tell the light badly: where it saturates, the picture's pixels are not found again.
  assert np.abs(lit.texture - own.texture).mean() < 0.1
  dark = shape.render(np.zeros(6), [-1, -1, 0, 0])
  assert (dark.texture[dark.valid > 0] == -1).all()
  mesh = shape.mesh()
  assert len(mesh.faces) > 1000
  assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1, abs=1e-5)
  frames = shape.rotate(max_yaw=30, frames=3)
  assert (frames.shape, frames.dtype) == ((3, 192, 192, 3), np.uint8)
  assert np.abs(np.int32(frames[0]) - frames[2]).mean() > 1
  for call in (lambda: shape.render([0, 1]), lambda: shape.rotate(frames=1)):
    with pytest.raises(gan2shape_jax.DataError, match='expected'):
      call()


# The others.


def test_inversion_and_samples(model, quiet):
  drawn = gan2shape_jax.sample(model, 3, seed=4, truncation=0.7)
  assert drawn.images.shape == (3, 64, 64, 3)
  again = gan2shape_jax.sample(model, 1, seed=6, truncation=0.7)
  np.testing.assert_allclose(again.latents[0], drawn.latents[2], atol=1e-5)
  calls = []
  found = gan2shape_jax.invert(drawn.images[0], model, progress=lambda *given: calls.append(given))
  assert found.latent.shape == drawn.latents[0].shape
  assert found.image_l1 == pytest.approx(np.abs(found.image - drawn.images[0]).mean(), abs=1e-3)
  assert [call[:3] for call in calls] == [(1, 2, 'inversion'), (2, 2, 'inversion')]
  for n, seed, expected in ((0, 0, 'n=0: expected'), (1, -1, 'sample -1: expected seeds')):
    with pytest.raises(gan2shape_jax.DataError, match=expected):
      gan2shape_jax.sample(model, n, seed=seed)
  with pytest.raises(gan2shape_jax.DataError, match='sample 4294967296: expected seeds'):
    gan2shape_jax.sample(model, 2, seed=2**32 - 1)


def test_a_prediction_equals_that_of_a_run(tmp_path, capfd, model):
  heads = gan2shape_jax.load('heads', results__sheets=False, results__mesh=False)
  shape = gan2shape_jax.predict('embedded:heads/000', heads)
  assert shape.latent is None
  assert capfd.readouterr() == ('', '')
  config = heads.config_for('predict')
  config.data.num = 1
  config.results.videos = False
  (row,) = collection.reconstruct_all(config, tmp_path / 'run')
  expected = command.arrays_of(tmp_path / 'run')
  for name in set(expected) - {'camera', 'turned'}:
    assert getattr(shape, name).tobytes() == expected[name].tobytes(), name
  assert shape.metrics == {k: row[k] for k in shape.metrics}
  assert 'milliseconds' in row
  with pytest.raises(gan2shape_jax.SettingsError, match=r'networks\.pretrained=.*mode=predict'):
    gan2shape_jax.predict(HEAD, model)
