"""A few damaged inputs of each kind; `tests.stress.fuzz_inputs` tries thousands."""

import pytest

from tests.stress import fuzz_inputs


@pytest.mark.parametrize('kind', ['weights', 'pictures', 'latents'])
def test_damaged_files_end_in_one_line(kind, capsys):
  outcomes, wrong = fuzz_inputs.fuzz(kind, 60, seed=11)
  assert not wrong
  assert outcomes['refused'] > 20


def test_damaged_folders_are_whole_or_made_again():
  outcomes, wrong = fuzz_inputs.fuzz_folders(12, seed=11)
  assert not wrong
  assert outcomes['made again'] > 0
