"""The loop: runs that are killed, stopped, broken, finished, continued."""

import errno
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.task import Task
from deltax.training import (
  CheckpointError,
  Checkpoints,
  WorkdirError,
  find_checkpoint,
  make_optimizer,
  read_metadata,
  read_metrics,
  restore_params,
  train,
)

STEPS = 24


class Data:
  """Batches that depend on their index only; some do something on the way."""

  def __init__(self, length=sys.maxsize, act=lambda index: None):
    self.length, self.act = length, act

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    self.act(index)
    rng = np.random.default_rng([7, index])
    x = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    return {'x': x, 'y': x.mean((1, 2, 3)), 'mask': np.ones(4, np.float32)}


def convolve(params, x):
  x = jax.lax.conv_general_dilated(
    x, params['k/1'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  return jax.nn.relu(x).mean((1, 2)) @ params['out']


def init(key, batch):
  first, second = jax.random.split(key)
  params = {
    'k/1': 0.3 * jax.random.normal(first, (3, 3, 3, 8)),
    'out': 0.3 * jax.random.normal(second, (8,)),
  }
  return params, {'mean': jnp.zeros(()), 'count': jnp.int32(0)}


def losses(params, state, batch, key):
  noise = 0.01 * jax.random.normal(key, ())
  error = (convolve(params, batch['x']) + noise - batch['y']) ** 2
  state = {
    'mean': 0.9 * state['mean'] + 0.1 * batch['x'].mean(),
    'count': state['count'] + 1,
  }
  return {'task': error}, state


def count(params, state, batch):
  error = (convolve(params, batch['x']) - batch['y']) ** 2
  return {'error': error, 'n': jnp.ones_like(error)}


def summarise(counts):
  error = counts['error'] / counts['n']
  return {'fit': -error, 'error': error}


TASK = Task(init, losses, count, summarise)


def run(workdir, data=None, *, steps=STEPS, task=TASK, **options):
  defaults = {
    'evaluation_dataset': Data(3),
    'evaluate_every': 8,
    'checkpoint_every': 5,
    'log_every': 3,
    'best': 'fit',
    'devices': jax.devices()[:1],
  }
  return train(
    task,
    data or Data(),
    workdir=workdir,
    steps=steps,
    optimizer=make_optimizer('adam', learning_rate=0.01, steps=STEPS),
    **defaults | options,
  )


def assert_same_bits(actual, expected):
  def same(x, y):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      x, y = jax.random.key_data(x), jax.random.key_data(y)
    assert x.dtype == y.dtype
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()

  jax.tree.map(same, actual, expected)


def untimed(workdir):
  rows = read_metrics(workdir)
  return [{k: v for k, v in r.items() if k != 'steps_per_second'} for r in rows]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nobody disturbed: its folder and its last state."""
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, run(workdir)


def test_a_run_learns_and_writes_down_what_happened(whole):
  workdir, state = whole
  rows = read_metrics(workdir)
  assert state.step == STEPS and state.model_state['count'] == STEPS
  trained = [r for r in rows if r['split'] == 'train']
  assert trained[-1]['loss'] < trained[0]['loss']
  assert [r['step'] for r in rows if r['split'] == 'evaluation'] == [8, 16, 24]
  metadata = read_metadata(workdir)
  fits = {r['step']: r['fit'] for r in rows if r['split'] == 'evaluation'}
  assert metadata['step'] == max(fits, key=fits.get)
  assert metadata['scores']['fit'] == fits[metadata['step']]


def test_a_finished_run_started_again_gives_its_state(whole, tmp_path):
  workdir, state = whole

  def never(index):
    assert index == 0, 'a finished run asked for data'

  before = (workdir / 'metrics.jsonl').read_bytes()
  assert_same_bits(run(workdir, Data(act=never)), state)
  assert (workdir / 'metrics.jsonl').read_bytes() == before


class Killed(Exception):
  """What stands for a kill where the process itself must live on."""


@pytest.mark.parametrize('places', [[1], [5, 6], [7, 12, 23]])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, whole, places):
  def interrupt(place):
    def act(index):
      if index == place:
        raise Killed

    return act

  for place in places:
    with pytest.raises(Killed):
      run(tmp_path, Data(act=interrupt(place)))
  assert_same_bits(run(tmp_path), whole[1])
  assert untimed(tmp_path) == untimed(whole[0])


def test_a_run_continues_from_its_latest_checkpoint_not_its_best(tmp_path):
  run(tmp_path, steps=20, best='error')  # which falls: the first is the best
  assert find_checkpoint(tmp_path).name == '8'
  asked = []
  run(tmp_path, Data(act=asked.append), best='error')
  assert sorted(asked)[:2] == [0, 20]  # batch 0 is where shapes come from


def child(workdir, *arguments):
  """This file as a program of its own: see its last lines."""
  environment = os.environ | {'XLA_FLAGS': '', 'DELTAX_PROGRESS': '0'}
  return subprocess.run(
    [sys.executable, __file__, str(workdir), *map(str, arguments)],
    env=environment,
    capture_output=True,
    text=True,
    timeout=120,
  )


def stored_bits(workdir):
  latest = max((workdir / 'checkpoints').iterdir(), key=lambda f: int(f.name))
  leaves = read_metadata(latest)['leaves']
  return latest.name, {
    name: checksum for name, (_, _, checksum) in leaves.items()
  }


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """The folder of a child's run: a test's own process has other devices."""
  workdir = tmp_path_factory.mktemp('undisturbed')
  done = child(workdir, 'none', -1)
  assert done.returncode == 0, done.stderr
  return workdir


def test_a_killed_process_started_again_ends_with_the_same_bits(
  tmp_path, undisturbed
):
  for place in [0, 6, 16, 20]:
    killed = child(tmp_path, 'kill', place)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
  again = child(tmp_path, 'none', -1)
  assert again.returncode == 0, again.stderr
  assert stored_bits(tmp_path) == stored_bits(undisturbed)
  assert untimed(tmp_path) == untimed(undisturbed)


def test_sigterm_ends_the_step_saves_and_says_so(tmp_path, undisturbed):
  stopped = child(tmp_path, 'term', 12)
  assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
  step, _ = stored_bits(tmp_path)
  assert 1 <= int(step) < STEPS
  assert f'SIGTERM: stopped after step {step}, saved as' in stopped.stderr
  assert child(tmp_path, 'none', -1).returncode == 0
  assert stored_bits(tmp_path) == stored_bits(undisturbed)


def broken_at(step, name):
  """A task whose loss (or state) is not finite at the step of this index."""

  def broken(params, state, batch, key):
    values, new = losses(params, state, batch, key)
    bad = jnp.where(state['count'] == step, jnp.nan, 0)
    if name == 'loss':
      return {'task': values['task'] + bad, 'other': jnp.ones(4)}, new
    return values, new | {'mean': new['mean'] + bad}

  return TASK._replace(losses=broken)


def test_a_loss_that_is_not_finite_stops_and_names_step_and_checkpoint(
  tmp_path,
):
  with pytest.raises(
    FloatingPointError,
    match=r'step 12 \(batch 11 .*loss nan.*other 1,.*task nan.*checkpoints/10$',
  ):
    run(tmp_path, task=broken_at(11, 'loss'), log_every=100)
  params, _ = restore_params(tmp_path / 'checkpoints' / '10')
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
  assert max(int(f.name) for f in (tmp_path / 'checkpoints').iterdir()) == 10
  assert max(r['step'] for r in read_metrics(tmp_path)) == 10


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
  with pytest.raises(
    FloatingPointError, match=r'model_state/mean; there is no checkpoint yet'
  ):
    run(tmp_path, task=broken_at(2, 'state'))
  assert not list((tmp_path / 'checkpoints').iterdir())


def test_a_new_run_starts_from_the_best_parameters_of_another(whole, tmp_path):
  best, best_state = restore_params(whole[0])
  seen = []

  def watch(index):
    seen.append(index)

  state = run(
    tmp_path / 'next',
    Data(act=watch),
    steps=1,
    start_from=whole[0],
    evaluation_dataset=None,
    best=None,
  )
  assert state.model_state['count'] == best_state['count'] + 1
  moved = jax.tree.map(lambda x, y: float(abs(x - y).max()), state.params, best)
  # Adam moves each parameter by about the learning rate in its first step.
  assert 0 < max(jax.tree.leaves(moved)) <= 0.011


def test_a_run_of_another_task_in_the_same_folder_is_refused(whole):
  other = TASK._replace(init=lambda key, batch: ({'w': jnp.zeros(3)}, {}))
  with pytest.raises(CheckpointError, match=r'missing: params/w.*left over'):
    run(whole[0], task=other)


def test_a_truncated_checkpoint_is_named(whole, tmp_path):
  run(tmp_path, steps=5)
  for file in (find_checkpoint(tmp_path) / 'state').rglob('*'):
    if file.is_file():
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  with pytest.raises(CheckpointError, match=r'corrupt .*checkpoints/5'):
    run(tmp_path)


def test_a_run_of_another_task_does_not_begin(whole):
  other, begun = TASK._replace(init=lambda *_: ({'w': jnp.ones(3)}, {})), []
  with pytest.raises(CheckpointError, match='foreign checkpoint'):
    run(whole[0], task=other, begun=lambda: begun.append(1))
  assert not begun
  run(whole[0], begun=lambda: begun.append(1))
  assert begun


# What fails in the background before it is asked for says so to pytest as well.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('place', [12, 14])  # while a save is pending, and not
def test_a_full_disk_is_told_and_what_is_saved_stays(
  tmp_path, whole, full_disk, place
):
  with (
    full_disk() as fill,
    pytest.raises((CheckpointError, OSError), match='File too large') as told,
  ):
    run(tmp_path, Data(act=lambda index: index == place and fill()))
  said = str(told.value)
  assert str(tmp_path) in said and '\n' not in said and len(said) < 300
  assert_same_bits(run(tmp_path), whole[1])
  assert untimed(tmp_path) == untimed(whole[0])


@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_a_folder_that_vanishes_ends_the_run_at_its_next_save(tmp_path):
  workdir = tmp_path / 'run'

  def vanish(index):
    if index == 12:
      workdir.rename(tmp_path / 'elsewhere')

  with pytest.raises(
    CheckpointError,
    match=r'cannot be written to .*/run/checkpoints: .*; of those before, there'
    ' is none',
  ):
    run(workdir, Data(act=vanish))


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
  (tmp_path / 'file').touch()
  asked = []
  with pytest.raises(WorkdirError, match=r'file/run cannot be written: Not a'):
    run(tmp_path / 'file' / 'run', Data(act=asked.append))
  assert not asked


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], 'w')
fcntl.flock(file, fcntl.LOCK_EX)
file.write('{"pid": 77, "host": "far"}')
file.flush()
print(flush=True)
sys.stdin.read()
"""


def test_a_second_run_in_a_folder_is_refused_while_the_first_one_lives(
  tmp_path, whole
):
  with subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path / 'lock')],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  ) as holder:
    holder.stdout.readline()
    with pytest.raises(WorkdirError, match=r'in use .* 77 on far; wait'):
      run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['lock']
    holder.kill()
  assert_same_bits(run(tmp_path), whole[1])  # the dead one is not waited for
  told = json.loads((tmp_path / 'lock').read_text())
  assert told == {'pid': os.getpid(), 'host': socket.gethostname()}


def test_a_reader_that_dies_ends_the_run_and_what_is_saved_stays(
  tmp_path, whole
):
  def die(index):
    if index == 13:
      raise OSError(errno.EIO, 'Input/output error', 'clip.mp4')

  with pytest.raises(OSError, match=r'Input/output error: .clip.mp4'):
    run(tmp_path, Data(act=die))
  assert find_checkpoint(tmp_path).name in ('8', '10')
  assert_same_bits(run(tmp_path), whole[1])


def test_a_clock_that_jumps_changes_nothing(tmp_path, whole, monkeypatch):
  now = itertools.count(2e9, -3600)  # an hour back whenever it is asked
  monkeypatch.setattr(time, 'time', lambda: float(next(now)))

  def die(index):
    if index == 17:
      raise Killed

  with pytest.raises(Killed):
    run(tmp_path, Data(act=die))
  for age, path in enumerate(sorted(tmp_path.rglob('*'))):
    os.utime(path, (4e9 - age, 4e9 - age))  # far in the future, in disorder
  assert_same_bits(run(tmp_path), whole[1])
  assert untimed(tmp_path) == untimed(whole[0])


def test_more_sigterms_during_the_save_do_not_lose_it(
  tmp_path, whole, monkeypatch
):
  def with_signals(function):
    def signalled(*arguments):
      os.kill(os.getpid(), signal.SIGTERM)
      try:
        return function(*arguments)
      finally:
        os.kill(os.getpid(), signal.SIGTERM)

    return signalled

  def stop(index):
    if index == 12:
      for name in ('save', 'latest'):
        patched = with_signals(getattr(Checkpoints, name))
        monkeypatch.setattr(Checkpoints, name, patched)

  with pytest.raises(SystemExit) as left:
    run(tmp_path, Data(act=stop))
  assert left.value.code == 143
  monkeypatch.undo()
  stopped = max(int(f.name) for f in (tmp_path / 'checkpoints').iterdir())
  assert 8 <= stopped < STEPS
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert_same_bits(run(tmp_path), whole[1])


def test_data_that_ends_before_the_run_is_refused_at_once(tmp_path):
  with pytest.raises(ValueError, match=r'ends after 7 batches.* 24 steps'):
    run(tmp_path, Data(7))
  assert not list(tmp_path.iterdir())


def test_the_configuration_travels_with_the_checkpoint(tmp_path):
  run(tmp_path, steps=1, metadata={'task': 'toy', 'config': {'width': 8}})
  assert read_metadata(tmp_path)['config'] == {'width': 8}


@pytest.mark.parametrize('parallel', ['pmap', 'jit'])
def test_a_run_over_four_devices_agrees_with_one(whole, tmp_path, parallel):
  state = run(tmp_path, parallel=parallel, devices=jax.devices()[:4])
  for x, y in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(whole[1].params), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


def main(workdir: str, signal_name: str, place: str) -> None:
  """A run that sends itself a signal when it asks for batch `place`."""

  def act(index):
    if index == int(place):
      os.kill(
        os.getpid(),
        {'kill': signal.SIGKILL, 'term': signal.SIGTERM}[signal_name],
      )

  state = run(pathlib.Path(workdir), Data(act=act))
  print(json.dumps({'step': int(state.step)}))


if __name__ == '__main__':
  main(*sys.argv[1:])
