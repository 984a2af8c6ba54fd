"""Step 3 by itself, as a function of projections."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan2shape_jax.assembly import Assembly
from gan2shape_jax.reconstruction import driver
from gan2shape_jax.reconstruction.state import Factors, Instance, Projections


class StepThree(NamedTuple):
  """What is measured.

  Attributes:
    start: (instance) -> Factors before step 3.
    fit: (instance, projections, picture's view [6] in network units) -> Factors after it.
  """

  start: Callable[[Instance], Factors]
  fit: Callable[[Instance, Projections, jax.Array], Factors]


def first_step3(shared: Assembly) -> StepThree:
  """Step 3 of the first stage from the starting networks, steps 1 and 2 left out.

  The networks predict the picture's view; that given only counts through `loss.lam_view`, which
  reads `Projections.picture_view`.

  Args:
    shared: an assembly whose plan has a stage.

  Returns:
    A `StepThree` of the assembly's programs.
  """
  programs, frozen, plan = shared.programs, shared.frozen, shared.plan

  def start(instance):
    return programs.factors(shared.params, instance, frozen)

  def fit(instance, projections, picture_view):
    batches = projections.images.shape[0]
    view = jnp.broadcast_to(picture_view[None], (batches, *picture_view.shape))
    projections = projections._replace(picture_view=view)
    # An iteration consumes the state that it is given: the starting networks are needed again.
    state = programs.fresh(jax.tree.map(jnp.array, shared.params), driver.STEP3)
    for k in range(plan.stages[0].step3):
      index = driver.batch_index(k, batches, skip_first=plan.skip_first_batch)
      flip = plan.stages[0].flip3
      state, _ = programs.step3(state, instance, projections, frozen, index, flip=flip)
    return programs.factors(state.params, instance, frozen)

  return StepThree(start, fit)
