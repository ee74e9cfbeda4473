"""HRNet: branches at up to four resolutions that exchange features all along.

Source: Wang et al., "Deep High-Resolution Representation Learning for Visual
Recognition", 2020; layer for layer the segmentation network that delta
distillation (Habibian et al., ECCV 2022) was published with. Submodules carry
the names of the released checkpoints, numbers joined by an underscore.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import BatchNorm, conv2d, resize_bilinear
from deltax.models.ddrnet import BasicBlock, Norm
from deltax.models.resnet import Bottleneck
from deltax.types import Array


class Exchange(nn.Module):
  """Two residual blocks on every branch, then each branch gets all others.

  Attributes:
    norm: makes the batch norms.
  """

  norm: Norm

  @nn.compact
  def __call__(self, branches: list[Array]) -> list[Array]:
    branches = [
      self._blocks(x, f'branches_{i}') for i, x in enumerate(branches)
    ]
    return [self._fused(branches, i) for i in range(len(branches))]

  def _blocks(self, x, name):
    for i in range(2):
      x = BasicBlock(x.shape[-1], self.norm, name=f'{name}_{i}')(x)
    return x

  def _fused(self, branches, i):
    target, total = branches[i], None
    for j, x in enumerate(branches):
      name = f'fuse_layers_{i}_{j}'
      if j > i:
        x = _unit(x, name, target.shape[-1], self.norm, 1)
        x = resize_bilinear(x, target.shape[1:3])
      for k in range(i - j):
        final = k == i - j - 1
        features = target.shape[-1] if final else x.shape[-1]
        x = _unit(x, f'{name}_{k}', features, self.norm, stride=2)
        x = x if final else nn.relu(x)
      total = x if total is None else total + x
    return nn.relu(total)


class HRNet(nn.Module):
  """HRNet for segmentation; the defaults are HRNet-w18-small.

  Attributes:
    num_classes: K.
    stem: width of the stem and of the first stage's bottlenecks.
    planes: width of the finest branch; each coarser one doubles it.
    exchanges: exchanges of the stages of two, three and four branches.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  stem: int = 64
  planes: int = 18
  exchanges: tuple[int, int, int] = (1, 3, 2)
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> Array:
    """Class scores of frames.

    Args:
      frames: `[B, H, W, 3]` normalised RGB; H and W are multiples of 4. Coarser
        branches, to 1/32 of the size, are rounded up.
      train: whether batch statistics are used and updated.

    Returns:
      `[B, H / 4, W / 4, K]` logits.

    Raises:
      ValueError: if H or W is not a multiple of 4.
    """
    rows, cols = frames.shape[1:3]
    if rows % 4 or cols % 4:
      raise ValueError(
        f'HRNet got frames of {rows}x{cols}; expected rows and columns that '
        'are multiples of 4'
      )
    norm = functools.partial(
      BatchNorm, use_running_average=not train, axis_name=self.axis_name
    )

    def unit(x, name, features, stride=1):
      return nn.relu(_unit(x, name, features, norm, stride=stride))

    x = conv2d(self.stem, stride=2, name='conv1')(frames)
    x = nn.relu(norm(name='bn1')(x))
    x = conv2d(self.stem, stride=2, name='conv2')(x)
    x = nn.relu(norm(name='bn2')(x))
    for i in range(2):
      x = Bottleneck(self.stem, norm, name=f'layer1_{i}')(x)
    branches = [unit(x, 'transition1_0', self.planes)]
    coarsest = x
    for number, exchanges in enumerate(self.exchanges, start=1):
      features = self.planes << number
      name = f'transition{number}_{number}_0'
      branches.append(unit(coarsest, name, features, stride=2))
      for i in range(exchanges):
        branches = Exchange(norm, name=f'stage{number + 1}_{i}')(branches)
      coarsest = branches[-1]
    size = branches[0].shape[1:3]
    x = jnp.concatenate([resize_bilinear(x, size) for x in branches], -1)
    x = conv2d(x.shape[-1], 1, bias=True, name='last_layer_0')(x)
    x = nn.relu(norm(name='last_layer_1')(x))
    return conv2d(self.num_classes, 1, bias=True, name='last_layer_3')(x)


def _unit(x, name, features, norm, kernel=3, stride=1):
  x = conv2d(features, kernel, stride, name=f'{name}_0')(x)
  return norm(name=f'{name}_1')(x)
