"""Makes a picture ready to be fitted: its latent, its mask and the shape to start from."""

import pathlib
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.data import Picture, Pictures, TfdsPictures
from gan2shape_jax.errors import FitError
from gan2shape_jax.pipeline import picture_inputs, setup
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.pipeline.jobs import Job
from gan2shape_jax.pipeline.masks import FindMask
from gan2shape_jax.pipeline.picture_latents import Found, LatentFinder
from gan2shape_jax.pipeline.sources import Samples
from gan2shape_jax.reconstruction import driver
from gan2shape_jax.reconstruction.state import Instance
from gan2shape_jax.runtime.progress import CalledProgress, Progress, Stopwatch
from gan2shape_jax.storage.checkpoints import Checkpoints


class Preparation(NamedTuple):
  """What the pictures of a run are prepared with.

  Attributes:
    config: a whole configuration.
    workdir: each picture's results go to the subfolder of its name.
    pictures: all of the run.
    shared: weights.
    finder: of latents.
    find_mask: of masks.
  """

  config: ConfigDict
  workdir: pathlib.Path
  pictures: Pictures | TfdsPictures | Samples
  shared: Assembly
  finder: LatentFinder
  find_mask: FindMask


def prepare(preparation: Preparation, number: int) -> Job:
  """Loads a picture, finds what is not given, and opens its checkpoints.

  Args:
    preparation: of the run.
    number: of the picture.

  Returns:
    A `Job`.

  Raises:
    DataError, FitError, ArtefactError, CheckpointError: one line that names the file.
    Preempted: the caller asked to stop during an inversion.
  """
  config, shared = preparation.config, preparation.shared
  picture, clock = preparation.pictures[number], Stopwatch()
  folder = preparation.workdir / picture.name
  progress = Progress(config.inversion.iterations, label=picture.name)
  with clock.part('inversion'):
    if config.mode == 'predict':  # the networks look at nothing but the picture
      found = Found(np.asarray(shared.frozen.mean_latent), {})
    else:
      found = preparation.finder.find(picture, folder, progress)
  with clock.part('mask'):
    instance, prior_depth = make_instance(
      config, shared, picture, found, preparation.find_mask, progress
    )
  inputs = picture_inputs.digests(preparation.pictures, number)
  if picture.latent is None and config.mode != 'predict':
    inputs[picture_inputs.FOUND] = picture_inputs.digest(found.latent)
  if found.changed:  # what an earlier run saved began from another latent
    Checkpoints(folder / 'checkpoints').remove()
  picture_inputs.keep_matching(folder / 'checkpoints', inputs, progress)
  checkpoints = Checkpoints(folder / 'checkpoints', keep=config.checkpoint.keep)
  checkpoints.recover(progress.note, stage_of=lambda step: _projected_stage(shared.plan, step))
  return Job(
    number, picture, folder, instance, prior_depth, found.metrics, checkpoints, clock, inputs
  )


def make_instance(
  config: ConfigDict,
  shared: Assembly,
  picture: Picture,
  found: Found,
  find_mask: FindMask,
  progress: Progress | CalledProgress,
) -> tuple[Instance, np.ndarray | None]:
  """A picture as the fit takes it, and the shape to start from.

  Args:
    config: a whole configuration.
    shared: weights and plan.
    picture: the picture.
    found: its latent.
    find_mask: of masks.
    progress: is told where a mask is from that was not given.

  Returns:
    An `Instance` of numpy arrays; the starting shape [size, size], or None for trained networks.

  Raises:
    DataError: no object is seen in the picture.
    FitError: the mask is none that a shape can be made in.
  """
  mask, origin = find_mask(picture)
  if picture.mask is None:
    progress.note(f'mask of the fit: {origin}')
  prior_depth = None
  untrained = setup.fits_factors(config) and not config.networks.pretrained
  if shared.plan.prior_iterations or untrained:
    try:
      prior_depth = np.asarray(setup.prior_depth(config, mask))
    except ValueError as error:
      raise FitError(f'{picture.path}: {error}') from error
  instance = Instance(*(np.asarray(x) for x in (picture.image, mask, found.latent)))
  return instance, prior_depth


def _projected_stage(plan, done):
  """The stage whose projections are needed to go on after so many iterations, or None."""
  position = plan.position(done)
  return position.stage if position.step == driver.STEP3 and position.iteration else None
