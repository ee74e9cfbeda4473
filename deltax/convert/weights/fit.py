"""Arrays of a file fitted to a network: every one of them, or none."""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax import plain
from deltax.convert.state_dict import kernel_here, refuse
from deltax.convert.weights.mapping import Function, Table, keys_told
from deltax.convert.weights.names import (
  is_beside_weights,
  leaf,
  pairs_by_name,
)
from deltax.errors import DeltaxError

_SHOWN = 3  # keys that a sentence names


def match(
  arrays: Mapping[str, np.ndarray],
  shapes: Any,
  mapping: Table | Function | None = None,
  *,
  name: str = 'the network',
) -> Any:
  """The variables of a network from the arrays of a file.

  Every array of the network gets one of the file, and every array of the file
  is used, or nothing is: a layer that the network lacks shows itself as arrays
  that are left over, so these are an error too, with a mapping as without. A
  mapping may say what is left over on purpose. Counts of batches, steps and
  states of optimizers are no weights and may be there.

  Keys are found by name: the same words, however they are joined, below
  whatever prefix; `weight`, `kernel`, `scale` and `gamma` are one word, and so
  are `running_mean`, `moving_mean` and `mean`; see `names.py`. Kernels are
  transposed where they come from PyTorch (`[N, C, ...]`), and depthwise kernels
  of Keras (`[h, w, C, M]`) reshaped. Whether they do, the shapes of the file's
  kernels tell, and where all of these are square, their being called `weight`.
  Kernels of transposed convolutions are taken from files of flax alone: others
  have them in another order, which shows in their shapes, or else only in their
  names. What nothing shows: a fully connected layer on a flattened map of more
  than one pixel has its inputs channel by channel in PyTorch, pixel by pixel
  here.

  Args:
    arrays: as `read_arrays` gives them.
    shapes: pytree of arrays or `jax.ShapeDtypeStruct`: linen's variables, or of
      nnx what `as_network(module).taken(nnx.state(module))` gives.
    mapping: a function of an array's path in the network, such as
      'params/conv1/kernel', that gives its key in the file; or a table of keys
      by paths, beside which the names are looked at for paths that it does not
      have. Keys that may be left over are listed, with `*` for any text, at the
      path '' of a table, or in a function's attribute `unused`.
    name: of the network, for messages.

  Returns:
    `shapes` with arrays on the device, each of the type that the network has.

  Raises:
    ValueError: with a list of whatever is missing, left over, of another shape
      or of numbers that are no weights; or if weights are not finite; or if the
      mapping fails.

  Example:
    >>> shapes = {'params': {'conv': {'bias': np.zeros(2, np.float32)}}}
    >>> match({'net.conv.bias': np.ones(2)}, shapes)
    {'params': {'conv': {'bias': Array([1., 1.], dtype=float32)}}}
  """
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  wanted = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): like
    for keys, like in leaves
  }
  told, unused = keys_told(list(wanted), mapping)
  weights = [
    k for k, array in arrays.items() if not is_beside_weights(k, array)
  ]
  pairs = {p: told[p] for p in wanted if told.get(p) in arrays}
  left = [path for path in wanted if path not in told]
  if left:
    keys = set(weights).difference(pairs.values())
    keys = [key for key in weights if key in keys]
    pairs |= pairs_by_name(left, keys, getattr(arrays, 'layers', {}))
  is_torch = _is_torch(wanted, arrays, pairs)
  found, problems = {}, []
  for path, key in pairs.items():
    value, wrong = _fitted(path, key, arrays[key], wanted[path], is_torch)
    found[path] = value
    problems += wrong
  for path in told.keys() - wanted.keys():
    problems.append(f'mapped: {plain.written(path)}, which the network lacks')
  for path in wanted.keys() - pairs.keys():
    key = told.get(path)
    mapped = '' if key is None else f', mapped to {plain.written(key)}'
    problems.append(f'missing: {path} {tuple(wanted[path].shape)}{mapped}')
  for key in set(weights).difference(pairs.values()):
    if not any(fnmatch.fnmatchcase(key, pattern) for pattern in unused):
      shape = np.shape(arrays[key])
      problems.append(f'left over: {plain.written(key)} {shape}')
  if mapping is None and pairs.keys() != wanted.keys():
    name += ' by names alone, without a mapping'
  refuse(sorted(problems), name, 'the file of weights')
  _check_finite({pairs[path]: value for path, value in found.items()})
  # Not `jnp.asarray`, which compiles a program for every shape.
  return structure.unflatten(jax.device_put(found[path]) for path in wanted)


def _layouts(array: np.ndarray, shape: tuple[int, ...]) -> dict:
  """An array in the layouts that give it a shape, by whose they are."""
  found = {}
  if array.shape == shape:
    found['ours'] = array
  elif len(shape) == array.ndim == 4 and shape[2] == 1:
    # Keras has a depthwise kernel `[h, w, C, M]`, flax `[h, w, 1, C M]`.
    if (*array.shape[:2], 1, array.shape[2] * array.shape[3]) == shape:
      found['ours'] = array.reshape(shape)
  if array.ndim >= 2:
    turned = kernel_here(array)
    if len(shape) == 2 and turned.shape[:-2] == (1,) * (turned.ndim - 2):
      turned = turned.reshape(turned.shape[-2:])  # a 1x1 convolution
    if turned.shape == shape:
      found['torch'] = turned
  return found


def _is_torch(wanted, arrays, pairs) -> bool | None:
  """Whether kernels are as PyTorch has them; None where shapes do not tell."""
  told = {
    next(iter(found))
    for path, key in pairs.items()
    if leaf(path) == 'kernel'
    and len(found := _layouts(arrays[key], tuple(wanted[path].shape))) == 1
  }
  return 'torch' in told if len(told) == 1 else None


def _fitted(path, key, array, like, is_torch) -> tuple[Any, list[str]]:
  """An array as the network has it, and what is wrong with it."""
  shape, what = tuple(like.shape), plain.written(key)
  found = _layouts(array, shape)
  if leaf(path) != 'kernel':
    found.pop('torch', None)  # PyTorch transposes nothing else
  if not found:
    return None, [f'wrong shape: {path} {shape}: {what} is {array.shape}']
  if is_torch is None:
    is_torch = leaf(key) == 'weight'
  value = found.get('torch' if is_torch else 'ours', next(iter(found.values())))
  if value.ndim > 2 and _is_mirrored(path, key):
    return None, [
      f'wrong layout: {path} {shape}: {what} is of a transposed convolution, '
      'which only flax has in this order'
    ]
  kinds = (jnp.floating, jnp.complexfloating, jnp.integer, jnp.bool_)
  kind = next(kind for kind in kinds if jnp.issubdtype(like.dtype, kind))
  if not jnp.issubdtype(value.dtype, kind):
    return None, [
      f'wrong numbers: {path} {like.dtype}: {what} is {array.dtype}'
    ]
  with np.errstate(over='ignore', under='ignore'):
    return np.array(value, like.dtype, order='C'), []


def _is_mirrored(path: str, key: str) -> bool:
  """Whether a kernel is of a transposed convolution not written by flax.

  Those of others have its axes in another order, which no shape shows where as
  many channels come in as go out.
  """
  is_flax = leaf(key) == leaf(path) and not re.search(r':\d+$', key)
  return not is_flax and 'transpose' in f'{path} {key}'.lower()


def _check_finite(values: Mapping[str, np.ndarray]) -> None:
  wrong = [
    plain.written(key)
    for key, value in values.items()
    if not np.isfinite(value).all()
  ]
  if wrong:
    more = ', ...' if len(wrong) > _SHOWN else ''
    raise DeltaxError(
      f'the weights are not finite in {len(wrong)} of {len(values)} arrays: '
      f'{", ".join(wrong[:_SHOWN])}{more}'
    )
