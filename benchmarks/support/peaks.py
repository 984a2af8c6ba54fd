"""The most arithmetic and the most memory traffic that the machine is seen to do in a second."""

import jax
import jax.numpy as jnp

from benchmarks.support.timing import Effort, measure, stepping

_MATRIX = 2048
_FLOATS = 1 << 26


def peaks(effort: Effort) -> dict[str, float]:
  """The machine's measured peaks: `flops` and `bytes` a second, in float32."""
  x = jax.random.normal(jax.random.key(0), (_MATRIX, _MATRIX))
  product = jax.jit(lambda x: x @ x)
  # In place: a new array each time would measure how fast the system hands out pages.
  scale = jax.jit(lambda x: x * 1.0001, donate_argnums=0)
  in_place = stepping(lambda x: (scale(x), None), jnp.ones(_FLOATS))
  return {
    'flops': 2 * _MATRIX**3 / measure(lambda: product(x), effort).seconds,
    'bytes': 8 * _FLOATS / measure(in_place, effort).seconds,
  }
