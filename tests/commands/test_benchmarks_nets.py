"""The benchmarks of the renderer and of the generator, at tiny sizes: do they measure the same?"""

import json

import jax
import numpy as np
import pytest

from benchmarks import generator, renderer
from benchmarks.support import convolutions, markdown
from gan2shape_jax.weights import save_safetensors
from tests.support import small_fit

CONFIG = """
from configs import heads

def get_config(variant):
  config = heads.get_config(variant)
  config.gan.weights = {weights!r}
  config.loss.discriminator_features = 1
  return config
"""


@pytest.fixture
def hasty_compiler():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def test_renderer(hasty_compiler, tmp_path, capsys):
  written = tmp_path / 'report.json'
  given = ['--sizes=16', '--views=2', '--ways', 'fragments', 'splat', '--rounds=1']
  report = renderer.main([*given, '--seconds=0', f'--json={written}'])
  assert json.loads(written.read_text()) == report
  rows = {(row['way'], row['pass']): row for row in report['rows']}
  assert len(rows) == len(report['rows']) == 3 * 2 + 1
  assert all(row['seconds'] > 0 for row in rows.values())
  assert rows['ours', 'and backward']['times_ours'] == 1
  assert rows['ours', 'and backward']['temp_mib'] > 0
  for row in report['compared']:
    exact = row['way'] != 'splat'
    assert row['mean_abs_difference'] < (1e-6 if exact else 1e-2)
    assert row['coverage_agrees'] > (0.99 if exact else 0.8)
    assert row['gradient_depth'] < 1e-3 or not exact
    assert row['gradient_views'] < 1e-3 or not exact
  assert 'coverage' in capsys.readouterr().out
  assert '| points splatted |' in markdown.block('renderer', report)


def test_growth_is_the_exponent():
  row = lambda size, views: {
    'way': 'w', 'pass': 'p', 'size': size, 'views': views,
    'seconds': 1e-6 * size**3 * views, 'temp_mib': size**2 * views**0.5,
  }  # fmt: skip
  (grown,) = renderer.growth([row(size, views) for size in (8, 16, 64) for views in (1, 4)])
  powers = {name: round(value, 6) for name, value in grown.items() if name not in ('way', 'pass')}
  assert powers == {
    'seconds_by_size': 3,
    'temp_mib_by_size': 2,
    'seconds_by_views': 1,
    'temp_mib_by_views': 0.5,
  }
  assert renderer.growth([row(8, 1)]) == []


def test_what_takes_too_long_is_left_out(capsys):
  report = renderer.main(['--sizes=16', '--views=1', '--rounds=1', '--patience=-1'])
  assert {row['seconds'] for row in report['rows']} == {None}
  assert report['growth'] == report['compared'] == []
  assert '| ours | - | - | - |' in markdown.block('renderer', report)


def test_generator(hasty_compiler, tmp_path, capsys):
  path, written, gan = (tmp_path / name for name in ('config.py', 'report.json', 'a.safetensors'))
  fixed = small_fit.frozen()
  save_safetensors(gan, {'generator': fixed.generator, 'discriminator': fixed.discriminator})
  path.write_text(CONFIG.format(weights=str(gan)))
  given = [f'--config={path}', '--batches=2', '--ways=vmapped kernels', '--rounds=1']
  report = generator.main([*given, '--seconds=0', f'--json={written}'])
  assert json.loads(written.read_text()) == report
  rows = {(row['way'], row['pass']): row for row in report['rows']}
  both = {'ours', 'vmapped kernels'}
  assert set(rows) - {('PyTorch', name) for name in generator.PASSES} == {
    (way, name) for way in both for name in generator.PASSES
  }
  for row in rows.values():
    assert row['seconds'] > 0
    assert row['difference'] < 1e-4
  assert rows['ours', 'forward']['times_ours'] == 1
  assert rows['ours', 'forward']['difference'] == 0
  assert 'vmapped kernels' in capsys.readouterr().out
  assert '(1.0) |' in markdown.block('generator', report)


@pytest.mark.parametrize('up', [False, True])
def test_every_way_computes_the_same_convolution(up):
  random = np.random.default_rng(0)
  draw = lambda *shape: random.standard_normal(shape).astype(np.float32)
  layer, x, style, demodulation = (
    {'kernel': draw(3, 3, 2, 5)},
    draw(3, 4, 4, 2),
    draw(3, 2),
    draw(3, 5),
  )

  @jax.jit
  def all_ways(x, style):
    return [way(layer, x, style, demodulation, up) for way in convolutions.WAYS.values()]

  first, *others = map(np.asarray, all_ways(x, style))
  assert first.shape == ((3, 8, 8, 5) if up else (3, 4, 4, 5))
  assert len(others) == 3
  for other in others:
    np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-4)
