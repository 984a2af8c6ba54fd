"""Joint training over pictures: order, sharing, what is kept on disk, and resuming."""

import functools
import itertools
import pathlib
import signal
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import heads
from gan2shape_jax import data
from gan2shape_jax.errors import ArtefactError, FitError, Preempted, SettingsError
from gan2shape_jax.pipeline import joint_collection
from gan2shape_jax.pipeline.assembly import Assembly, assemble
from gan2shape_jax.pipeline.joint_collection import train_jointly
from gan2shape_jax.reconstruction.driver import BEGINNING, STEP2, STEP3, Position, Start
from gan2shape_jax.reconstruction.joint_driver import Pictures, Stores, train, visit
from gan2shape_jax.reconstruction.programs import TRAINED, Programs
from gan2shape_jax.reconstruction.state import Factors, FitState, Instance, Projections
from gan2shape_jax.reconstruction.step2_projection import Origin
from gan2shape_jax.storage.array_store import ArrayStore
from gan2shape_jax.weights import load_safetensors
from tests.pipeline.test_driver import plan, same
from tests.support import command
from tests.support.small_fit import SIZE, frozen

NAMES = ['a', 'b', 'c']
ORIGIN = Origin(0, Factors(0, 0, 0, 0, 0), 0, 0)
PROJECTIONS = Projections(*[0] * 6)


def shelves(folder, **options):
  return Stores(
    ArrayStore(folder / 'origins', ORIGIN, NAMES, **options),
    ArrayStore(folder / 'projections', PROJECTIONS, NAMES, **options),
  )


def test_every_picture_is_visited_once_a_pass():
  key = jax.random.key(0)
  for step in range(4):
    visits = [visit(key, 1, step, k, 5) for k in range(15)]
    for turn in range(3):
      part = visits[5 * turn : 5 * turn + 5]
      assert sorted(v.number for v in part) == list(range(5))
      assert {v.turn for v in part} == {turn}


def test_orders_differ_with_seed_stage_step_and_pass():
  order = lambda seed, stage, step, turn: tuple(
    visit(jax.random.key(seed), stage, step, 20 * turn + k, 20).number for k in range(20)
  )
  places = [(0, 0, 1, 0), (1, 0, 1, 0), (0, 1, 1, 0), (0, 0, 2, 0), (0, 0, 1, 1)]
  assert len({order(*place) for place in places}) == len(places)
  assert order(*places[0]) == order(*places[0])


class Counting:
  """Programs of a little arithmetic, in which all that an iteration is given leaves its mark.

  Attributes:
    seen: (step, mean of the picture) of every iteration.
    flow: parameters that every iteration was given and made.
  """

  def __init__(self):
    self.seen, self.flow = [], []

  def programs(self):
    return Programs(
      fresh=lambda params, step: FitState(params, {'count': np.int32(0), 'moment': np.zeros(4)}),
      fit_prior=lambda state, image, depth: self.update(state, 0, image, depth),
      observe=lambda params, picture, frozen, flip: (params['depth'], picture.image, flip),
      step1=lambda state, scene, picture, frozen: self.update(state, 1, picture.image, *scene),
      origin=self.origin,
      step2=lambda state, origin, latent, key, frozen, iteration: self.update(
        state, 2, origin.image, *jax.tree.leaves(origin), latent, noise(key, iteration)
      ),
      collect=self.collect,
      step3=lambda state, picture, batches, frozen, index, progress, flip: self.update(
        state, 3, picture.image, *(leaf[index] for leaf in batches), progress, flip
      ),
      factors=None,
      refine_begin=None,
      refine=None,
      refined=None,
    )

  def update(self, state, step, image, *others):
    self.seen.append((step, float(np.mean(image))))
    moment = 0.9 * state.optimizer['moment']
    for k, leaf in enumerate((image, *others)):
      moment = moment + np.float64(np.mean(leaf)) * np.sin(np.arange(4) + k)
    count = state.optimizer['count'] + np.int32(1)
    params = {name: np.asarray(leaf) for name, leaf in state.params.items()}
    for name in TRAINED[step]:
      params[name] = (params[name] + 0.1 * moment / count).astype(np.float32)
    self.flow.append((state.params, params))
    return FitState(params, {'count': count, 'moment': moment}), {'total': moment.sum()}

  def origin(self, params, picture, frozen):
    own = [np.asarray(params[name], np.float32) for name in ('depth', 'albedo', 'view', 'light')]
    return Origin(picture.image, Factors(*own, picture.mask), own[0] * 2, picture.image + 1)

  def collect(self, params, origin, latent, key, frozen, iteration):
    drawn = noise(key, iteration) + params['encoder'] + np.mean(latent)
    return Projections(
      origin.image * drawn[0],
      origin.factors.mask,
      drawn,
      origin.normals,
      origin.factors.view,
      origin.factors.depth,
    )


def noise(key, iteration):
  return np.asarray(jax.random.normal(jax.random.fold_in(key, iteration), (4,)))


NETWORKS = ('depth', 'albedo', 'view', 'light', 'encoder')
WHOLE = plan((6, 4, 9), (0, 3, 0), (1, 0, 4), prior=3)


@functools.cache
def pictures():
  rng = np.random.default_rng(2)
  latent = lambda: rng.normal(size=frozen().mean_latent.shape).astype(np.float32)
  image = lambda: rng.uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)
  mask = np.ones((SIZE, SIZE, 1), np.float32)
  return [Instance(image(), mask, latent()) for _ in NAMES]


def beginning():
  return FitState({name: np.arange(4, dtype=np.float32) for name in NETWORKS}, None)


def training(stores, state, position=BEGINNING, *, seed=0, programs=None):
  depths = [np.full((SIZE, SIZE), depth, np.float32) for depth in (0.95, 1.0, 1.05)]
  return train(
    programs or Counting().programs(),
    Start(state, position),
    Pictures(len(NAMES), pictures().__getitem__, depths.__getitem__),
    None,
    WHOLE,
    jax.random.key(seed),
    stores,
  )


class Run(NamedTuple):
  """Before each iteration and at the end: events, states, and the files that are there."""

  counting: Counting
  events: list
  states: list
  files: list


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  run = Run(Counting(), [], [beginning()], [{}])
  for event in training(shelves(folder), beginning(), programs=run.counting.programs()):
    run.events.append(event)
    run.states.append(event.state)
    run.files.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob('*.npy')})
  assert not list(folder.rglob('*.npy'))
  return run


def test_each_step_sees_every_picture_once_a_pass(whole):
  means = [float(np.mean(picture.image)) for picture in pictures()]
  places = [WHOLE.position(done) for done in range(WHOLE.total())]
  assert [event.finished for event in whole.events] == [(p.stage, p.step) for p in places]
  for (step, mean), place in zip(whole.counting.seen, places, strict=True):
    number = visit(jax.random.key(0), *place, len(NAMES)).number
    assert (step, mean) == (place.step, means[number])


def test_pictures_share_the_networks(whole):
  flow = whole.counting.flow
  for (_, made), (given, _) in itertools.pairwise(flow):
    assert same(made, given)
  for step, (given, made) in zip((step for step, _ in whole.counting.seen), flow, strict=True):
    assert {name for name in made if not same(given[name], made[name])} == set(TRAINED[step])


def test_only_what_a_step_needs_is_kept(whole):
  kinds = {STEP2: 'origins', STEP3: 'projections'}
  for event, files in zip(whole.events, whole.files[1:], strict=True):
    stage, step = event.finished
    folder = pathlib.Path(kinds.get(step, ''), f'stage_{stage + 1}')
    assert set(files) == ({folder / f'{name}.npy' for name in NAMES} if step in kinds else set())
    assert event.projections is None


def test_step_3_takes_all_batches_of_all_pictures(tmp_path):
  stores, taken = shelves(tmp_path), []
  get = stores.projections.get

  def noting(stage, number, index):
    taken.append((stage, number, index))
    return get(stage, number, index)

  stores.projections.get = noting
  for _ in training(stores, beginning()):
    pass
  assert set(taken[:6]) == {(0, number, index) for number in range(3) for index in range(2)}


def continued(folder, whole, done, files):
  """The parameters at the end of a training that goes on from before an iteration."""
  for path, content in files.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
  position = WHOLE.position(done)
  state = whole.states[done]
  if not position.iteration:  # what a checkpoint between two steps holds
    state = state._replace(optimizer=None)
  for event in training(shelves(folder), state, position):
    state = event.state
  return state.params


@pytest.mark.parametrize('done', range(WHOLE.total() + 1))
def test_a_training_continued_anywhere_ends_bit_for_bit_the_same(whole, done, tmp_path):
  assert same(whole.states[-1].params, continued(tmp_path, whole, done, whole.files[done]))


@pytest.mark.parametrize('place', [(0, STEP2), (1, STEP2), (0, STEP3), (2, STEP3)])
def test_one_broken_off_while_collecting_too(whole, place, tmp_path):
  done = WHOLE.done_before(Position(*place))
  files = whole.files[done + 1]
  assert len(files) == len(NAMES)
  half = dict(sorted(files.items())[:2])
  stale = {path.parent.parent / 'stage_9' / path.name: b'of another stage' for path in half}
  assert same(whole.states[-1].params, continued(tmp_path, whole, done, half | stale))


def test_the_seed_decides(whole, tmp_path):
  for seed, alike in ((0, True), (1, False)):
    *_, last = training(shelves(tmp_path / str(seed)), beginning(), seed=seed)
    assert same(whole.states[-1].params, last.state.params) == alike


def test_a_shelf_holds_only_whole_files(tmp_path):
  def limited(number):
    if number == 1:
      raise KeyboardInterrupt

  shelf = ArrayStore(tmp_path, PROJECTIONS, NAMES, before_put=limited)
  batches = [Projections(*(np.full(k, k + b, np.float32) for k in range(6))) for b in range(2)]
  shelf.put(0, 0, batches, 2)
  assert all(same(shelf.get(0, 0, k), batches[k]) for k in range(2))
  with pytest.raises(KeyboardInterrupt):
    shelf.put(0, 1, batches, 2)
  assert not shelf.has(0, 1)
  assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['a.npy']
  path = shelf.path(0, 0)
  for content in (path.read_bytes()[:-3], b'no array', None):
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(ArtefactError, match=rf'cannot read {path}: .') as error:
      shelf.get(0, 0, 1)
    assert '\n' not in str(error.value)


# From here on: trainings into a folder, with the same programs and pictures.


class Sixteen(list):
  """The pictures as `sources.load_pictures` gives them."""

  @property
  def names(self):
    return [picture.name for picture in self]


@pytest.fixture
def config(monkeypatch):
  config = heads.get_config()
  config.mode = 'joint'
  config.checkpoint.every = 3
  listed = Sixteen(
    data.Picture(name, p.image, p.mask, p.latent, None, None, pathlib.Path(f'{name}.png'))
    for name, p in zip(NAMES, pictures(), strict=True)
  )
  programs, params = Counting().programs(), beginning().params
  shared = Assembly(None, WHOLE, None, frozen(), programs, params, False)
  monkeypatch.setattr(joint_collection.sources, 'load_pictures', lambda config: listed)
  monkeypatch.setattr(joint_collection, 'assemble', lambda config: shared)
  return config


def test_trainings_stopped_at_any_time_end_with_the_same_networks(config, monkeypatch, tmp_path):
  path = train_jointly(config, tmp_path / 'whole')
  assert {p.name for p in path.parent.iterdir()} == {
    'networks.safetensors',
    'config.json',
    'pictures.txt',
    'inputs.json',
    'events',
  }
  expected = load_file(path)
  assert {name.split('/')[0] for name in expected} == set(TRAINED[2] + TRAINED[3])
  assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in expected.values())
  before = path.stat().st_mtime_ns
  assert train_jointly(config, path.parent).stat().st_mtime_ns == before

  broken, stops = tmp_path / 'broken', 0
  # While preparing, in step 1, collecting origins, in step 2, collecting projections, in step 3.
  for allowed in (1, 6, 6, 6, 4, 6, 8, 100):
    asked = iter([False] * allowed)
    try:
      end = train_jointly(config, broken, stop=lambda asked=asked: next(asked, True))
    except Preempted:
      stops += 1
  assert stops == 7
  assert same(expected, load_file(end))
  assert {p.name for p in broken.iterdir()} == {p.name for p in path.parent.iterdir()}

  fewer = Sixteen(joint_collection.sources.load_pictures(config)[:2])
  monkeypatch.setattr(joint_collection.sources, 'load_pictures', lambda config: fewer)
  with pytest.raises(FitError, match='on other pictures') as error:
    train_jointly(config, broken)
  assert '\n' not in str(error.value)
  config.mode = 'join'
  with pytest.raises(SettingsError, match="mode='join': expected one of fit, predict, joint"):
    train_jointly(config, tmp_path / 'other')
  assert not (tmp_path / 'other').exists()


def test_a_loss_that_is_no_number_is_told_with_the_picture(config, monkeypatch, tmp_path):
  shared = joint_collection.assemble(config)
  spoilt = jax.tree.map(lambda leaf: leaf * np.nan, shared.params)
  monkeypatch.setattr(joint_collection, 'assemble', lambda config: shared._replace(params=spoilt))
  with pytest.raises(FitError, match=r'iteration \d+, picture [abc]: .* not finite') as error:
    train_jointly(config, tmp_path)
  assert '\n' not in str(error.value)
  # The prior fit does not look at them; nothing that came after it was saved.
  assert [p.name for p in (tmp_path / 'checkpoints' / 'steps').iterdir()] == ['3']


# From here on: the command, on embedded heads.

FLAGS = (
  *command.TINY,
  '--config.mode=joint',
  '--config.data.num=3',
  '--config.stages.count=1',
  '--config.stages.first.step3=4',
  '--config.stages.first.flip1=False',
  '--config.stages.first.flip3=False',
  '--config.loss.discriminator_features=1',
)


def test_the_command_goes_on_after_sigterm_and_a_fit_takes_the_networks(tmp_path):
  workdir, log = tmp_path / 'run', tmp_path / 'log'
  given = (*FLAGS, f'--workdir={workdir}')
  with open(log, 'wb') as stderr:
    process = command.start(*given, stderr=stderr)
  try:
    while not (workdir / 'checkpoints' / 'steps' / '3').exists():
      assert process.poll() is None, log.read_text()
      time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
  finally:
    process.kill()
    process.wait()
  assert 'the same command goes on' in log.read_text()
  result = command.call(*given)
  assert result.returncode == 0, result.stderr
  assert 'goes on at iteration' in result.stderr
  path = workdir / 'networks.safetensors'
  assert result.stdout.strip() == f'networks: {path}'
  assert not (workdir / 'collected').exists()
  assert not (workdir / 'checkpoints').exists()

  config = heads.get_config()
  config.networks.update({'width': 4, 'bottleneck': 8, 'encoder_width': 4})
  config.networks.pretrained = str(path)
  shared = assemble(config)
  assert shared.trained
  assert shared.plan.prior_iterations == 0
  assert same(shared.params, load_safetensors(path))
