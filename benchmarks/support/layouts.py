"""The steps of a fit of several pictures on several devices, ready to be timed."""

import re
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from benchmarks.support import subjects, timing
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import parallel
from gan2shape_jax.reconstruction.parallel import Layout
from gan2shape_jax.reconstruction.state import Instance


def collectives(text: str) -> list[str]:
  """The operations between devices in a compiled program's text."""
  names = 'all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter'
  return re.findall(rf'= \S+ ({names})(?:-start)?\(', text)


class LaidOut:
  """Steps 1 to 3 of copies of one picture, as many as a layout has places for."""

  def __init__(self, shared: Assembly, place: Layout, instance: Instance, flips: ConfigDict):
    """Compiles nothing yet.

    Args:
      shared: frozen weights, networks and starting parameters.
      place: of the pictures on devices.
      instance: the picture.
      flips: `flip1` and `flip3` as in a stage.
    """
    self._flips, self._place = flips, place
    self._built = parallel.build(shared.networks, shared.settings, place)
    self._params = jax.device_get(subjects.starting_params(shared, instance))
    self._instances = place.stacked([instance] * place.pictures)
    self._frozen = place.shared(shared.frozen)
    self._keys = place.stacked([jax.random.key(0)] * place.pictures)

  def compiled(self, step: int) -> tuple[Callable, str]:
    """Compiles a step (1, 2 or 3).

    Args:
      step: its number.

    Returns:
      A function without arguments that does one iteration, and the compiled program's text.
    """
    state, program, rest, static = self._parts(step)
    compiled = program.lower(state, *rest, **static).compile()
    return timing.stepping(lambda state: compiled(state, *rest), state), compiled.as_text()

  def _parts(self, step):
    """State, program, other arguments and static arguments."""
    built, instances, frozen = self._built, self._instances, self._frozen
    params = self._place.stacked([self._params] * self._place.pictures)
    state = built.fresh(params, step)
    if step == 1:
      scene = built.observe(params, instances, frozen, flip=self._flips.flip1)
      return state, built.step1, (scene, instances, frozen), {}
    origin = built.origin(params, instances, frozen)
    own = origin, instances.latent, self._keys, frozen, 0
    if step == 2:
      return state, built.step2, own, {}
    batch = built.collect(params, *own)
    projections = jax.tree.map(lambda leaf: leaf[:, None], batch)
    return state, built.step3, (instances, projections, frozen, 0, 0.5), {'flip': self._flips.flip3}
