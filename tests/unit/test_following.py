"""The loop of all trainings: when it saves, reports, stops, and measures speed anew."""

import contextlib

import pytest

from gan2shape_jax.errors import Preempted
from gan2shape_jax.runtime import following
from gan2shape_jax.runtime.following import Course, Iteration, compiling, follow


class Recorded:
  """A training of a few iterations that notes what is done to it.

  Attributes:
    seen: (what, iterations done) in order.
  """

  def __init__(self, *, total=6, boundaries=(), due=()):
    self.seen, self.total, self.boundaries = [], total, {*boundaries, total}
    self.now, self.lines, self.label = 0, due, 'it'

  def due(self):
    return self.now in self.lines

  def restart(self, done):
    self.seen.append(('restart', done))

  def save(self, event, done):
    return event.state, lambda tree: self.seen.append(('save', tree))

  def stop(self):
    self.seen.append(('asked', self.now))
    return False

  def events(self, done):
    for now in range(done + 1, self.total + 1):
      self.now = now
      yield Iteration(self.now, {}, boundary=self.now in self.boundaries)

  def follow(self, done=0, **given):
    course = Course(
      'it',
      done,
      self.total,
      iteration=given.pop('iteration', lambda done: contextlib.nullcontext(False)),
      saves_at=given.pop('saves_at', lambda done: False),
      stopped=lambda done: f'stopped at {done}; saved',
      **given.pop('course', {}),
    )
    functions = {'save': self.save, 'report': self.report, 'stop': self.stop} | given
    return follow(self.events(done), course, progress=self, **functions)

  def report(self, event, done):
    self.seen.append(('report', done))

  def times(self, what):
    return [done for seen, done in self.seen if seen == what]


def test_stop_is_asked_once_an_iteration_and_the_last_event_returned():
  run = Recorded()
  assert run.follow(done=2).state == 6
  assert run.times('asked') == [3, 4, 5, 6]
  assert Recorded().follow(done=6) is None


def test_saves_come_at_boundaries_and_when_the_course_says_so():
  run = Recorded(boundaries=(2,), due=(3,))
  run.follow(saves_at=lambda done: done == 5, course={'reports_at': lambda done: done == 4})
  assert run.times('save') == [2, 5, 6]
  assert run.times('report') == [2, 3, 4, 5, 6]
  assert run.seen.index(('report', 2)) < run.seen.index(('save', 2))


def test_saves_are_never_far_apart_in_time(monkeypatch):
  monkeypatch.setattr(following, 'LONGEST', -1.0)
  run = Recorded()
  run.follow()
  assert run.times('save') == [1, 2, 3, 4, 5, 6]


def test_stopping_saves_first():
  run = Recorded()
  with pytest.raises(Preempted, match='stopped at 3; saved'):
    run.follow(stop=lambda: run.now == 3)
  assert run.seen[-1] == ('save', 3)


def test_what_is_not_saved_is_not_said_to_be():
  run = Recorded()
  with pytest.raises(Preempted, match='it: stopped at iteration 1/6, nothing is saved'):
    run.follow(stop=lambda: True, save=None)


@pytest.mark.parametrize('follows', [False, True])
def test_stopping_after_the_last_iteration(follows):
  run = Recorded()
  expected = pytest.raises(Preempted) if follows else contextlib.nullcontext()
  with expected:
    run.follow(stop=lambda: run.now == 6, course={'results_follow': follows})
  assert run.times('save') == [6]


def test_compiling_is_reported_and_does_not_count_as_speed():
  run = Recorded(boundaries=(4,))
  run.follow(iteration=compiling(lambda done: ['a', 'b'] if done > 1 else ['a']))
  assert run.times('report') == [1, 3, 4, 6]
  # At the beginning; after compilations; at a boundary, and after what its successor collects.
  assert run.times('restart') == [0, 1, 3, 4, 5, 6]


def test_a_report_that_raises_keeps_the_state_from_being_saved():
  run = Recorded(boundaries=(1,))

  def report(event, done):
    raise ValueError('no number')

  with pytest.raises(ValueError, match='no number'):
    run.follow(report=report)
  assert run.times('save') == []
