"""Pictures at their own resolution: the same square as the fit's picture, read when asked for."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import DataError


def settings(images, **changes) -> ConfigDict:
  config = get_default_config().data
  config.images = str(images)
  for name, value in changes.items():
    config[name] = value
  return config


@pytest.fixture
def photo(tmp_path):
  """A wide picture with a different colour in each corner of its middle square."""
  u, v = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 200))
  array = np.round(np.stack([255 * u, 255 * v, 128 + 0 * u], -1)).astype(np.uint8)
  Image.fromarray(array).save(tmp_path / 'a.png')
  return tmp_path / 'a.png', array


def test_a_photo_is_the_middle_square_at_its_own_resolution(photo):
  path, array = photo
  picture = data.load_pictures(settings(path), 64)[0]
  found = picture.photo(2048)
  np.testing.assert_array_equal(found, array[:, 50:250])
  assert found.dtype == np.uint8
  small = picture.photo(64)
  np.testing.assert_allclose(small / 127.5 - 1, picture.image, atol=0.005)
  assert picture.photo(100).shape == (100, 100, 3)


def test_a_photo_is_read_when_it_is_asked_for(photo):
  path, _ = photo
  picture = data.load_pictures(settings(path), 64)[0]
  path.unlink()
  with pytest.raises(DataError, match=r'a\.png: no such file'):
    picture.photo(2048)


def test_an_aligned_photo_keeps_its_resolution(photo, tmp_path):
  path, _ = photo
  targets = np.array(
    [(0.377, 0.469), (0.623, 0.469), (0.501, 0.613), (0.393, 0.725), (0.611, 0.725)]
  )
  points = targets * 150 + (80, 20)  # the aligned square is 150 pixels of the photo
  row = ' '.join(f'{number:.3f}' for number in points.ravel())
  (tmp_path / 'points.txt').write_text(f'a.png {row}\n')
  chosen = settings(path, landmarks=str(tmp_path / 'points.txt'))
  picture = data.load_pictures(chosen, 64)[0]
  found = picture.photo(2048)
  assert found.shape == (150, 150, 3)
  means = found.reshape(15, 10, 15, 10, 3).mean((1, 3)) / 127.5 - 1
  expected = Image.fromarray(np.uint8((picture.image + 1) * 127.5)).resize((15, 15), Image.BOX)
  np.testing.assert_allclose(means, np.asarray(expected) / 127.5 - 1, atol=0.03)
  assert picture.photo(90).shape == (90, 90, 3)


def test_grey_and_transparent_photos_have_three_channels(tmp_path):
  Image.new('L', (40, 40), 100).save(tmp_path / 'grey.png')
  Image.new('RGBA', (40, 40), (0, 0, 0, 0)).save(tmp_path / 'clear.png')
  clear, grey = data.load_pictures(settings(tmp_path), 64)
  np.testing.assert_array_equal(grey.photo(2048), np.full((40, 40, 3), 100))
  np.testing.assert_array_equal(clear.photo(2048), np.full((40, 40, 3), 255))
