"""Many hosts: real processes over loopback, with fewer pictures on one, killed and restarted."""

import csv
import json
import re
import signal
import socket
import time

import pytest

from gan2shape_jax.data import embedded_path
from gan2shape_jax.errors import HostsError
from gan2shape_jax.reconstruction.programs import Programs
from gan2shape_jax.runtime import hosts
from tests.support import command

SHORT = (
  *command.TINY,
  '--config.data.num=3',
  '--config.stages.later.step1=0',
  '--config.stages.first.step1=0',
  '--config.fit.finish=0',
  '--config.loss.discriminator_features=1',
  '--config.results.videos=False',
  '--config.results.mesh=False',
)


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    ({}, False),
    ({'SLURM_NTASKS': '4'}, False),  # sbatch's own shell, not a task of srun
    ({'SLURM_NTASKS': '1', 'SLURM_PROCID': '0'}, False),
    ({'SLURM_NTASKS': '4', 'SLURM_PROCID': '2'}, True),
    ({'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, False),
    ({'TPU_WORKER_HOSTNAMES': '10.0.0.1,10.0.0.2'}, True),
    ({'MEGASCALE_NUM_SLICES': '2'}, True),
  ],
)
def test_clusters_are_told_by_the_environment(environment, expected):
  assert hosts.is_cluster(environment) == expected


@pytest.mark.parametrize('given', [('host:1', 0, -1), ('', 2, 0), ('host:1', 2, -1)])
def test_flags_are_given_together(given):
  with pytest.raises(HostsError, match='given together'):
    hosts.initialize(*given)


def test_a_process_beyond_the_last():
  with pytest.raises(HostsError, match='--process_id=2: expected one below'):
    hosts.initialize('localhost:1', 2, 2)


def test_one_process_has_everything_and_waits_for_nobody():
  hosts.initialize()
  assert list(hosts.share(5)) == [0, 1, 2, 3, 4]
  assert hosts.is_first()
  assert hosts.gather({'a': 1}) == [{'a': 1}]
  hosts.wait('nobody')


@pytest.mark.parametrize('environment', [{}, {'SLURM_NTASKS': '2', 'SLURM_PROCID': '0'}])
def test_what_runs_in_one_process(monkeypatch, environment):
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  if not environment:
    hosts.require_one('pretrain.py')
  with pytest.raises(HostsError, match=r'^pretrain\.py runs in one process'):
    hosts.require_one('pretrain.py', '' if environment else 'host:1')


class Hosts:
  """The same command in several processes."""

  def __init__(self, count, folder, *given):
    self.count, self.folder, self.given, self.processes = count, folder, given, []

  def start(self):
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      address = f'127.0.0.1:{free.getsockname()[1]}'
    self.processes = []
    for process in range(self.count):
      together = (
        f'--coordinator={address}', f'--num_processes={self.count}', f'--process_id={process}'
      )  # fmt: skip
      with open(self.log(process), 'wb') as log:
        self.processes.append(command.start(*self.given, *together, stderr=log))
    return self

  def log(self, process):
    return self.folder / f'process_{process}'

  def wait(self):
    codes = [process.wait(timeout=900) for process in self.processes]
    assert codes == [0] * self.count, [self.log(k).read_text() for k in range(self.count)]

  def kill(self):
    for process in self.processes:
      if process.poll() is None:
        process.kill()
      process.wait()


def rows_of(workdir):
  with open(workdir / 'metrics.csv', newline='', encoding='utf-8') as file:
    return [row['name'] for row in csv.DictReader(file)]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """What one process gets by itself: the folder, and what it logged."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  given = (*SHORT, f'--workdir={workdir}', '--config.profile=True')
  result = command.call(*given, JAX_LOG_COMPILES='1')
  assert result.returncode == 0, result.stderr
  return workdir, result.stderr


def test_each_program_is_compiled_once_for_all_stages_and_pictures(whole):
  compiled = re.findall(r'Finished XLA compilation of jit\((\w+)\)', whole[1])
  counts = {name: compiled.count(name) for name in Programs._fields}
  assert counts == {
    'begin': 1, 'fresh': 2, 'fit_prior': 0, 'observe': 0, 'step1': 0, 'origin': 1, 'step2': 1,
    'collect': 1, 'refine_begin': 1, 'refine': 1, 'refined': 1, 'step3': 1, 'settle': 1,
    'factors': 1,
  }  # fmt: skip


def test_profiles_of_each_step(whole):
  folders = {path.name for path in (whole[0] / 'profile').iterdir()}
  assert folders == {f'{step}_{k}' for step in ('step_2', 'step_3') for k in (1, 2, 3)}
  assert all(list(path.rglob('*.xplane.pb')) for path in (whole[0] / 'profile').iterdir())


def test_two_hosts_killed_and_restarted(tmp_path, whole):
  """A host dies; whatever starts them all again gets what one process gets by itself."""
  workdir = tmp_path / 'run'
  run = Hosts(2, tmp_path, *SHORT, f'--workdir={workdir}').start()
  steps = workdir / '001' / 'checkpoints' / 'steps'
  try:
    while not (steps.exists() and any(path.name.isdigit() for path in steps.iterdir())):
      assert all(process.poll() is None for process in run.processes), run.log(1).read_text()
      time.sleep(0.01)
    run.processes[1].send_signal(signal.SIGKILL)
    run.processes[1].wait()
    begin = time.monotonic()
    run.processes[0].terminate()  # as whatever started them does when one is gone
    assert run.processes[0].wait(timeout=60) == 0
    assert time.monotonic() - begin < 20
    assert not (workdir / 'metrics.csv').exists()
    run.start().wait()
  finally:
    run.kill()
  assert 'goes on at iteration' in run.log(1).read_text()
  assert rows_of(workdir) == rows_of(whole[0]) == ['000', '001', '002', 'mean', 'std']
  for name in ('000', '001', '002'):
    found, expected = command.arrays_of(workdir, name), command.arrays_of(whole[0], name)
    assert {key: a.tobytes() for key, a in found.items()} == {
      key: a.tobytes() for key, a in expected.items()
    }
  # 000 and 002 were process 0's.
  assert '001' in run.log(1).read_text()
  assert '000 ' not in run.log(1).read_text()
  assert (workdir / 'index.html').exists()


def test_four_hosts_of_which_one_has_less(tmp_path):
  """Five pictures, one of them damaged: the first host has two, and all know what failed."""
  source = tmp_path / 'pictures'
  source.mkdir()
  head = (embedded_path('heads') / 'image' / '000.png').read_bytes()
  for name in 'abcde':
    (source / f'{name}.png').write_bytes(head if name != 'c' else head[:500])
  workdir = tmp_path / 'run'
  run = Hosts(
    4, tmp_path, '--config.mode=predict', f'--config.data.images={source}',
    '--config.data.on_error=skip', '--config.results.videos=False', '--config.results.mesh=False',
    f'--workdir={workdir}',
  ).start()  # fmt: skip
  try:
    run.wait()
  finally:
    run.kill()
  assert rows_of(workdir) == ['a', 'b', 'd', 'e', 'mean', 'std']
  assert list(json.loads((workdir / 'failed.json').read_text())) == ['c']
  assert '4 done, 1 failed: c' in run.log(0).read_text()


def test_half_of_the_flags_is_one_line(tmp_path):
  given = ('--coordinator=127.0.0.1:1', '--num_processes=2', f'--workdir={tmp_path / "run"}')
  result = command.call(*given)
  assert result.returncode == 1
  assert result.stderr == (
    'error: --coordinator, --num_processes and --process_id are given together\n'
  )
  assert not (tmp_path / 'run').exists()
