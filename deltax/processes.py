"""Processes that train or evaluate together, on one machine or on many.

Programs do this before the first array is made: `train.py` and `eval.py` call
`together`. One process alone needs nothing of it.
"""

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence

import jax
from absl import flags, logging

from deltax import compilation
from deltax.errors import TERMINATED, DeltaxError, told_in_one_sentence

PATIENCE = 45  # seconds until a process that does not answer counts as dead
# Where launchers say it, the first that is set; see `docs/clusters.md`.
COORDINATOR = ('JAX_COORDINATOR_ADDRESS',)
PROCESSES = ('JAX_NUM_PROCESSES', 'WORLD_SIZE')
PROCESS_ID = ('JAX_PROCESS_ID', 'RANK', 'JOB_COMPLETION_INDEX')
# What a pod of Kubernetes has, and what tells that it is one of several.
_POD = 'KUBERNETES_SERVICE_HOST'
_LAUNCHED = {
  *('JOB_COMPLETION_INDEX', 'TPU_WORKER_HOSTNAMES', 'SLURM_JOB_ID'),
  'OMPI_MCA_orte_hnp_uri',
}


def define_flags() -> None:
  """Defines `--coordinator`, `--processes` and `--process_id`."""
  flags.DEFINE_string(
    'coordinator',
    None,
    'HOST:PORT of process 0, if several processes work together. TPU pods, '
    'SLURM and Open MPI need none of these three.',
  )
  flags.DEFINE_integer('processes', None, 'How many processes there are.')
  flags.DEFINE_integer('process_id', None, 'Which one this is, from 0.')


def given() -> tuple[str | None, int | None, int | None]:
  """The values of those flags, for `together`."""
  values = flags.FLAGS
  return values.coordinator, values.processes, values.process_id


@contextlib.contextmanager
def together(
  program: str,
  coordinator: str | None = None,
  processes: int | None = None,
  process_id: int | None = None,
) -> Iterator[None]:
  """Around all that a program does: connects this process with the others.

  First, JAX is prepared as by `compilation.set_up`.

  What is not given is taken from the environment. Without a coordinator there,
  JAX looks for a TPU pod, SLURM or Open MPI; where it finds none of them, this
  process works alone. One that fails ends at once with its message, as
  `told_in_one_sentence` tells it, and the others end with it.

  Args:
    program: what a message begins with.
    coordinator: `HOST:PORT`, where process 0 listens.
    processes: how many there are.
    process_id: which one this is, from 0.

  Raises:
    SystemExit: see `told_in_one_sentence`; also with 1 for values that are
      missing or make no sense, or no answer within a minute.
  """
  several = False
  try:
    with told_in_one_sentence(program):
      compilation.set_up()
      _connect(coordinator, processes, process_id)
      several = jax.process_count() > 1
      if several:
        logging.info('%s', _described())
      yield
  except BaseException as error:
    if several and getattr(error, 'code', None) != TERMINATED:
      _leave(error)
    raise
  finally:
    if several:
      jax.distributed.shutdown()  # waits for the others


def _connect(
  coordinator: str | None, processes: int | None, process_id: int | None
) -> None:
  described = _from_environment(coordinator, processes, process_id)
  if not described and (processes is not None or process_id is not None):
    raise DeltaxError(
      f'processes={processes} and process_id={process_id} without a '
      f'coordinator: expected coordinator=HOST:PORT, or {COORDINATOR[0]}'
    )
  if described:
    logging.info(
      'process {process_id} of {num_processes}: waiting for the others, by '
      '{coordinator_address}'.format(**described)
    )
    if described['process_id']:
      _wait_for(described['coordinator_address'])
  try:
    jax.distributed.initialize(
      **described,
      cluster_detection_method=_detection(),
      initialization_timeout=PATIENCE,
      heartbeat_timeout_seconds=PATIENCE,
      # The first one may still write a report when the others have ended.
      shutdown_timeout_seconds=24 * 3600,
    )
  except ValueError as error:
    if described or 'coordinator_address' not in str(error):
      raise DeltaxError(f'no start with {described}: {error}') from error
    # Neither told nor found: this process is alone.
  except RuntimeError as error:
    reason = str(error).strip().splitlines()[0]
    raise DeltaxError(f'no connection with the others: {reason}') from error


def _detection() -> str | None:
  """How JAX looks for other processes; not at all in a pod that is alone.

  It takes every pod for one of a job, and fails where it is of none.
  """
  alone = _POD in os.environ and not _LAUNCHED & set(os.environ)
  return 'deactivate' if alone else None


def _wait_for(coordinator: str) -> None:
  """Until somebody listens there: JAX would abort without a sentence.

  Raises:
    DeltaxError: nobody does in time.
  """
  host, _, port = coordinator.rpartition(':')
  last = time.monotonic() + PATIENCE
  while True:
    try:
      socket.create_connection((host, int(port)), PATIENCE).close()
      return
    except OSError as error:
      if time.monotonic() > last:
        raise DeltaxError(
          f'no coordinator at {coordinator} within {PATIENCE} seconds; '
          f'expected process 0 there ({error})'
        ) from error
    time.sleep(0.5)


def _from_environment(
  coordinator: str | None, processes: int | None, process_id: int | None
) -> dict[str, str | int]:
  """Arguments for JAX; none where nobody names a coordinator."""
  coordinator = coordinator or _first(COORDINATOR)
  if coordinator is None and {'MASTER_ADDR', 'MASTER_PORT'} <= set(os.environ):
    coordinator = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
  if coordinator is None:
    return {}
  host, _, port = coordinator.rpartition(':')
  if not (host and port.isdigit()):
    raise DeltaxError(f'coordinator={coordinator!r}: expected HOST:PORT')
  count = _number('processes', processes, PROCESSES)
  number = _number('process_id', process_id, PROCESS_ID)
  if not 0 <= number < count:
    raise DeltaxError(
      f'process_id={number} of processes={count}: expected one from 0 to '
      f'{count - 1}'
    )
  return {
    'coordinator_address': coordinator,
    'num_processes': count,
    'process_id': number,
  }


def _number(name: str, given: int | None, variables: Sequence[str]) -> int:
  if given is not None:
    return given
  value = _first(variables)
  if value is None or not value.isdigit():
    told = 'is missing' if value is None else f'is {value!r}'
    raise DeltaxError(
      f'a coordinator is named, but {name} {told}: give --{name}, or set '
      f'{" or ".join(variables)} to a whole number'
    )
  return int(value)


def _first(variables: Sequence[str]) -> str | None:
  """The first of some variables of the environment that says something."""
  values = map(os.environ.get, variables)
  return next(filter(None, values), None)


def _described() -> str:
  return (
    f'process {jax.process_index()} of {jax.process_count()}: '
    f'{jax.local_device_count()} of {jax.device_count()} devices '
    f'({jax.devices()[0].device_kind})'
  )


def _leave(error: BaseException) -> None:
  """Ends this process at once, and so the others.

  A regular end would wait for them, while they wait for this process.
  """
  if not isinstance(error, SystemExit):
    traceback.print_exception(error)
  logging.flush()
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(error.code if isinstance(error, SystemExit) else 1)
