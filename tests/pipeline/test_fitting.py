"""Groups of pictures: a bad one among them, and a restart on other devices."""

import dataclasses
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.errors import FitError, Preempted
from gan2shape_jax.pipeline import fitting
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.jobs import Job
from gan2shape_jax.reconstruction import parallel, programs
from gan2shape_jax.reconstruction.driver import Plan, StagePlan
from gan2shape_jax.runtime import following, last_state
from gan2shape_jax.runtime.profiling import Traces
from gan2shape_jax.runtime.progress import Stopwatch
from gan2shape_jax.storage.checkpoints import Checkpoints
from tests.support.small_fit import DIRECT, SETTINGS, SIZE, frozen, instance, setting

PLAN = Plan((StagePlan(1, 2, 3, flip1=False, flip3=False),), 1, 2)
DIRECT_PLAN = Plan((StagePlan(1, 1, 3, False, False), StagePlan(2, 0, 0, False, False)), 0, 2)
SMOOTH = dataclasses.replace(SETTINGS, learning_rate=1e-4, border_depth=1.0, lam_view=0.0)


def jobs(folder, numbers, *, bad=()):
  """Pictures of noise; `bad` ones hold a NaN."""
  found = []
  for number in numbers:
    picture = jax.tree.map(np.array, instance(number))
    if number in bad:
      picture.image[3, 3] = np.nan
    name = f'{number:03d}'
    shown = data.Picture(name, picture.image, picture.mask, None, None, None, f'{name}.png')
    place = folder / name
    found.append(
      Job(
        number, shown, place, picture, np.full((SIZE, SIZE), 0.96, np.float32), {},
        Checkpoints(place / 'checkpoints'), Stopwatch(),
      )
    )  # fmt: skip
  return found


@pytest.fixture(scope='module')
def fitter():
  """(devices, configuration, stop) -> a fitter; each layout is compiled once."""
  networks, params = setting()
  shared_of = {
    'networks': Assembly(SMOOTH, PLAN, networks, frozen(), None, params, False),
    'direct': Assembly(DIRECT, DIRECT_PLAN, networks, frozen(), None, params, False),
  }
  programs_of = {}
  build = parallel.build

  def built(networks, settings, layout):
    key = layout.mesh.size, settings
    if key not in programs_of:
      programs_of[key] = build(networks, settings, layout)
    return programs_of[key]

  def make(devices, on_error='stop', stop=lambda: False, factors='networks'):
    config = get_default_config()
    config.data.on_error = on_error
    config.checkpoint.every = 1
    layout = parallel.make_layout(jax.devices()[:devices])
    curves = SimpleNamespace(write=lambda *_: None)
    return fitting.Fitter(config, shared_of[factors], layout, curves, stop, Traces(None))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, 'build', built)
    yield make


def test_a_bad_picture_does_not_hold_up_its_group(fitter, tmp_path):
  fits = fitter(2, 'skip').fit(jobs(tmp_path / 'a', (0, 1), bad=(1,)))
  assert fits[0].error is None
  assert isinstance(fits[1].error, FitError)
  assert str(fits[1].error).startswith('001.png: stage 1/1 prior fit, iteration 1: total is not')
  alone = fitter(2).fit(jobs(tmp_path / 'b', (0,)))  # the other place is filled up
  jax.tree.map(np.testing.assert_array_equal, fits[0].params, alone[0].params)
  assert all(np.isfinite(leaf).all() for leaf in fits[0].factors)
  # What a bad picture came to is not kept.
  assert (tmp_path / 'a' / '000' / 'checkpoints' / 'steps' / '7').exists()
  assert not any((tmp_path / 'a' / '001' / 'checkpoints' / 'steps').iterdir())
  with pytest.raises(FitError, match=r'001\.png: .*total is not finite'):
    fitter(2).fit(jobs(tmp_path / 'c', (0, 1), bad=(1,)))
  all_bad = fitter(2, 'skip').fit(jobs(tmp_path / 'd', (0, 1), bad=(0, 1)))
  assert [fit.error is None for fit in all_bad] == [False, False]


def test_a_restart_on_another_number_of_devices(fitter, tmp_path):
  whole = fitter(2).fit(jobs(tmp_path / 'whole', (4, 5)))
  calls = iter(range(100))
  stop = lambda: next(calls) == 4  # within step 3
  with pytest.raises(Preempted, match=r'004 to 005 .*stopped at iteration 5/7, saved'):
    fitter(2, stop=stop).fit(jobs(tmp_path / 'run', (4, 5)))
  for place, number in enumerate((4, 5)):
    (job,) = jobs(tmp_path / 'run', (number,))
    assert job.kind() == (job.instance.latent.shape, 5)
    (fit,) = fitter(1).fit([job])
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), fit.params, whole[place].params
    )
    assert job.clock.seconds['earlier runs'] > 0
    assert set(fit.params) == set(programs.TRAINED[3]) | {'encoder'}


def test_a_direct_fit_stopped_within_step_3_ends_bit_for_bit_the_same(fitter, tmp_path):
  (whole,) = fitter(1, factors='direct').fit(jobs(tmp_path / 'whole', (4,)))
  calls = iter(range(100))
  stop = lambda: next(calls) == 3  # within step 3
  with pytest.raises(Preempted, match=r'stopped at iteration 4/7, saved'):
    fitter(1, stop=stop, factors='direct').fit(jobs(tmp_path / 'run', (4,)))
  (fit,) = fitter(1, factors='direct').fit(jobs(tmp_path / 'run', (4,)))
  jax.tree.map(np.testing.assert_array_equal, fit.params, whole.params)
  jax.tree.map(np.testing.assert_array_equal, fit.factors, whole.factors)
  assert fit.factors.depth.shape == (SIZE, SIZE)


def test_a_direct_fit_that_is_no_number_is_told(fitter, tmp_path):
  with pytest.raises(FitError) as caught:
    fitter(1, factors='direct').fit(jobs(tmp_path, (1,), bad=(1,)))
  line = str(caught.value)
  assert line.startswith('001.png: stage 1/2 step 1, iteration 1: ')
  assert line.endswith('is not finite, expected a number (smaller rates under fit may help)')
  assert '\n' not in line


def test_checkpoints_are_not_far_apart_in_time_either(fitter, tmp_path, monkeypatch):
  monkeypatch.setattr(following, 'LONGEST', -1.0)
  made = fitter(1, factors='direct')
  made._config.checkpoint.every = 1000
  (job,) = jobs(tmp_path, (4,))
  made.fit([job])
  assert sorted(path.name for path in (job.folder / 'checkpoints' / 'steps').iterdir()) == [
    '6',
    '7',
  ]


class Killed(Exception):  # noqa: N818, no error
  pass


@pytest.mark.parametrize('at', [3, 5])
def test_within_an_iteration_the_newest_copy_is_saved(fitter, tmp_path, monkeypatch, at):
  """`at`: iterations before the one that does not end; the fifth is within step 3."""
  monkeypatch.setattr(last_state, 'EVERY', 0.0)
  monkeypatch.setattr(last_state, '_SHARE', 0.0)
  told, calls = [], iter(range(100))

  class Stop:
    def at_worst(self, save):
      self.save = save

    def __call__(self):
      if next(calls) < at:
        return False
      thread = threading.Thread(target=lambda: told.append(self.save()))
      thread.start()
      thread.join()
      raise Killed

  (whole,) = fitter(1).fit(jobs(tmp_path / 'whole', (4,)))
  made = fitter(1, stop=Stop())
  made._config.checkpoint.every = 1000
  with pytest.raises(Killed):
    made.fit(jobs(tmp_path / 'run', (4,)))
  assert told == [f'004 is saved at iteration {at}/7']
  (job,) = jobs(tmp_path / 'run', (4,))
  assert job.newest() == at
  (fit,) = fitter(1).fit([job])
  jax.tree.map(np.testing.assert_array_equal, fit.params, whole.params)


def test_what_is_lost_is_told():
  stop = SimpleNamespace()
  stop.at_worst = lambda save: setattr(stop, 'save', save)
  last = last_state.LastState(stop, 'x', 3, 90)
  assert stop.save() == 'x is saved at iteration 3/90'
  last.finished(10)
  assert stop.save() == 'x is saved at iteration 3/90, 7 after it are lost'
  with last.saving(12):
    last.finished(12)
  assert stop.save() == 'x is saved at iteration 12/90'
