"""Several devices of one processor: they fill its cores better than one device's operations do."""

import contextlib
import os

import jax

_MOST = 4  # unless more are asked for: each needs memory
_FLAG = '--xla_force_host_platform_device_count'


def device_count(wanted: int = 0) -> int:
  """How many devices a processor is divided into.

  Args:
    wanted: that many; 0 is one for each core that this process may use, at most 4.
  """
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  return wanted or min(cores or 1, _MOST)


def divide(count: int) -> None:
  """Makes devices of the processor for JAX.

  Does nothing where JAX has its devices already, or where they were given by JAX's own settings.

  Args:
    count: of devices; nothing is divided for one.
  """
  # The configuration's fields are made while JAX is imported.
  devices = jax.config.jax_num_cpu_devices  # pyrefly: ignore[missing-attribute]
  given = devices > 0 or _FLAG in os.environ.get('XLA_FLAGS', '')
  if given or count < 2:
    return
  with contextlib.suppress(RuntimeError):  # too late: JAX has its devices
    jax.config.update('jax_num_cpu_devices', count)
