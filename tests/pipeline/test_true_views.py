"""The test bed without the GAN: frames of views and lights, resuming, the command."""

import csv
import dataclasses
import functools
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import heads
from experiments import evaluate
from gan2shape_jax import renderer
from gan2shape_jax.errors import DataError, FitError, Preempted, SettingsError
from gan2shape_jax.instruments import fits, true_pictures, true_views
from gan2shape_jax.instruments.true_pictures import Bed
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import autoencoder, driver, programs, runaway
from gan2shape_jax.reconstruction.state import Factors, FitSettings, Projections, Settings
from tests.support import small_fit
from tests.support.command import ROOT, TINY, environment

SIZE, COUNT = 16, 4
SETTINGS = Settings(batch_size=2, rotation_range=60.0)
BED = Bed(heads=2, views=COUNT, seed=3)
LATENT = jnp.zeros(8)


def views(count, seed=0):
  rng = np.random.default_rng(seed)
  degrees = rng.normal(0, (7, 22, 3), (count, 3))
  shifts = rng.normal(0, 0.003, (count, 2))
  return np.concatenate([np.radians(degrees), shifts, np.zeros((count, 1))], 1).astype(np.float32)


class Balls:
  """Stands for `HeadMaker`: a cap before the background, whatever the view."""

  settings = SimpleNamespace(size=SIZE)

  def make(self, number):
    v, u = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) / (SIZE / 2)
    inside = np.hypot(u, v) < 0.8
    depth = 1.03 - 0.05 * np.sqrt(np.maximum(0, 0.7 - u**2 - v**2))
    encoded = np.where(inside, np.round((1.1 - depth) / 0.2 * 65535), 0).astype(np.uint16)
    return {
      'image': np.full((SIZE, SIZE, 3), 255, np.uint8),
      'depth': encoded,
      'mask': np.uint8(255) * inside,
      'head_mask': np.uint8(255) * inside,
      'view': views(1, number)[0],
    }

  def turned(self, number, count):
    images = (
      np.zeros((count, SIZE, SIZE, 3), np.uint8)
      + np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    masks[:, :3] = 255
    lights = np.tile(np.float32([[0.4, 0.6, 0.2, -0.1]]), (count, 1))
    return {'images': images, 'masks': masks, 'views': views(count, 100 + number), 'lights': lights}


def scene(number=0, bed=BED, settings=SETTINGS):
  return true_pictures.make_scene(Balls(), number, bed, settings, LATENT)


def plane(value, view=0.0):
  depth = jnp.full((SIZE, SIZE), value)
  zeros = jnp.zeros((SIZE, SIZE, 3))
  return Factors(depth, zeros, jnp.full(6, view), jnp.zeros(4), jnp.ones((SIZE, SIZE, 1)))


def stand_in(fit=None):
  return fits.StepThree(lambda instance: plane(1.0), fit or (lambda *_: plane(1.02)))


def test_view_codes_are_the_inverse_of_the_methods_units():
  given = views(5)
  codes = true_pictures.view_codes(given, SETTINGS)
  back = [autoencoder.view_from_code(jnp.asarray(code), SETTINGS) for code in codes]
  np.testing.assert_allclose(np.stack(back), given, atol=1e-6)


def test_light_in_the_canonical_frame_shades_alike():
  given, rng = views(30), np.random.default_rng(1)
  lights = np.concatenate([rng.uniform(0.3, 0.6, (30, 2)), rng.uniform(-0.6, 0.6, (30, 2))], 1)
  codes = true_pictures.light_codes(given, lights)
  normals = rng.normal(size=(10, 3))
  for view, light, code in zip(given, lights, codes, strict=True):
    in_view = np.asarray(renderer.light_direction(*light[2:]))
    canonical = renderer.light_from_code(jnp.asarray(code))
    turned = normals @ np.asarray(renderer.camera.rotation_matrix(jnp.asarray(view[:3]))).T
    np.testing.assert_allclose(turned @ in_view, normals @ np.asarray(canonical.direction),
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose([canonical.ambient, canonical.diffuse], light[:2], atol=1e-6)


def test_light_from_behind_the_canonical_head_has_bounded_slopes():
  view = np.float32([[0, np.radians(100), 0, 0, 0, 0]])
  codes = true_pictures.light_codes(view, np.float32([[0.4, 0.5, 0.0, 0.0]]))
  assert np.abs(codes[:, 2:]).max() <= 10 + 1e-4


def test_a_scene_holds_pictures_in_order_with_their_views():
  made = scene()
  projections = made.projections
  assert projections.images.shape == (2, 2, SIZE, SIZE, 3)
  values = np.asarray(projections.images)[..., 0, 0, 0].ravel()
  np.testing.assert_allclose(values, np.arange(4) / 127.5 - 1, atol=1e-6)
  expected = true_pictures.view_codes(views(COUNT, 100), SETTINGS).reshape(2, 2, 6)
  np.testing.assert_array_equal(projections.views, expected)
  np.testing.assert_array_equal(made.view, true_pictures.view_codes(views(1)[0], SETTINGS))
  np.testing.assert_array_equal(projections.picture_view, np.tile(made.view, (2, 1)))
  assert float(projections.masks.min()) == 1
  assert made.depth.max() == pytest.approx(1.1)
  masked = scene(settings=Settings(batch_size=2, use_mask=True)).projections.masks
  assert float(masked.mean()) == pytest.approx(3 / SIZE)


def test_errors_are_of_pitch_and_yaw_alone_and_of_the_stated_size():
  settings, bed = Settings(batch_size=1000), Bed(views=1000, seed=3)
  made = scene(bed=bed, settings=settings)
  other = true_pictures.perturbed(made, 0, bed, settings)
  degrees = np.asarray(other.projections.views - made.projections.views)[0] * 60
  np.testing.assert_allclose(degrees[:, :2].std(0), (5, 7), rtol=0.1)
  np.testing.assert_allclose(degrees[:, :2].mean(0), 0, atol=0.7)
  assert not degrees[:, 2:].any()
  own = np.asarray(other.view - made.view) * 60
  assert own[:2].all()
  assert not own[2:].any()
  np.testing.assert_array_equal(other.projections.picture_view, other.view[None])
  again = true_pictures.perturbed(made, 0, bed, settings)
  np.testing.assert_array_equal(again.view, other.view)
  assert (true_pictures.perturbed(made, 1, bed, settings).view != other.view).any()
  exact = true_pictures.perturbed(made, 0, Bed(pitch_error=0.0, yaw_error=0.0), settings)
  np.testing.assert_array_equal(exact.projections.views, made.projections.views)


def test_the_true_shape_scores_without_error():
  made = scene()
  true = plane(1.0)._replace(depth=jnp.asarray(made.depth, jnp.float32))
  metrics = true_views.score(true, made, SETTINGS)
  assert metrics['side_x100'] < 1e-2
  assert metrics['pixels'] > 20
  assert true_views.score(plane(1.0), made, SETTINGS)['side_x100'] > 0.3


@pytest.mark.parametrize(
  ('changed', 'flag'),
  [
    ({'heads': 0}, '--heads=0'),
    ({'views': 0}, '--views=0'),
    ({'views': 3}, r'--views=3: expected a multiple of sampling.batch_size=2'),
    ({'seed': -1}, '--bed_seed=-1'),
    ({'iterations': 0}, '--fit_iterations=0'),
    ({'pitch_error': -1.0}, '--pitch_error=-1'),
    ({'yaw_error': 90.0}, '--yaw_error=90'),
  ],
)
def test_unfit_numbers_are_told_by_their_flag(tmp_path, changed, flag):
  bed = BED._replace(**changed)
  with pytest.raises(SettingsError, match=flag):
    true_views.measure_all(stand_in(), Balls(), bed, SETTINGS, LATENT, tmp_path)
  assert not list(tmp_path.iterdir())


def test_both_variants_are_fitted_and_finished_heads_are_passed_over(tmp_path):
  seen, told = [], []

  def fit(instance, projections, picture_view):
    seen.append((np.asarray(projections.views), np.asarray(picture_view)))
    np.testing.assert_array_equal(projections.picture_depth, np.ones((2, SIZE, SIZE)))
    return plane(1.0) if len(seen) % 2 else plane(np.nan)

  measure = functools.partial(
    true_views.measure_all, maker=Balls(), settings=SETTINGS, latent=LATENT, folder=tmp_path
  )
  rows = measure(stand_in(fit), bed=BED, tell=told.append)
  assert len(seen) == 4
  np.testing.assert_array_equal(seen[0][0], scene().projections.views)
  np.testing.assert_array_equal(seen[0][1], scene().view)
  assert (seen[1][0] != seen[0][0]).any()
  assert (seen[1][1] != seen[0][1]).any()
  assert [row['name'] for row in rows] == ['00000', '00001']
  assert rows[0]['given_mad'] == pytest.approx(rows[0]['start_mad'])
  assert np.isnan(rows[0]['perturbed_mad'])
  assert len(told) == 2

  again = measure(stand_in(None), bed=BED._replace(heads=3))
  assert len(seen) == 4
  np.testing.assert_equal(again[:2], rows)
  assert again[2]['name'] == '00002'
  with pytest.raises(FitError, match=r'00000\.json.*seed 3 there, 4 here'):
    measure(stand_in(), bed=BED._replace(seed=4))
  with pytest.raises(Preempted, match='after 3 of 4 heads, saved'):
    measure(stand_in(), bed=BED._replace(heads=4), stop=lambda: True)
  (tmp_path / '00001.json').write_text('{"row": 1}')
  with pytest.raises(OSError, match=r'00001\.json: expected a head measured'):
    measure(stand_in(), bed=BED)


def test_the_tables_hold_heads_and_means(tmp_path):
  names = [f'{key}_{metric}' for key, _ in true_views._COLUMNS for metric in true_views._METRICS]
  rows = [
    {'name': f'0000{k}'} | dict.fromkeys(names, value) | {'seconds': 2.0}
    for k, value in enumerate((1.0, 2.0))
  ]
  rows[0] |= {'perturbed_side_x100': float('nan'), 'perturbed_mad': float('nan')}
  path = true_views.write_tables(tmp_path, rows)
  with (tmp_path / 'true_views.csv').open() as file:
    table = {row['name']: row for row in csv.DictReader(file)}
  assert list(table) == ['00000', '00001', 'mean', 'std']
  assert float(table['mean']['given_mad']) == 1.5
  text = path.read_text()
  assert '| views given | 1.50 ± 0.50 | 1.5 ± 0.5 | 2 |' in text
  assert '| views perturbed | 2.00 ± 0.00 | 2.0 ± 0.0 | 1 |' in text
  assert '2.0 seconds a head' in text


def small_assembly(**fit):
  networks, params = small_fit.setting()
  settings = dataclasses.replace(small_fit.SETTINGS, fit=FitSettings(**fit))
  plan = driver.Plan((driver.StagePlan(1, 1, 3, flip1=False, flip3=False),), 0, 2)
  params = jax.tree.map(jnp.asarray, params)
  built = programs.build(networks, settings)
  return Assembly(settings, plan, networks, small_fit.frozen(), built, params, True)


def noise_projections(depth):
  rng, size = np.random.default_rng(0), small_fit.SIZE
  draw = lambda *shape: jnp.asarray(rng.uniform(-0.1, 0.1, shape), jnp.float32)
  return Projections(
    draw(2, 2, size, size, 3), jnp.ones((2, 2, size, size, 1)), draw(2, 2, 6), draw(2, 2, 4),
    jnp.zeros((2, 6)), jnp.tile(depth, (2, 1, 1)),
  )  # fmt: skip


def test_the_first_step_3_starts_anew_each_time():
  step3 = fits.first_step3(small_assembly(), batches=2, iterations=1)
  instance, view = small_fit.instance(), jnp.full(6, 0.1)
  start = step3.start(instance)
  projections = noise_projections(start.depth)
  first = step3.fit(instance, projections, view)
  second = step3.fit(instance, projections, view)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  assert (first.depth != start.depth).any()
  # The picture's view is heard, by the loss that holds views.
  elsewhere = step3.fit(instance, projections, -view)
  assert (elsewhere.view != first.view).any()


def test_step_3_of_the_factors_begins_at_the_given_view_and_consumes_nothing(monkeypatch):
  monkeypatch.setattr(runaway, 'runaway', lambda *_: jnp.array(False))  # noise explains no picture
  # Two batches, unlike the configuration's 100; views stay in the first iteration.
  shared = small_assembly(factors='direct', collect_iters=100)
  step3 = fits.first_step3(shared, batches=2, iterations=1)
  instance, view = small_fit.instance(), jnp.full(6, 0.1)
  start = step3.start(instance)
  projections = noise_projections(start.depth)
  first = step3.fit(instance, projections, view)
  second = step3.fit(instance, projections, view)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  expected = autoencoder.view_from_code(view, shared.settings)
  np.testing.assert_allclose(first.view, expected, rtol=1e-6)
  assert (start.view != first.view).any()
  moved = float(jnp.abs(first.depth - start.depth).max())
  assert 0 < moved < 0.02
  longer = fits.first_step3(shared, batches=2, iterations=6).fit(instance, projections, view)
  assert float(jnp.abs(longer.depth - start.depth).max()) > moved
  networks_see = fits.starting_factors(small_assembly())(instance)
  jax.tree.map(np.testing.assert_array_equal, step3.start(instance), networks_see)


def test_a_missing_extra_is_one_line_and_claims_no_folder(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(DataError, match=r"anny: pip install 'gan2shape_jax\[heads\]'"):
    evaluate.true_views_table(heads.get_config(), tmp_path / 'x', Bed(heads=1))
  assert not list(tmp_path.iterdir())


def command(*arguments):
  return subprocess.run(
    [sys.executable, str(ROOT / 'experiments' / 'evaluate.py'), '--table=true_views', *arguments],
    capture_output=True,
    text=True,
    timeout=300,
    env=environment(),
  )


def test_a_bad_flag_is_one_line(tmp_path):
  done = command(f'--workdir={tmp_path}', '--views=30')
  assert done.returncode == 1
  assert done.stderr == 'error: --views=30: expected a multiple of sampling.batch_size=16\n'
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec('anny') is None, reason="needs the extra 'heads'")
def test_the_command_measures_rendered_heads(tmp_path):
  arguments = [
    *TINY,
    '--heads=2',
    '--views=4',
    f'--workdir={tmp_path}',
    '--config.renderer.march_steps=8',
    '--config.stages.first.step3=1',
    '--fit_iterations=1',
  ]
  done = command(*arguments)
  assert done.returncode == 0, done.stderr
  assert '| views perturbed | ' in done.stdout
  assert 'head 2/2 start ' in done.stderr
  with (tmp_path / 'true_views.csv').open() as file:
    assert [row['name'] for row in csv.DictReader(file)] == ['00000', '00001', 'mean', 'std']
  other = command(*arguments, '--config.loss.lam_view=0.5')
  assert other.returncode == 1
  assert 'other settings (loss.lam_view' in other.stderr
