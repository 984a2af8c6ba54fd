"""The benchmark of the GAN's training: its calls train, and its table is of the right mixture."""

import json

import numpy as np
import pytest

from benchmarks import gan_training as benchmark
from tests.support.gan_training import SETTINGS, hasty_compiler, real_images

__all__ = ['hasty_compiler']

SECONDS = {'discriminator': 1.0, 'discriminator_r1': 3.0, 'generator': 2.0, 'generator_path': 6.0}


def test_calls_go_on_from_the_last_state():
  calls = benchmark.our_calls(SETTINGS, real_images(), devices=2)
  assert set(calls) == set(benchmark.KINDS) == set(SECONDS)
  calls['discriminator']()
  calls['discriminator']()  # the first consumed its state


def test_the_mixture_has_regularisers_as_often_as_a_training():
  assert benchmark.mean_iteration(SECONDS, SETTINGS) == pytest.approx((1 + 3) / 2 + (2 + 6) / 2)


@pytest.mark.parametrize('torch', [False, True])
def test_report(monkeypatch, tmp_path, capsys, torch):
  rates = {'jax': 2.0, 'one device': 1.0, 'torch': 0.5}
  fake = lambda side: {kind: (side, kind) for kind in SECONDS}
  monkeypatch.setattr(
    benchmark, 'our_calls', lambda *given: fake('jax' if len(given) == 3 else 'one device')
  )
  monkeypatch.setattr(benchmark, 'torch_calls', lambda *given: fake('torch') if torch else {})
  monkeypatch.setattr(
    benchmark, 'measure',
    lambda calls, *given: {key: SECONDS[kind] / rates[side] for key, (side, kind) in calls.items()},
  )  # fmt: skip
  if torch:
    pytest.importorskip('torch')  # the report names its version
  written = tmp_path / 'report.json'
  report = benchmark.main([f'--json={written}'])
  assert json.loads(written.read_text()) == report
  assert set(report['seconds']) == set(rates) - ({'torch'} if not torch else set())
  ours = report['images_a_second']['jax']
  np.testing.assert_allclose(ours['discriminator'], 2 * 16)
  np.testing.assert_allclose(ours['training'], 2 * 16 / (18 / 16 + 20 / 8))
  assert ('times_as_fast' in report) == torch
  if torch:
    np.testing.assert_allclose(list(report['times_as_fast'].values()), 4)
  shown = capsys.readouterr().out
  assert ('no comparison' in shown) != torch
  assert 'one device' in shown
