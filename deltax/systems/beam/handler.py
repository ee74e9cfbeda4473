"""Networks of JAX in Beam's `RunInference`."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

Apply = Callable[[Any, Any], Any]
Compiled = Callable[[Any], Any]


class JaxModelHandler(ModelHandler[Any, PredictionResult, Compiled]):
  """Runs a function of JAX on the examples of a `PCollection`, in batches.

  The function is compiled once for each process that works: it is given
  batches of one size, the last ones padded. Threads of a process share it.

  Args:
    load: gives `(apply, variables)`, on the worker. `apply(variables, batch)`
      is pure: from an array `[batch_size, ...]`, or a tree of such, to another.
      What it gives for an example must not depend on the others. Pickled: a
      function of a module, or one that closes over arrays.
    batch_size: examples of a call.
    dtype: floating-point type of the variables and of floating-point inputs;
      integers, as frames of uint8, stay as they are. None: bfloat16 on
      accelerators, and that of the variables on a CPU. Results are float32.

  Example:
    A network of flax, on frames that others have read:

    >>> import apache_beam, flax.linen, jax, numpy
    >>> from deltax.systems.beam import JaxModelHandler
    >>> from apache_beam.ml.inference.base import RunInference
    >>> frames = numpy.ones((5, 8, 8, 3), numpy.float32)
    >>> def load():
    ...   net = flax.linen.Conv(4, (3, 3))
    ...   return net.apply, net.init(jax.random.key(0), frames)
    >>> def show(result):
    ...   print(result.example.shape, result.inference.shape)
    >>> with apache_beam.Pipeline('FnApiRunner') as pipeline:
    ...   created = pipeline | apache_beam.Create(list(frames[:2]))
    ...   results = created | RunInference(JaxModelHandler(load, batch_size=4))
    ...   _ = results | apache_beam.Map(show)
    (8, 8, 3) (8, 8, 4)
    (8, 8, 3) (8, 8, 4)
  """

  def __init__(
    self,
    load: Callable[[], tuple[Apply, Any]],
    *,
    batch_size: int = 16,
    dtype: Any = None,
  ):
    if batch_size < 1:
      raise ValueError(f'batch_size is {batch_size}, expected at least 1')
    super().__init__()
    self._load, self._size, self._dtype = load, batch_size, dtype

  def batch_elements_kwargs(self) -> Mapping[str, int]:
    """How many examples Beam puts together."""
    return {'min_batch_size': 1, 'max_batch_size': self._size}

  def load_model(self) -> Compiled:
    """From arrays `[N, ...]`, of any N, to arrays of numpy `[N, ...]`."""
    apply, variables = self._load()
    dtype = self._dtype or preferred_dtype()

    @jax.jit
    def run(variables, batch):
      return in_dtype(apply(variables, in_dtype(batch, dtype)), jnp.float32)

    variables = jax.device_put(in_dtype(variables, dtype))
    return functools.partial(
      run_in_batches, functools.partial(run, variables), self._size
    )

  def run_inference(
    self,
    batch: Sequence[Any],
    model: Compiled,
    inference_args: dict[str, Any] | None = None,
  ) -> Iterable[PredictionResult]:
    """Results of examples of one shape: arrays, or trees of arrays."""
    results = model(jax.tree.map(lambda *x: np.stack(x), *batch))
    for n, example in enumerate(batch):
      yield PredictionResult(
        example, jax.tree.map(lambda x, n=n: x[n], results)
      )

  def get_num_bytes(self, batch: Sequence[Any]) -> int:
    """Bytes of the examples, for Beam's statistics."""
    return sum(np.asarray(x).nbytes for x in jax.tree.leaves(list(batch)))

  def get_metrics_namespace(self) -> str:
    """What Beam's statistics are called."""
    return 'JaxModelHandler'


def run_in_batches(run: Callable[[Any], Any], size: int, examples: Any) -> Any:
  """Calls a function on batches of one size; the last one is padded.

  Args:
    run: from arrays `[size, ...]` to arrays `[size, ...]`.
    size: of a batch.
    examples: arrays `[N, ...]`, N at least 1.

  Returns:
    Arrays of numpy `[N, ...]`.
  """
  results, count = [], len(jax.tree.leaves(examples)[0])
  for start in range(0, count, size):
    part = slice(start, min(start + size, count))
    made = run(
      jax.tree.map(lambda x, part=part: padded(x[part], size), examples)
    )
    left = part.stop - start
    results.append(jax.tree.map(lambda x, n=left: np.asarray(x)[:n], made))
  return jax.tree.map(lambda *x: np.concatenate(x), *results)


def preferred_dtype() -> Any:
  """bfloat16 on accelerators, which are made for it; None on a CPU."""
  return None if jax.default_backend() == 'cpu' else jnp.bfloat16


def in_dtype(tree: Any, dtype: Any) -> Any:
  """Arrays, the floating-point ones of them in a type; None leaves all."""

  def cast(x):
    floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
    return jnp.asarray(x, dtype) if floating else x

  return tree if dtype is None else jax.tree.map(cast, tree)


def padded(batch: np.ndarray, size: int) -> np.ndarray:
  """An array `[size, ...]`: one of fewer rows, and zeros."""
  blank = size - len(batch)
  return np.pad(batch, ((0, blank), *((0, 0),) * (np.ndim(batch) - 1)))
