"""Lines of progress."""

import re

from gan2shape_jax.runtime import progress


def lines(monkeypatch, capsys, seconds):
  """The line after so many iterations, one a given number of seconds each."""
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  shown = progress.Progress(1000, label='a', interval=0)
  shown.restart(10)
  for k in range(1, 7):
    now[0] += seconds
    shown.update(10 + k, 'step 1', 0.5)
  return capsys.readouterr().err.splitlines()


def test_no_time_left_is_told_before_it_means_something(monkeypatch, capsys):
  told = lines(monkeypatch, capsys, 2.0)
  assert told[0] == 'a step 1 | 11/1000 | loss 0.5 | starting'
  assert [' left' in line for line in told] == [False] * 4 + [True] * 2
  assert told[-1].endswith('0.5 it/s | 32:48 left')
  told = lines(monkeypatch, capsys, 0.1)
  assert not any(re.search(r'it/s|left', line) for line in told)
