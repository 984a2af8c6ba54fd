"""The processes of a run on many hosts: started alike, each with its own share of the pictures.

Processes meet twice, before the first picture and after the last: pictures have nothing to do with
each other. Nothing here is touched where there is one process.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan2shape_jax.errors import HostsError

_HEARTBEAT = 60  # seconds without a sign of life after which a process counts as dead


def is_cluster(environment: Mapping[str, str] = os.environ) -> bool:
  """Whether the environment is that of one of several processes that JAX can find by itself.

  Args:
    environment: variables of Slurm, of a Cloud TPU pod or of Open MPI.
  """
  tasks = environment.get('SLURM_NTASKS', environment.get('OMPI_COMM_WORLD_SIZE', '1'))
  started = 'SLURM_PROCID' in environment or 'OMPI_COMM_WORLD_RANK' in environment
  workers = environment.get('TPU_WORKER_HOSTNAMES', '').split(',')
  slices = environment.get('MEGASCALE_NUM_SLICES', '1')
  return (started and int(tasks) > 1) or len(workers) > 1 or int(slices) > 1


def initialize(address: str = '', processes: int = 0, process: int = -1) -> None:
  """Joins the other processes of a run, before anything is computed.

  Does nothing where there are none: no address is given and `is_cluster` finds none.

  Args:
    address: host:port of process 0, reachable from all; '' where JAX finds it by itself.
    processes: how many there are; 0 as `address`.
    process: number of this one; -1 as `address`.

  Raises:
    HostsError: only some of the three are given, or the processes do not meet.
  """
  given = (bool(address), processes > 0, process >= 0)
  if any(given) and not all(given):
    raise HostsError('--coordinator, --num_processes and --process_id are given together')
  if not any(given) and not is_cluster():
    return
  explicit: dict[str, Any] = {}
  if all(given):
    if process >= processes:
      raise HostsError(f'--process_id={process}: expected one below --num_processes={processes}')
    explicit = {
      'coordinator_address': address, 'num_processes': processes, 'process_id': process
    }  # fmt: skip
  # SIGTERM is this project's own affair: each process saves its pictures and ends.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT, **explicit)
  except (RuntimeError, ValueError) as error:
    reason = str(error).strip().splitlines()[0]
    raise HostsError(
      f'process {process if any(given) else "of a cluster"} did not meet the others at '
      f'{address or "the address that JAX found"}: {reason}'
    ) from error


def require_one(what: str, address: str = '') -> None:
  """Refuses several processes where each would do the same into one folder.

  Args:
    what: what runs in one process only.
    address: of process 0, where one was given.

  Raises:
    HostsError: one line.
  """
  if address or is_cluster() or jax.process_count() > 1:
    raise HostsError(f'{what} runs in one process, not on many hosts')


def share(count: int) -> range:
  """The numbers of this process's pictures out of `count`.

  They depend on nothing but the number of processes, so that no two ever work on the same.
  """
  return range(jax.process_index(), count, jax.process_count())


def number() -> int:
  """This process's number among those of the run."""
  return jax.process_index()


def is_first() -> bool:
  """Whether this process writes what belongs to all."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Waits until all processes have come to the point of that name."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def leave(code: int) -> int:
  """Ends this process at once where there are others, which may be waiting for it or be gone.

  Returns:
    The code, where there is one process: it ends as usual.
  """
  if jax.process_count() > 1:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without JAX's farewell, which waits for all
  return code


def gather(content: Any) -> list:
  """What each process has to tell, by process.

  Args:
    content: anything that JSON can hold.

  Returns:
    The contents of all processes, the same list in each.
  """
  if jax.process_count() == 1:
    return [content]
  text = np.frombuffer(json.dumps(content).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.array([len(text)]))
  padded = np.zeros(int(lengths.max()), np.uint8)
  padded[: len(text)] = text
  texts = np.asarray(multihost_utils.process_allgather(padded))
  lengths = np.asarray(lengths).reshape(-1)
  rows = texts.reshape(len(lengths), -1)
  return [
    json.loads(row[:length].tobytes().decode()) for row, length in zip(rows, lengths, strict=True)
  ]
