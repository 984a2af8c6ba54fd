"""Depth metrics against closed forms; masks; tables."""

import csv
import math

import numpy as np
import pytest

from gan2shape_jax import data, evaluation
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import ArtefactError
from gan2shape_jax.renderer import Camera

SIZE = 32
CAMERA = Camera()


def plane(tilt, size=SIZE, about='y'):
  """Depth of a plane through (0, 0, 1) turned by so many degrees."""
  slope = math.tan(math.radians(tilt))
  focal = (size - 1) / (2 * math.tan(math.radians(CAMERA.fov) / 2))
  ray = (np.arange(size) - (size - 1) / 2) / focal
  depth = np.broadcast_to(1 / (1 - slope * ray), (size, size))  # z = 1 + slope * x, x = ray * z
  return depth if about == 'y' else depth.T


def disc(radius=10, size=SIZE):
  position = np.arange(size) - (size - 1) / 2
  return (np.hypot(position[None], position[:, None]) < radius).astype(np.float32)


def bump():
  """A dome of depth 0.95 to 1 on a background of 1.1."""
  position = (np.arange(SIZE) - (SIZE - 1) / 2) / SIZE
  return np.where(disc() > 0, 0.95 + (position[None] ** 2 + position[:, None] ** 2) / 2, 1.1)


def test_side_of_a_known_pattern():
  # Logarithms alternate by +-0.02 about any mean: the standard deviation is 0.02.
  pattern = np.where(np.arange(SIZE) % 2, 0.02, -0.02)
  truth = bump()
  pred = truth * np.exp(pattern + 0.3)[None]
  assert evaluation.scale_invariant_depth_error(pred, truth) == pytest.approx(0.02, rel=1e-6)


def test_side_does_not_change_with_scale():
  random = np.random.default_rng(0)
  pred, truth = random.uniform(0.9, 1.1, (2, SIZE, SIZE))
  error = evaluation.scale_invariant_depth_error(pred, truth, disc())
  scaled = evaluation.scale_invariant_depth_error(3 * pred, truth, disc())
  assert scaled == pytest.approx(error, rel=1e-9)
  assert evaluation.scale_invariant_depth_error(3 * truth, truth) == pytest.approx(0, abs=1e-9)


def test_side_looks_inside_the_mask_only():
  truth = bump()
  pred = np.where(disc() > 0, truth, -1)
  assert evaluation.scale_invariant_depth_error(pred, truth, disc()[..., None]) < 1e-9
  with pytest.raises(ValueError, match='positive inside the mask'):
    evaluation.scale_invariant_depth_error(pred, truth)


@pytest.mark.parametrize('tilt', [5, 20, 45])
@pytest.mark.parametrize('about', ['x', 'y'])
def test_mad_of_a_tilted_plane_is_its_tilt(tilt, about):
  inner = disc()
  pred = plane(tilt, about=about)
  angle = evaluation.mean_angle_deviation(pred, plane(0), inner, CAMERA, renormalize=True)
  assert angle == pytest.approx(tilt, abs=0.01)
  # The published form: a little more, the less the steeper.
  published = evaluation.mean_angle_deviation(pred, plane(0), inner, CAMERA)
  assert tilt < published < tilt + 2


def test_mad_as_published_is_not_zero_for_equal_shapes():
  step = 2 * math.tan(math.radians(5)) / (SIZE - 1) * 2  # between second neighbours at depth 1
  length = step**2 / (step**2 + 1e-7)
  expected = math.degrees(math.acos(length**2))
  angle = evaluation.mean_angle_deviation(plane(0), plane(0), disc(), CAMERA)
  assert angle == pytest.approx(expected, rel=1e-2)
  exact = evaluation.mean_angle_deviation(plane(0), plane(0), disc(), CAMERA, renormalize=True)
  assert exact == pytest.approx(0, abs=1e-3)


def test_absolute_and_squared_errors():
  truth, pred = np.full((SIZE, SIZE), 1.0), np.full((SIZE, SIZE), 1.02)
  assert evaluation.mean_absolute_error(pred, truth) == pytest.approx(0.02)
  assert evaluation.mean_squared_error(pred, truth, disc()) == pytest.approx(4e-4)


def test_erosion_takes_one_pixel_and_the_border():
  mask = np.zeros((8, 8), np.float32)
  mask[0:5, 2:7] = 1
  expected = np.zeros((8, 8), bool)
  expected[1:4, 3:6] = True
  np.testing.assert_array_equal(evaluation.erode(mask), expected)
  np.testing.assert_array_equal(evaluation.erode(mask[..., None]), expected)
  full = evaluation.erode(np.ones((8, 8)))
  assert full.sum() == 36


def test_the_mask_is_truth_and_prediction_eroded():
  truth, valid = bump(), np.ones((SIZE, SIZE))
  np.testing.assert_array_equal(
    evaluation.evaluation_mask(truth, valid), evaluation.erode(truth < 1.1)
  )
  valid[:, :16] = 0
  mask = evaluation.evaluation_mask(truth, valid)
  assert not mask[:, :17].any()
  assert mask[:, 17].any()


def test_a_region_makes_the_rest_background():
  truth, region = bump(), disc(6)
  mask = evaluation.evaluation_mask(truth, np.ones((SIZE, SIZE)), region)
  np.testing.assert_array_equal(mask, evaluation.erode(region))
  # What the prediction is elsewhere does not matter.
  pred = np.where(region > 0, truth, 0.9)
  row = evaluation.evaluate(pred, np.ones((SIZE, SIZE)), truth, region, CAMERA)
  assert row['side_x100'] == pytest.approx(0, abs=1e-6)
  assert row['mae'] == 0
  assert row['pixels'] == mask.sum()
  # Truth at background depth everywhere inside the mask's rim: nothing to compare, no crash.
  row = evaluation.evaluate(pred, np.zeros((SIZE, SIZE)), truth, region, CAMERA)
  assert row['pixels'] == 0
  assert math.isnan(row['side_x100'])


def test_baselines_of_the_embedded_heads():
  pictures = list(data.load_pictures(get_default_config().data, 64))
  truths, regions = [p.depth for p in pictures], [p.region for p in pictures]
  baselines = evaluation.baseline_depths(truths, regions)
  np.testing.assert_allclose(baselines['mean'][0, 0], 1.1, atol=1e-6)
  seen = np.ones((64, 64))
  means = {}
  for name, depth in baselines.items():
    rows = [
      {'name': p.name, **evaluation.evaluate(depth, seen, p.depth, p.region, CAMERA)}
      for p in pictures
    ]
    means[name] = evaluation.summarize(rows)[0]
  # Over 20 such heads: 1.54 and 41.8 for constant depth, 1.74 and 22.8 for the mean of 100.
  assert means['constant']['side_x100'] == pytest.approx(1.54, abs=0.2)
  assert means['constant']['mad'] == pytest.approx(41.8, abs=2)
  assert means['mean']['mad'] < 0.6 * means['constant']['mad']


def test_tables(tmp_path):
  rows = [
    {'name': 'a', 'side_x100': 1.0, 'pixels': 10},
    {'name': 'bb', 'side_x100': 3.0, 'pixels': 20},
    {'name': 'c', 'side_x100': math.nan, 'pixels': 0},
  ]
  mean, deviation = evaluation.summarize(rows)
  assert (mean['side_x100'], deviation['side_x100'], mean['pixels']) == (2, 1, 10)
  path = tmp_path / 'metrics.csv'
  path.write_text('old')
  evaluation.write_metrics(path, rows)
  with path.open() as file:
    read = list(csv.DictReader(file))
  assert [row['name'] for row in read] == ['a', 'bb', 'c', 'mean', 'std']
  assert float(read[3]['side_x100']) == 2
  assert [p.name for p in tmp_path.iterdir()] == ['metrics.csv']
  lines = evaluation.format_table(rows).splitlines()
  assert len(lines) == 6
  assert lines[0].split() == ['name', 'side_x100', 'pixels']
  assert len({len(line) for line in lines}) == 1
  assert 'mean' not in evaluation.format_table(rows[:1])


def test_a_table_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  path = tmp_path / 'file' / 'metrics.csv'
  with pytest.raises(ArtefactError) as caught:
    evaluation.write_metrics(path, [{'name': 'a', 'mad': 1.0}])
  assert str(caught.value).startswith(f'cannot write {path}: ')
  assert str(caught.value).count('cannot write') == 1
