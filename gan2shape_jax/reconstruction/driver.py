"""The reconstruction of one picture: in each stage step 1, step 2, step 3 (paper, algorithm 1)."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.reconstruction.programs import Programs
from gan2shape_jax.reconstruction.state import FitState, Frozen, Instance, Projections

PRIOR, STEP1, STEP2, STEP3 = range(4)
STEP_NAMES = ('prior fit', 'step 1', 'step 2', 'step 3')


class Position(NamedTuple):
  """The iteration that runs next.

  Attributes:
    stage: 0 to the number of stages (then the reconstruction is complete).
    step: 0 (prior fit, first stage only), 1, 2 or 3.
    iteration: within the step.
  """

  stage: int = 0
  step: int = PRIOR
  iteration: int = 0


BEGINNING = Position()


class StagePlan(NamedTuple):
  """Iterations of the steps of one stage, and where the mirrored shape must explain too."""

  step1: int
  step2: int
  step3: int
  flip1: bool
  flip3: bool


class Segment(NamedTuple):
  """The iterations of one step of a stage, or those of them that are left.

  Attributes:
    stage: number of the stage.
    step: PRIOR, STEP1, STEP2 or STEP3.
    first: the iteration of the step that runs next.
    length: iterations of the whole step, more than `first`.
    flip: whether the mirrored shape must explain too; None in steps that do not use it.
  """

  stage: int
  step: int
  first: int
  length: int
  flip: bool | None

  @property
  def kind(self) -> tuple[int, bool | None]:
    """What its iterations have compiled: one program for each kind."""
    return self.step, self.flip

  def after(self, iterations: int) -> Position:
    """The position after so many iterations of the step."""
    if iterations < self.length:
      return Position(self.stage, self.step, iterations)
    last = self.step == STEP3
    return Position(self.stage + 1) if last else Position(self.stage, self.step + 1)


class Plan(NamedTuple):
  """The numbers of iterations that the driver's loop follows.

  Attributes:
    stages: one `StagePlan` each.
    prior_iterations: regression steps of the depth net to the prior; 0 for trained networks.
    collect_iters: batches projected at the end of step 2.
    refine_iterations: steps on the latents of each of these batches.
    skip_first_batch: the first pass over the projections leaves out the first batch, as published.
  """

  stages: tuple[StagePlan, ...]
  prior_iterations: int
  collect_iters: int
  skip_first_batch: bool = False
  refine_iterations: int = 0

  def length(self, stage: int, step: int) -> int:
    """Iterations of a step of a stage."""
    if step == PRIOR:
      return self.prior_iterations if stage == 0 else 0
    return self.stages[stage][step - 1]

  def segments(self, position: Position = BEGINNING) -> Iterator[Segment]:
    """What runs from a position on, step by step; steps without iterations are left out."""
    for stage in range(position.stage, len(self.stages)):
      flips = {STEP1: self.stages[stage].flip1, STEP3: self.stages[stage].flip3}
      for step in (PRIOR, STEP1, STEP2, STEP3):
        if (stage, step) < position[:2]:
          continue
        first = position.iteration if (stage, step) == position[:2] else 0
        length = self.length(stage, step)
        if first < length:
          yield Segment(stage, step, first, length, flips.get(step))

  def total(self) -> int:
    """Iterations of the whole reconstruction."""
    return sum(segment.length for segment in self.segments())

  def done_before(self, position: Position) -> int:
    """Iterations before a position."""
    return self.total() - sum(left.length - left.first for left in self.segments(position))

  def position(self, done: int) -> Position:
    """The position after `done` iterations from the beginning."""
    for segment in self.segments():
      if done < segment.length:
        return segment.after(done)
      done -= segment.length
    return Position(len(self.stages))


class Start(NamedTuple):
  """Where a run begins: at the beginning, or at a checkpoint.

  Attributes:
    state: networks and optimiser at `position`; fresh ones are made at each change of step.
    position: the iteration that runs first.
    projections: of the current stage, when `position` is within step 3 of a single picture.
  """

  state: FitState
  position: Position = BEGINNING
  projections: Projections | None = None


class Event(NamedTuple):
  """What the driver yields after every iteration.

  Attributes:
    position: the iteration that runs next; a checkpoint must hold it together with `state`.
    state: valid until the driver goes on (the next iteration consumes its arrays).
    projections: of the current stage while step 3 runs, else None.
    terms: the losses, as arrays on the device.
    finished: (stage, step) of the iteration that made this event.
    boundary: whether that iteration was the last of its step.
  """

  position: Position
  state: FitState
  projections: Projections | None
  terms: dict[str, jax.Array]
  finished: tuple[int, int]
  boundary: bool


def place(plan: Plan, stage: int, step: int) -> str:
  """Names a step of a stage for people."""
  return f'stage {stage + 1}/{len(plan.stages)} {STEP_NAMES[step]}'


def saved(state: FitState, position: Position) -> dict:
  """What a checkpoint holds of a state, as a pytree."""
  # Between two steps there is no optimiser to keep: the next step makes its own.
  optimizer = jax.tree.leaves(state.optimizer) if position.iteration else []
  return {'params': state.params, 'optimizer': optimizer}


def restored(tree: dict, like: FitState) -> FitState:
  """The state of which `saved` made a tree; `like` has its optimiser's structure."""
  optimizer = jax.tree.unflatten(jax.tree.structure(like.optimizer), tree['optimizer'])
  return FitState(tree['params'], optimizer)


def reconstruct(
  programs: Programs,
  start: Start,
  instance: Instance,
  frozen: Frozen,
  plan: Plan,
  key,
  *,
  prior_depth=None,
) -> Iterator[Event]:
  """Runs the method on one picture from a position to the end.

  All randomness comes from `key` with stage, step and iteration folded in, so that a run resumed
  at a position gives the same arrays as an unbroken one.

  Args:
    programs: compiled functions.
    start: where to begin.
    instance: the picture.
    frozen: GAN, perceptual weights, priors.
    plan: lengths of the steps.
    key: random key of the picture.
    prior_depth: [size, size] shape to start from; needed with `plan.prior_iterations`.

  Yields:
    An `Event` after every iteration.
  """
  state, position, projections = start
  del start  # programs consume the state, and other projections follow

  def iterations(segment, state, key, projections):
    """The iterations of a segment: yields (state, terms)."""
    step, length = segment.step, segment.length
    scene = origin = None
    if step == STEP1:
      scene = programs.observe(state.params, instance, frozen, flip=segment.flip)
    elif step == STEP2:
      origin = programs.origin(state.params, instance, frozen)
    for k in range(segment.first, length):
      if step == PRIOR:
        state, terms = programs.fit_prior(state, instance.image, prior_depth)
      elif step == STEP1:
        state, terms = programs.step1(state, scene, instance, frozen)
      elif step == STEP2:
        state, terms = programs.step2(state, origin, instance.latent, key, frozen, k)
      else:
        index = batch_index(k, plan.collect_iters, skip_first=plan.skip_first_batch)
        state, terms = programs.step3(
          state, instance, projections, frozen, index, k / length, flip=segment.flip
        )
        if programs.settle is not None and k + 1 == length:
          state, more = programs.settle(state, instance, frozen)
          terms = terms | more
      yield state, terms

  for segment in plan.segments(position):
    step_key = _fold_in(_fold_in(key, segment.stage), segment.step)
    if not segment.first:
      state = programs.fresh(state.params, segment.step)
    if segment.step != STEP3:
      projections = None
    elif projections is None or not segment.first:
      projections = collect(programs, state, instance, frozen, plan, step_key)
    following = iterations(segment, state, step_key, projections)
    for k, (state, terms) in enumerate(following, start=segment.first + 1):
      finished = (segment.stage, segment.step)
      yield Event(segment.after(k), state, projections, terms, finished, k == segment.length)


def _fold_in(key, number):
  """Folds a number into a key [], or into each of a stack's keys [pictures]."""
  fold = jax.random.fold_in
  return jax.vmap(fold, (0, None))(key, number) if key.ndim else fold(key, number)


def collect(programs: Programs, state: FitState, instance, frozen, plan: Plan, key) -> Projections:
  """Projects `plan.collect_iters` batches of fresh pseudo samples with the trained encoder.

  With `plan.refine_iterations` their latents are then refined one by one.
  """
  origin = programs.origin(state.params, instance, frozen)
  batches = []
  for k in range(plan.collect_iters):
    given = (state.params, origin, instance.latent, key, frozen, k)
    batch = programs.collect(*given)
    if plan.refine_iterations:
      refinement = programs.refine_begin(*given)
      for _ in range(plan.refine_iterations):
        refinement, _ = programs.refine(refinement, frozen)
      batch = programs.refined(batch, refinement, state.params, frozen)
    batches.append(batch)
  return jax.tree.map(lambda *x: jnp.stack(x, axis=key.ndim), *batches)


def batch_index(iteration: int, count: int, *, skip_first: bool) -> int:
  """The batch of projections for an iteration of step 3: in order, pass after pass."""
  if skip_first and count > 1:
    return iteration + 1 if iteration < count - 1 else (iteration - (count - 1)) % count
  return iteration % count
