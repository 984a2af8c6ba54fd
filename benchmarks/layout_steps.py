"""The steps of a fit of several pictures on several devices, ready to be timed."""

from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from benchmarks import measuring
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import parallel
from gan2shape_jax.reconstruction.parallel import Layout
from gan2shape_jax.reconstruction.state import Instance


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
    self._params = jax.device_get(measuring.starting_params(shared, instance))
    self._instances = place.stacked([instance] * place.pictures)
    self._frozen = place.shared(shared.frozen)
    self._keys = place.stacked([jax.random.key(0)] * place.pictures)

  def call(self, step: int) -> Callable:
    """A function without arguments that does one iteration of a step (1, 2 or 3)."""
    state, program, rest, static = self._parts(step)
    return measuring.stepping(lambda state: program(state, *rest, **static), state)

  def compiled_text(self, step: int) -> str:
    """The compiled program of a step (1, 2 or 3)."""
    state, program, rest, static = self._parts(step)
    return program.lower(state, *rest, **static).compile().as_text()

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
