"""Pictures out of TensorFlow Datasets: as from the folder, offline, without TensorFlow.

Most of it needs the extra `tfds`, without which it is skipped.
"""

import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError
from gan2shape_jax.pipeline import sources
from tests.support import command

HEADS = data.embedded_path('heads')
BUILD = command.ROOT / 'experiments' / 'build_tfds.py'
FIELDS = ('image', 'mask', 'latent', 'depth', 'region')


@pytest.fixture(scope='session')
def tfds():
  pytest.importorskip('array_record.python.array_record_module')
  return pytest.importorskip('tensorflow_datasets')


@pytest.fixture(scope='session')
def heads(tfds, tmp_path_factory):
  """A data_dir with the embedded heads."""
  from gan2shape_jax.data import tfds_heads

  data_dir = tmp_path_factory.mktemp('tfds')
  written = tfds_heads.build(HEADS, data_dir)
  assert written == data_dir / 'gan2shape_heads' / '1.0.0'
  return data_dir


@pytest.fixture
def offline(monkeypatch):
  def refuse(*_, **__):
    raise AssertionError('the network was used')

  for owner, name in (
    (socket.socket, 'connect'),
    (socket.socket, 'connect_ex'),
    (socket, 'getaddrinfo'),
    (socket, 'create_connection'),
  ):
    monkeypatch.setattr(owner, name, refuse)


def config(data_dir, source='tfds:gan2shape_heads', **settings):
  whole = get_default_config()
  whole.data.update({'source': source, 'tfds_dir': str(data_dir), **settings})
  return whole


def load(data_dir, source='tfds:gan2shape_heads', **settings):
  whole = config(data_dir, source, **settings)
  return data.load_tfds_pictures(whole.data, whole.image_size)


def fails(match):
  return pytest.raises(DataError, match=match)


def write(tfds, data_dir, dataset, features, examples, **options):
  """A data set as someone else would write it."""

  class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = dataset
    VERSION = tfds.core.Version(options.get('version', '1.0.0'))

    def _info(self):
      made = tfds.features.FeaturesDict(features)
      return tfds.core.DatasetInfo(builder=self, features=made, disable_shuffling=True)

    def _split_generators(self, dl_manager):
      return {'train': enumerate(examples)}

    def _generate_examples(self):
      raise NotImplementedError

  builder = Tiny(data_dir=data_dir, file_format=options.get('file_format', 'array_record'))
  settings = tfds.download.DownloadConfig(try_download_gcs=False)
  builder.download_and_prepare(download_config=settings)
  return pathlib.Path(builder.data_dir)


def png(path, shape=(24, 16), value=200):
  Image.fromarray(np.full(shape, value, np.uint8)).save(path, 'PNG')
  return path.read_bytes()


def same(ours, theirs, fields=FIELDS):
  assert ours.name == theirs.name
  for field in fields:
    one, other = getattr(ours, field), getattr(theirs, field)
    if other is None:
      assert one is None, field
      continue
    assert one.dtype == other.dtype, field
    np.testing.assert_array_equal(one, other, err_msg=field)


@pytest.mark.usefixtures('offline')
def test_the_pictures_equal_those_of_the_folder(heads):
  for size in (64, 48):
    whole = config(heads)
    whole.image_size = size
    packed = sources.load_pictures(whole)
    whole.data.source = 'images'
    read = sources.load_pictures(whole)
    assert packed.names == read.names
    assert packed.size == size
    for ours, theirs in zip(packed, read, strict=True):
      same(ours, theirs)
      assert all(getattr(ours, field) is not None for field in FIELDS)


def test_latents_for_every_layer_and_what_a_folder_lacks(tfds, tmp_path):
  from gan2shape_jax.data import tfds_heads

  (tmp_path / 'heads' / 'image').mkdir(parents=True)
  for name in 'ba':
    Image.new('RGB', (16, 16), 'red').save(tmp_path / 'heads' / 'image' / f'{name}.png')
  latents = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
  np.savez(tmp_path / 'heads' / 'latents.npz', w=latents)
  tfds_heads.build(tmp_path / 'heads', tmp_path / 'data')
  pictures = load(tmp_path / 'data')
  assert pictures.names == ['a', 'b']
  for picture, latent in zip(pictures, latents, strict=True):
    np.testing.assert_array_equal(picture.latent, latent)
    assert picture.mask is None
    assert picture.depth is None
    assert picture.region is None


def test_128_px_go_before(tfds, tmp_path):
  from gan2shape_jax.data import tfds_heads

  for name, side in (('image', 16), ('image128', 128)):
    (tmp_path / 'heads' / name).mkdir(parents=True)
    Image.new('RGB', (side, side)).save(tmp_path / 'heads' / name / 'a.png')
  for size, side in ((64, 16), (128, 128)):
    tfds_heads.build(tmp_path / 'heads', tmp_path / str(size), size=size)
    (example,) = tfds.data_source('gan2shape_heads', split='train', data_dir=tmp_path / str(size))
    assert example['image'].shape == (side, side, 3)


def test_start_num_and_split(heads):
  everything = load(heads)
  part = load(heads, start=1, num=2)
  assert part.names == everything.names[1:3] == everything[1:3].names
  same(part[1], everything[2])
  same(everything[1:][-1], everything[3])
  assert load(heads, tfds_split='train[2:]').names == everything.names[2:]
  assert len({picture.path for picture in everything}) == 4
  with fails(r"gan2shape_heads/1.0.0: data.tfds_split=test: Unknown split 'test'"):
    load(heads, tfds_split='test')
  with fails('data.start=4: .*train has only 4 pictures'):
    load(heads, start=4)
  with fails('data.num=-1: expected numbers of at least 0'):
    load(heads, num=-1)


def test_settings_leave_features_out(heads):
  none = load(heads, masks='none', latents='none', depths='none', regions='none')[0]
  assert (none.mask, none.latent, none.depth, none.region) == (None, None, None, None)
  np.testing.assert_array_equal(none.image, load(heads)[0].image)
  with fails("data.masks=/my/masks: expected '' or 'none' with data.source=tfds:gan2shape_heads"):
    load(heads, masks='/my/masks')
  with fails('data.landmarks'):
    load(heads, landmarks='points.csv')


@pytest.mark.usefixtures('offline')
def test_celeb_a_as_its_own_code_describes_it(tfds, tmp_path):
  features = tfds.builder('celeb_a', data_dir=tmp_path).info.features
  examples = []
  for value in (50, 150):
    nested = {
      name: dict.fromkeys(features[name], 0) for name in ('landmarks', 'attributes', 'identity')
    }
    image = png(tmp_path / 'face.png', (218, 178, 3), value)
    examples.append({'image': image, **nested})
  version = str(tfds.builder('celeb_a', data_dir=tmp_path).version)
  write(tfds, tmp_path, 'celeb_a', dict(features), examples, version=version)
  pictures = load(tmp_path, 'tfds:celeb_a')
  assert pictures.names == ['000', '001']
  assert (pictures[0].mask, pictures[0].latent, pictures[0].depth) == (None, None, None)
  assert pictures[1].image.shape == (64, 64, 3)
  np.testing.assert_allclose(pictures[1].image, 150 / 255 * 2 - 1, atol=1e-6)
  assert load(tmp_path, f'tfds:celeb_a:{version}').names == pictures.names


def test_names_fit_for_folders(tfds, tmp_path):
  features = {'photo': tfds.features.Image(shape=(None, None, 1)), 'id': tfds.features.Text()}
  photo = png(tmp_path / 'grey.png')
  examples = [{'photo': photo, 'id': text} for text in ('../a b/c.jpg', 'ö', 'ö', '.')]
  write(tfds, tmp_path, 'named', features, examples)
  assert load(tmp_path, 'tfds:named', num=2).names == ['_a_b_c.jpg', 'ö']
  assert load(tmp_path, 'tfds:named', num=3).names == ['000', '001', '002']
  assert load(tmp_path, 'tfds:named', start=3).names == ['003']
  image = load(tmp_path, 'tfds:named')[0].image
  np.testing.assert_allclose(image, 200 / 255 * 2 - 1, atol=1e-6)


def test_features_that_are_something_else(tfds, tmp_path):
  image, number = tfds.features.Image(), tfds.features.Scalar(np.int64)
  photo = png(tmp_path / 'colour.png', (16, 16, 3))
  write(tfds, tmp_path, 'two', {'a': image, 'b': image}, [{'a': photo, 'b': photo}])
  with fails('two/1.0.0: expected one image feature, or one named image, there are: a, b'):
    load(tmp_path, 'tfds:two')
  write(tfds, tmp_path, 'nothing', {'label': number}, [{'label': 1}])
  with fails('there are: none'):
    load(tmp_path, 'tfds:nothing')
  depth = tfds.features.Tensor(shape=(2, 2), dtype=np.float32)
  examples = [{'image': photo, 'depth': np.zeros((2, 2), np.float32)}]
  write(tfds, tmp_path, 'metres', {'image': image, 'depth': depth}, examples)
  with fails('expected depth to be an image .*float32.*: --config.data.depths=none leaves it out'):
    load(tmp_path, 'tfds:metres')
  assert load(tmp_path, 'tfds:metres', depths='none')[0].depth is None
  latent = tfds.features.Tensor(shape=(2,), dtype=np.float32)
  examples = [{'image': photo, 'w': np.array([0, np.nan], np.float32)}]
  write(tfds, tmp_path, 'bad', {'image': image, 'w': latent}, examples)
  with fails(r'train\[0\] w: expected finite latents'):
    load(tmp_path, 'tfds:bad')[0]
  write(tfds, tmp_path, 'broken', {'image': image}, [{'image': photo[:60]}])
  with fails(r'broken/1.0.0/train\[0\] image: expected '):
    load(tmp_path, 'tfds:broken')[0]


@pytest.mark.usefixtures('offline')
def test_what_is_not_there_is_named_and_not_downloaded(heads, tfds, tmp_path):
  with fails('expected gan2shape_heads:2.0.0 in .*there is gan2shape_heads/1.0.0 ') as caught:
    load(heads, 'tfds:gan2shape_heads:2.0.0')
  assert '\n' not in str(caught.value)
  with fails('expected nonsense in .*there is nothing of it') as caught:
    load(tmp_path, 'tfds:nonsense')
  assert '\n' not in str(caught.value)
  version = tfds.builder('celeb_a', data_dir=tmp_path).version
  folder = tmp_path / 'celeb_a' / str(version)
  with fails(f'expected celeb_a/{version} in {folder}, there is nothing of it; nothing is downl'):
    load(tmp_path, 'tfds:celeb_a')
  assert not list(tmp_path.iterdir())
  for source in ('tfds:', 'tfds:huggingface:mnist', 'tfds:a/b=1', 'tfds:../x'):
    with fails("expected 'tfds:NAME'"):
      load(heads, source)


def test_a_format_without_random_access_and_damaged_files(tfds, heads, tmp_path):
  folder = tmp_path / 'gan2shape_heads' / '1.0.0'
  folder.mkdir(parents=True)
  for file in (heads / 'gan2shape_heads' / '1.0.0').iterdir():
    (folder / file.name).write_bytes(file.read_bytes())
  info = folder / 'dataset_info.json'
  text = info.read_text()
  info.write_text(text.replace('"fileFormat": "array_record"', '"fileFormat": "tfrecord"'))
  with fails('1.0.0: expected a format with random access, this is tfrecord'):
    load(tmp_path)
  info.write_text(text[:50])
  with fails('expected gan2shape_heads in '):
    load(tmp_path)
  info.write_text(text)
  (records,) = folder.glob('*array_record-*')
  records.write_bytes(records.read_bytes()[:1000])
  with fails('1.0.0'):
    load(tmp_path)[0]
  records.unlink()
  with fails('1.0.0'):
    load(tmp_path)[0]


OFFLINE_WITHOUT_TENSORFLOW = """
import importlib.machinery
import runpy
import socket
import sys

class Installed:
  def find_spec(self, name, *_):
    return importlib.machinery.ModuleSpec(name, self) if name == 'tensorflow' else None

  def create_module(self, spec):
    raise AssertionError('TensorFlow was imported')

def refuse(*_, **__):
  raise AssertionError('the network was used')

sys.meta_path.insert(0, Installed())
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
script, source, data_dir = sys.argv[1:]
sys.argv = [script, f'--source={source}', f'--data_dir={data_dir}']
try:
  runpy.run_path(script, run_name='__main__')
except SystemExit as end:
  assert not end.code, end.code

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config

config = get_default_config().data
config.update({'source': 'tfds:gan2shape_heads', 'tfds_dir': data_dir})
assert len([picture.image for picture in data.load_tfds_pictures(config, 64)]) == 4
assert 'tensorflow' not in sys.modules
assert 'cv2' not in sys.modules
"""


def python(*given):
  return subprocess.run(
    [sys.executable, *map(str, given)],
    cwd=command.ROOT,
    env=command.environment(),
    capture_output=True,
    text=True,
  )


@pytest.mark.usefixtures('tfds')
def test_neither_the_command_nor_reading_needs_tensorflow_or_the_network(tmp_path):
  done = python('-W', 'error', '-c', OFFLINE_WITHOUT_TENSORFLOW, BUILD, HEADS, tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'{tmp_path}/gan2shape_heads/1.0.0\n'


def test_the_command_tells_in_one_line_what_is_wrong(heads):
  done = python(BUILD, f'--source={HEADS}', f'--data_dir={heads}')
  assert done.returncode == 1
  assert '1.0.0: expected no such folder' in done.stderr
  assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures('tfds')
def test_folders_that_cannot_be_packed(tmp_path):
  from gan2shape_jax.data import tfds_heads

  def packed():
    return tfds_heads.build(tmp_path, tmp_path / 'data')

  with fails('expected a folder with the subfolder image/'):
    packed()
  (tmp_path / 'image').mkdir()
  (tmp_path / 'mask').mkdir()
  picture, mask = tmp_path / 'image' / 'a.png', tmp_path / 'mask' / 'a.png'
  png(mask, (16, 16))
  Image.new('RGBA', (16, 16)).save(picture)
  with fails(r'a.png: expected a PNG or JPEG of mode RGB, this is a PNG of mode RGBA'):
    packed()
  Image.new('RGB', (16, 16)).save(picture)
  Image.new('RGB', (16, 16)).save(tmp_path / 'image' / 'b.webp')
  png(tmp_path / 'mask' / 'b.png', (16, 16))
  with fails(r'b.webp: expected a PNG or JPEG'):
    packed()
  (tmp_path / 'image' / 'b.webp').unlink()
  Image.new('RGB', (16, 16)).save(tmp_path / 'image' / 'b.jpg')
  (tmp_path / 'depth').mkdir()
  png(tmp_path / 'depth' / 'a.png', (16, 16))
  Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / 'depth' / 'b.png')
  with fails(r'depth/b.png: expected the same bits as .*depth/a.png'):
    packed()
  mask.write_bytes(b'no picture')
  with fails('mask/a.png: expected a picture'):
    packed()
  assert not (tmp_path / 'data').exists()


def test_without_the_packages_one_line_says_what_to_install(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'array_record', None)
  for name in [name for name in sys.modules if name.startswith('array_record.')]:
    monkeypatch.delitem(sys.modules, name)
  with fails(r"data.source=tfds:celeb_a: expected the package .*: pip install '.*\[tfds\]'"):
    load(tmp_path, 'tfds:celeb_a')


def test_an_unknown_source_names_the_known(tmp_path):
  with fails("data.source='tfd:x': expected one of images, samples, tfds:NAME"):
    sources.load_pictures(config(tmp_path, 'tfd:x'))
