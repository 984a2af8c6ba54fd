"""The command experiments/run.py as a user calls it: a process of its own."""

import os
import pathlib
import subprocess
import sys

import numpy as np

# For XLA: tests compile more than they compute. Without fusion emitters, and in one piece, the same
# programs compile in a third of the time (step 3 of a small fit: 2.7 s of 8.7).
HASTY = (
  '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true '
  '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
)

ROOT = pathlib.Path(__file__).parents[2]

# One embedded head, networks and lengths as small as they can be.
TINY = (
  '--config.data.num=1',
  '--config.networks.width=4',
  '--config.networks.encoder_width=4',
  '--config.networks.bottleneck=8',
  '--config.networks.pretrained=',
  '--config.sampling.batch_size=2',
  '--config.sampling.collect_iters=2',
  '--config.stages.count=2',
  *(f'--config.stages.{stage}.step{step}=2' for stage in ('first', 'later') for step in (1, 2)),
  '--config.stages.first.step3=6',
  '--config.stages.later.step3=2',
  '--config.prior.iterations=2',  # where networks are the unknowns
  '--config.fit.finish=2',  # where the factors are
  '--config.projection.refine_iterations=1',
  '--config.checkpoint.every=1',
)


def settings() -> dict[str, str | int]:
  """The settings of `TINY` but for the pictures, by their dotted names."""
  pairs = (flag.removeprefix('--config.').split('=') for flag in TINY)
  of_model = {name: value for name, value in pairs if not name.startswith('data.')}
  return {name: int(value) if value.isdigit() else value for name, value in of_model.items()}


def arguments(*given) -> list[str]:
  """The process's argument list."""
  return [sys.executable, str(ROOT / 'experiments' / 'run.py'), *map(str, given)]


def environment() -> dict[str, str]:
  """This process's environment: one device instead of several simulated ones, this checkout."""
  return os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': HASTY, 'PYTHONPATH': str(ROOT)}


def call(*given, prefix=(), timeout=600, **variables) -> subprocess.CompletedProcess:
  """Calls the command and waits for its end; `variables` are set in its environment."""
  return subprocess.run(
    [*prefix, *arguments(*given)],
    cwd=ROOT,
    env=environment() | variables,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=timeout,
  )


def start(*given, stderr) -> subprocess.Popen:
  """Starts the command."""
  return subprocess.Popen(
    arguments(*given),
    cwd=ROOT,
    env=environment(),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=stderr,
  )


def arrays_of(workdir, name='000') -> dict[str, np.ndarray]:
  """What a run kept of a picture."""
  with np.load(workdir / name / 'factors.npz') as arrays:
    return dict(arrays)
