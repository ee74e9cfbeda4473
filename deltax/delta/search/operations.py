"""Single layers, blocks and students as programs of their own, and their time.

Each stands in what surrounds it when deployed. A layer has its folded bias and
a ReLU behind it, a student the cached tensor and a ReLU; a teacher's block is
cut out of the deployed network, and a block's student has its cached tensors.
"""

import collections
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.adapters import Network, cut
from deltax.delta.deploy.pools import with_fast_pools
from deltax.delta.spec import Spec
from deltax.delta.students.layers import Teacher
from deltax.delta.transform import distill
from deltax.delta.units import Block, Unit

_BATCH = 2.0  # milliseconds that calls of one operation take at a turn
_LEAST_CALLS = 3  # at a turn, lest most find their weights out of the caches
_MOST_CALLS = 50
_COPIES = {'cpu': 1}  # side by side in one program; launching hides the rest
_ELSEWHERE = 16


class Operation(NamedTuple):
  """A function and what it takes.

  Attributes:
    run: of `args`, to arrays.
    args: pytrees of `jax.ShapeDtypeStruct`.
    alone: whether it is long enough to be a program without copies.
  """

  run: Callable[..., Any]
  args: tuple
  alone: bool = False


class Timing(NamedTuple):
  """Milliseconds of an operation, and bytes of its arguments and results."""

  ms: float
  bytes: int


def whole(net: Network, variables: Any, frame: Any) -> Operation:
  """The teacher as it is deployed: every batch norm folded that can be.

  Args:
    net: the network.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`, a shape and a type.

  Returns:
    The operation, of the deployed parameters and a frame.
  """
  delta = distill(net, Spec(lambda layers: layers, (Teacher(),)))
  steps = []

  def deployed(variables):
    params = delta.init(jax.random.key(0), variables, frame)
    frozen = delta.freeze(params, frame)
    steps.append(frozen.step)
    return frozen.params

  params = _typed(jax.eval_shape(deployed, variables), frame.dtype)

  def run(params, frame):
    return steps[0](params, {}, frame)[1]

  return Operation(run, (params, frame), alone=True)


def later(net: Network, variables: Any, frame: Any, spec: Spec) -> Operation:
  """A later frame of the delta network as it is deployed.

  Args:
    net: the network.
    variables: of the network; only shapes matter.
    frame: `[B, H, W, C]`, a shape and a type.
    spec: with one candidate for every unit.

  Returns:
    The operation, of the deployed parameters, the carry and a frame.
  """
  delta = distill(net, spec)
  functions = []

  def deployed(variables):
    params = delta.init(jax.random.key(0), variables, frame)
    frozen = delta.freeze(params, frame)
    functions.append(frozen)
    return frozen.params

  params = _typed(jax.eval_shape(deployed, variables), frame.dtype)
  frozen = functions[0]
  carry, _ = jax.eval_shape(frozen.keyframe, params, frame)

  def run(params, carry, frame):
    return frozen.step(params, carry, frame)

  return Operation(run, (params, carry, frame), alone=True)


def alone(unit: Unit, network: Operation, frame: Any) -> Operation:
  """A teacher's layer or block, as it stands in the deployed network.

  Args:
    unit: the layer or block; of a span, its layers one by one.
    network: the operation of `whole`.
    frame: `[B, H, W, C]`, a shape and a type.
  """
  if unit.linear:
    return layer_alone(unit, frame)
  return block_alone(unit, network)


def layer_alone(layer: Unit, frame: Any) -> Operation:
  """A teacher's layer, its bias (that of a folded batch norm), a ReLU."""

  def run(weights, x):
    return jax.nn.relu(layer.apply(weights, x))

  kernel, bias = _like(frame, *layer.kernel), _like(frame, layer.kernel[-1])
  weights = {'kernel': kernel, 'bias': bias}
  return Operation(run, (weights, _maps(frame, layer.inputs, layer.windows)))


def block_alone(block: Block, network: Operation) -> Operation:
  """A teacher's block, as it is inside of the network.

  The network is called with the block's inputs put in their place; all that
  the block's output does not depend on is compiled away.

  Args:
    block: one of the network's.
    network: the operation of `whole`.

  Returns:
    The operation, of the network's parameters and the block's inputs.
  """
  params, frame = network.args

  def run(params, *inputs):
    with cut(block, inputs) as outputs:
      network.run(params, jnp.zeros(frame.shape, frame.dtype))
    return outputs[block.call]

  inputs = [_maps(frame, shape) for shape in block.inputs]
  return Operation(with_fast_pools(run), (params, *inputs))


def student(candidate: Any, unit: Unit, frame: Any) -> Operation:
  """A student with what is kept of a key frame; behind a layer's, a ReLU."""

  def start(key):
    layer = None
    if unit.linear:
      layer = {'kernel': jnp.zeros(unit.kernel)}
    return unit.start(key, layer, (candidate,))[candidate.name]

  key = jax.eval_shape(lambda: jax.random.key(0))
  weights = _typed(jax.eval_shape(start, key), frame.dtype)
  inputs = [_maps(frame, shape, unit.windows) for shape in unit.shapes]
  prepared = jax.eval_shape(
    lambda weights, *inputs: unit.prepare(candidate, weights, inputs),
    weights,
    *inputs,
  )

  def run(weights, prepared, constant, *inputs):
    z = unit.follow(candidate, weights, prepared, inputs) + constant
    return jax.nn.relu(z) if unit.linear else z

  constant = _maps(frame, unit.outputs, unit.windows)
  return Operation(run, (weights, prepared, constant, *inputs))


def measured(
  operations: Mapping[Hashable, Operation],
  *,
  repeats: int,
  progress: Callable[[int, int], None] | None = None,
) -> dict[Hashable, Timing]:
  """Times operations on jax's default device, each as a compiled program.

  They take turns, so that a slow spell of the machine hits all alike; at a turn
  a short operation is called several times. The median wall time of a call is
  taken, less that of an empty program. Accelerators, where short programs take
  longer to launch than to run, are given sixteen copies at a time, with
  arguments of their own.

  Args:
    operations: by any key.
    repeats: turns.
    progress: told how many of how many operations are compiled.

  Returns:
    The times, by the same keys; never below zero.
  """
  copies = _COPIES.get(jax.default_backend(), _ELSEWHERE)
  kept, calls, moved, counts = {}, [], [], []
  for number, operation in enumerate(operations.values(), 1):
    count = 1 if operation.alone else copies
    arguments = _drawn([operation.args] * count, kept)
    call, size = _compiled(operation.run, arguments)
    calls.append(call)
    moved.append(size // count)
    counts.append(count)
    if progress:
      progress(number, len(operations))
  empty, _ = _compiled(lambda x: x + 1, [(jnp.zeros(()),)])
  *times, overhead = _turns([*calls, empty], repeats)
  return {
    key: Timing(max(0.0, ms - overhead) / count, size)
    for key, ms, count, size in zip(
      operations, times, counts, moved, strict=True
    )
  }


def _compiled(run, arguments):
  """A call without arguments of as many copies, and the bytes it moves."""
  once = jax.jit(run)
  program = jax.jit(lambda *copies: [once(*args) for args in copies])
  compiled = program.lower(*arguments).compile()
  memory = compiled.memory_analysis()
  size = memory.argument_size_in_bytes + memory.output_size_in_bytes
  return lambda: jax.block_until_ready(compiled(*arguments)), size


def _turns(calls, repeats):
  """Median milliseconds of every call."""

  def timed(call):
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)

  for call in calls:
    call()
  counts = [
    min(_MOST_CALLS, max(_LEAST_CALLS, round(_BATCH / timed(call))))
    for call in calls
  ]
  times: list[list[float]] = [[] for _ in calls]
  for _ in range(repeats):
    for taken, call, count in zip(times, calls, counts, strict=True):
      taken += [timed(call) for _ in range(count)]
  return [statistics.median(taken) for taken in times]


def _drawn(tree, kept):
  """Noise in place of shapes; within one tree no two are the same array.

  Arrays of one dimension are positive: there are variances among them.
  """
  places: collections.Counter = collections.Counter()

  def draw(leaf):
    key = leaf.shape, leaf.dtype, places[leaf]
    places[leaf] += 1
    if key not in kept:
      noise = np.random.default_rng(len(kept)).standard_normal(
        leaf.shape, np.float32
      )
      noise = 0.05 * (abs(noise) if noise.ndim == 1 else noise)
      kept[key] = jnp.asarray(noise, leaf.dtype)
    return kept[key]

  return jax.tree.map(draw, tree)


def _maps(frame, shape, windows=1):
  return _like(frame, windows * frame.shape[0], *shape)


def _like(frame, *shape):
  return jax.ShapeDtypeStruct(shape, frame.dtype)


def _typed(tree, dtype):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), tree)
