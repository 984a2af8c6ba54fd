"""What a result says of the machine and of the versions: nothing that tells whose it was."""

import importlib.metadata
import os
import pathlib
import platform
import resource
import sys

import jax

PACKAGES = 'jax', 'jaxlib', 'numpy', 'flax', 'optax', 'scipy', 'trimesh', 'embreex', 'torch'


def describe(load: float | None = None) -> dict:
  """The processor, its memory, the accelerator where there is one, and the load average.

  Args:
    load: the average when the measurement began; None: now.
  """
  found = {
    'processor': _processor(),
    'cores': _cores(),
    'memory_gib': _memory(),
    'system': f'{platform.system()} {platform.machine()}',
    'load_average_at_start': os.getloadavg()[0] if load is None else load,
  }
  devices = jax.devices()
  if devices[0].platform != 'cpu':
    found['accelerator'] = devices[0].device_kind
    found['accelerators'] = len(devices)
  return found


def versions() -> dict[str, str]:
  """Of Python and of those `PACKAGES` that are installed."""
  found = {'python': platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def peak_memory() -> dict:
  """Of the process, and of the accelerator where there is one; MiB."""
  unit = 1 if sys.platform == 'darwin' else 1024  # bytes there, KiB elsewhere
  peak = {'process': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}
  statistics_of_device = jax.devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in statistics_of_device:
    peak['device'] = statistics_of_device['peak_bytes_in_use'] / 2**20
  return peak


def _processor():
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  if cpuinfo.exists():
    for line in cpuinfo.read_text().splitlines():
      if line.startswith('model name'):
        return line.split(':', 1)[1].strip()
  return platform.processor() or platform.machine()


def _cores():
  """Those that this process may use."""
  affinity = getattr(os, 'sched_getaffinity', None)
  return len(affinity(0)) if affinity else os.cpu_count()


def _memory():
  try:
    return round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1)
  except (ValueError, OSError):
    return None
