"""Every error that the package raises on purpose; each message is one line for the user."""


class Gan2ShapeError(Exception):
  """What all of them are: `except Gan2ShapeError` catches whatever has one line to say."""


class SettingsError(Gan2ShapeError, ValueError):
  """A setting that no run can have; the message names it."""


class DataError(Gan2ShapeError, ValueError):
  """Data that cannot be used; the message names the file and what was expected of it."""


class WeightsError(Gan2ShapeError, ValueError):
  """Weights that cannot be read, written or used; the message names the file."""


class ArtefactError(Gan2ShapeError, OSError, ValueError):
  """A result could not be written or read; the message names the file."""


class CheckpointError(Gan2ShapeError, RuntimeError):
  """A checkpoint that cannot be written, read or used; the message names its folder."""


class FitError(Gan2ShapeError, RuntimeError):
  """A reconstruction went wrong; the message names the picture and the step."""


class HostsError(Gan2ShapeError, RuntimeError):
  """The processes of a run cannot find each other, or do not agree."""


class Preempted(Gan2ShapeError, RuntimeError):  # noqa: N818, no error
  """The caller asked to stop; everything up to here is saved."""
