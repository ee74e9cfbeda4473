"""Devices: the only file that knows how many there are.

A step is one function `(state, batch) -> (state, metrics)`. Two wrappers of the
same signature spread the batch over the devices of all processes; each process
gives its own stretch of the batch. The state and the metrics are the same on
all devices and never carry a device axis. Training does not depend on the
wrapper nor on the number of devices or processes.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deltax.training import leaves
from deltax.training.state import TrainState
from deltax.types import Array, Batch, ModelState, Params

AXIS_NAME = 'batch'

Devices = Sequence[jax.Device]
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]

# What of a state each device keeps only its share of, by `training.shard`.
SHARDED = {
  '': (),
  'optimizer': ('opt_state',),
  'parameters': ('params', 'opt_state'),
}
_SMALL = 2**10  # elements of an array that is not worth sharing out


def pmap_step(
  step: Step, devices: Devices | None = None, shard: str = ''
) -> Step:
  """Maps a step over devices; inside, the axis is called `AXIS_NAME`.

  Args:
    step: sees its device's share of the batch, and sums over devices itself.
    devices: those of all processes by default.
    shard: '', as a mapped step sees the whole state.

  Returns:
    `(state, batch) -> (state, metrics)` of this process's stretch of the batch,
    `[B, ...]`. The state given is donated: use the one returned.

  Raises:
    ValueError: B does not divide by the number of this process's devices, or
      `shard` is given.
  """
  if shard:
    raise ValueError(f"shard={shard!r} needs parallel='jit', got 'pmap'")
  devices = _or_all(devices)
  mapped = jax.pmap(
    step,
    axis_name=AXIS_NAME,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
    devices=devices,
  )
  # A mapped function takes and gives what lies on the devices of its process.
  local = _of_this_process(devices)
  whole, _ = _shardings(local)

  def run(state: TrainState, batch: Batch):
    share = _share(batch, devices)
    batch = jax.tree.map(
      lambda x: np.reshape(x, (len(local), share, *np.shape(x)[1:])), batch
    )
    return mapped(_place(state, whole, lambda state: whole), batch)

  return run


def jit_step(
  step: Step, devices: Devices | None = None, shard: str = ''
) -> Step:
  """Compiles a step for a batch that is laid out over devices.

  Args:
    step: sees the global batch; the compiler puts in the sums over devices.
    devices: those of all processes by default.
    shard: a key of `SHARDED`. Of large arrays of those fields, each device
      keeps a share only, and gathers the parameters while it uses them.

  Returns:
    As `pmap_step`. Arrays of the state may be spread over processes: see
    `gathered`.

  Raises:
    ValueError: as `pmap_step` for B, or an unknown `shard`, with the known
      ones.
  """
  if shard not in SHARDED:
    raise ValueError(f'shard={shard!r}; known: {sorted(SHARDED)}')
  devices = _or_all(devices)
  whole, split = _shardings(devices)
  fields = SHARDED[shard]

  def layout(state: TrainState) -> TrainState:
    """Where each array of a state lies."""
    layouts = jax.tree.map(lambda x: whole, state)
    shared = {
      field: jax.tree.map(
        lambda x: _shared(x, whole.mesh), getattr(state, field)
      )
      for field in fields
    }
    return layouts._replace(**shared)

  def placed(state: TrainState, batch: Batch):
    gathered = jax.lax.with_sharding_constraint(state.params, whole)
    next_state, metrics = step(state._replace(params=gathered), batch)
    return jax.lax.with_sharding_constraint(
      (next_state, metrics), (layout(state), whole)
    )

  compiled = jax.jit(placed, donate_argnums=0)

  def run(state: TrainState, batch: Batch):
    _share(batch, devices)
    batch = {
      name: jax.make_array_from_process_local_data(split, np.asarray(x))
      for name, x in batch.items()
    }
    return compiled(_place(state, whole, layout), batch)

  return run


WRAPPERS = {'pmap': (pmap_step, AXIS_NAME), 'jit': (jit_step, None)}


def axis_name(parallel: str) -> str | None:
  """The axis over which a task's batch norm averages: None under jit.

  Args:
    parallel: 'pmap' or 'jit'.
  """
  return _known(parallel)[1]


def wrapper(parallel: str) -> Callable[..., Step]:
  """`pmap_step` or `jit_step`, by name."""
  return _known(parallel)[0]


def spread(
  function: Callable[[Params, ModelState, Batch], dict[str, Array]],
  devices: Devices | None = None,
) -> Callable[[Params, ModelState, Batch], dict[str, Array]]:
  """Compiles a function that gives `{name: [B, ...]}`, over local devices.

  Uses as many of the devices as divide the batch, so that any batch size runs.
  Compiled code belongs to `function`: to spread it again compiles nothing.
  """
  devices = _of_this_process(_or_all(devices))
  compiled = jax.jit(function)

  def run(params: Params, model_state: ModelState, batch: Batch):
    used = devices[: math.gcd(len(batch['mask']), len(devices))]
    whole, split = _shardings(used)
    params, model_state = jax.device_put((params, model_state), whole)
    return compiled(params, model_state, jax.device_put(dict(batch), split))

  return run


def gathered(tree: Any) -> Any:
  """A tree of arrays, each whole and on a device of this process.

  What is spread over devices is put together; all processes take part.
  """

  arrays, form = jax.tree.flatten(tree)
  spread = [
    k
    for k, x in enumerate(arrays)
    if isinstance(x, jax.Array) and not x.is_fully_replicated
  ]
  if spread:
    # One program, and nothing beside it: where two of them wait for other
    # processes at once, each process may begin with another one.
    shares = jax.block_until_ready([arrays[k] for k in spread])
    mesh = shares[0].sharding.mesh
    for k, x in zip(spread, _gathering(mesh)(shares), strict=True):
      arrays[k] = x
  here = [
    x
    if not isinstance(x, jax.Array) or x.is_fully_addressable
    else x.addressable_data(0)
    for x in jax.block_until_ready(arrays)
  ]
  return jax.tree.unflatten(form, here)


def from_all_processes(x: np.ndarray) -> np.ndarray:
  """An array of each of the P processes, of one shape in all: `[P, ...]`.

  Bit for bit: it travels as bytes, where jax would round float64.
  """
  if jax.process_count() == 1:
    return np.asarray(x)[None]
  sent = np.frombuffer(x.tobytes(), np.uint8)
  received = np.asarray(multihost_utils.process_allgather(sent))
  return np.frombuffer(received.tobytes(), x.dtype).reshape(-1, *x.shape)


def from_first_process(tree: Any) -> Any:
  """What process 0 has, in all: a tree of arrays of one form in all of them."""
  if jax.process_count() == 1:
    return tree

  def sent(x: Array) -> Array:
    mine = leaves.to_host(x)
    # As bytes: a sum with zeros would turn -0.0 into 0.0.
    raw = np.frombuffer(mine.tobytes(), np.uint8)
    received = np.asarray(multihost_utils.broadcast_one_to_all(raw)).tobytes()
    first = np.frombuffer(received, mine.dtype).reshape(mine.shape)
    return leaves.from_host(first, x)

  return jax.tree.map(sent, tree)


def check_alike(tree: Any) -> None:
  """Makes sure that a tree is the same in all processes, bit for bit.

  Raises:
    RuntimeError: it is not; names the processes that differ from the first.
  """
  if jax.process_count() == 1:
    return
  hosts = map(leaves.to_host, jax.tree.leaves(tree))
  sums = from_all_processes(np.array([leaves.checksum(x) for x in hosts]))
  other = np.flatnonzero((sums != sums[:1]).any(1))
  if len(other):
    raise RuntimeError(
      f'the state of processes {other.tolist()} is not that of process 0; '
      'expected the same code, config and kind of machine in all'
    )


def whole_batch(batch: Batch) -> Batch:
  """The stretches that all processes have of a batch, one after the other."""
  return {
    name: from_all_processes(np.asarray(x)).reshape(-1, *np.shape(x)[1:])
    for name, x in batch.items()
  }


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


def all_devices(x: Array, axis_name: str | None) -> Array:
  """`[B, ...]` of every device, one after the other along the first axis."""
  if axis_name is None:
    return x
  return jax.lax.all_gather(x, axis_name, tiled=True)


def this_device(x: Array, axis_name: str | None) -> Array:
  """Of such an array, what this device gave."""
  if axis_name is None:
    return x
  count = len(x) // axis_size(axis_name)
  return jax.lax.dynamic_slice_in_dim(x, axis_index(axis_name) * count, count)


def axis_size(axis_name: str | None) -> int:
  """Number of devices of the mapped axis; 1 where there is none."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def axis_index(axis_name: str | None) -> Array | int:
  """This device's place on the mapped axis; 0 where there is none."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name)


def _or_all(devices: Devices | None) -> list[jax.Device]:
  """The devices, process by process, as the batch is."""
  devices = jax.devices() if devices is None else devices
  return sorted(devices, key=lambda device: (device.process_index, device.id))


def _of_this_process(devices: Devices) -> list[jax.Device]:
  return [d for d in devices if d.process_index == jax.process_index()]


def _shardings(devices: Devices) -> tuple[NamedSharding, NamedSharding]:
  """One copy on every device; the first axis split over the devices."""
  mesh = Mesh(np.array(devices), (AXIS_NAME,))
  return (
    NamedSharding(mesh, PartitionSpec()),
    NamedSharding(mesh, PartitionSpec(AXIS_NAME)),
  )


@functools.cache
def _gathering(mesh: Mesh) -> Callable[[list[Array]], list[Array]]:
  """A compiled function that puts shares of arrays together."""
  whole = NamedSharding(mesh, PartitionSpec())
  return jax.jit(lambda shares: shares, out_shardings=whole)


def _shared(x: Array, mesh: Mesh) -> NamedSharding:
  """An array shared out along its longest axis that the devices divide."""
  axes = [k for k, size in enumerate(x.shape) if size % mesh.size == 0]
  if not axes or math.prod(x.shape) < _SMALL:
    return NamedSharding(mesh, PartitionSpec())
  longest = max(axes, key=lambda k: x.shape[k])
  return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS_NAME))


def _place(
  state: TrainState,
  whole: NamedSharding,
  layout: Callable[[TrainState], Any],
) -> TrainState:
  """The state where a step wants it: the counter `whole`, all by `layout`."""
  # A fresh or restored state lies on one device. Left there, the second call
  # would see another layout than the first, and compile the step again.
  if state.step.sharding == whole:
    return state
  if whole.is_fully_addressable:
    return jax.device_put(state, layout(state))
  return jax.tree.map(_from_each_process, state, layout(state))


def _from_each_process(x: Array, sharding: NamedSharding) -> Array:
  """An array over all processes, from one that is the same in each."""
  mine = leaves.to_host(x)
  placed = jax.make_array_from_callback(mine.shape, sharding, mine.__getitem__)
  return leaves.from_host(placed, x)


def _share(batch: Batch, devices: Devices) -> int:
  """How many examples of a batch each device gets."""
  size, local = len(batch['mask']), len(_of_this_process(devices))
  if size % local:
    processes = len({device.process_index for device in devices})
    raise ValueError(
      f'a batch of {size * processes} does not divide by {len(devices)} devices'
    )
  return size // local


def _known(parallel: str) -> tuple[Callable, str | None]:
  if parallel not in WRAPPERS:
    raise ValueError(f'parallel={parallel!r}; known: {sorted(WRAPPERS)}')
  return WRAPPERS[parallel]
