"""A run as the command makes it, but for the fit: its factors are known, its GAN is never asked."""

from types import SimpleNamespace

import numpy as np

from gan2shape_jax.pipeline import collection, setup
from gan2shape_jax.reconstruction.driver import Plan
from gan2shape_jax.reconstruction.state import Factors


def replace(set_attribute, config, fit) -> None:
  """Puts stand-ins into `collection`.

  Args:
    set_attribute: as `setattr`, or a monkeypatch's.
    config: of the run.
    fit: list of `Job`s -> list of `Fit`s.
  """
  shared = SimpleNamespace(
    plan=Plan((), 0, 0),
    settings=setup.settings_from_config(config),
    frozen=SimpleNamespace(generator=None),
  )
  fitter = SimpleNamespace(layout=SimpleNamespace(pictures=1), fit=fit)
  set_attribute(collection, 'assemble', lambda _: shared)
  set_attribute(collection, 'check_latents', lambda *_: None)
  set_attribute(collection, 'Fitter', lambda *_: fitter)


def factors_of(picture) -> Factors:
  """Factors that a fit might have found for a picture: its true depth, or a hill."""
  x, y = np.meshgrid(*[np.linspace(-1, 1, len(picture.image), dtype=np.float32)] * 2)
  depth = np.float32(1.05) - 0.1 * np.exp(-4 * (x**2 + y**2)) if picture.depth is None else None
  light = np.float32([0.5, 0.5, 0.1, 0.1])
  return Factors(
    picture.depth if depth is None else depth,
    picture.image,
    np.zeros(6, np.float32),
    light,
    np.ones_like(picture.image[..., :1]) if picture.mask is None else picture.mask,
  )
