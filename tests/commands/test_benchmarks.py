"""The benchmark runs, at tiny sizes and with networks that compile in no time."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import roofline, scaling, steps, throughput
from benchmarks.support import layouts, markdown, original, step_programs, timing
from configs import heads
from gan2shape_jax.gan_training import parameters
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import assembly, frozen_weights, setup
from gan2shape_jax.reconstruction import parallel, programs
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.reconstruction.state import Networks
from gan2shape_jax.weights import save_safetensors
from tests.support import small_fit

CONFIG = """
from benchmarks import steps
from configs import heads

def get_config(variant):
  config = heads.get_config()
  config.fit.factors = variant or 'direct'
  config.image_size = 8
  config.data.num = 1
  config.data.latents = 'none'
  config.gan.weights = {weights!r}
  config.loss.perceptual = 'none'
  config.loss.discriminator_features = 1
  config.projection.start = 'encoder'  # the linear networks tell no views
  steps.shrink(config)
  return config
"""
SIZES = {'view': 6, 'light': 4, 'encoder': None}


GAN = dataclasses.replace(small_fit.GAN, image_size=8, widths=(8, 7))


def tiny_assembly(config):
  """Real programs over linear networks."""
  settings, frozen = setup.settings_from_config(config), frozen_weights.load_frozen(config)
  sizes = SIZES | {'encoder': stylegan2.latent_size(frozen.generator)}
  networks = Networks(
    depth=lambda params, images: params * images.mean(-1),
    albedo=lambda params, images: jnp.tanh(params * images),
    **{
      name: lambda params, images, size=size: (
        params * jnp.broadcast_to(images.mean((1, 2, 3))[:, None], (len(images), size))
      )
      for name, size in sizes.items()
    },
  )
  params = {name: jnp.float32(0.01) for name in Networks._fields}
  plan = setup.plan_from_config(config, trained=False)
  built = programs.build(networks, settings)
  return assembly.Assembly(settings, plan, networks, frozen, built, params, False)


class Traced:
  """A program traced as a call would, which tells what does not fit, but not compiled: zeros."""

  def __init__(self, program, arguments=(), static=None):
    self._program, self._arguments, self._static = program, arguments, static or {}

  def __call__(self, *arguments, **static):
    called = functools.partial(self._program, **self._static, **static)
    shapes = jax.eval_shape(called, *arguments)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

  def lower(self, *arguments, **static):
    return Traced(self._program, arguments, static)

  def compile(self):
    return self

  def as_text(self):
    return ''

  def cost_analysis(self):
    return self._program.lower(*self._arguments, **self._static).cost_analysis()


def only(compiled, programs):
  """Programs of which all but the named ones are traced only."""
  return programs._replace(
    **{
      name: Traced(program)
      for name, program in programs._asdict().items()
      if program is not None and name not in ('fresh', *compiled)
    }
  )


def traced_assembly(config, compiled=()):
  """The same, but nothing is compiled except what is named."""
  whole = tiny_assembly(config)
  return whole._replace(programs=only(compiled, whole.programs))


@pytest.fixture(autouse=True)
def hasty_compiler():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture
def path(tmp_path):
  gan, path = tmp_path / 'gan.safetensors', tmp_path / 'config.py'
  networks = map(parameters.plain, parameters.initial(GAN))
  save_safetensors(gan, dict(zip(('generator', 'discriminator'), networks, strict=True)))
  path.write_text(CONFIG.format(weights=str(gan)))
  return path


def test_scaling(path, monkeypatch, capsys):
  monkeypatch.setattr(scaling, 'assemble', traced_assembly)
  given = ['--devices', '1', '2', '--rounds=1', '--seconds=0', '--step=2']
  report = scaling.main([f'--config={path}', *given])
  rows = {row['form']: row for row in report['rows']}
  assert list(rows) == ['images on 1', 'images on 2', '2 images on 1', 'samples on 2']
  assert [row['collectives'] for row in rows.values()] == [[], [], [], ['all-reduce']]
  assert [row['pictures'] for row in rows.values()] == [1, 2, 2, 1]
  assert rows['images on 1']['ratio'] == 1
  assert 'samples on 2' in capsys.readouterr().out
  assert '| 1.00 | nothing |' in markdown.block('scaling', report)


def test_throughput(path, monkeypatch, capsys):
  build = parallel.build
  monkeypatch.setattr(throughput, 'assemble', traced_assembly)
  monkeypatch.setattr(layouts.parallel, 'build', lambda *given: only((), build(*given)))
  given = ['--instances', '2', '--forms', 'vmap', '--rounds=1', '--seconds=0']
  report = throughput.main([f'--config={path}', *given])
  (row,) = report['rows']
  assert (row['instances'], row['form'], row['ratio']) == (2, 'vmap', 1)
  counts = report['setting']['iterations']
  total = sum(row[f'step{step}_seconds'] * counts[step] for step in (1, 2, 3))
  assert row['seconds_an_image'] == pytest.approx(total)
  assert row['images_an_hour'] == pytest.approx(3600 / total)
  assert 'images/h' in capsys.readouterr().out
  assert '| 2 | vmap |' in markdown.block('throughput', report)


def test_roofline(path, monkeypatch, capsys):
  assembled = functools.partial(traced_assembly, compiled=('step1',))
  monkeypatch.setattr(roofline, 'assemble', assembled)
  report = roofline.main([f'--config={path}', '--rounds=1', '--seconds=0'])
  assert [row['step'] for row in report['rows']] == ['step 1', 'step 2', 'step 3']
  for row in report['rows']:
    assert row['gigaflops'] > 0
    flops = row['share_of_flops'] * row['seconds'] * report['peaks']['flops']
    assert math.isclose(flops, row['gigaflops'] * 1e9)
    assert row['share_of_bound'] >= row['share_of_flops']
  assert 'of bound' in capsys.readouterr().out
  assert '| step 3 |' in markdown.block('roofline', report)


@pytest.fixture
def report(path, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(steps, 'assemble', traced_assembly)

  def measured(unknowns):
    written = tmp_path / f'{unknowns}.json'
    steps.main(['--smoke', f'--config={path}:{unknowns}', f'--json={written}'])
    return json.loads(written.read_text()), capsys.readouterr().out

  yield measured
  jax.config.update('jax_enable_compilation_cache', True)


@pytest.mark.parametrize(('unknowns', 'own'), [('networks', {'prior fit'}), ('direct', set())])
def test_every_step_is_measured(report, unknowns, own):
  report, text = report(unknowns)
  rows = {kind: {} for kind in ('step', 'renderer', 'renderer within')}
  for row in report['rows']:
    rows[row['kind']][row['name']] = row
    assert row['seconds'] > 0
    assert row['compile_seconds'] > 0
    assert row['name'] in text
  steps_of_all = {'observe', 'step 1', 'origin', 'step 2', 'collect', 'refine', 'step 3', 'factors'}
  assert set(rows['step']) == steps_of_all | own
  assert len(rows['renderer']) == 2
  assert set(rows['renderer within']) == {'step 3'}
  within = rows['renderer within']['step 3']
  assert math.isclose(within['share'] * rows['step']['step 3']['seconds'], within['seconds'])
  for name in ('seconds_an_image', 'compile_seconds_of_a_run'):
    assert report[name] > 0
  assert report['calibration']['seconds'] > 0
  assert '| step 1 |' in markdown.block('steps', report)
  assert report['peak_memory_mib']['process'] > 50
  assert report['versions']['jax'] == jax.__version__
  stages = heads.get_config().stages
  expected = stages.first.step1 + (stages.count - 1) * stages.later.step1
  assert rows['step']['step 1']['calls_an_image'] == expected  # smoke has no finish


def test_calls_follow_the_plan():
  stages = (StagePlan(3, 4, 5, False, True), StagePlan(2, 0, 1, False, False))
  calls = step_programs.calls_of_plan(Plan(stages, 7, 10, refine_iterations=3))
  assert calls == {
    'prior fit': 7,
    'factors': 1,
    'observe': 2,
    'step 1': 5,
    'origin': 3,
    'step 2': 4,
    'collect': 20,
    'refine': 60,
    'step 3 flip': 5,
    'step 3': 1,
  }


def test_the_original_is_scaled_by_the_calibration():
  timings = {name: timing.Timing(0.5, 0.0) for name in original.SECONDS}
  assert original.compare(timings, None) is None
  against = original.compare(timings, 2 * original.CALIBRATION)
  assert against['step 2'] == {
    'original_seconds': 2 * original.SECONDS['step 2'],
    'seconds': 0.5,
    'times_faster': 4 * original.SECONDS['step 2'],
  }
