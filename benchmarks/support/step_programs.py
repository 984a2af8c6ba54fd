"""The programs of a fit's steps, on a configuration's first picture, ready to be timed."""

import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks.support import subjects
from benchmarks.support.timing import Effort, Timing, measure, stepping
from gan2shape_jax.pipeline.assembly import Assembly
from gan2shape_jax.reconstruction import priors


def measure_steps(config: ConfigDict, shared: Assembly, effort: Effort) -> dict[str, Timing]:
  """Times every program of a reconstruction on the configuration's first picture.

  Args:
    config: a whole configuration.
    shared: its assembly.
    effort: how long to measure.

  Returns:
    Name -> timing of one iteration.
  """
  programs, frozen, plan = shared.programs, shared.frozen, shared.plan
  instance = jax.device_put(subjects.first_instance(config, frozen))
  latent, mask = instance.latent, instance.mask
  params, key = subjects.starting_params(shared, instance), jax.random.key(config.seed)
  fresh = lambda step: programs.fresh(jax.tree.map(jnp.copy, params), step)
  timings = {}

  def add(name, call):
    print(f'{name} ...', file=sys.stderr, flush=True)
    timings[name] = measure(call, effort)

  if programs.begin is None:  # else no network is trained to the prior
    target = jnp.asarray(priors.prior_depth(mask, category=config.prior.category))
    fit_prior = lambda state: programs.fit_prior(state, instance.image, target)
    add('prior fit', stepping(fit_prior, fresh(0)))
  for flip in effort.flips:
    suffix = ' flip' if flip else ''
    observe = lambda flip=flip: programs.observe(params, instance, frozen, flip=flip)
    add(f'observe{suffix}', observe)
    scene = observe()
    step1 = lambda state, scene=scene: programs.step1(state, scene, instance, frozen)
    add(f'step 1{suffix}', stepping(step1, fresh(1)))
  add('origin', lambda: programs.origin(params, instance, frozen))
  origin = programs.origin(params, instance, frozen)
  step2 = lambda state: programs.step2(state, origin, latent, key, frozen, 0)
  add('step 2', stepping(step2, fresh(2)))
  given = params, origin, latent, key, frozen, 0
  collect = lambda: programs.collect(*given)
  add('collect', collect)
  if plan.refine_iterations:
    refine = lambda state: programs.refine(state, frozen)
    add('refine', stepping(refine, programs.refine_begin(*given)))
  projections = jax.tree.map(lambda x: jnp.stack([x] * plan.collect_iters), collect())
  for flip in effort.flips:
    suffix = ' flip' if flip else ''
    step3 = lambda state, flip=flip: programs.step3(
      state, instance, projections, frozen, 0, 0.5, flip=flip
    )
    add(f'step 3{suffix}', stepping(step3, fresh(3)))
  add('factors', lambda: programs.factors(params, instance, frozen))
  return timings


def calls_of_plan(plan) -> dict[str, int]:
  """How often a reconstruction calls each program of `measure_steps`."""
  calls = {'prior fit': plan.prior_iterations, 'factors': 1}
  for stage in plan.stages:
    flip1, flip3 = (' flip' if flip else '' for flip in (stage.flip1, stage.flip3))
    for name, count in (
      (f'observe{flip1}', int(stage.step1 > 0)),
      (f'step 1{flip1}', stage.step1),
      ('origin', int(stage.step2 > 0) + int(stage.step3 > 0)),
      ('step 2', stage.step2),
      ('collect', plan.collect_iters if stage.step3 else 0),
      ('refine', plan.collect_iters * plan.refine_iterations if stage.step3 else 0),
      (f'step 3{flip3}', stage.step3),
    ):
      calls[name] = calls.get(name, 0) + count
  return {name: count for name, count in calls.items() if count}


def three_steps(config: ConfigDict, shared: Assembly) -> Iterator[tuple]:
  """The programs of steps 1 to 3 and what they take, made when it is asked for.

  Args:
    config: a whole configuration.
    shared: its assembly.

  Yields:
    Name, program, () -> (state, other arguments, static arguments).
  """
  programs, frozen = shared.programs, shared.frozen
  instance = jax.device_put(subjects.first_instance(config, frozen))
  params = subjects.starting_params(shared, instance)
  key, flips = jax.random.key(0), config.stages.first
  fresh = lambda step: programs.fresh(jax.tree.map(jnp.copy, params), step)
  origin = programs.origin(params, instance, frozen)
  own = origin, instance.latent, key, frozen, 0

  def step1():
    scene = programs.observe(params, instance, frozen, flip=flips.flip1)
    return fresh(1), (scene, instance, frozen), {}

  def step3():
    batches = jax.tree.map(lambda leaf: leaf[None], programs.collect(params, *own))
    return fresh(3), (instance, batches, frozen, 0, 0.5), {'flip': flips.flip3}

  yield 'step 1', programs.step1, step1
  yield 'step 2', programs.step2, lambda: (fresh(2), own, {})
  yield 'step 3', programs.step3, step3
