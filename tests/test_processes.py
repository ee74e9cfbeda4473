"""Processes that train together: as one does, and when one of them fails."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from deltax import processes
from deltax.errors import DeltaxError
from deltax.training import (
  find_checkpoint,
  parallel,
  read_metadata,
  read_metrics,
  restore_params,
)

ROOT = pathlib.Path(__file__).parents[1]
SEGMENTATION, DETECTION, RETRIEVAL = (
  'demo_delta',
  'demo_detection',
  'demo_retrieval_coarse',
)
# The gradients of an untrained detector are a thousand times the others', so
# at this rate its parameters, those of its teacher too, move about as far.
# Farther, and in the 17th step rounding decides on which side of 0 the input of
# some ReLU is: the gradient is then another by 1e-3, in one process as well.
RATES = {SEGMENTATION: 0.01, DETECTION: 1e-5, RETRIEVAL: 0.01}
GROUPS = {
  DETECTION: (
    "--config.optimizer.groups=(('^teacher/', {}), ('^students/', {}), "
    "('^gates/', {'learning_rate': 0.02}))",
  )
}
MANY = 20
# Adam divides a gradient that is nothing but rounding by itself.
PLAIN = (
  '--config.optimizer.name=sgd',
  '--config.optimizer.schedule=constant',
  '--config.optimizer.warmup_steps=0',
)


# One interval in place of three: most of such a run is spent compiling.
FEW_SCORES = (
  '--config.task.delta.intervals=(3,)',
  '--config.training.best=delta_3/ap50',
)


def environment(folder, devices):
  return {
    **os.environ,
    'DELTAX_DATA': str(folder / 'data'),
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{os.environ["QUICK_COMPILATION"]} '
    f'--xla_force_host_platform_device_count={devices}',
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }


def free_address():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return f'localhost:{free.getsockname()[1]}'


def by_flags(address, count, number):
  flags = (
    f'--coordinator={address}',
    f'--processes={count}',
    f'--process_id={number}',
  )
  return flags, {}


def by_environment(address, count, number):
  return (), {
    'JAX_COORDINATOR_ADDRESS': address,
    'WORLD_SIZE': str(count),
    'JOB_COMPLETION_INDEX': str(number),
  }


def by_slurm(address, count, number):
  host, port = address.split(':')
  return (), {
    'SLURM_JOB_ID': '1',
    'SLURM_STEP_NODELIST': host,
    'SLURM_NTASKS': str(count),
    'SLURM_PROCID': str(number),
    'SLURM_LOCALID': str(number),
    'JAX_COORDINATOR_PORT': port,
  }


def start(
  config, workdir, *options, count=1, devices=1, told=by_flags, program='train'
):
  """Starts a program in each of some processes."""
  address, running = free_address(), []
  for number in range(count):
    flags, variables = told(address, count, number) if count > 1 else ((), {})
    command = [
      *(sys.executable, f'{program}.py'),
      f'--config=configs/{config}.py:smoke',
      f'--workdir={workdir}',
      *(*flags, *options),
    ]
    running.append(
      subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(workdir.parent, devices) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return running


def ended(running):
  """Exit statuses and outputs of processes."""
  try:
    said = [process.communicate(timeout=500)[0] for process in running]
  finally:
    for process in running:
      process.kill()
  return [process.returncode for process in running], said


def run(*arguments, **options):
  statuses, said = ended(start(*arguments, **options))
  assert not any(statuses), '\n\n'.join(said)
  return said


def assert_alike(first, second, tolerance):
  """That two runs have the same scores, and parameters within a tolerance."""
  (params, state), (expected, expected_state) = map(
    restore_params, (first, second)
  )

  def close(x, y):
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)

  jax.tree.map(close, params, expected)
  jax.tree.map(close, state, expected_state)


def steps(config, count, *options):
  return (
    f'--config.optimizer.learning_rate={RATES[config]}',
    f'--config.training.steps={count}',
    f'--config.training.evaluate_every={count}',
    f'--config.training.checkpoint_every={count}',
    *(*PLAIN, *GROUPS.get(config, ()), *options),
  )


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """`(config, steps, *options) -> folder`: one process on one device."""
  made, folder = {}, tmp_path_factory.mktemp('alone')

  def make(config, count, *options):
    if (config, count) not in made:
      workdir = folder / f'{config}_{count}'
      run(config, workdir, *steps(config, count, *options))
      made[config, count] = workdir
    return made[config, count]

  return make


@pytest.mark.parametrize(
  ('config', 'parallel', 'told', 'options'),
  [
    (RETRIEVAL, 'pmap', by_environment, ()),
    (RETRIEVAL, 'jit', by_slurm, ()),
    pytest.param(SEGMENTATION, 'pmap', by_flags, (), marks=pytest.mark.slow),
    pytest.param(
      *(DETECTION, 'jit', by_flags, FEW_SCORES), marks=pytest.mark.slow
    ),
  ],
)
def test_two_processes_train_what_one_trains(
  config, parallel, told, options, alone, tmp_path
):
  workdir = tmp_path / 'run'
  shard = 'parameters' if parallel == 'jit' else ''
  more = (
    f'--config.training.parallel={parallel}',
    f'--config.training.shard={shard}',
    *steps(config, 3, *options),
  )
  said = run(config, workdir, *more, count=2, devices=2, told=told)
  for number, lines in enumerate(said):
    assert f'process {number} of 2: 2 of 4 devices (cpu)' in lines
  assert_alike(workdir, alone(config, 3, *options), 1e-5)
  # The parameters have moved much further than they may differ.
  rows = [row for row in read_metrics(workdir) if row['split'] == 'train']
  assert RATES[config] * sum(row['gradient_norm'] for row in rows) > 1e-3


def test_a_run_goes_on_with_other_processes_and_devices(alone, tmp_path):
  workdir = tmp_path / 'run'
  for done, (count, devices) in ((1, (2, 2)), (2, (1, 1)), (3, (1, 4))):
    run(
      RETRIEVAL, workdir, *steps(RETRIEVAL, done), count=count, devices=devices
    )
  assert_alike(workdir, alone(RETRIEVAL, 3), 1e-5)
  rows = [row for row in read_metrics(workdir) if row['split'] == 'train']
  assert [row['step'] for row in rows] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize('config', [SEGMENTATION, DETECTION, RETRIEVAL])
@pytest.mark.parametrize('parallel', ['pmap', 'jit'])
@pytest.mark.parametrize(('count', 'devices'), [(2, 2), (1, 4)])
def test_many_steps_do_not_depend_on_processes_and_devices(
  config, parallel, count, devices, alone, tmp_path
):
  workdir = tmp_path / 'run'
  options = steps(config, MANY, f'--config.training.parallel={parallel}')
  run(config, workdir, *options, count=count, devices=devices)
  unbroken = alone(config, MANY)
  assert_alike(workdir, unbroken, 1e-5)
  scores, expected = (
    read_metadata(folder)['scores'] for folder in (workdir, unbroken)
  )
  assert scores == pytest.approx(expected, abs=1e-4)


def until(happened):
  for _ in range(3000):
    if happened():
      return
    time.sleep(0.1)
  raise AssertionError('it never happened')


ENDLESS = (
  *('--config.training.steps=100000', '--config.training.log_every=1'),
  '--config.training.evaluate_every=100000',
)


def test_sigterm_to_one_process_stops_all_after_the_same_saved_step(tmp_path):
  workdir = tmp_path / 'run'
  options = (*ENDLESS, '--config.training.checkpoint_every=100000')
  running = start(RETRIEVAL, workdir, *options, count=2, devices=2)
  metrics = workdir / 'metrics.jsonl'
  until(lambda: metrics.exists() and len(read_metrics(workdir)) > 1)
  running[1].send_signal(signal.SIGTERM)
  time.sleep(0.1)
  running[1].send_signal(signal.SIGTERM)  # does not lose the save
  statuses, said = ended(running)
  assert statuses == [143, 143], '\n\n'.join(said)
  saved = read_metadata(workdir)['step']
  for lines in said:
    assert f'SIGTERM: stopped after step {saved},' in lines
  # Another number of processes and devices goes on from there.
  more = f'--config.training.steps={saved + 2}'
  lines = run(RETRIEVAL, workdir, more, devices=4)[0]
  assert f'continuing from {workdir}/checkpoints/{saved}' in lines
  rows = [r for r in read_metrics(workdir) if r['split'] == 'train']
  assert [row['step'] for row in rows] == list(range(1, saved + 3))


@pytest.mark.parametrize('killed', [0, 1])
def test_when_one_process_is_killed_all_end_and_the_run_continues(
  tmp_path, killed
):
  workdir = tmp_path / 'run'
  options = (*ENDLESS, '--config.training.checkpoint_every=1')
  running = start(RETRIEVAL, workdir, *options, count=2, devices=1)
  until(lambda: any(workdir.glob('checkpoints/[0-9]')))
  running[killed].kill()
  statuses, said = ended(running)
  assert statuses[killed] == -signal.SIGKILL
  assert statuses[1 - killed] not in (0, -signal.SIGKILL)
  assert said[1 - killed].strip(), 'it ended without a word'
  saved = int(find_checkpoint(workdir).name)
  more = f'--config.training.steps={saved + 1}'
  run(RETRIEVAL, workdir, more, count=2, devices=1)
  assert read_metadata(workdir)['step'] == saved + 1


def test_what_one_process_cannot_read_ends_all_with_one_sentence(tmp_path):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  (workdir / 'checkpoints' / '7' / 'state').mkdir(parents=True)
  running = start(RETRIEVAL, workdir, count=2)
  statuses, said = ended(running)
  assert statuses[0] == 1 and statuses[1] != 0
  assert 'train.py: ' in said[0] and 'checkpoint' in said[0].splitlines()[-1]


def test_two_processes_write_the_page_that_one_writes(alone, tmp_path):
  workdir = alone(RETRIEVAL, 3)
  pages = []
  for count in (2, 1):
    page = tmp_path / f'{count}.html'
    options = (f'--report={page}',)
    run(RETRIEVAL, workdir, *options, count=count, program='eval')
    pages.append(json.loads((workdir / 'results.json').read_text()))
    assert page.exists()
  assert pages[0]['by_query'] == pages[1]['by_query']


def connect(monkeypatch, variables, *given):
  for name in (
    *(*processes.COORDINATOR, *processes.PROCESSES, *processes.PROCESS_ID),
    *('MASTER_ADDR', 'MASTER_PORT'),
  ):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  seen = {}
  monkeypatch.setattr(processes, '_wait_for', lambda coordinator: None)
  monkeypatch.setattr(
    jax.distributed, 'initialize', lambda **options: seen.update(options)
  )
  processes._connect(*(given or (None, None, None)))
  return [
    seen.get(name)
    for name in ('coordinator_address', 'num_processes', 'process_id')
  ]


@pytest.mark.parametrize(
  ('variables', 'given'),
  [
    ({}, ('host:12', 4, 3)),
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'host:12',
        'JAX_NUM_PROCESSES': '4',
        'JAX_PROCESS_ID': '3',
      },
      (),
    ),
    (
      {
        'MASTER_ADDR': 'host',
        'MASTER_PORT': '12',
        'WORLD_SIZE': '4',
        'RANK': '3',
      },
      (),
    ),
    ({'JOB_COMPLETION_INDEX': '3', 'WORLD_SIZE': '9'}, ('host:12', 4, None)),
  ],
)
def test_flags_and_the_usual_variables_name_the_others(
  monkeypatch, variables, given
):
  assert connect(monkeypatch, variables, *given) == ['host:12', 4, 3]


IN_A_POD = """
import sys, types
def ask():
  raise RuntimeError('not of a job')
asked = types.ModuleType('kubernetes')
asked.config = types.SimpleNamespace(load_incluster_config=ask)
sys.modules['kubernetes'] = asked
from deltax import processes
with processes.together('train.py'):
  print('alone')
"""


@pytest.mark.parametrize(
  ('variables', 'said'),
  [({}, 'alone'), ({'JOB_COMPLETION_INDEX': '0'}, 'not of a job')],
)
def test_a_pod_of_no_job_is_alone(tmp_path, variables, said):
  """With the package by which JAX asks Kubernetes who the others are."""
  pod = {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    [sys.executable, '-c', IN_A_POD],
    env=environment(tmp_path, 1) | pod | variables,
    capture_output=True,
    text=True,
  )
  assert said in done.stdout + done.stderr
  assert done.returncode == (said != 'alone')


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    ((None, 2, 0), 'without a coordinator'),
    (('host:1', None, 0), 'processes is missing: give --processes'),
    (('host:1', 2, None), 'process_id is missing: give --process_id'),
    (('host:1', 2, 2), 'process_id=2 of processes=2: expected one from 0 to 1'),
    (('host', 2, 0), "coordinator='host': expected HOST:PORT"),
  ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(monkeypatch, given, said):
  with pytest.raises(DeltaxError, match=said):
    connect(monkeypatch, {}, *given)


def test_a_coordinator_that_does_not_answer_is_named(monkeypatch):
  monkeypatch.setattr(processes, 'PATIENCE', 1)
  address = free_address()
  with pytest.raises(DeltaxError, match=f'no coordinator at {address} within'):
    processes._wait_for(address)


def test_states_that_differ_are_told(monkeypatch):
  """Of three processes, the last has another state."""
  state = {'w': np.arange(3.0, dtype=np.float32), 'key': jax.random.key(0)}
  monkeypatch.setattr(jax, 'process_count', lambda: 3)

  def others(sums):
    return np.stack([sums, sums, sums + [0, 1]])

  monkeypatch.setattr(
    parallel, 'from_all_processes', lambda sums: np.stack([sums] * 3)
  )
  parallel.check_alike(state)
  monkeypatch.setattr(parallel, 'from_all_processes', others)
  with pytest.raises(
    RuntimeError, match=r'the state of processes \[2\] is not'
  ):
    parallel.check_alike(state)
