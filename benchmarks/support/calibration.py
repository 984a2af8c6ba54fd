"""Fixed workloads, so that figures of different days and machines compare as ratios to them."""

import functools
import importlib.util
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.support.timing import seconds_of


def calibrate(rounds: int) -> list[float]:
  """Seconds of a fixed workload in JAX: 8 products of [1024, 1024], tanh and gathers of a million.

  Args:
    rounds: how often.

  Returns:
    Seconds of each round.
  """
  x, order = _given()
  jax.block_until_ready(_workload(x, order))
  return [seconds_of(lambda: _workload(x, order), 1) for _ in range(rounds)]


@jax.jit
def _workload(x, order):
  for _ in range(8):
    x = jnp.tanh(x @ x * 0.03).reshape(-1)[order].reshape(x.shape)
  return x


@functools.cache
def _given():
  random = np.random.default_rng(0)
  x = random.standard_normal((1024, 1024), np.float32)
  return jax.device_put((x, random.permutation(x.size).astype(np.int32)))


def calibrate_torch(rounds: int) -> float | None:
  """Seconds of sixteen 3x3 convolutions forward and backward in PyTorch; None without PyTorch.

  Args:
    rounds: of which the median is taken.

  Returns:
    The median; `original.CALIBRATION` where the original was timed.
  """
  if importlib.util.find_spec('torch') is None:
    return None
  import torch

  def one_round():
    start = time.perf_counter()
    for size, width in ((64, 24), (32, 48), (16, 96), (8, 128)):
      for _ in range(4):
        x = torch.randn(16, width, size, size, requires_grad=True)
        w = torch.randn(width, width, 3, 3, requires_grad=True)
        torch.nn.functional.conv2d(x, w, padding=1).square().mean().backward()
    return time.perf_counter() - start

  torch.set_num_threads(2)
  torch.set_flush_denormal(True)
  one_round()
  return statistics.median(one_round() for _ in range(rounds))
