"""DDRNet: two resolutions that exchange features, for street scenes.

Source: Hong et al., "Deep Dual-resolution Networks for Real-time and Accurate
Semantic Segmentation of Road Scenes", 2021; layer for layer the networks that
delta distillation (Habibian et al., ECCV 2022) was published with. Submodules
carry the names of the released checkpoints, numbers joined by an underscore.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import BatchNorm, conv2d, resize_bilinear
from deltax.types import Array

Norm = Callable[..., nn.Module]


class BasicBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  planes: int
  norm: Norm
  stride: int = 1
  relu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = conv2d(self.planes, stride=self.stride, name='conv1')(x)
    y = nn.relu(self.norm(name='bn1')(y))
    y = self.norm(name='bn2')(conv2d(self.planes, name='conv2')(y))
    y = y + _shortcut(x, self.planes, self.stride, self.norm)
    return nn.relu(y) if self.relu else y


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions to twice the planes, and a shortcut."""

  planes: int
  norm: Norm
  stride: int = 1
  relu: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    y = nn.relu(self.norm(name='bn1')(conv2d(self.planes, 1, name='conv1')(x)))
    y = conv2d(self.planes, stride=self.stride, name='conv2')(y)
    y = nn.relu(self.norm(name='bn2')(y))
    y = self.norm(name='bn3')(conv2d(2 * self.planes, 1, name='conv3')(y))
    y = y + _shortcut(x, 2 * self.planes, self.stride, self.norm)
    return nn.relu(y) if self.relu else y


def _shortcut(x, features, stride, norm):
  if stride == 1 and x.shape[-1] == features:
    return x
  x = conv2d(features, 1, stride, name='downsample_0')(x)
  return norm(name='downsample_1')(x)


class PyramidPooling(nn.Module):
  """DAPPM: context of the whole frame, from fine to coarse."""

  planes: int
  features: int
  norm: Norm

  @nn.compact
  def __call__(self, x: Array) -> Array:
    def unit(x, name, index, features, kernel=1):
      x = nn.relu(self.norm(name=f'{name}_{index}')(x))
      return conv2d(features, kernel, name=f'{name}_{index + 2}')(x)

    size = x.shape[1:3]
    pooled = []
    for k, s in ((5, 2), (9, 4), (17, 8)):
      pad = (k // 2, k // 2)
      pooled.append(nn.avg_pool(x, (k, k), (s, s), (pad, pad)))
    pooled.append(x.mean((1, 2), keepdims=True))
    levels = [unit(x, 'scale0', 0, self.planes)]
    for i, pool in enumerate(pooled, start=1):
      y = resize_bilinear(unit(pool, f'scale{i}', 1, self.planes), size)
      y = unit(y + levels[-1], f'process{i}', 0, self.planes, 3)
      levels.append(y)
    y = unit(jnp.concatenate(levels, -1), 'compression', 0, self.features)
    return y + unit(x, 'shortcut', 0, self.features)


class Head(nn.Module):
  """Two convolutions from features to class scores."""

  planes: int
  num_classes: int
  norm: Norm

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = conv2d(self.planes, name='conv1')(nn.relu(self.norm(name='bn1')(x)))
    x = nn.relu(self.norm(name='bn2')(x))
    return conv2d(self.num_classes, 1, bias=True, name='conv2')(x)


class DDRNet(nn.Module):
  """DDRNet of any depth and width; the defaults are DDRNet-23-slim.

  Attributes:
    num_classes: K.
    planes: width of the first stage.
    head_planes: width of the head.
    spp_planes: width of the pyramid pooling.
    blocks: residual blocks of the stages at 1/4, 1/8, 1/16 and 1/32 of the
      size; the stage at 1/16 is a tuple, for it may come in parts, after each
      of which the two resolutions exchange features.
    stem_stride: of the first convolution; 1 gives an output at 1/4 of the size.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  planes: int = 32
  head_planes: int = 64
  spp_planes: int = 128
  blocks: tuple[int, int, tuple[int, ...], int] = (2, 2, (2,), 2)
  stem_stride: int = 2
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> Array:
    """Class scores of frames.

    Args:
      frames: `[B, H, W, 3]` normalised RGB; H and W are multiples of the
        output's stride, S = 4 times that of the stem.
      train: whether batch statistics are used and updated.

    Returns:
      `[B, H / S, W / S, K]` logits.

    Raises:
      ValueError: if H or W is not a multiple of S.
    """
    (rows, cols), total = frames.shape[1:3], 4 * self.stem_stride
    if rows % total or cols % total:
      raise ValueError(
        f'DDRNet got frames of {rows}x{cols}; expected rows and columns that '
        f'are multiples of {total}'
      )
    p, high = self.planes, 2 * self.planes
    first, second, parts, last = self.blocks
    norm = functools.partial(
      BatchNorm, use_running_average=not train, axis_name=self.axis_name
    )

    def stage(x, name, planes, blocks, stride=1):
      for i in range(blocks):
        x = BasicBlock(
          planes,
          norm,
          stride if i == 0 else 1,
          relu=i < blocks - 1,
          name=f'{name}_{i}',
        )(x)
      return x

    def unit(x, name, index, features, kernel=3, stride=1, bias=False):
      x = conv2d(features, kernel, stride, bias=bias, name=f'{name}_{index}')(x)
      return norm(name=f'{name}_{index + 1}')(x)

    def up(x):
      return resize_bilinear(x, (rows // total, cols // total))

    relu = nn.relu
    x = relu(unit(frames, 'conv1', 0, p, stride=self.stem_stride, bias=True))
    x = relu(unit(x, 'conv1', 3, p, stride=2, bias=True))
    x = stage(x, 'layer1', p, first)
    x = detail = stage(relu(x), 'layer2', 2 * p, second, 2)
    for i, blocks in enumerate(parts):
      part = f'3_{i + 1}' if len(parts) > 1 else '3'
      low = stage(relu(x), f'layer{part}', 4 * p, blocks, 2 if i == 0 else 1)
      detail = stage(relu(detail), f'layer{part}_', high, blocks)
      x = low + unit(relu(detail), f'down{part}', 0, 4 * p, stride=2)
      detail = detail + up(unit(relu(low), f'compression{part}', 0, high, 1))
    low = stage(relu(x), 'layer4', 8 * p, last, 2)
    detail = stage(relu(detail), 'layer4_', high, last)
    down = relu(unit(relu(detail), 'down4', 0, 4 * p, stride=2))
    x = low + unit(down, 'down4', 3, 8 * p, stride=2)
    detail = detail + up(unit(relu(low), 'compression4', 0, high, 1))
    detail = Bottleneck(high, norm, name='layer5__0')(relu(detail))
    x = Bottleneck(8 * p, norm, stride=2, name='layer5_0')(relu(x))
    x = up(PyramidPooling(self.spp_planes, 4 * p, norm, name='spp')(x))
    return Head(self.head_planes, self.num_classes, norm, name='final_layer')(
      x + detail
    )
