"""ResNet with bottlenecks: a backbone, or a classifier of pictures.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in
the form of torchvision and mmdet ("pytorch style": the 3x3 convolution of a
block strides). Submodules carry the names of their checkpoints, numbers joined
by an underscore.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
from jax import lax

from deltax.layers import BatchNorm, conv2d, max_pool
from deltax.types import Array

Norm = Callable[..., nn.Module]
EXPANSION = 4


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions to four times the planes, and a shortcut."""

  planes: int
  norm: Norm
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    features = EXPANSION * self.planes
    y = nn.relu(self.norm(name='bn1')(conv2d(self.planes, 1, name='conv1')(x)))
    y = conv2d(
      self.planes, 3, self.stride, dilation=self.dilation, name='conv2'
    )(y)
    y = nn.relu(self.norm(name='bn2')(y))
    y = self.norm(name='bn3')(conv2d(features, 1, name='conv3')(y))
    if self.stride != 1 or x.shape[-1] != features:
      x = conv2d(features, 1, self.stride, name='downsample_0')(x)
      x = self.norm(name='downsample_1')(x)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet of four stages; with blocks (3, 4, 6, 3) ResNet-50.

  The same variables serve both forms: without classes, those of `fc` are left
  unread.

  Attributes:
    num_classes: K; None for a backbone.
    blocks: of each stage.
    planes: width of the first stage; each stage is twice as wide as the last.
    strides: of each stage.
    dilations: of each stage, in all of its blocks.
    frozen_norm: running statistics are used in training too.
    frozen_stem: no gradient reaches the first convolution and its norm.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int | None = None
  blocks: tuple[int, ...] = (3, 4, 23, 3)
  planes: int = 64
  strides: tuple[int, ...] = (1, 2, 2, 2)
  dilations: tuple[int, ...] = (1, 1, 1, 1)
  frozen_norm: bool = False
  frozen_stem: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, frames: Array, train: bool = False
  ) -> Array | tuple[Array, ...]:
    """Class scores of frames, or the features of every stage.

    Args:
      frames: `[B, H, W, 3]` normalised RGB of any size.
      train: whether batch statistics are used and updated.

    Returns:
      `[B, K]` logits; without classes the outputs of the four stages, stage i
      `[B, h, w, 4 * planes * 2 ** i]`. The first is at a quarter of the frame's
      size over its stride, sizes rounded up.
    """
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train or self.frozen_norm,
      axis_name=self.axis_name,
    )
    x = conv2d(self.planes, 7, 2, name='conv1')(frames)
    x = nn.relu(norm(name='bn1')(x))
    if self.frozen_stem:
      x = lax.stop_gradient(x)
    x = max_pool(x, padding=((1, 1), (1, 1)))
    stages = []
    for i, count in enumerate(self.blocks):
      for j in range(count):
        x = Bottleneck(
          self.planes << i,
          norm,
          self.strides[i] if j == 0 else 1,
          self.dilations[i],
          name=f'layer{i + 1}_{j}',
        )(x)
      stages.append(x)
    if self.num_classes is None:
      return tuple(stages)
    return nn.Dense(self.num_classes, name='fc')(x.mean((1, 2)))
