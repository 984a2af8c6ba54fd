"""The judge of views and the table of projections: closed forms, files, the method's own."""

import csv
import dataclasses
import functools
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import FitError, Preempted, SettingsError, WeightsError
from gan2shape_jax.instruments import projection_table, projections, view_judge
from gan2shape_jax.instruments.projections import Identities, Measured
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import driver, programs, step2_projection
from gan2shape_jax.reconstruction.state import FitSettings
from gan2shape_jax.weights import load_safetensors, save_safetensors
from tests.support import small_fit
from tests.support.command import ROOT, environment

SIZE = 64


def random_judge(size=SIZE, width=2):
  params = view_judge._model(width).init(jax.random.key(0), jnp.zeros((1, size, size, 3)))
  return view_judge.Judge(jax.device_get(params['params']), size)


def turned_ramps(count, seed=0):
  """Pictures whose ramp to the right tells the yaw, and that downwards the pitch."""
  rng = np.random.default_rng(seed)
  views = np.zeros((count, 6), np.float32)
  views[:, :2] = rng.uniform(-0.4, 0.4, (count, 2)) * (0.4, 1)
  v, u = (np.indices((SIZE, SIZE)) - SIZE / 2) / SIZE
  ramps = views[:, 0, None, None] * 2 * v + views[:, 1, None, None] * u
  return np.uint8(127.5 + 200 * ramps)[..., None].repeat(3, -1), views


def test_slope_and_correlation_are_the_closed_forms():
  drawn = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
  assert projections.regression(3 + 0.5 * drawn, drawn) == pytest.approx((0.5, 1.0))
  assert projections.regression(7 - 2 * drawn, drawn) == pytest.approx((-2.0, -1.0))
  noise = np.array([1.0, -2.0, 2.0, -2.0, 1.0])  # orthogonal to drawn and to a constant
  slope, correlation = projections.regression(drawn + noise, drawn)
  assert slope == pytest.approx(1)
  assert correlation == pytest.approx(np.sqrt(10 / 24))
  assert np.isnan(projections.regression(drawn, np.ones(5))).all()
  slope, correlation = projections.regression(np.ones(5), drawn)
  assert slope == 0
  assert np.isnan(correlation)


def test_masked_differences_count_inside_alone():
  first, second = np.zeros((2, 4, 4, 3)), np.full((2, 4, 4, 3), 0.5)
  second[:, :2] = 0.25
  masks = np.zeros((2, 4, 4, 1))
  masks[0, :1], masks[1] = 1, 1
  np.testing.assert_allclose(projections.masked_l1(first, second, masks), [0.25, 0.375])
  assert np.isnan(projections.masked_l1(first, second, masks * 0)).all()


def test_cosines_are_of_what_differs_from_the_center():
  center = np.array([5.0, 5.0])
  first = center + np.array([[1, 0], [0, 2]])
  second = center + np.array([[3, 0], [-1, 0], [1, 1]])
  expected = [[1, -1, 0.5**0.5], [0, 0, 0.5**0.5]]
  np.testing.assert_allclose(projections.cosines(first, second, center), expected, atol=1e-12)


def measured(seed, slope, count=20):
  rng = np.random.default_rng(seed)
  drawn = rng.normal(size=(count, 2))
  ones = np.ones(count)
  return Measured(drawn, drawn * (0.5, slope) + seed, drawn * 0.9, ones * seed, ones, 0 * ones)


def test_the_table_has_each_head_all_projections_and_the_scale(tmp_path):
  rows = projections.table(['a', 'b'], [measured(0, 0.4), measured(1, 0.8)])
  assert [row['name'] for row in rows] == ['a', 'b', 'all projections', 'all pseudo samples']
  assert rows[0]['yaw_slope'] == pytest.approx(0.4)
  assert rows[1]['yaw_slope'] == pytest.approx(0.8)
  assert rows[1]['pitch_slope'] == pytest.approx(0.5)
  assert rows[2]['n'] == 40
  assert rows[2]['l1'] == pytest.approx(0.5)
  assert rows[3]['yaw_slope'] == pytest.approx(0.9)
  assert np.isnan(rows[3]['l1'])
  text = projection_table.write_tables(tmp_path, rows).read_text()
  assert '| a | 0.40 | 1.00 | 0.50 | 1.00 | 0.000 | 1.00 | 0.00 |' in text
  assert '| all pseudo samples | 0.90 | 1.00 | 0.90 | 1.00 |  |  |  |' in text
  with (tmp_path / 'projections.csv').open() as file:
    assert [row['n'] for row in csv.DictReader(file)] == ['20', '20', '40', '40']


def test_any_projections_can_be_measured():
  rng = np.random.default_rng(0)
  images = rng.uniform(-1, 1, (5, SIZE, SIZE, 3)).astype(np.float32)
  views = rng.normal(size=(5, 6))
  features = lambda pictures: np.asarray(pictures).reshape(len(pictures), -1)[:, :50]
  identities = Identities(features, np.zeros(50), features(images)[0], features(images)[1:3])
  judge = random_judge()
  got = projections.measure(
    images, views, images + 0.1, np.ones((5, SIZE, SIZE, 1)), judge=judge, identities=identities,
    rotation_range=60.0,
  )  # fmt: skip
  np.testing.assert_allclose(got.drawn, views[:, :2] * 60)
  np.testing.assert_allclose(got.judged, view_judge.judge_views(judge, images)[:, :2])
  assert (got.judged != got.judged_pseudo).any()
  np.testing.assert_allclose(got.l1, 0.1, rtol=1e-5)
  assert got.identity[0] == pytest.approx(1)
  expected = projections.cosines(features(images), features(images)[1:3], np.zeros(50)).mean(1)
  np.testing.assert_allclose(got.others, expected)


def test_a_judge_learns_angles_and_signs_under_mirroring():
  images, views = turned_ramps(200)
  judge = view_judge.train(images[:180], views[:180], iterations=60, batch=8, width=4, rate=5e-3)
  told = view_judge.judge_views(judge, images[180:])
  errors = view_judge.errors(told, views[180:])
  assert errors.correlation[:2].min() > 0.9
  assert not np.isfinite(errors.r2[2])  # no roll in any picture
  again = view_judge.train(images[:180], views[:180], iterations=2, batch=16, width=4)
  twice = view_judge.train(images[:180], views[:180], iterations=2, batch=16, width=4)
  jax.tree.map(np.testing.assert_array_equal, again.params, twice.params)


def test_bytes_and_signed_pictures_are_judged_alike_whatever_the_batch():
  images, _ = turned_ramps(5)
  judge = random_judge()
  told = view_judge.judge_views(judge, images)
  signed = np.float32(images) / 127.5 - 1
  np.testing.assert_allclose(view_judge.judge_views(judge, signed, batch=2), told, atol=1e-3)
  assert view_judge.judge_views(judge, images[:0]).shape == (0, 3)
  with pytest.raises(ValueError, match=r'expected \[n, 64, 64, 3\]'):
    view_judge.judge_views(judge, images[:, :32])


def test_errors_are_the_closed_forms():
  true = np.zeros((4, 6))
  true[:, :3] = np.radians([[-3, -3, -3], [-1, -1, -1], [1, 1, 1], [3, 3, 3]])
  told = np.degrees(true[:, :3]) * (1, 0.5, -1) + (0, 0, 2)
  errors = view_judge.errors(told, true)
  np.testing.assert_allclose(errors.slope, [1, 0.5, -1])
  np.testing.assert_allclose(errors.correlation, [1, 1, -1])
  np.testing.assert_allclose(errors.bias, [0, 0, 2], atol=1e-12)
  np.testing.assert_allclose(errors.deviation, np.sqrt(5) * np.array([0, 0.5, 2]), atol=1e-12)
  np.testing.assert_allclose(errors.r2, [1, 0.75, 1 - (4 * 5 + 4) / 5])


def test_a_judge_comes_back_from_its_file(tmp_path):
  judge = random_judge()
  path = tmp_path / 'judge.safetensors'
  view_judge.save_judge(path, judge)
  loaded = view_judge.load_judge(path)
  assert loaded.size == SIZE
  jax.tree.map(np.testing.assert_array_equal, loaded.params, judge.params)


def test_other_files_are_no_judges(tmp_path):
  path = tmp_path / 'judge.safetensors'
  with pytest.raises(WeightsError, match=r'judge\.safetensors: No such file'):
    view_judge.load_judge(path)
  path.write_bytes(b'no judge')
  with pytest.raises(WeightsError, match=r'judge\.safetensors: expected a safetensors file'):
    view_judge.load_judge(path)
  save_safetensors(path, {'depth': {'kernel': np.zeros(3)}})
  with pytest.raises(WeightsError, match=r'judge\.safetensors: expected a judge of views'):
    view_judge.load_judge(path)
  view_judge.save_judge(path, random_judge())
  params = load_safetensors(path)
  del params['to_code']
  save_safetensors(path, params)
  with pytest.raises(WeightsError, match='1 missing: to_code/kernel'):
    view_judge.load_judge(path)


@functools.cache
def small_assembly(**fit):
  networks, params = small_fit.setting()
  plan = driver.Plan((driver.StagePlan(1, 2, 1, flip1=False, flip3=False),), 0, 2)
  settings = dataclasses.replace(small_fit.SETTINGS, fit=FitSettings(**fit))
  built = programs.build(networks, settings)
  params = jax.tree.map(jnp.asarray, params)
  return Assembly(settings, plan, networks, small_fit.frozen(), built, params, True)


def test_what_is_collected_is_what_step_3_gets():
  shared, key = small_assembly(), jax.random.key(3)
  instance = small_fit.instance()
  got = projection_table.collect(shared, instance, key)
  start = driver.Start(driver.FitState(jax.tree.map(jnp.array, shared.params), None))
  events = driver.reconstruct(shared.programs, start, instance, shared.frozen, shared.plan, key)
  expected = [event.projections for event in events][-1]
  jax.tree.map(np.testing.assert_array_equal, got.projections, expected)
  assert got.pseudo.shape == got.projections.images.shape
  # Starting parameters are not consumed: another picture can follow.
  again = projection_table.collect(shared, instance, key)
  np.testing.assert_array_equal(again.projections.images, got.projections.images)
  with pytest.raises(Preempted):
    projection_table.collect(shared, instance, key, stop=lambda: True)


def test_projections_of_a_fit_of_the_factors_themselves_are_collected_too():
  shared, key = small_assembly(factors='direct', collect_iters=2), jax.random.key(3)
  instance = small_fit.instance()
  got = projection_table.collect(shared, instance, key)
  again = projection_table.collect(shared, instance, key)
  jax.tree.map(np.testing.assert_array_equal, got, again)
  assert got.pseudo.shape == got.projections.images.shape
  # Only the object's region counts.
  assert 0 < float(got.projections.masks.mean()) < 1


def test_pseudo_samples_are_rendered_again_from_views_and_lights_alone():
  shared, instance = small_assembly(), small_fit.instance()
  origin = shared.programs.origin(shared.params, instance, shared.frozen)
  keys = jax.random.split(jax.random.key(1), 3)
  draws, expected, _ = step2_projection.pseudo_batch(keys, shared.method, origin)
  lights = jax.vmap(
    lambda d: step2_projection.drawn_light_code(origin.factors.light, d, shared.settings)
  )(draws)
  got = projection_table.pseudo_samples(
    origin.factors, draws.view[None], lights[None], shared.settings
  )
  np.testing.assert_allclose(got[0], expected, atol=1e-4)


def test_features_do_not_depend_on_the_batch():
  params = small_fit.frozen().discriminator
  images = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
  features = projection_table.deepest_features(params, images)
  alone = projection_table.deepest_features(params, images[1:2])
  assert features.shape[0] == 3
  np.testing.assert_allclose(alone[0], features[1], rtol=1e-4, atol=1e-5)


@pytest.fixture
def stand_in(monkeypatch):
  """A configuration of two embedded heads whose projections are pictures of noise."""
  config = get_default_config()
  config.data.num = 2
  frozen = SimpleNamespace(discriminator=None)
  settings = SimpleNamespace(rotation_range=60.0)
  shared = SimpleNamespace(frozen=frozen, settings=settings)
  calls = []

  def collect(shared, instance, key, **options):
    calls.append(np.asarray(jax.random.key_data(key)))
    rng = np.random.default_rng(len(calls))
    draw = lambda *shape: rng.uniform(-1, 1, (2, 3, *shape)).astype(np.float32)
    made = SimpleNamespace(
      images=draw(SIZE, SIZE, 3), views=draw(6), masks=np.ones((2, 3, SIZE, SIZE, 1), np.float32)
    )
    return projection_table.Collected(made, made.images + 0.1, made.images[0, 0])

  job = SimpleNamespace(instance=np.zeros(1), prior_depth=None, picture=SimpleNamespace(path='x'))
  noise = np.random.default_rng(9).uniform(-1, 1, (4, SIZE, SIZE, 3))
  for name, value in {
    'assemble': lambda config: shared,
    'LatentFinder': lambda *_, **__: None,
    'mask_finder': lambda config: None,
    'prepare': lambda preparation, number: job,
    'collect': collect,
    'deepest_features': lambda params, images: np.asarray(images).reshape(len(images), -1)[:, :99],
  }.items():
    monkeypatch.setattr(projection_table, name, value)
  monkeypatch.setattr(
    projection_table.sources, 'draw_samples', lambda *_: SimpleNamespace(images=noise)
  )
  return config, calls


def test_finished_pictures_are_passed_over(tmp_path, stand_in):
  config, calls = stand_in
  path, told = tmp_path / 'judge.safetensors', []
  view_judge.save_judge(path, random_judge())
  rows = projection_table.measure_all(config, tmp_path / 'x', path, tell=told.append)
  assert [row['name'] for row in rows[:2]] == ['000', '001']
  assert rows[2]['n'] == 12
  assert rows[0]['l1'] == pytest.approx(0.1, rel=1e-4)
  assert len(told) == 2
  assert (calls[0] != calls[1]).any()
  np.testing.assert_equal(projection_table.measure_all(config, tmp_path / 'x', path), rows)
  assert len(calls) == 2
  view_judge.save_judge(path, random_judge(width=3))
  with pytest.raises(FitError, match=r'projections\.npz: measured by another judge'):
    projection_table.measure_all(config, tmp_path / 'x', path)


def test_what_cannot_be_measured_is_told_in_one_line(tmp_path, stand_in):
  config, calls = stand_in
  path = tmp_path / 'judge.safetensors'
  with pytest.raises(SettingsError, match="--judge='': expected the file"):
    evaluate.projections_table(config, tmp_path / 'x', '')
  with pytest.raises(WeightsError, match=r'judge\.safetensors: No such file'):
    evaluate.projections_table(config, tmp_path / 'x', str(path))
  view_judge.save_judge(path, random_judge(size=128))
  with pytest.raises(SettingsError, match='image_size=64: expected 128'):
    evaluate.projections_table(config, tmp_path / 'x', str(path))
  config.stages.first.step2 = 0
  with pytest.raises(SettingsError, match=r'stages\.first\.step2 > 0'):
    evaluate.projections_table(config, tmp_path / 'x', str(path))
  assert not (tmp_path / 'x').exists()
  assert not calls


def test_the_judges_command_trains_and_measures(tmp_path):
  images, views = turned_ramps(24)
  np.savez(tmp_path / 'heads-00000-of-00001.npz', images=images, views=views)
  call = functools.partial(
    subprocess.run, capture_output=True, text=True, timeout=300, env=environment()
  )
  command = [sys.executable, str(ROOT / 'experiments' / 'train_view_judge.py')]
  command += [f'--heads={tmp_path}/heads-*.npz', f'--workdir={tmp_path}', '--iterations=2']
  done = call([*command, '--width=2', '--held_out=4'])
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('held out, 4 pictures: pitch wrong by ')
  assert view_judge.load_judge(tmp_path / 'view_judge.safetensors').size == SIZE
  failed = call([*command, '--held_out=24'])
  assert failed.returncode == 1
  assert failed.stderr == 'train_view_judge: --held_out=24: expected fewer than the 24 heads\n'
