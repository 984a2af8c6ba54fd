"""Faces aligned by five points: a law of similarities, and the files that hold the points."""

import os

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.data import alignment
from gan2shape_jax.errors import DataError

TARGETS = alignment.alignment_targets('ffhq')


def smooth(shape, seed=0):
  """A smooth picture [height, width, 3] in [0, 1]."""
  noise = np.random.default_rng(seed).uniform(size=(*shape, 3))
  blurred = ndimage.gaussian_filter(noise, (6, 6, 0), mode='nearest')
  return ((blurred - blurred.min()) / np.ptp(blurred)).astype(np.float32)


def face(center, eyes):
  """The five points of a face with that distance of its eyes, a little unlike the targets."""
  points = (TARGETS - TARGETS.mean(0)) / np.ptp(TARGETS[:2, 0]) * eyes + center
  return points + np.random.default_rng(1).normal(size=(5, 2)) * 0.03 * eyes


def moved(picture, points, degrees, scale, shift):
  """A picture turned about its middle, scaled and shifted, and its points with it."""
  angle = np.deg2rad(degrees)
  turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  middle = (np.array(picture.shape[1::-1]) - 1) / 2
  inverse = np.linalg.inv(turn)[::-1, ::-1]  # rows before columns
  offset = middle[::-1] - inverse @ (middle + shift)[::-1]
  channels = [
    ndimage.affine_transform(picture[..., k], inverse, offset, order=3, mode='nearest')
    for k in range(3)
  ]
  return np.stack(channels, axis=-1), (points - middle) @ turn.T + middle + shift


@pytest.mark.parametrize(
  ('degrees', 'scale', 'shift'),
  [
    (30, 1, (0, 0)),
    (-80, 1, (0, 0)),
    (0, 0.7, (0, 0)),
    (0, 1.3, (9.5, -7)),
    (170, 0.8, (-12, 5.3)),
  ],
)
def test_turned_scaled_and_shifted_pictures_give_the_same(degrees, scale, shift):
  picture, points = smooth((240, 260)), face((128, 122), 34)
  still = alignment.align(picture, points, TARGETS, 48)
  assert still.std() > 0.04
  turned = alignment.align(*moved(picture, points, degrees, scale, shift), TARGETS, 48)
  np.testing.assert_allclose(turned, still, atol=0.03)
  assert np.abs(turned - still).mean() < 0.004


def test_points_at_their_targets_leave_the_picture_as_it_is():
  picture = smooth((64, 64))
  aligned = alignment.align(picture, TARGETS * 64 - 0.5, TARGETS, 64)
  np.testing.assert_allclose(aligned, picture, atol=1e-5)
  half = alignment.align(picture, TARGETS * 64 - 0.5, TARGETS, 32)
  np.testing.assert_allclose(half, picture.reshape(32, 2, 32, 2, 3).mean((1, 3)), atol=0.02)


def test_beyond_the_picture_its_border_goes_on():
  picture = np.zeros((50, 40, 1), np.float32)
  picture[:, -1] = 1
  aligned = alignment.align(picture, face((39, 25), 20), TARGETS, 32)
  assert aligned[:, :12].max() == 0
  assert aligned[:, -12:].min() == 1


def test_a_similarity_is_recovered_and_the_nearest_otherwise():
  matrix = alignment.similarity(TARGETS, TARGETS @ np.array([[0, 3], [-3, 0]]).T + (5, 7))
  np.testing.assert_allclose(matrix, [[0, 3, 5], [-3, 0, 7]], atol=1e-9)
  points = face((0, 0), 1)

  def misfit(m):
    return np.square(points @ m[:, :2].T + m[:, 2] - TARGETS).sum()

  best = alignment.similarity(points, TARGETS)
  for k in range(4):
    a, b, c, d = np.eye(4)[k] * 1e-3
    for sign in (-1, 1):
      assert misfit(best) < misfit(best + sign * np.array([[a, -b, c], [b, a, d]]))


def test_points_in_another_order_are_refused():
  picture, points = smooth((64, 64)), face((32, 32), 16)
  for order in ([1, 0, 2, 3, 4], [0, 1, 2, 4, 3], [2, 0, 1, 3, 4], [1, 0, 2, 4, 3]):
    with pytest.raises(ValueError, match='in the order left eye'):
      alignment.align(picture, points[order], TARGETS, 32)


def test_files_of_points(tmp_path):
  one, two = np.arange(10).reshape(5, 2) + 0.5, np.arange(10, 20).reshape(5, 2)
  text = lambda points, between: between.join(f'{x}' for x in points.ravel())
  (tmp_path / 'a.txt').write_text(
    f'# eyes first\n\n one.jpg {text(one, " ")}\ntwo {text(two, " ")}'
  )
  header = 'name,' + ','.join(f'{axis}{k}' for k in range(5) for axis in 'xy')
  (tmp_path / 'a.csv').write_text(f'{header}\none.jpg,{text(one, ", ")}\ntwo.png,{text(two, ",")}')
  np.savez(tmp_path / 'a.npz', names=['one', 'two.png'], points=np.stack([one, two]))
  for name in ('a.txt', 'a.csv', 'a.npz'):
    found = alignment.read_landmarks(tmp_path / name)
    assert list(found) == ['one', 'two']
    np.testing.assert_array_equal(found['one'], one)
    np.testing.assert_array_equal(found['two'], two)


def test_wrong_files_of_points_are_named_in_one_line(tmp_path):
  ten = ' '.join('1234567890')
  cases = {
    'line 2: expected a name and ten numbers': f'a {ten}\nb 1 2 3',
    'line 3: expected a name and ten numbers': f'a {ten}\n\nb {ten[:-1]}x',
    'line 2: .*, a has two': f'a.png {ten}\na.jpg {ten}',
    'line 1: expected five different points of a': 'a' + 10 * ' 3',
    'there are none': '# nothing',
  }
  for message, text in cases.items():
    (tmp_path / 'p.txt').write_text(text)
    with pytest.raises(DataError, match=f'p.txt.*{message}') as caught:
      alignment.read_landmarks(tmp_path / 'p.txt')
    assert '\n' not in str(caught.value)
  (tmp_path / 'p.txt').write_bytes(b'\xff\xfe\x80')
  np.savez(tmp_path / 'p.npz', names=['a', 'b'], points=np.zeros((1, 5, 2)))
  for name, message in {
    'p.txt': 'it is no text',
    'gone.txt': 'No such file',
    'gone.npz': 'expected an .npz archive',
    'p.npz': r'expected points \[2, 5, 2\]',
  }.items():
    with pytest.raises(DataError, match=f'{name}.*{message}'):
      alignment.read_landmarks(tmp_path / name)
  for targets in ('ffhp', '1,2,3', ','.join(['0.5'] * 10)):
    with pytest.raises(DataError, match=r'data\.align_to='):
      alignment.alignment_targets(targets)
  own = alignment.alignment_targets(str(tuple(TARGETS.ravel().tolist())))
  np.testing.assert_array_equal(own, TARGETS)


def test_pictures_and_masks_of_a_run_are_aligned(tmp_path):
  picture = (smooth((120, 90)) * 255).round().astype(np.uint8)
  points = face((50, 60), 25)
  for name in ('a', 'b'):
    (tmp_path / 'in').mkdir(exist_ok=True)
    Image.fromarray(picture).save(tmp_path / 'in' / f'{name}.png')
  mask = np.zeros((60, 45), np.uint8)  # half the picture's resolution
  mask[:, 25:] = 255
  Image.fromarray(mask).save(tmp_path / 'mask.png')
  row = ' '.join(f'{x:.6f}' for x in points.ravel())
  (tmp_path / 'points.txt').write_text(f'a.png {row}')
  config = get_default_config().data
  config.images, config.masks = str(tmp_path / 'in' / 'a.png'), str(tmp_path / 'mask.png')
  config.landmarks = str(tmp_path / 'points.txt')
  (found,) = data.load_pictures(config, 64)
  expected = alignment.align(picture / np.float32(255), points, TARGETS, 64)
  np.testing.assert_allclose((found.image + 1) / 2, expected, atol=1e-5)
  edge = alignment.similarity(points, TARGETS) @ (49.5, 60, 1)  # between columns 24 and 25
  row, column = (round(64 * x) for x in edge[::-1])
  assert found.mask[row, column - 2] < 0.2
  assert found.mask[row, column + 2] > 0.8

  config.images, config.masks = str(tmp_path / 'in'), ''
  with pytest.raises(DataError, match=r'points.txt: expected a row for b, there is none'):
    data.load_pictures(config, 64)
  config.images, config.depths = str(tmp_path / 'in' / 'a.png'), str(tmp_path / 'mask.png')
  with pytest.raises(DataError, match='expected no depth of pictures that are aligned'):
    data.load_pictures(config, 64)
  config.depths = ''
  swapped = ' '.join(f'{x:.3f}' for x in points[[1, 0, 2, 3, 4]].ravel())
  (tmp_path / 'points.txt').write_text(f'a {swapped}')
  with pytest.raises(DataError, match=r'a.png: expected the points in the order'):
    data.load_pictures(config, 64)[0]


@pytest.mark.parametrize(
  'value',
  [
    '1e300,0.5,0.6,0.5,0.5,0.6,0.4,0.7,0.6,0.7',
    ','.join(['0.5,0.5'] * 4 + ['0.5,0.5001']),
    '-1.1,0.5,0.6,0.5,0.5,0.6,0.4,0.7,0.6,0.7',
    ','.join(['nan'] * 10),
  ],
)
def test_targets_that_are_no_places_in_a_picture(value):
  with pytest.raises(DataError, match=r'data\.align_to=.*from -1 to 2') as caught:
    alignment.alignment_targets(value)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('name', ['points.txt', 'points.npz'])
def test_landmarks_from_a_pipe_are_refused_at_once(tmp_path, name):
  os.mkfifo(tmp_path / name)
  with pytest.raises(DataError, match=rf'{name}: expected .*this is a pipe'):
    alignment.read_landmarks(tmp_path / name)
