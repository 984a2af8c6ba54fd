"""The latent of each picture: given, kept from an earlier call, or found by inversion.

Beside a latent that was found, `latent.npz` keeps what it was found for: digests of the picture's
pixels and of the GAN's weights, and the settings of the inversion. It is used again only while all
of that is the same.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.artefacts import image_files, sheets
from gan2shape_jax.data.errors import read_arrays
from gan2shape_jax.errors import DataError, FitError, Preempted
from gan2shape_jax.models import stylegan2
from gan2shape_jax.pipeline import setup
from gan2shape_jax.reconstruction import domain, inversion
from gan2shape_jax.reconstruction.gan_images import gan_images
from gan2shape_jax.reconstruction.state import Frozen, Gan
from gan2shape_jax.runtime.progress import CalledProgress, Progress
from gan2shape_jax.storage import atomic_files

_FILE, _SHEET = 'latent.npz', 'inversion.png'
_METRICS = {'inversion_l1': 'image_l1', 'gan_distance': 'gan_distance'}  # -> arrays of latent.npz
_NAMES = {'picture': 'another picture', 'gan': 'another GAN'}

_gan_images = jax.jit(gan_images, static_argnames='size')


class Found(NamedTuple):
  """A picture's latent.

  Attributes:
    latent: [w_dim] or [layers, w_dim].
    metrics: inversion_l1, the mean absolute difference between the picture and the GAN's image,
      and gan_distance, how unlike the GAN's own images the picture is (1 is their 99th
      percentile; not without a discriminator); none where the latent was given.
    changed: an earlier latent of this picture was replaced by another one.
  """

  latent: np.ndarray
  metrics: dict[str, float]
  changed: bool = False


class LatentFinder:
  """Finds the latents of pictures one by one; what they share is computed once, when needed.

  Example:
    >>> finder = LatentFinder(config, frozen)
    >>> found = finder.find(picture, workdir / picture.name, Progress(1, label=picture.name))
  """

  def __init__(
    self, config: ConfigDict, frozen: Frozen, *, stop: Callable[[], bool] = lambda: False
  ):
    """Computes nothing yet.

    Args:
      config: a whole configuration.
      frozen: its GAN and, for LPIPS, its perceptual weights.
      stop: asked after every iteration whether to stop.
    """
    self._config, self._frozen, self._stop = config, frozen, stop
    self._compiled = False
    self._uses_lpips = config.loss.perceptual == 'lpips' and config.inversion.lam_perceptual > 0

  def find(
    self, picture: data.Picture, folder: pathlib.Path, progress: Progress | CalledProgress
  ) -> Found:
    """The picture's latent; writes `latent.npz` and `inversion.png` where it has to be found.

    Args:
      picture: the picture.
      folder: where the latent is kept.
      progress: shows how far the inversion is, and the warnings.

    Returns:
      A `Found`.

    Raises:
      ArtefactError: the folder cannot be written.
      DataError: the latent kept cannot be read.
      FitError: the inversion left the finite numbers.
      Preempted: the caller asked to stop.
    """
    if picture.latent is not None:
      return Found(picture.latent, {})
    path = folder / _FILE
    record = self._record(picture)
    kept, reason = _read(path, record) if path.exists() else (None, '')
    changed = False
    if reason:
      progress.note(f'{path.name} was found for {reason}: inverting again')
    if kept is None or reason:
      found = self._invert(picture, progress)
      changed = kept is not None and not np.array_equal(kept['latent'], found.latent)
      found = found._replace(changed=changed)
      self._write_arrays(path, found, record)
      (folder / _SHEET).unlink(missing_ok=True)
    else:
      found = Found(kept['latent'], {name: float(kept[of]) for name, of in _METRICS.items()})
    if not (folder / _SHEET).exists():
      self._write_sheet(folder, picture, found)
    _warn(picture, found, progress, f' See {folder / _SHEET}')
    return _known(found)

  def invert(self, picture: data.Picture, progress: Progress | CalledProgress) -> Found:
    """Finds the picture's latent anew and writes nothing.

    Args:
      picture: the picture; a latent that it comes with is not looked at.
      progress: shows how far the inversion is, and the warnings.

    Returns:
      A `Found`.

    Raises:
      FitError: the inversion left the finite numbers.
      Preempted: the caller asked to stop.
    """
    found = self._invert(picture, progress)
    _warn(picture, found, progress)
    return _known(found)

  def write(self, picture: data.Picture, found: Found, folder: pathlib.Path) -> None:
    """Writes what `find` writes, for a latent that was found by `invert`.

    Raises:
      ArtefactError: the folder cannot be written.
    """
    self._write_arrays(folder / _FILE, found, self._record(picture))
    self._write_sheet(folder, picture, found)

  def _write_arrays(self, path, found, record):
    arrays = {'latent': found.latent}
    arrays |= {of: np.float32(found.metrics.get(name, np.nan)) for name, of in _METRICS.items()}
    atomic_files.write_arrays(path, arrays | {'record': np.array(json.dumps(record))})

  def _write_sheet(self, folder, picture, found):
    image = self.image_of(found.latent)
    image_files.write_png(folder / _SHEET, sheets.inversion_sheet(picture.image, image))

  def image_of(self, latent) -> np.ndarray:
    """The GAN's image of a latent, [size, size, 3] in [-1, 1]."""
    gan = Gan.of(self._frozen, setup.settings_from_config(self._config))
    return np.asarray(_gan_images(gan, latent[None], size=self._config.image_size)[0])

  @functools.cached_property
  def _domain(self):
    settings = setup.settings_from_config(self._config)
    return domain.own_domain(self._frozen, settings, self._config.image_size)

  @functools.cached_property
  def _digest(self):
    """Of the weights that the inversion uses."""
    used = [self._frozen.generator, self._frozen.discriminator]
    if self._uses_lpips:
      used.append(self._frozen.perceptual)
    return _digest_of(used)

  def _record(self, picture):
    """What a latent is found for."""
    settings = {f'inversion.{name}': value for name, value in self._config.inversion.items()}
    if not self._uses_lpips:
      settings['inversion.lam_perceptual'] = 0
    for name in ('truncation', 'crop', 'origin_size'):
      settings[f'gan.{name}'] = self._config.gan[name]
    return {'picture': _digest_of(picture.image), 'gan': self._digest, 'settings': settings}

  def _invert(self, picture, progress):
    numbers = inversion.InversionSettings(**self._config.inversion)
    if not self._uses_lpips:
      numbers = dataclasses.replace(numbers, lam_perceptual=0.0)

    def show(done, total, mean_l1):
      if self._stop():
        raise Preempted(f'{picture.name}: stopped during inversion, which begins again next time')
      progress.part(done, total, 'inversion', mean_l1)

    if not self._compiled:
      progress.note('compiling inversion')
      self._compiled = True
    distance = np.nan  # where the GAN has no discriminator to tell it
    if self._frozen.discriminator is not None:
      distance = domain.domain_distance(self._domain, self._frozen, picture.image[None])[0]
    try:
      found = inversion.invert(
        picture.image[None],
        self._frozen,
        numbers,
        setup.settings_from_config(self._config),
        batch_size=1,
        progress=show,
      )
    except FloatingPointError as error:
      raise FitError(f'{picture.path}: inversion: {error}') from error
    metrics = {'inversion_l1': float(found.image_l1[0]), 'gan_distance': float(distance)}
    return Found(np.asarray(found.latents[0]), metrics)


def _known(found):
  """Without the metrics that a GAN without a discriminator does not tell."""
  told = {name: value for name, value in found.metrics.items() if not np.isnan(value)}
  return found._replace(metrics=told)


def _warn(picture, found, progress, more=''):
  distance = found.metrics['gan_distance']
  if distance > 1:
    progress.warn(
      f'{picture.path} is unlike what this GAN makes (gan_distance {distance:.2f}; 99% of its own '
      f'images are below 1): expect a poor shape. Is it upright, cropped and of the same kind?'
      f'{more}'
    )


def check_latents(shapes: dict[pathlib.Path, tuple | None], generator) -> None:
  """Refuses latents that are not of the GAN's size.

  Args:
    shapes: a picture's path -> its latent's shape, None where it has none.
    generator: the GAN's parameters.

  Raises:
    DataError: one line that names the first picture whose latent does not fit.
  """
  size, layers = stylegan2.latent_size(generator), stylegan2.num_layers(generator)
  for path, shape in shapes.items():
    if shape is not None and shape not in ((size,), (layers, size)):
      raise DataError(
        f'{path}: expected a latent [{size}] or [{layers}, {size}], as the GAN has them, the one '
        f'given is {list(shape)}'
      )


def _read(path, record):
  """The arrays kept and, where they were found for something else, the reason as text."""
  kept = read_arrays(path, ('latent', 'image_l1'))
  try:
    kept |= read_arrays(path, ('gan_distance', 'record'))
    earlier = json.loads(str(kept.pop('record')))
    settings, now = earlier['settings'], record['settings']
    differing = [_NAMES[part] for part in _NAMES if earlier[part] != record[part]]
  except (DataError, ValueError, TypeError, KeyError):
    return kept, 'something it does not tell'
  for name in sorted({*settings, *now}):
    if settings.get(name) != now.get(name):
      differing.append(f'{name} {settings.get(name)!r} (now {now.get(name)!r})')
  return kept, ', '.join(differing)


def _digest_of(tree) -> str:
  """SHA-256 of the names, types, shapes and bytes of all arrays of a tree."""
  digest = hashlib.sha256()
  for where, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    digest.update(f'{jax.tree_util.keystr(where)} {array.dtype} {array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
