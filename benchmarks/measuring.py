"""What the benchmarks share: how a call is timed, and what a report says of the machine."""

import argparse
import importlib.metadata
import importlib.util
import math
import os
import pathlib
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax import data
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction.state import Frozen, Instance
from gan2shape_jax.storage import atomic_files

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Effort(NamedTuple):
  """How long to measure.

  Attributes:
    rounds: of which the median is taken.
    seconds: length of a round, filled with iterations.
    views: that the renderer alone shows.
    sizes: of the renderer's images, pixels.
    flips: whether mirror images are used: both are measured.
  """

  rounds: int = 5
  seconds: float = 2.0
  views: int = 16
  sizes: tuple[int, ...] = (64, 128)
  flips: tuple[bool, ...] = (False, True)


class Timing(NamedTuple):
  """Seconds of one call, and what its first call took on top of it."""

  seconds: float
  compile_seconds: float


def measure(call: Callable, effort: Effort) -> Timing:
  """Times a function without arguments.

  Args:
    call: does one iteration and returns arrays to wait for.
    effort: how often to call it.

  Returns:
    The median over the rounds.
  """
  first = seconds_of(call, 1)
  estimate = seconds_of(call, 1)  # the first that compiles nothing
  count = min(max(math.ceil(effort.seconds / max(estimate, 1e-6)), 1), 1000)
  seconds = statistics.median(seconds_of(call, count) for _ in range(effort.rounds))
  return Timing(seconds, max(first - seconds, 0.0))


def seconds_of(call: Callable, count: int) -> float:
  """Seconds of one of `count` calls, the last waited for."""
  start = time.perf_counter()
  for _ in range(count):
    result = call()
  jax.block_until_ready(result)
  return (time.perf_counter() - start) / count


def stepping(step, state):
  """A function without arguments that goes on from the state it left: steps consume theirs."""

  def call():
    nonlocal state
    state, terms = step(state)
    return state, terms

  return call


def machine(load: float | None = None) -> dict:
  """The processor, the device that JAX uses, and the load average, now or as it was given."""
  load = os.getloadavg()[0] if load is None else load
  device = jax.devices()[0]
  model = platform.processor() or platform.machine()
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  if cpuinfo.exists():
    lines = cpuinfo.read_text().splitlines()
    model = next((x.split(':', 1)[1].strip() for x in lines if x.startswith('model name')), model)
  affinity = getattr(os, 'sched_getaffinity', None)
  return {
    'platform': platform.platform(),
    'processor': model,
    'cores': len(affinity(0)) if affinity else os.cpu_count(),
    'device': f'{device.platform}: {device.device_kind}',
    'load_average_at_start': load,
  }


def versions() -> dict:
  """Of Python and of the packages that compute."""
  packages = {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib', 'numpy')}
  return {'python': platform.python_version()} | packages


def peak_memory() -> dict:
  """Of the process, and of the accelerator where there is one; MiB."""
  unit = 1 if sys.platform == 'darwin' else 1024  # bytes there, KiB elsewhere
  peak = {'process': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}
  statistics_of_device = jax.devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in statistics_of_device:
    peak['device'] = statistics_of_device['peak_bytes_in_use'] / 2**20
  return peak


def load_config(name: str) -> ConfigDict:
  """Reads FILE or FILE:VARIANT."""
  path, _, variant = name.partition(':')
  spec = importlib.util.spec_from_file_location('benchmark_config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(variant)


def first_instance(config: ConfigDict, frozen: Frozen) -> Instance:
  """The configuration's first picture; in place of what it lacks, an ellipse, the mean latent."""
  picture = data.load_pictures(config.data, config.image_size)[0]
  mask = data.elliptic_mask(config.image_size) if picture.mask is None else picture.mask
  latent = frozen.mean_latent if picture.latent is None else picture.latent
  return Instance(picture.image, mask, np.asarray(latent))


def starting_params(shared: Assembly, instance: Instance) -> dict:
  """What a run trains on a picture at its beginning, the networks' guesses included."""
  if shared.programs.begin is None:
    return shared.params
  return shared.programs.begin(shared.params, instance, None, shared.frozen)


def parser(
  text: str, *, config: str = 'configs/heads.py', rounds: int = 5, seconds: float = 2.0
) -> argparse.ArgumentParser:
  """A parser of the flags that all benchmarks have.

  Args:
    text: the module's docstring.
    config: the configuration that is measured unless another is given.
    rounds: by default.
    seconds: by default.
  """
  found = argparse.ArgumentParser(
    description=text, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  found.add_argument('--config', default=str(ROOT / config), help='FILE[:VARIANT]')
  found.add_argument('--rounds', type=int, default=rounds, help='of which the median is taken')
  found.add_argument('--seconds', type=float, default=seconds, help='length of a round')
  found.add_argument('--json', metavar='PATH', help='write the report there as well')
  return found


def heading(report: dict) -> list[str]:
  """The lines about machine and versions with which a report's text begins."""
  found = report['machine']
  return [
    f'{found["processor"]}, {found["cores"]} cores, {found["device"]}, '
    f'load average {found["load_average_at_start"]:.1f}',
    ', '.join(f'{name} {version}' for name, version in report['versions'].items()),
  ]


def show(report: dict, text: str, path: str | None) -> dict:
  """Prints a report's text, writes it as JSON where a path is given, and returns it."""
  print(text)
  if path:
    atomic_files.write_json(path, report)
  return report
