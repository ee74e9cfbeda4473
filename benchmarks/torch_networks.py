"""Networks of `deltax.models` in plain PyTorch, to be timed beside ours.

They are as deployed: batch norms that follow a convolution are folded into it.
Modules carry the names of the released checkpoints.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flax import traverse_util
from torch import nn
from torch_ddrnet import DDRNet
from torch_efficientdet import EfficientDet
from torch_hrnet import HRNet

from deltax.convert.state_dict import module_path

NETWORKS = {
  'ddrnet23_slim': DDRNet,
  'ddrnet23': functools.partial(DDRNet, planes=64, head_planes=128),
  'ddrnet39': functools.partial(
    DDRNet, planes=64, head_planes=256, blocks=(3, 4, (3, 3), 3)
  ),
  'ddrnet23_tiny': functools.partial(
    DDRNet, planes=8, head_planes=16, spp_planes=32
  ),
  'hrnet_w18_small': HRNet,
  'efficientdet_d0': EfficientDet,
}
_LEAVES = {
  'weight': 'params/{}/scale',
  'bias': 'params/{}/bias',
  'running_mean': 'batch_stats/{}/mean',
  'running_var': 'batch_stats/{}/var',
}


def create(name: str, num_classes: int) -> nn.Module:
  """A network by its name, for evaluation, in channels_last and float32.

  Args:
    name: one of `NETWORKS`.
    num_classes: K.

  Returns:
    A module from `[B, 3, H, W]` frames to `[B, K, H', W']` scores; of detectors
    to 'classes', `[B, A, K]`, and 'boxes', `[B, A, 4]`.

  Raises:
    ValueError: if no network has that name.
  """
  if name not in NETWORKS:
    raise ValueError(f'no network {name!r}; known: {", ".join(NETWORKS)}')
  net = NETWORKS[name](num_classes).eval().requires_grad_(False)
  return net.to(memory_format=torch.channels_last)


def load(net: nn.Module, params: Mapping[str, Any]) -> None:
  """Fills a network with the weights of ours.

  Args:
    net: from `create`.
    params: of a `deltax.delta.Frozen` of the same network; its students are
      left out.

  Raises:
    ValueError: if an array is missing, left over or of another shape.
  """
  arrays = traverse_util.flatten_dict(params['variables'], sep='/')
  for path, own in params['convs'].items():
    own = {leaf: own[leaf] for leaf in ('kernel', 'bias') if leaf in own}
    arrays |= {f'convs/{path}/{leaf}': array for leaf, array in own.items()}
  for key, target in net.state_dict().items():
    module, _, leaf = key.rpartition('.')
    path = '/'.join(module_path(module))
    if leaf == 'num_batches_tracked':
      continue
    names = {'weight': f'convs/{path}/kernel', 'bias': f'convs/{path}/bias'}
    name = names.get(leaf)
    if name not in arrays:
      name = _LEAVES.get(leaf, f'params/{{}}/{leaf}').format(path)
    if name not in arrays:
      raise ValueError(f'{key} has no counterpart; expected {name}')
    array = np.array(arrays.pop(name), np.float32)
    if array.ndim == 4:
      array = array.transpose(3, 2, 0, 1)
    if array.shape != tuple(target.shape):
      raise ValueError(
        f'{key} is {tuple(target.shape)}, and {name} {array.shape}'
      )
    target.copy_(torch.from_numpy(array))
  if arrays:
    raise ValueError(f'PyTorch has no place for {", ".join(arrays)}')


def to_torch(frames: Any) -> torch.Tensor:
  """`[B, H, W, 3]` frames as `[B, 3, H, W]`, in channels_last."""
  return torch.from_numpy(np.array(frames, np.float32)).permute(0, 3, 1, 2)
