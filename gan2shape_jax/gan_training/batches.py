"""Batches of training images in an order that the seed fixes, made ahead in a thread."""

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from gan2shape_jax.gan_training.training_images import TrainingImages

_AHEAD = 4  # batches
_ORDER, _MIRROR = 0, 1  # parts of the seed


class Order:
  """Which images an iteration shows: every epoch shuffles all anew, batches go on across epochs."""

  def __init__(self, count: int, batch_size: int, seed: int):
    """Sets the order.

    Args:
      count: of images.
      batch_size: images of an iteration.
      seed: of the training.
    """
    self._count, self._batch, self._seed = count, batch_size, seed
    self._epoch, self._shuffled = -1, np.arange(0)

  def numbers(self, iteration: int) -> np.ndarray:
    """The images' numbers: [batch_size], from the seed and the iteration alone."""
    places = iteration * self._batch + np.arange(self._batch)
    return np.array([self._at(*divmod(int(place), self._count)) for place in places])

  def _at(self, epoch, place):
    if epoch != self._epoch:
      random = np.random.default_rng((self._seed, _ORDER, epoch))
      self._epoch, self._shuffled = epoch, random.permutation(self._count)
    return self._shuffled[place]


def mirrored(images: np.ndarray, seed: int, iteration: int) -> np.ndarray:
  """Mirrors every image with probability 1/2, by the seed and the iteration alone."""
  flips = np.random.default_rng((seed, _MIRROR, iteration)).random(len(images)) < 0.5
  return np.where(flips[:, None, None, None], images[:, :, ::-1], images)


class Batches:
  """Batches from an iteration on, made ahead by a thread; a context manager that ends it.

  Example:
    >>> with Batches(images, batch_size=16, seed=0, start=done, mirror=True) as batches:
    ...   batch = next(batches)
  """

  def __init__(
    self,
    images: TrainingImages,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    mirror: bool = True,
    place: Callable = lambda batch: batch,
  ):
    """Starts making batches.

    Args:
      images: to draw from.
      batch_size: images of a batch.
      seed: of the training.
      start: the first iteration.
      mirror: whether images are mirrored at random.
      place: puts a batch uint8 [B, H, W, 3] where it is used; called in the thread.
    """
    self._order = Order(len(images), batch_size, seed)
    self._images, self._seed, self._mirror, self._place = images, seed, mirror, place
    self._ready = queue.Queue(_AHEAD)
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._make, args=(start,), daemon=True)
    self._thread.start()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._ended.set()
    while self._thread.is_alive():
      self._drop()
      self._thread.join(0.01)
    self._drop()

  def __iter__(self) -> Iterator:
    return self

  def __next__(self):
    """The next batch; what went wrong in making it is raised here."""
    batch = self._ready.get()
    if isinstance(batch, BaseException):
      raise batch
    return batch

  def _make(self, iteration):
    while not self._ended.is_set():
      try:
        batch = self._images.batch(self._order.numbers(iteration))
        batch = mirrored(batch, self._seed, iteration) if self._mirror else batch
        item = self._place(batch)
      except BaseException as error:  # raised where the batch is asked for
        item = error
      while not self._ended.is_set():
        try:
          self._ready.put(item, timeout=0.1)
          break
        except queue.Full:
          continue
      if isinstance(item, BaseException):
        return
      iteration += 1

  def _drop(self):
    try:
      while True:
        self._ready.get_nowait()
    except queue.Empty:
      pass
