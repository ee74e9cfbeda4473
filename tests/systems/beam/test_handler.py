"""Functions of JAX in `RunInference`: padded, compiled once, in bfloat16."""

import apache_beam as beam
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from deltax.systems.beam import JaxModelHandler
from deltax.systems.beam.handler import run_in_batches

# Of the module, as what a pipeline is given is pickled.
CALLS, RESULTS = {}, []


def load():
  """Variables, and a function of them that notes what it is traced for."""
  CALLS['loaded'] = CALLS.get('loaded', 0) + 1
  return apply, {'scale': jnp.float32([1, 2, 3])}


def apply(variables, x):
  scale = variables['scale']
  CALLS.setdefault('traced', []).append((x.shape, x.dtype, scale.dtype))
  return {'sum': (x * scale[None]).sum(-1), 'first': x[:, 0]}


@pytest.fixture(autouse=True)
def calls():
  CALLS.clear()
  RESULTS.clear()
  return CALLS


def keep(result):
  RESULTS.append(result)


def examples(count):
  return [np.float32([n, 1, 2]) for n in range(count)]


def test_all_examples_get_their_results_by_one_program_in_a_pipeline(calls):
  handler = JaxModelHandler(load, batch_size=4)
  with beam.Pipeline('FnApiRunner') as pipeline:
    created = pipeline | beam.Create(examples(11))
    _ = created | RunInference(handler) | beam.Map(keep)
  seen = {int(made.example[0]): made.inference for made in RESULTS}
  assert len(RESULTS) == 11 and sorted(seen) == list(range(11))
  for n, result in seen.items():
    np.testing.assert_array_equal(result['sum'], n + 2 + 6)
    np.testing.assert_array_equal(result['first'], n)
  assert calls['loaded'] == 1
  assert [shape for shape, _, _ in calls['traced']] == [(4, 3)]


def test_keys_stay_with_their_examples():
  pairs = [(f'key {n}', example) for n, example in enumerate(examples(3))]
  with beam.Pipeline('FnApiRunner') as pipeline:
    created = pipeline | beam.Create(pairs)
    handler = KeyedModelHandler(JaxModelHandler(load, batch_size=2))
    _ = created | RunInference(handler) | beam.Map(keep)
  seen = {key: float(made.inference['first']) for key, made in RESULTS}
  assert seen == {'key 0': 0, 'key 1': 1, 'key 2': 2}


@pytest.mark.parametrize('count', [1, 3, 4, 5, 9])
def test_what_is_padded_never_shows(count):
  sizes = []

  def run(x):
    sizes.append(len(x))
    return x + 1

  given = np.arange(count * 2.0).reshape(count, 2)
  np.testing.assert_array_equal(run_in_batches(run, 4, given), given + 1)
  assert sizes == [4] * -(-count // 4)


@pytest.mark.parametrize(
  ('backend', 'dtype', 'expected'),
  [
    ('cpu', None, jnp.float32),
    ('gpu', None, jnp.bfloat16),
    ('tpu', None, jnp.bfloat16),
    ('gpu', jnp.float32, jnp.float32),
    ('cpu', jnp.bfloat16, jnp.bfloat16),
  ],
)
def test_accelerators_compute_in_bfloat16_and_results_are_float32(
  calls, monkeypatch, backend, dtype, expected
):
  handler = JaxModelHandler(load, batch_size=2, dtype=dtype)
  with monkeypatch.context() as patched:
    patched.setattr(jax, 'default_backend', lambda: backend)
    model = handler.load_model()
  results = list(handler.run_inference(examples(2), model))
  assert calls['traced'] == [((2, 3), expected, expected)]
  for n, result in enumerate(results):
    assert result.inference['sum'].dtype == np.float32
    np.testing.assert_array_equal(result.inference['sum'], n + 8)


def test_frames_stay_integers(calls):
  handler = JaxModelHandler(load, batch_size=2, dtype=jnp.bfloat16)
  frames = [np.zeros(3, np.uint8)]
  (result,) = handler.run_inference(frames, handler.load_model())
  assert calls['traced'] == [((2, 3), jnp.uint8, jnp.bfloat16)]
  assert result.example is frames[0]
  assert handler.get_num_bytes(frames) == 3


def test_a_batch_has_at_least_one_example():
  with pytest.raises(ValueError, match='batch_size is 0, expected at least 1'):
    JaxModelHandler(load, batch_size=0)
