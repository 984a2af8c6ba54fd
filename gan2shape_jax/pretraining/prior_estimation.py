"""The view and light prior of a category, estimated from pictures by joint training in rounds."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.errors import DataError
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import network_modules, setup, sources
from gan2shape_jax.pipeline.frozen_weights import load_frozen, load_pretrained
from gan2shape_jax.pretraining import starting_networks
from gan2shape_jax.reconstruction import autoencoder
from gan2shape_jax.reconstruction.state import Method, ViewLightPrior
from gan2shape_jax.storage import atomic_files

_EVERY = 250  # iterations between checkpoints
_FEWEST = 16  # pictures; fewer do not span a Gaussian of views
_BATCH = 64

# Network units: 60 degrees a unit of rotation, 0.1 camera units a unit of shift.
_BROAD_VIEW = (0.15, 0.5, 0.08, 0.05, 0.05, 0.01)
_BROAD_LIGHT = (0.3, 0.3, 0.5, 0.4)
_BROAD_WEIGHT = 0.002  # of the broad prior; a Gaussian fitted to pictures gets joint.lam_view
_SMALLEST_DEVIATION = 1e-3  # keeps covariances positive definite where nothing varies


def broad_prior() -> ViewLightPrior:
  """A prior that hardly says anything: centred, independent, wide."""
  square = lambda deviations: np.diag(np.square(np.float32(deviations)))
  zeros = lambda count: np.zeros(count, np.float32)
  return ViewLightPrior(zeros(6), square(_BROAD_VIEW), zeros(4), square(_BROAD_LIGHT))


def gaussian_of(codes) -> tuple[np.ndarray, np.ndarray]:
  """Mean and covariance of predictions.

  Args:
    codes: [n, k].

  Returns:
    [k] and [k, k], symmetric and positive definite.
  """
  codes = np.asarray(codes, np.float64)
  covariance = np.cov(codes, rowvar=False)
  covariance = (covariance + covariance.T) / 2 + _SMALLEST_DEVIATION**2 * np.eye(codes.shape[1])
  return codes.mean(0).astype(np.float32), covariance.astype(np.float32)


def estimate(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  rounds: int,
  stop: Callable[[], bool] = lambda: False,
) -> ViewLightPrior:
  """Runs the rounds and writes prior.npz.

  Args:
    config: a whole configuration; `config.pretraining` sets the training.
    workdir: folder for the rounds and the result.
    rounds: number of trainings, at least 1.
    stop: tells whether to save and stop.

  Returns:
    The prior.

  Raises:
    DataError: there are too few pictures.
    ArtefactError, CheckpointError, FitError, SettingsError, WeightsError: one line that names the
      file or the setting.
    Preempted: `stop` said so; a checkpoint was written.
  """
  pictures = sources.load_pictures(config)
  if len(pictures) < _FEWEST:
    raise DataError(
      f'{config.data.images}: expected at least {_FEWEST} pictures to estimate a prior from, '
      f'there are {len(pictures)}'
    )
  images = np.stack([picture.image for picture in pictures])
  prior = broad_prior()
  for number in range(max(1, rounds)):
    path = workdir / f'prior_{number}.npz'
    atomic_files.write_arrays(path, prior._asdict())
    own = ConfigDict(config.to_dict())
    own.prior.view_light = str(path)
    own.networks.pretrained = ''
    if not number:
      own.pretraining.lam_view = own.pretraining.lam_view_first = _BROAD_WEIGHT
    networks = starting_networks.pretrain(
      own,
      workdir / f'round_{number}',
      every=_EVERY,
      dtype='float32',
      stop=stop,
      images=images,
    )
    views, lights = predict(own, networks, images)
    prior = ViewLightPrior(*gaussian_of(views), *gaussian_of(lights))
    data.check_prior(prior._asdict(), path)
  atomic_files.write_arrays(workdir / 'prior.npz', prior._asdict())
  return prior


def predict(config: ConfigDict, networks: pathlib.Path, images):
  """Views [n, 6] and lights [n, 4] in network units that trained networks see in pictures."""
  frozen = load_frozen(config, critic=False)
  settings = setup.settings_from_config(config)
  modules = network_modules.build_modules(config, stylegan2.latent_size(frozen.generator))
  params = load_pretrained(networks, network_modules.parameter_shapes(modules, config.image_size))

  method = Method(network_modules.build_networks(modules), settings, frozen)

  @jax.jit
  def codes(params, batch, method):
    return (
      autoencoder.predict_views(method, params['view'], batch),
      autoencoder.predict_lights(method, params['light'], batch),
    )

  parts = [
    codes(params, jnp.asarray(images[k : k + _BATCH]), method)
    for k in range(0, len(images), _BATCH)
  ]
  return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def describe(prior: ViewLightPrior, config: ConfigDict) -> str:
  """The prior's means and deviations in degrees and camera units."""
  turn, shift = config.camera.rotation_range, config.camera.xy_translation_range
  rows = zip(('pitch', 'yaw', 'roll', 'x', 'y'), (turn, turn, turn, shift, shift), strict=True)
  deviation = np.sqrt(np.diag(prior.view_cov))
  return '\n'.join(
    f'{name:6} mean {prior.view_mean[k] * unit:8.3f}  deviation {deviation[k] * unit:8.3f}'
    for k, (name, unit) in enumerate(rows)
  )
