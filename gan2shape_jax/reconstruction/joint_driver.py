"""Joint training over a list of pictures: the three steps in stages, with shared networks.

Each iteration sees one picture; a pass over all comes in a random order (GAN2Shape, section 4,
"joint training"). What no longer changes for a picture, the origins of step 2's pseudo samples and
the projections that step 3 learns from, is collected picture by picture into stores, so that
memory holds that of one picture only.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from gan2shape_jax.reconstruction.driver import (
  PRIOR,
  STEP1,
  STEP2,
  STEP3,
  Event,
  Plan,
  Start,
  batch_index,
)
from gan2shape_jax.reconstruction.programs import Programs
from gan2shape_jax.reconstruction.state import Frozen, Instance


class Store(Protocol):
  """Keeps pytrees of arrays of each picture and stage, on disk or wherever there is room."""

  def has(self, stage: int, number: int) -> bool:
    """Whether all that was put for a picture in a stage is there."""

  def put(self, stage: int, number: int, trees: Iterable[Any], count: int) -> None:
    """Keeps `count` trees of a picture; they are made as they are taken."""

  def get(self, stage: int, number: int, index: int) -> Any:
    """One of a picture's trees."""

  def clear(self) -> None:
    """Forgets everything, of all stages."""


class Stores(NamedTuple):
  """Where the driver keeps what it collects.

  Attributes:
    origins: of `step2_projection.Origin`, one a picture.
    projections: of `Projections` without their axis of batches, `plan.collect_iters` a picture.
  """

  origins: Store
  projections: Store


class Pictures(NamedTuple):
  """All that are trained on, by their numbers.

  Attributes:
    count: how many there are.
    instance: number -> picture, read when it is asked for.
    prior_depth: number -> [size, size] shape to start from; needed with `Plan.prior_iterations`.
  """

  count: int
  instance: Callable[[int], Instance]
  prior_depth: Callable[[int], jax.Array] | None = None


class Visit(NamedTuple):
  """Which picture an iteration sees.

  Attributes:
    number: of the picture.
    turn: passes over all pictures before this one, within the step.
  """

  number: int
  turn: int


def visit(key, stage: int, step: int, iteration: int, count: int) -> Visit:
  """The picture of an iteration.

  Args:
    key: random key of the run.
    stage: number of the stage.
    step: number of the step.
    iteration: within the step.
    count: of pictures.

  Returns:
    A `Visit`; the iterations of a turn visit every picture once.
  """
  turn, place = divmod(iteration, count)
  return Visit(int(_order(_step_keys(key, stage, step)[0], turn, count)[place]), turn)


def train(
  programs: Programs,
  start: Start,
  pictures: Pictures,
  frozen: Frozen,
  plan: Plan,
  key,
  stores: Stores,
) -> Iterator[Event]:
  """Trains the networks jointly from a position to the end.

  All randomness comes from `key` with stage, step, pass and iteration folded in, so that a run
  resumed at a position, with the stores as they were, gives the same arrays as an unbroken one. If
  it was interrupted while collecting, what is in the store is not made again, as the networks
  (those of the last event) are the same.

  Args:
    programs: compiled functions.
    start: where to begin.
    pictures: to train on.
    frozen: GAN, perceptual weights, priors.
    plan: lengths of the steps, in iterations over all pictures together; `collect_iters` is of
      each picture.
    key: random key of the run.
    stores: emptied as soon as what they hold is not needed any more.

  Yields:
    An `Event` after every iteration, without projections.
  """
  (state, position, _), (count, instance, prior_depth) = start, pictures
  del start  # programs consume the state

  def collect_origins(state, stage):
    """Keeps what all pseudo samples of a picture share; step 2 does not change it."""
    store = stores.origins
    for number in range(count):
      if not store.has(stage, number):
        store.put(stage, number, [programs.origin(state.params, instance(number), frozen)], 1)

  def collect_projections(state, stage, key):
    """Projects fresh pseudo samples of every picture with the trained encoder."""
    store, batches = stores.projections, plan.collect_iters
    for number in range(count):
      if store.has(stage, number):
        continue
      picture = instance(number)
      origin = programs.origin(state.params, picture, frozen)
      own = state.params, origin, picture.latent, jax.random.fold_in(key, number)
      collect = functools.partial(programs.collect, *own, frozen)
      store.put(stage, number, map(collect, range(batches)), batches)

  for segment in plan.segments(position):
    stage, step, first, length, flip = segment
    for store, used in zip(stores, (STEP2, STEP3), strict=True):
      if step != used:
        store.clear()
    if not first:
      state = programs.fresh(state.params, step)
    order_key, draw_key, collect_key = _step_keys(key, stage, step)
    if step == STEP2:
      collect_origins(state, stage)
    elif step == STEP3 and not first:
      collect_projections(state, stage, collect_key)
    order = _order(order_key, first // count, count)
    for k in range(first, length):
      turn, place = divmod(k, count)
      if k > first and not place:
        order = _order(order_key, turn, count)
      number = int(order[place])
      if step == PRIOR:
        assert prior_depth is not None, 'the prior fit needs a shape'
        state, terms = programs.fit_prior(state, instance(number).image, prior_depth(number))
      elif step == STEP1:
        picture = instance(number)
        scene = programs.observe(state.params, picture, frozen, flip=flip)
        state, terms = programs.step1(state, scene, picture, frozen)
      elif step == STEP2:
        origin = stores.origins.get(stage, number, 0)
        state, terms = programs.step2(state, origin, instance(number).latent, draw_key, frozen, k)
      else:
        # Each pass takes the next batch of every picture.
        index = batch_index(turn, plan.collect_iters, skip_first=plan.skip_first_batch)
        batch = stores.projections.get(stage, number, index)
        batches = jax.tree.map(lambda leaf: leaf[None], batch)
        state, terms = programs.step3(state, instance(number), batches, frozen, 0, 0.0, flip=flip)
      yield Event(segment.after(k + 1), state, None, terms, (stage, step), k + 1 == length)
    for store in stores:
      store.clear()


def _step_keys(key, stage, step):
  """Keys of a step: of the pictures' order, of what is drawn in iterations, of collecting."""
  return jax.random.split(jax.random.fold_in(jax.random.fold_in(key, stage), step), 3)


def _order(key, turn, count):
  """The pictures' numbers in the order of a pass."""
  return np.asarray(jax.random.permutation(jax.random.fold_in(key, turn), count))
