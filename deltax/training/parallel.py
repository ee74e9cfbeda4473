"""Devices: the only file that knows how many there are.

A step is one function `(state, batch) -> (state, metrics)`. Two wrappers of the
same signature spread the batch over devices; the state and the metrics are the
same on all of them and never carry a device axis. Training does not depend on
the wrapper nor on the number of devices.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deltax.training.state import TrainState
from deltax.types import Array, Batch, ModelState, Params

AXIS_NAME = 'batch'

Devices = Sequence[jax.Device]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def pmap_step(step: Step, devices: Devices | None = None) -> Step:
  """Maps a step over devices; inside, the axis is called `AXIS_NAME`.

  Args:
    step: sees its device's share of the batch, and sums over devices itself.
    devices: all local devices by default.

  Returns:
    `(state, batch) -> (state, metrics)` of the global batch `[B, ...]`. The
    state given is donated: use the one returned.

  Raises:
    ValueError: B does not divide by the number of devices.
  """
  devices = _or_local(devices)
  mapped = jax.pmap(
    step,
    axis_name=AXIS_NAME,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
    devices=devices,
  )
  whole, _ = _shardings(devices)

  def run(state: TrainState, batch: Batch):
    share = _share(batch, devices)
    batch = jax.tree.map(
      lambda x: np.reshape(x, (len(devices), share, *np.shape(x)[1:])), batch
    )
    return mapped(_place(state, whole), batch)

  return run


def jit_step(step: Step, devices: Devices | None = None) -> Step:
  """Compiles a step for a batch that is laid out over devices.

  Args:
    step: sees the global batch; the compiler puts in the sums over devices.
    devices: all local devices by default.

  Returns:
    As `pmap_step`, with the same Raises.
  """
  devices = _or_local(devices)
  whole, split = _shardings(devices)
  compiled = jax.jit(
    step,
    in_shardings=(whole, split),
    out_shardings=whole,
    donate_argnums=0,
  )

  def run(state: TrainState, batch: Batch):
    _share(batch, devices)
    return compiled(_place(state, whole), dict(batch))

  return run


WRAPPERS = {'pmap': (pmap_step, AXIS_NAME), 'jit': (jit_step, None)}


def axis_name(parallel: str) -> str | None:
  """The axis over which a task's batch norm averages: None under jit.

  Args:
    parallel: 'pmap' or 'jit'.
  """
  return _known(parallel)[1]


def wrapper(parallel: str) -> Callable[[Step, Devices | None], Step]:
  """`pmap_step` or `jit_step`, by name."""
  return _known(parallel)[0]


def spread(
  function: Callable[[Params, ModelState, Batch], dict[str, Array]],
  devices: Devices | None = None,
) -> Callable[[Params, ModelState, Batch], dict[str, Array]]:
  """Compiles a function that gives `{name: [B, ...]}`, over devices.

  Uses as many of the devices as divide the batch, so that any batch size runs.
  Compiled code belongs to `function`: to spread it again compiles nothing.
  """
  devices = _or_local(devices)
  compiled = jax.jit(function)

  def run(params: Params, model_state: ModelState, batch: Batch):
    used = devices[: math.gcd(len(batch['mask']), len(devices))]
    whole, split = _shardings(used)
    params, model_state = jax.device_put((params, model_state), whole)
    return compiled(params, model_state, jax.device_put(dict(batch), split))

  return run


def from_all_processes(x: np.ndarray) -> np.ndarray:
  """An array of each of the P processes, of one shape in all: `[P, ...]`.

  Bit for bit: it travels as bytes, where jax would round float64.
  """
  if jax.process_count() == 1:
    return np.asarray(x)[None]
  sent = np.frombuffer(x.tobytes(), np.uint8)
  received = np.asarray(multihost_utils.process_allgather(sent))
  return np.frombuffer(received.tobytes(), x.dtype).reshape(-1, *x.shape)


def sum_over_devices(tree: Any, axis_name: str | None) -> Any:
  """The sum over the mapped axis; `tree` itself where there is none."""
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def mean_over_devices(tree: Any, axis_name: str | None) -> Any:
  """The mean over the mapped axis of the float leaves; others stay as is."""
  if axis_name is None:
    return tree

  def mean(x: Array) -> Array:
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return jax.lax.pmean(x, axis_name) if floating else x

  return jax.tree.map(mean, tree)


def axis_size(axis_name: str | None) -> int:
  """Number of devices of the mapped axis; 1 where there is none."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def _or_local(devices: Devices | None) -> list[jax.Device]:
  return list(jax.local_devices() if devices is None else devices)


def _shardings(devices: Devices) -> tuple[NamedSharding, NamedSharding]:
  """One copy on every device; the first axis split over the devices."""
  mesh = Mesh(np.array(devices), (AXIS_NAME,))
  return (
    NamedSharding(mesh, PartitionSpec()),
    NamedSharding(mesh, PartitionSpec(AXIS_NAME)),
  )


def _place(state: TrainState, whole: NamedSharding) -> TrainState:
  # A fresh or restored state lies on one device. Left there, the second call
  # would see another layout than the first, and compile the step again.
  if state.step.sharding == whole:
    return state
  return jax.device_put(state, whole)


def _share(batch: Batch, devices: Devices) -> int:
  size = len(batch['mask'])
  if size % len(devices):
    raise ValueError(
      f'a batch of {size} does not divide by {len(devices)} devices'
    )
  return size // len(devices)


def _known(parallel: str) -> tuple[Callable, str | None]:
  if parallel not in WRAPPERS:
    raise ValueError(f'parallel={parallel!r}; known: {sorted(WRAPPERS)}')
  return WRAPPERS[parallel]
