"""Curves for TensorBoard, one event file for each process that writes."""

import contextlib
import os
import pathlib
from collections.abc import Mapping

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from gan2shape_jax.errors import ArtefactError


class Events:
  """Writes scalars at once, so that a full disk is told at the call and nothing waits in a thread.

  The file is made at the first write. Points that are written again after an interruption lie on
  top of the first ones.
  """

  def __init__(self, folder):
    self._folder = pathlib.Path(folder)
    self._writer = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._writer is not None:
      with contextlib.suppress(OSError):  # every point was written and flushed before
        self._writer.close()
      self._writer = None

  def write(self, scalars: Mapping[str, float], step: int, wall_time: float):
    """Writes a point of each curve.

    Args:
      scalars: name of the curve -> value.
      step: place on the horizontal axis.
      wall_time: seconds since 1970.

    Raises:
      ArtefactError: the system refused.
    """
    try:
      if self._writer is None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(self._folder / 'events'), f'.{os.getpid()}')
      for name, value in scalars.items():
        event = Event(wall_time=wall_time, step=step, summary=summary.scalar(name, value))
        self._writer.write_event(event)
      self._writer.flush()
    except OSError as error:
      raise ArtefactError(f'cannot write {self._folder}: {error.strerror or error}') from error
