"""A few kills while results are written; `tests.stress.kill_results` makes as many as wanted."""

from tests.stress import kill_results


def test_killed_results_end_as_undisturbed_ones():
  outcomes, wrong = kill_results.kill(3, seed=0)
  assert not wrong
  assert outcomes.total() == 3
