"""PyTorch state dicts, as numpy arrays by key, to flax variables.

`deltax.convert.read_checkpoint` gives such arrays from a file. Submodules of
`deltax.models` carry the names of the PyTorch modules, the numbers of lists
joined to the name before them: `layer1.0.conv1.weight` is
`params/layer1_0/conv1/kernel`.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deltax import models

FRAME = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
StateDict = Mapping[str, np.ndarray]
_SHOWN = 8  # keys that a message names
_KERNELS = (2, 4)  # axes of PyTorch's, of layers and convolutions
UNREAD = 'num_batches_tracked'  # PyTorch's count of updates; nothing reads it


def module_path(name: str) -> tuple[str, ...]:
  """Flax path of a PyTorch module name.

  Example:
    >>> module_path('layer1.0.downsample.1')
    ('layer1_0', 'downsample_1')
  """
  path: list[str] = []
  for part in name.split('.'):
    if part.isdigit() and path:
      path[-1] += f'_{part}'
    else:
      path.append(part)
  return tuple(path)


def without_prefix(
  state_dict: StateDict, fits: Callable[[str], bool], name: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Takes the prefix off that the keys of a network have in a larger one.

  Args:
    state_dict: arrays by PyTorch key, perhaps all with `net.` or
      `backbone.encoder.` before them.
    fits: whether a key is one of the network.
    name: of the network, for messages.

  Returns:
    The arrays of the prefix with which most keys fit, without it; and the keys
    of other prefixes. Where no key fits, all stay as they are.

  Raises:
    ValueError: the network is there twice.
  """
  best, _ = best_prefixes(state_dict, fits)
  if len(best) > 1:
    raise ValueError(
      f'the state dict holds {name} twice, under {" and ".join(best)}'
    )
  prefix = best[0]
  if not prefix:
    return dict(state_dict), ()
  kept = {
    key.removeprefix(prefix): array
    for key, array in state_dict.items()
    if key.startswith(prefix)
  }
  return kept, tuple(key for key in state_dict if not key.startswith(prefix))


def best_prefixes(
  keys: Iterable[str], fits: Callable[[str], bool]
) -> tuple[list[str], int]:
  """The prefixes with which most keys fit, and how many do.

  Args:
    keys: names of parts with dots between them.
    fits: whether a key less a prefix is one that is looked for.

  Returns:
    The prefixes, each with its dot; where '' is as good as others, it alone.
  """
  counts = collections.Counter()
  for key in keys:
    parts = key.split('.')
    for start in range(len(parts)):
      if fits('.'.join(parts[start:])):
        counts['.'.join([*parts[:start], ''])] += 1
  most = max(counts.values(), default=0)
  if counts[''] == most:
    return [''], most
  return [prefix for prefix, count in counts.items() if count == most], most


def fits_network(name: str, *, num_classes: int = 1) -> Callable[[str], bool]:
  """Whether a PyTorch key is one of a network: a function of the key.

  Args:
    name: of the network.
    num_classes: any, as keys do not depend on it; of a network that is traced
      anyway, its own.
  """
  wanted = traverse_util.flatten_dict(
    shapes_of(models.create(name, num_classes=num_classes))
  )

  def fits(key: str) -> bool:
    module, _, leaf = key.rpartition('.')
    # In a delta network, an array of the teacher.
    path = module_path(module.removesuffix('.W'))
    return _leaf(wanted, path, leaf) is not None

  return fits


def shown_keys(keys: Iterable[Any]) -> str:
  """The first keys of a file, for a message."""
  keys = list(keys)
  more = f', ... ({len(keys):,} in all)' if len(keys) > _SHOWN else ''
  return ', '.join(str(key)[:60] for key in keys[:_SHOWN]) + more or 'none'


def from_state_dict(
  name: str, state_dict: StateDict, *, num_classes: int | None = None
) -> dict[str, Any]:
  """Variables of a network from a PyTorch state dict.

  Args:
    name: of the network, as `deltax.models.create` takes it.
    state_dict: arrays by PyTorch key: convolutions `[N, C, kh, kw]`, fully
      connected layers `[N, C]`, batch norm `weight`, `bias`, `running_mean`,
      `running_var` `[C]`, and parameters by names of their own.
    num_classes: K, where it is known; None: as the output layers have it, for
      which the network is traced twice more.

  Returns:
    `{'params': ..., 'batch_stats': ...}` with kernels `[kh, kw, C, N]` and
    `[C, N]`.

  Raises:
    ValueError: naming every key that is missing, left over, of the wrong shape
      or not finite.
  """
  fits = fits_network(name, num_classes=num_classes or 1)
  state_dict, _ = without_prefix(state_dict, fits, name)
  if num_classes is None:
    net = network(name, state_dict)
  else:
    net = models.create(name, num_classes=num_classes)
  variables, problems = fill(shapes_of(net), state_dict)
  refuse(problems, name)
  return variables


def network(name: str, state_dict: StateDict) -> Any:
  """The network that a state dict belongs to, with as many classes.

  Args:
    name: of the network.
    state_dict: arrays by PyTorch key; the rows of the output layers' arrays
      tell the number of classes.

  Returns:
    The linen module.

  Raises:
    ValueError: if the name is unknown, or if the output layers are missing or
      have as many rows as no number of classes asks for.
  """
  one, two = (
    traverse_util.flatten_dict(shapes_of(models.create(name, num_classes=n)))
    for n in (1, 2)
  )
  outputs = {
    path: (one[path].shape[-1], two[path].shape[-1])
    for path in one
    if one[path].shape != two[path].shape
  }
  told = []
  for key, array in state_dict.items():
    module, _, leaf = key.rpartition('.')
    path = _leaf(one, module_path(module), leaf)
    if path in outputs and np.ndim(array):
      rows, (base, more) = len(array), outputs[path]
      classes, rest = divmod(rows - base, more - base)
      if not rest and classes >= 0:
        return models.create(name, num_classes=1 + classes)
      told.append(f'{key} has {rows} rows, expected {base}, {more}, ...')
  if told:
    raise ValueError(f'the state dict does not fit {name}: {"; ".join(told)}')
  names = ', '.join(sorted('/'.join(path) for path in outputs))
  raise ValueError(
    f'the state dict does not fit {name}: missing: {names}, which tell the '
    f'number of classes; found keys: {shown_keys(state_dict)}'
  )


@functools.cache
def shapes_of(net: Any) -> Any:
  """Variables of a network, with shapes for arrays."""
  return jax.eval_shape(net.init, jax.random.key(0), FRAME)


def shapes_by_kind(state_dict: StateDict) -> Any:
  """Variables with shapes for arrays, told by the arrays alone.

  Those of a network of convolutions, fully connected layers and batch norm that
  has no other arrays, and no 1x1 convolution as a matrix.
  """
  shapes = {}
  for key, array in state_dict.items():
    module, _, leaf = key.rpartition('.')
    is_kernel = array.ndim in _KERNELS
    kind = {
      'weight': ('params', 'kernel' if is_kernel else 'scale'),
      'bias': ('params', 'bias'),
      'running_mean': ('batch_stats', 'mean'),
      'running_var': ('batch_stats', 'var'),
    }.get(leaf)
    if kind:
      shape = (kernel_here(array) if is_kernel else array).shape
      path = (kind[0], *module_path(module), kind[1])
      shapes[path] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return traverse_util.unflatten_dict(shapes)


def fill(
  shapes: Any, state_dict: StateDict
) -> tuple[dict[str, Any], list[str]]:
  """Fills every leaf of `shapes` from `state_dict`, each exactly once.

  Args:
    shapes: variables with shaped leaves.
    state_dict: arrays by PyTorch key.

  Returns:
    Variables with arrays as leaves, and a list of what is missing, left over,
    of the wrong shape or not finite.
  """
  wanted = traverse_util.flatten_dict(shapes)
  found, problems = {}, []
  for key, array in state_dict.items():
    module, _, leaf = key.rpartition('.')
    if leaf == UNREAD:
      continue
    target = _leaf(wanted, module_path(module), leaf)
    if target is None:
      problems.append(f'left over: {key} {tuple(np.shape(array))}')
      continue
    value, problem = to_flax(key, array, wanted[target].shape)
    found[target] = value
    problems += problem
  problems += [
    f'missing: {"/".join(path)} {leaf.shape}'
    for path, leaf in wanted.items()
    if path not in found
  ]
  return traverse_util.unflatten_dict(found), problems


def to_flax(
  key: str, array: np.ndarray, shape: tuple[int, ...]
) -> tuple[jax.Array | None, list[str]]:
  """One array in flax layout, and what is wrong with it.

  Args:
    key: PyTorch key, for the messages.
    array: `[N, C, kh, kw]`, `[N, C]` or `[N]`, of any type of numbers.
    shape: expected flax shape: `[kh, kw, C, N]`, `[C, N]` or `[N]`. A 1x1
      convolution may be expected as a matrix.

  Returns:
    The float32 array (None if its shape is wrong), and a list of problems.
  """
  array = np.asarray(array)
  value = kernel_here(array) if array.ndim in _KERNELS else array
  if len(shape) == 2 and value.shape[:-2] == (1, 1):
    value = value[0, 0]
  if value.shape != tuple(shape):
    return None, [
      f'wrong shape: {key} {array.shape} gives {value.shape}, expected '
      f'{tuple(shape)}'
    ]
  with np.errstate(over='ignore'):
    value = np.array(value, np.float32)
  problems = [] if np.isfinite(value).all() else [f'not finite: {key}']
  # Not `jnp.asarray`, which compiles a program for every shape.
  return jax.device_put(value), problems


def kernel_here(array: np.ndarray) -> np.ndarray:
  """A kernel of PyTorch, `[N, C, ...]`, as flax has it, `[..., C, N]`.

  Example:
    >>> kernel_here(np.zeros((8, 3, 5, 7))).shape
    (5, 7, 3, 8)
  """
  return array.transpose(*range(2, array.ndim), 1, 0)


def refuse(
  problems: list[str], name: str, what: str = 'the state dict'
) -> None:
  """Raises one ValueError that lists `problems`, if there are any."""
  if problems:
    count = f'{len(problems)} problem{"s" * (len(problems) > 1)}'
    raise ValueError(
      f'{what} does not fit {name}: {count}\n  ' + '\n  '.join(problems)
    )


def _leaf(wanted, path, leaf):
  candidates = {
    'weight': (('params', 'kernel'), ('params', 'scale')),
    'bias': (('params', 'bias'),),
    'running_mean': (('batch_stats', 'mean'),),
    'running_var': (('batch_stats', 'var'),),
  }.get(leaf, (('params', leaf),))
  for collection, name in candidates:
    if (collection, *path, name) in wanted:
      return (collection, *path, name)
  return None
