"""Checkpoints come back bit by bit, survive a killed process, and refuse what does not fit."""

import errno
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan2shape_jax.errors import CheckpointError
from gan2shape_jax.storage.checkpoints import Checkpoints


class Pair(NamedTuple):
  first: np.ndarray
  second: np.ndarray


def make_tree(seed=0):
  rng = np.random.default_rng(seed)
  params = {'depth': {'conv/0': {'kernel': jnp.array(rng.normal(size=(4, 4, 3, 8)), jnp.float32)}}}
  moments = optax.adam(1e-4).init(params)
  special = np.array([np.nan, -0.0, np.inf, 1e-42], np.float32)
  return {
    'state': {'params': params, 'optimizer': moments, 'special': special, 'nothing': None},
    'key': jax.random.PRNGKey(seed),
    'typed_key': jax.random.key(seed),
    'half': jnp.ones((3,), jnp.bfloat16) / 3,
    'scalar': np.float32(0.1),
    'position': {'stage': 3, 'step': 2, 'iteration': 1 << 40, 'done': False},
    'meta': {'name': 'head "7"/a', 'loss': 0.1, 'empty': np.zeros((0, 2), np.float32)},
  }


def bits(leaf):
  if isinstance(leaf, bool | int | float | str):
    return type(leaf), leaf
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  leaf = np.asarray(leaf)
  return leaf.dtype, leaf.shape, leaf.tobytes()


def assert_identical(tree, other):
  assert jax.tree.structure(tree) == jax.tree.structure(other)
  for leaf, restored in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
    assert bits(leaf) == bits(restored)


def test_round_trip_is_bit_identical(tmp_path):
  tree = make_tree()
  checkpoints = Checkpoints(tmp_path / 'run')
  assert checkpoints.latest() is None
  checkpoints.save(7, tree)
  again = Checkpoints(tmp_path / 'run')
  assert again.latest() == 7
  restored = again.restore(7, make_tree(seed=1))
  assert_identical(tree, restored)
  kernel = restored['state']['params']['depth']['conv/0']['kernel']
  assert isinstance(kernel, jax.Array)
  assert isinstance(restored['state']['special'], np.ndarray)


def test_many_leaves_keep_their_places(tmp_path):
  tree = [np.full(2, index) for index in range(1100)]
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(0, tree)
  assert_identical(tree, checkpoints.restore(0, [np.zeros(2, int)] * 1100))


def test_sharded_arrays_return_to_their_devices(tmp_path):
  mesh = jax.make_mesh((4,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
  tree = {'x': jax.device_put(jnp.arange(8.0), sharding)}
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(0, tree)
  restored = checkpoints.restore(0, tree)
  assert restored['x'].sharding == sharding
  assert_identical(tree, restored)


def test_keeps_the_newest_and_replaces_the_same_step(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=2)
  for step in (9, 10, 11, 11):
    checkpoints.save(step, {'x': np.float32([step])})
  assert sorted(entry.name for entry in (tmp_path / 'steps').iterdir()) == ['10', '11']
  assert checkpoints.latest() == 11
  assert checkpoints.restore(10, {'x': np.zeros(1, np.float32)})['x'] == 10
  with pytest.raises(ValueError, match='keep'):
    Checkpoints(tmp_path, keep=0)


def test_projections_are_saved_once_a_stage(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  for stage in range(3):
    checkpoints.save_projections(stage, Pair(np.full((2, 3), stage), np.arange(4)))
    checkpoints.save(stage, {'position': stage})
  assert checkpoints.projection_stages() == [1, 2]
  like = Pair(np.zeros((2, 3), int), np.zeros(4, int))
  assert_identical(checkpoints.restore_projections(2, like), Pair(np.full((2, 3), 2), np.arange(4)))


@pytest.mark.parametrize(
  ('like', 'message'),
  [
    ({'x': np.zeros((2, 4), np.float32), 'n': 1}, r"\['x'\] is float32\[2, 3\] .* float32\[2, 4\]"),
    ({'x': np.zeros((2, 3), np.int32), 'n': 1}, r'is float32\[2, 3\] .* int32\[2, 3\] here'),
    ({'x': np.zeros((2, 3), np.float32)}, r"\['n'\] is not known here"),
    ({'y': np.zeros((2, 3), np.float32), 'n': 1}, r"\['y'\] is missing .*1 more"),
    ({'x': np.zeros((2, 3), np.float32), 'n': 'one'}, r"\['n'\] is int .* str here"),
  ],
)
def test_other_trees_are_refused_in_one_line(tmp_path, like, message):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(0, {'x': np.ones((2, 3), np.float32), 'n': 1})
  with pytest.raises(CheckpointError, match=message) as caught:
    checkpoints.restore(0, like)
  assert '\n' not in str(caught.value)


def test_missing_and_damaged_checkpoints_are_refused(tmp_path):
  tree = {'x': np.ones((200, 300), np.float32)}
  checkpoints = Checkpoints(tmp_path)
  with pytest.raises(CheckpointError, match='no such checkpoint'):
    checkpoints.restore(3, tree)
  checkpoints.save(0, tree)
  for path in (tmp_path / 'steps/0/arrays').rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  with pytest.raises(CheckpointError, match='cannot restore') as caught:
    checkpoints.restore(0, tree)
  assert '\n' not in str(caught.value)
  with pytest.raises(CheckpointError, match='is a object'):
    checkpoints.save(1, {'x': object()})


def test_a_refusing_system_is_explained(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  with pytest.raises(CheckpointError, match=r'cannot open .*file'):
    Checkpoints(tmp_path / 'file' / 'run')

  tree = {'x': np.ones(3, np.float32)}
  checkpoints = Checkpoints(tmp_path / 'run')
  checkpoints.save(0, tree)

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, 'No space left on device')

  for name in ('rename', 'replace'):
    monkeypatch.setattr(pathlib.Path, name, full)
    monkeypatch.setattr(f'os.{name}', full)
  with pytest.raises(CheckpointError, match=r'cannot save .*1: .*No space left') as caught:
    checkpoints.save(1, tree)
  assert '\n' not in str(caught.value)
  monkeypatch.undo()
  assert Checkpoints(tmp_path / 'run').latest() == 0
  assert_identical(tree, checkpoints.restore(0, tree))


_SAVER = """
import sys, numpy as np
from gan2shape_jax.storage.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=2)
step = 0
while True:
  checkpoints.save(step, {f'array{i}': np.full(250_000, step, np.float32) for i in range(20)})
  print(step, flush=True)
  step += 1
"""


def test_kill_in_the_middle_of_a_save(tmp_path):
  like = {f'array{i}': np.zeros(250_000, np.float32) for i in range(20)}
  process = subprocess.Popen(
    [sys.executable, '-c', _SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
  )
  with process:
    assert process.stdout.readline() == '0\n'
    finished = int(process.stdout.readline())
    deadline = time.monotonic() + 10
    while not list((tmp_path / 'steps').glob('*tmp*')) and time.monotonic() < deadline:
      time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
  checkpoints = Checkpoints(tmp_path)
  latest = checkpoints.latest()
  assert latest >= finished
  restored = checkpoints.restore(latest, like)
  assert all((array == latest).all() for array in restored.values())
  assert all(entry.name.isdigit() for entry in (tmp_path / 'steps').iterdir())
