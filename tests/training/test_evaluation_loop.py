"""Counts over a data set against a sum in numpy."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.task import Task
from deltax.training import evaluate


def batches(size: int, lengths: list[int]) -> list[dict[str, np.ndarray]]:
  """Batches of `size`, each with so many real examples and rubbish after."""
  rng = np.random.default_rng(0)
  made = []
  for real in lengths:
    mask = (np.arange(size) < real).astype(np.float32)
    labels = rng.integers(0, 3, (size, 5))
    values = np.where(mask[:, None] > 0, rng.normal(size=(size, 5)), np.nan)
    made.append(
      {'values': values.astype(np.float32), 'labels': labels, 'mask': mask}
    )
  return made


def count(params, model_state, batch):
  hits = jax.nn.one_hot(batch['labels'], 3).sum(1)
  return {'hits': hits, 'sum': params * batch['values'].sum(1) + model_state}


TASK = Task(
  None, None, count, lambda c: {'share': c['hits'][1] / c['hits'].sum()}
)


@pytest.mark.parametrize('size', [1, 3, 4, 6])
def test_counts_are_the_sums_over_real_examples(size):
  dataset = batches(size, [size, size, 1])
  scores, counts = evaluate(TASK, jnp.float32(2), jnp.float32(1), dataset)
  real = {
    k: np.concatenate([b[k][b['mask'] > 0] for b in dataset])
    for k in dataset[0]
  }
  expected = np.bincount(real['labels'].ravel(), minlength=3)
  np.testing.assert_array_equal(counts['hits'], expected)
  np.testing.assert_allclose(
    counts['sum'], (2 * real['values'].sum(1) + 1).sum(), rtol=1e-6
  )
  assert scores == {'share': expected[1] / expected.sum()}


def test_counts_beyond_float32_stay_exact():
  big = Task(
    None,
    None,
    lambda params, state, batch: {'n': batch['n']},
    lambda counts: {'n': counts['n']},
  )
  n = np.full(4, 2**24 - 1, np.int32)
  dataset = [{'n': n, 'mask': np.ones(4, np.float32)}] * 9
  scores, _ = evaluate(big, {}, {}, dataset)
  assert scores['n'] == 36 * (2**24 - 1)


def test_parameters_of_a_sharded_run_can_be_evaluated_on_fewer_devices():
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ('batch',))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  params = jax.device_put(jnp.float32(2), everywhere)
  dataset = batches(3, [3, 2])
  scores, _ = evaluate(
    TASK, params, jnp.float32(1), dataset, devices=jax.devices()[:1]
  )
  expected, _ = evaluate(TASK, jnp.float32(2), jnp.float32(1), dataset)
  assert scores == expected


def test_a_second_evaluation_compiles_nothing():
  traced = []

  def watched(params, model_state, batch):
    traced.append(1)
    return count(params, model_state, batch)

  task = TASK._replace(evaluate=watched)
  for _ in range(2):
    evaluate(task, jnp.float32(2), jnp.float32(1), batches(4, [4, 4, 2]))
  assert len(traced) == 1


def test_a_count_that_is_already_summed_is_an_error():
  task = TASK._replace(evaluate=lambda p, s, b: {'hits': jnp.ones(3)})
  with pytest.raises(ValueError, match=r"'hits' .*\(3,\).*\[4, \.\.\.\]"):
    evaluate(task, {}, {}, batches(4, [4]))


STACKED = TASK._replace(
  evaluate=lambda params, state, batch: {
    'values': params * batch['values'],
    'first': batch['labels'][:, 0],
    'low': batch['labels'] < 1,
  },
  summarise=lambda arrays: {'median': np.median(arrays['values'])},
  stack=True,
)


@pytest.mark.parametrize('size', [3, 4])
def test_arrays_are_stacked_over_real_examples_in_order(size):
  dataset = batches(size, [size, 2, 0, 1])
  scores, arrays = evaluate(STACKED, jnp.float32(2), {}, dataset)
  real = {
    k: np.concatenate([b[k][b['mask'] > 0] for b in dataset])
    for k in dataset[0]
  }
  np.testing.assert_array_equal(arrays['values'], 2 * real['values'])
  np.testing.assert_array_equal(arrays['first'], real['labels'][:, 0])
  np.testing.assert_array_equal(arrays['low'], real['labels'] < 1)
  types = {name: array.dtype for name, array in arrays.items()}
  assert types == {'values': np.float32, 'first': np.int32, 'low': bool}
  assert scores == {'median': pytest.approx(np.median(2 * real['values']))}


SHARE = """
import sys
import jax
import numpy as np

jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from deltax.data.pipeline import evaluation
from deltax.task import Task
from deltax.training import evaluate

dataset = evaluation(
  range(7), lambda k: {'n': np.int32(2**24 + k)}, batch_size=2
)
for stack in (False, True):
  task = Task(None, None, lambda p, s, b: {'n': b['n']}, lambda c: {}, None)
  _, counts = evaluate(task._replace(stack=stack), {}, {}, dataset)
  said = np.asarray(counts['n'], int).tolist()
  # One write, with its own line breaks: others write to the same pipe.
  sys.stdout.write(f'\\nfound {said}\\n')
"""


def test_two_processes_see_the_whole_data_set():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  flags = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}
  running = [
    subprocess.Popen(
      [sys.executable, '-c', SHARE, address, rank],
      env={**os.environ, **flags, 'JAX_PLATFORMS': 'cpu'},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for rank in '01'
  ]
  # A sum beyond float32, and the examples in the order of the data set.
  numbers = [2**24 + k for k in range(7)]
  try:
    said = [process.communicate(timeout=120) for process in running]
  finally:
    for process in running:
      process.kill()
  for out, errors in said:
    lines = [line for line in out.splitlines() if line.startswith('found')]
    assert lines == [f'found {sum(numbers)}', f'found {numbers}'], errors


def test_an_empty_data_set_is_an_error():
  with pytest.raises(ValueError, match='no batches'):
    evaluate(TASK, {}, {}, [])
