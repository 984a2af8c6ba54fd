"""A picture on its way through a run: ready to be fitted, and after the fit."""

import dataclasses
import pathlib

import numpy as np

from gan2shape_jax import data
from gan2shape_jax.errors import FitError
from gan2shape_jax.reconstruction.state import Factors, Instance
from gan2shape_jax.runtime.progress import Stopwatch
from gan2shape_jax.storage.checkpoints import Checkpoints


@dataclasses.dataclass
class Job:
  """A picture that is ready to be fitted.

  Attributes:
    number: of the picture in its collection; with the seed it makes the random key.
    picture: as it was loaded.
    folder: for its results, or None where none are written.
    instance: numpy arrays.
    prior_depth: [size, size] shape to start from, or None for trained networks.
    metrics: what is known about the picture before the fit.
    checkpoints: of this picture alone, or None where nothing is kept on the way.
    clock: seconds spent on it.
    inputs: digests of what it begins from.
  """

  number: int
  picture: data.Picture
  folder: pathlib.Path | None
  instance: Instance
  prior_depth: np.ndarray | None
  metrics: dict
  checkpoints: Checkpoints | None
  clock: Stopwatch
  inputs: dict = dataclasses.field(default_factory=dict)

  def newest(self) -> int | None:
    """Iterations of the newest checkpoint, or None."""
    return self.checkpoints.latest() if self.checkpoints is not None else None

  def kind(self) -> tuple:
    """What the pictures of a group have in common: shape of the latent, iterations done."""
    return self.instance.latent.shape, self.newest() or 0


@dataclasses.dataclass
class Fit:
  """A picture after the last step.

  Attributes:
    params: the networks' parameters, numpy arrays.
    factors: what they see in the picture, numpy arrays; None where nothing came of it.
    error: what went wrong, or None.
  """

  params: dict
  factors: Factors | None
  error: FitError | None = None
