"""Step 3 by itself, as a function of projections."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import driver, observation, programs
from gan2shape_jax.reconstruction.state import Factors, FitSettings, Instance, Projections


class StepThree(NamedTuple):
  """What is measured.

  Attributes:
    start: (instance) -> Factors before step 3.
    fit: (instance, projections, picture's view [6] in network units) -> Factors after it.
  """

  start: Callable[[Instance], Factors]
  fit: Callable[[Instance, Projections, jax.Array], Factors]


def starting_factors(shared: Assembly) -> Callable[[Instance], Factors]:
  """What the starting networks see in a picture, whatever the fit's unknowns are.

  Args:
    shared: an assembly.

  Returns:
    (instance) -> Factors, compiled.
  """
  look = jax.jit(observation.factors)
  return lambda instance: look(shared.method, shared.params, instance)


def first_step3(shared: Assembly, *, batches: int, iterations: int) -> StepThree:
  """Step 3 of the first stage from the starting networks, steps 1 and 2 left out.

  Where networks are fitted, they predict the picture's view; that given only counts through
  `loss.lam_view`, which reads `Projections.picture_view`. Where the factors themselves are
  (`fit.factors`), the picture's view is an unknown and begins at that given; rates and weights are
  the defaults of `config.fit`, not those by which a configuration holds back a GAN's errors.

  Args:
    shared: an assembly whose plan has a stage.
    batches: of projections that `fit` is given.
    iterations: of step 3 where the factors themselves are fitted; networks take as many as the
      plan says.

  Returns:
    A `StepThree`.
  """
  if shared.settings.fit.factors == 'direct':
    return StepThree(starting_factors(shared), _of_factors(shared, batches, iterations))
  return StepThree(starting_factors(shared), _of_networks(shared))


def _of_networks(shared):
  made, frozen, plan = shared.programs, shared.frozen, shared.plan

  def fit(instance, projections, picture_view):
    batches, length = projections.images.shape[0], plan.stages[0].step3
    view = jnp.broadcast_to(picture_view[None], (batches, *picture_view.shape))
    projections = projections._replace(picture_view=view)
    # An iteration consumes the state that it is given: the starting networks are needed again.
    state = made.fresh(jax.tree.map(jnp.array, shared.params), driver.STEP3)
    for k in range(length):
      index = driver.batch_index(k, batches, skip_first=plan.skip_first_batch)
      flip = plan.stages[0].flip3
      state, _ = made.step3(state, instance, projections, frozen, index, k / length, flip=flip)
    return made.factors(state.params, instance, frozen)

  return fit


def _of_factors(shared, batches, iterations):
  frozen = shared.frozen
  # Every projection has offsets of its own, so that their number is part of the programs.
  given = shared.settings.fit
  own = FitSettings(given.factors, given.box, given.rim, collect_iters=batches)
  made = programs.build(shared.networks, dataclasses.replace(shared.settings, fit=own))
  assert made.begin is not None  # as they are for `given.factors == 'direct'`
  assert made.settle is not None

  def fit(instance, projections, picture_view):
    # Copies: what the programs consume must be neither the starting networks nor the caller's view.
    params = made.begin(jax.tree.map(jnp.array, shared.params), instance, None, frozen)
    params = params | {'own_view': jnp.array(picture_view)}
    state = made.fresh(params, driver.STEP3)  # which notes the view as that from before the step
    for k in range(iterations):
      state, _ = made.step3(
        state, instance, projections, frozen, k % batches, k / iterations, flip=False
      )
    state, _ = made.settle(state, instance, frozen)
    return made.factors(state.params, instance, frozen)

  return fit
