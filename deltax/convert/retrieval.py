"""Published networks of video retrieval as variables of `deltax.retrieval`."""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deltax import retrieval
from deltax.convert import torch_file
from deltax.convert.state_dict import (
  UNREAD,
  StateDict,
  refuse,
  shown_keys,
  to_flax,
  without_prefix,
)

_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'mean': 'running_mean',
  'var': 'running_var',
}
# Starts of our names: the published ones.
_NAMES = {
  'head': 'visil_head',
  'weights': 'attention',
  'binarization.projection': 'binarization.W',
  'encoder.in_proj.': 'transformer.layers.0.self_attn.in_proj_',
  'encoder.out_proj': 'transformer.layers.0.self_attn.out_proj',
  'encoder.norm.': 'transformer.norm.',
  'encoder': 'transformer.layers.0',
  'pool.assignment': 'netvlad.conv.weight',
  'pool.reduction': 'netvlad.reduction_layer',
  'pool': 'netvlad',
  'mlp.linear1': 'mlp.model.0',
  'mlp.norm1': 'mlp.model.1',
  'mlp.linear2': 'mlp.model.4',
  'mlp.norm2': 'mlp.model.5',
  'mlp.output': 'mlp.model.8',
}


def retrieval_variables(
  name: str, state_dict: StateDict, **options: Any
) -> dict[str, Any]:
  """Variables of a network from a published state dict.

  Args:
    name: of the network, as `deltax.retrieval.create` takes it.
    state_dict: arrays by PyTorch key, such as `read_checkpoint` gives.
    **options: of the network, as `create` takes them.

  Returns:
    `{'params': ...}`, and `'batch_stats'` of the selector, for regions of the
    size that the arrays tell (512 where none does).

  Raises:
    ValueError: if the name is unknown, or naming every key that is missing,
      left over, of the wrong shape or not finite.
  """
  shapes = traverse_util.flatten_dict(
    _shapes(retrieval.create(name, **options), _region_size(state_dict))
  )
  expected = {published_key(path, name) for path in shapes}
  state_dict, _ = without_prefix(state_dict, expected.__contains__, name)
  found, problems, read = {}, [], set()
  for path, leaf in shapes.items():
    key = published_key(path, name)
    read.add(key)
    if key not in state_dict:
      problems.append(f'missing: {key}')
      continue
    array = np.asarray(state_dict[key])
    if key == 'binarization.W':  # published as it is applied, inputs first
      array = array.T
    found[path], problem = to_flax(key, array, leaf.shape)
    problems += problem
  problems += [
    f'left over: {key} {tuple(np.shape(array))}'
    for key, array in state_dict.items()
    if key not in read and not key.endswith(UNREAD)
  ]
  refuse(problems, name)
  return traverse_util.unflatten_dict(found)


def published_key(path: tuple[str, ...], name: str) -> str:
  """The published key of one of our arrays.

  Args:
    path: of the array in the variables.
    name: of the network.

  Example:
    >>> published_key(('params', 'head', 'conv1', 'kernel'), 'fine_attention')
    'visil_head.conv1.weight'
  """
  *modules, leaf = path[1:]
  key = '.'.join([*modules, _LEAVES.get(leaf, leaf)])
  ours = next((start for start in _NAMES if key.startswith(start)), '')
  key = _NAMES.get(ours, '') + key.removeprefix(ours)
  if name.startswith('visil'):
    return re.sub('^visil_head', 'video_comperator', key)
  return key


def read_whitening(
  path: str | os.PathLike, size: int = 512
) -> retrieval.Whitening:
  """The whitening of a published file of principal components.

  Args:
    path: of a file that holds `mean` `[C]`, `d` `[C]` variances and
      `V` `[C, C]` directions, in columns.
    size: D, number of directions that are kept, at most C.

  Returns:
    The whitening by the directions of most variance.

  Raises:
    ValueError: the file cannot be read, or holds something else.
  """
  mean, variances, directions = _arrays(path, ('mean', 'd', 'V'))
  count = mean.size
  if variances.size != count or directions.shape != (count, count):
    raise ValueError(
      f'{path} holds mean {mean.shape}, d {variances.shape} and V '
      f'{directions.shape}; expected [C], [C] and [C, C]'
    )
  return retrieval.whitening(mean.ravel(), variances.ravel(), directions, size)


def read_itq(path: str | os.PathLike) -> np.ndarray:
  """The projection of a published file of iterative quantization.

  Args:
    path: of a file that holds `proj`.

  Returns:
    `[D, D]` float32, a start of 'binarization/projection'.

  Raises:
    ValueError: the file cannot be read, or holds something else.
  """
  (projection,) = _arrays(path, ('proj',))
  if projection.ndim != 2 or projection.shape[0] != projection.shape[1]:
    raise ValueError(
      f'{path} holds proj {projection.shape}; expected a square matrix'
    )
  return projection


def _arrays(path, names):
  found = torch_file.read(path)
  held = found if isinstance(found, dict) else {}
  arrays = [held.get(name) for name in names]
  if not all(isinstance(array, np.ndarray) for array in arrays):
    raise ValueError(
      f'{path} lacks arrays: expected {", ".join(names)}; found keys: '
      + shown_keys(held)
    )
  return [np.array(array, np.float32) for array in arrays]


def _region_size(state_dict: StateDict) -> int:
  for key in ('attention.context_vector.weight', 'binarization.W'):
    shape = np.shape(state_dict.get(key))
    if len(shape) == 2:
      return shape[1]
  return 512


def _shapes(net, size):
  videos = [jax.ShapeDtypeStruct((1, 4, 1, size), jnp.float32)]
  if isinstance(net, retrieval.VideoSimilarity):
    videos *= 2
  elif isinstance(net, retrieval.Selector):
    videos = [*videos * 2, None, None, jax.ShapeDtypeStruct((1,), jnp.float32)]
  return jax.eval_shape(net.init, jax.random.key(0), *videos)
