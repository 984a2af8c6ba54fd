"""The benchmark of the GAN's training: its calls train, and its table is of the right mixture."""

import json

import numpy as np
import pytest

from benchmarks import gan_training as benchmark
from benchmarks.support import markdown
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
def test_result(monkeypatch, tmp_path, capsys, torch):
  rates = {benchmark.OURS: 2.0, benchmark.ALONE: 1.0, benchmark.THEIRS: 0.5}
  fake = lambda side: {kind: (side, kind) for kind in SECONDS}
  monkeypatch.setattr(
    benchmark,
    'our_calls',
    lambda *given: fake(benchmark.OURS if len(given) == 3 else benchmark.ALONE),
  )
  theirs = fake(benchmark.THEIRS) if torch else {}
  monkeypatch.setattr(benchmark, 'training_calls', lambda *given: theirs)
  monkeypatch.setattr(
    benchmark, 'measure_in_turns',
    lambda calls, *given: {key: SECONDS[kind] / rates[side] for key, (side, kind) in calls.items()},
  )  # fmt: skip
  written = tmp_path / 'result.json'
  result = benchmark.main([f'--json={written}'])
  assert json.loads(written.read_text()) == result
  rows = {(row['side'], row['update']): row for row in result['rows']}
  sides = set(rates) - (set() if torch else {benchmark.THEIRS})
  assert set(rows) == {(side, name) for side in sides for name in (*SECONDS, 'training')}
  ours = {name: row['images_a_second'] for (side, name), row in rows.items() if side == 'ours'}
  np.testing.assert_allclose(ours['discriminator'], 2 * 16)
  np.testing.assert_allclose(ours['training'], 2 * 16 / (18 / 16 + 20 / 8))
  for (side, _), row in rows.items():
    np.testing.assert_allclose(row['times_ours'], 2 / rates[side])
  table = markdown.block('gan_training', result)
  assert ('| | ours | ours on one device | PyTorch |' in table) == torch
  assert '| training, all in their shares |' in table
  shown = capsys.readouterr().out
  assert ('no comparison' in shown) != torch
  assert ('4.00 times as fast as PyTorch' in shown) == torch
  assert benchmark.ALONE in shown
