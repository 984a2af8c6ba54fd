"""The loop over stages: order, positions, what each step trains, and resuming."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.reconstruction import direct, driver
from gan2shape_jax.reconstruction.driver import (
  BEGINNING,
  Plan,
  Position,
  StagePlan,
  Start,
  batch_index,
  reconstruct,
)
from gan2shape_jax.reconstruction.programs import TRAINED, Programs, build
from gan2shape_jax.reconstruction.state import FitState, Instance, Projections
from tests.support.small_fit import (
  DIRECT,
  SETTINGS,
  SIZE,
  frozen_with_directions,
  instance,
  setting,
)


def plan(*lengths, prior=0, batches=2, **options):
  stages = tuple(StagePlan(*three, flip1=False, flip3=True) for three in lengths)
  return Plan(stages, prior, batches, **options)


PLANS = [
  plan((2, 3, 4), (1, 2, 1), prior=3),
  plan((2, 3, 4), (1, 2, 1)),
  plan((0, 2, 0), (0, 0, 0), (1, 0, 3), (0, 0, 0), prior=2),
  plan((0, 0, 0), (0, 0, 1)),
  plan((0, 0, 0)),
]


@pytest.mark.parametrize('plan', PLANS)
def test_positions_and_iterations_are_inverse(plan):
  expected = [
    Position(stage, step, k)
    for stage in range(len(plan.stages))
    for step in range(4)
    for k in range(plan.length(stage, step))
  ]
  assert plan.total() == len(expected)
  assert [plan.position(done) for done in range(len(expected))] == expected
  assert [plan.done_before(position) for position in expected] == list(range(len(expected)))
  end = plan.position(plan.total())
  assert end.stage == len(plan.stages)
  assert plan.done_before(end) == plan.total()


@pytest.mark.parametrize('plan', PLANS)
def test_a_position_after_a_step_counts_as_that_before_the_next(plan):
  for stage in range(len(plan.stages)):
    for step in range(4):
      after = Position(stage, step + 1) if step < 3 else Position(stage + 1)
      length = plan.length(stage, step)
      assert plan.done_before(after) == plan.done_before(Position(stage, step)) + length


def test_batches_come_in_order_pass_after_pass():
  assert [batch_index(k, 3, skip_first=False) for k in range(7)] == [0, 1, 2, 0, 1, 2, 0]
  assert [batch_index(k, 3, skip_first=True) for k in range(7)] == [1, 2, 0, 1, 2, 0, 1]
  assert [batch_index(k, 1, skip_first=True) for k in range(3)] == [0, 0, 0]


def recorder():
  """Programs that only note their calls; the parameters are those notes."""
  calls = []

  def noting(name, result):
    def call(*args, **kwargs):
      calls.append((name, kwargs.get('flip', args[1] if name == 'fresh' else None)))
      return result(*args)

    return call

  fit = lambda state, *_: (state, {'total': 0.0})
  nothing = lambda *_: None
  batch = Projections(*(np.zeros(1) for _ in Projections._fields))
  programs = Programs(
    fresh=noting('fresh', lambda params, step: FitState(params, step)),
    fit_prior=noting('prior', fit),
    observe=noting('observe', nothing),
    step1=noting('step1', fit),
    origin=noting('origin', nothing),
    step2=noting('step2', fit),
    collect=noting('collect', lambda *_: batch),
    step3=noting('step3', fit),
    factors=None,
    refine_begin=None,
    refine=None,
    refined=None,
  )
  return programs, calls


def drive(plan, position=BEGINNING):
  programs, calls = recorder()
  instance = Instance(None, None, None)
  start = Start(FitState({}, None), position)
  events = list(reconstruct(programs, start, instance, None, plan, jax.random.key(0)))
  return events, calls


def test_stages_go_through_the_steps_in_order():
  events, calls = drive(plan((2, 1, 1), (1, 0, 2), prior=1))
  assert [event.finished for event in events] == [
    (0, 0), (0, 1), (0, 1), (0, 2), (0, 3), (1, 1), (1, 3), (1, 3),
  ]  # fmt: skip
  assert [event.boundary for event in events] == [
    True, False, True, True, True, True, False, True,
  ]  # fmt: skip
  assert [event.projections is not None for event in events] == [
    False, False, False, False, True, False, True, True,
  ]  # fmt: skip
  assert [event.position for event in events] == [
    (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 3, 0), (1, 0, 0), (1, 2, 0), (1, 3, 1), (2, 0, 0),
  ]  # fmt: skip
  assert calls == [
    ('fresh', 0), ('prior', None),
    ('fresh', 1), ('observe', False), ('step1', None), ('step1', None),
    ('fresh', 2), ('origin', None), ('step2', None),
    ('fresh', 3), ('origin', None), ('collect', None), ('collect', None), ('step3', True),
    ('fresh', 1), ('observe', False), ('step1', None),
    ('fresh', 3), ('origin', None), ('collect', None), ('collect', None), ('step3', True),
    ('step3', True),
  ]  # fmt: skip


@pytest.mark.parametrize('plan', PLANS)
def test_events_continue_from_every_position(plan):
  whole, _ = drive(plan)
  assert len(whole) == plan.total()
  summary = lambda events: [(e.position, e.finished, e.boundary) for e in events]
  for done in range(plan.total() + 1):
    position = plan.position(done)
    rest, calls = drive(plan, position)
    assert summary(rest) == summary(whole[done:])
    if position.iteration:  # the optimiser is the saved one
      assert calls[0][0] != 'fresh'
  for done, event in enumerate(whole, start=1):
    assert plan.done_before(event.position) == done


# From here on: the real programs on small networks; then on the factors themselves.

MODES = {'networks': SETTINGS, 'direct': DIRECT}


@functools.cache
def compiled(mode='networks'):
  networks, params = setting()
  return build(networks, MODES[mode]), params


REAL = plan((2, 3, 3), (1, 1, 1), prior=1)
DIRECT_PLAN = plan((2, 1, 3), (1, 1, 2), (2, 0, 0), refine_iterations=1)
PLANS_OF = {'networks': REAL, 'direct': DIRECT_PLAN}


def copied(tree):
  return jax.tree.map(lambda leaf: np.array(leaf), tree)


def prior_depth():
  return jnp.full((SIZE, SIZE), 0.95)


def begun(mode):
  """Parameters at the beginning."""
  programs, params = compiled(mode)
  params = jax.tree.map(jnp.asarray, params)
  if mode == 'networks':
    return params
  return programs.begin(params, instance(), prior_depth(), frozen_with_directions())


@functools.cache
def fit(seed, mode='networks'):
  """Parameters, optimiser and projections before each iteration, and those at the end."""
  programs, params = compiled(mode)[0], begun(mode)
  states = [(copied(params), None, None)]
  for event in reconstruct(
    programs,
    Start(FitState(params, None)),
    instance(),
    frozen_with_directions(),
    PLANS_OF[mode],
    jax.random.key(seed),
    prior_depth=prior_depth(),
  ):
    states.append((*copied(event.state), copied(event.projections)))
  return states


def same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_each_step_changes_only_its_own_networks():
  states = fit(0)
  assert TRAINED[1] == ('albedo',)
  assert TRAINED[2] == ('encoder',)
  assert sorted(TRAINED[3]) == ['albedo', 'depth', 'light', 'view']
  for done in range(REAL.total()):
    step = REAL.position(done).step
    before, after = states[done][0], states[done + 1][0]
    changed = {name for name in before if not same(before[name], after[name])}
    assert changed == set(TRAINED[step]), REAL.position(done)


def test_the_optimiser_is_fresh_at_each_change_of_step():
  states = fit(0)
  for done in range(REAL.total()):
    # The count and the second moments tell how many gradients the optimiser has seen.
    counts = [x for x in jax.tree.leaves(states[done + 1][1]) if x.dtype == np.int32]
    assert counts == [REAL.position(done).iteration + 1]


def test_the_seed_decides_everything():
  fit.cache_clear()
  first = fit(0)[-1]
  fit.cache_clear()
  assert same(first, fit(0)[-1])
  other = fit(1)
  begin, end = REAL.done_before(Position(0, 2)), REAL.done_before(Position(0, 3))
  assert same(fit(0)[begin][0], other[begin][0])  # prior fit and step 1 draw nothing
  assert not same(fit(0)[end][0]['encoder'], other[end][0]['encoder'])
  assert not same(first[0]['depth'], other[-1][0]['depth'])


def test_the_direct_fit_trains_its_own_variables_and_the_encoder():
  states = fit(0, 'direct')
  everything = set(direct.VARIABLES + direct.OFFSETS)
  for done in range(DIRECT_PLAN.total()):
    step = DIRECT_PLAN.position(done).step
    before, after = states[done][0], states[done + 1][0]
    changed = {name for name in before if not same(before[name], after[name])}
    changed -= {direct.BEFORE}  # what each step 3 begins by keeping
    wanted = {1: {'albedo_map'}, 2: {'encoder'}}.get(step)
    if wanted is None:
      assert changed <= everything
      assert {'depth_map', 'albedo_map', 'own_light'} <= changed
    else:
      assert changed == wanted, DIRECT_PLAN.position(done)


@pytest.mark.parametrize(
  ('mode', 'done'),
  [(mode, done) for mode, plan in PLANS_OF.items() for done in range(plan.total() + 1)],
)
def test_a_run_continued_anywhere_ends_bit_for_bit_the_same(mode, done):
  programs, _ = compiled(mode)
  states = fit(0, mode)
  position = PLANS_OF[mode].position(done)
  params, optimizer, projections = jax.tree.map(jnp.array, states[done])
  if not position.iteration:  # what a checkpoint between two steps holds
    optimizer = None
  if position.step != driver.STEP3 or not position.iteration:
    projections = None
  state = FitState(params, optimizer)
  for event in reconstruct(
    programs,
    Start(state, position, projections),
    instance(),
    frozen_with_directions(),
    PLANS_OF[mode],
    jax.random.key(0),
    prior_depth=prior_depth(),
  ):
    state = event.state
  assert same(states[-1][0], copied(state.params))


def test_a_step_3_that_ends_says_whether_it_was_put_back():
  programs, terms = compiled('direct')[0], []
  for event in reconstruct(
    programs,
    Start(FitState(begun('direct'), None)),
    instance(),
    frozen_with_directions(),
    plan((0, 0, 2)),
    jax.random.key(0),
  ):
    terms.append(event.terms)
  assert ['held' in of for of in terms] == [False, True]
  assert float(terms[1]['held']) in (0.0, 1.0)
