"""What a picture's results take for its mask: the one given, or else what the fit tells."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from gan2shape_jax import data
from gan2shape_jax.config import get_default_config
from gan2shape_jax.pipeline.jobs import Fit
from gan2shape_jax.pipeline.picture_results import write_picture
from gan2shape_jax.reconstruction.state import Factors, Instance, Settings

SIZE = 64
V, U = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) / (SIZE / 2)
SQUARE = np.float32((np.abs(U) < 0.45) & (np.abs(V) < 0.6))[..., None]  # no ellipse
GIVEN = np.float32(np.hypot(U, V) < 0.3)[..., None]


def written(folder: pathlib.Path, *, mask=None, parsing='', telling=True) -> np.ndarray:
  """Writes the results of a square before a wall; returns the mask in factors.npz, bool."""
  rng = np.random.default_rng(0)
  colours = np.where(SQUARE > 0, (0.5, -0.2, -0.3), (-0.4, -0.4, 0.1)) * telling
  image = np.float32(np.clip(colours + rng.normal(0, 0.03, (SIZE, SIZE, 3)), -1, 1))
  config = get_default_config()
  config.parsing.weights = parsing
  config.results.sheets = config.results.videos = config.results.mesh = False
  settings = Settings()
  fitted_in = data.elliptic_mask(SIZE) if mask is None else mask
  depth = 1.05 - 0.05 * SQUARE[..., 0]
  factors = Factors(depth, image, np.zeros(6), np.float32([0, 0, 0, 0]), fitted_in)
  picture = SimpleNamespace(
    name='a', path='a.png', image=image, mask=None if parsing else mask, depth=None, photo=None
  )
  instance = Instance(image, fitted_in, np.zeros(8, np.float32))
  job = SimpleNamespace(folder=folder, picture=picture, instance=instance, metrics={})
  write_picture(config, SimpleNamespace(settings=settings), job, Fit({}, factors))
  with np.load(folder / 'factors.npz') as arrays:
    return arrays['mask'][..., 0] >= 0.5


def agreement(mask, other):
  other = other[..., 0] > 0.5
  return (mask & other).sum() / (mask | other).sum()


def test_without_a_mask_results_take_that_of_the_picture_and_its_fit(tmp_path, capsys):
  mask = written(tmp_path)
  assert agreement(mask, SQUARE) > 0.9
  assert agreement(mask, SQUARE) > agreement(mask, data.elliptic_mask(SIZE)) + 0.1
  assert "a mask of the results: the picture's colours and the shape" in capsys.readouterr().err


def test_where_colours_tell_nothing_the_ellipse_stays_and_the_reason_is_told(tmp_path, capsys):
  mask = written(tmp_path, telling=False)
  assert agreement(mask, data.elliptic_mask(SIZE)) > 0.9
  assert 'mask of the results: the start region, as ' in capsys.readouterr().err


@pytest.mark.parametrize('parsing', ['', 'bisenet.pth'])
def test_masks_given_or_parsed_stay(tmp_path, capsys, parsing):
  mask = written(tmp_path, mask=GIVEN, parsing=parsing)
  assert agreement(mask, GIVEN) > 0.85
  assert 'mask of the results' not in capsys.readouterr().err
