"""EfficientDet: a detector on a pyramid of features, in one pass.

Source: Tan et al., "EfficientDet: Scalable and Efficient Object Detection",
2020; layer for layer the network that delta distillation (Habibian et al., ECCV
2022) was published with. Submodules carry the names of the released PyTorch
checkpoints, numbers joined by an underscore.
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import BatchNorm, conv2d, double_nearest, max_pool
from deltax.models.efficientnet import efficientnet
from deltax.types import Array

Norm = Callable[..., nn.Module]
Size = tuple[int, int]

# The stage of the backbone whose output has each stride, from 2 ** level.
STAGE_OF_LEVEL = {1: 0, 2: 1, 3: 2, 4: 4, 5: 6}
RARE = 0.01  # probability of an object at the start, so that few anchors shout


class Separable(nn.Module):
  """A depthwise 3x3 and a 1x1 convolution, and perhaps a batch norm."""

  features: int
  norm: Norm | None = None
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = conv2d(x.shape[-1], groups=x.shape[-1], name='conv_dw')(x)
    x = conv2d(
      self.features, 1, bias=True, bias_init=self.bias_init, name='conv_pw'
    )(x)
    return x if self.norm is None else self.norm(name='bn')(x)


class Project(nn.Module):
  """A 1x1 convolution and a batch norm."""

  features: int
  norm: Norm

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = conv2d(self.features, 1, bias=True, name='conv')(x)
    return self.norm(name='bn')(x)


class Resample(nn.Module):
  """Features at another level's width and size, a factor of 2 away at most."""

  features: int
  norm: Norm

  @nn.compact
  def __call__(self, x: Array, size: Size) -> Array:
    if x.shape[-1] != self.features:
      x = Project(self.features, self.norm, name='conv')(x)
    if x.shape[1] > size[0] or x.shape[2] > size[1]:
      return max_pool(x)
    return x if x.shape[1:3] == size else double_nearest(x, size)


class Combine(nn.Module):
  """A mean of resampled features with learned weights, none below 0."""

  features: int
  norm: Norm
  offsets: Sequence[int]

  @nn.compact
  def __call__(self, nodes: Sequence[Array], size: Size) -> Array:
    ones = nn.initializers.ones_init()
    weights = self.param('edge_weights', ones, (len(self.offsets),))
    weights = nn.relu(weights)
    weights = weights / (weights.sum() + 1e-4)
    return sum(
      weights[i]
      * Resample(self.features, self.norm, name=f'resample_{offset}')(
        nodes[offset], size
      )
      for i, offset in enumerate(self.offsets)
    )


class AfterCombine(nn.Module):
  """SiLU and a separable convolution."""

  features: int
  norm: Norm

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return Separable(self.features, self.norm, name='conv')(nn.silu(x))


class Node(nn.Module):
  """One fusion of the pyramid."""

  features: int
  norm: Norm
  offsets: Sequence[int]

  @nn.compact
  def __call__(self, nodes: Sequence[Array], size: Size) -> Array:
    x = Combine(self.features, self.norm, self.offsets, name='combine')(
      nodes, size
    )
    return AfterCombine(self.features, self.norm, name='after_combine')(x)


class Cell(nn.Module):
  """Down the pyramid and up again (BiFPN)."""

  features: int
  norm: Norm

  @nn.compact
  def __call__(self, levels: Sequence[Array]) -> list[Array]:
    nodes = list(levels)
    for number, (level, offsets) in enumerate(fusions(len(levels))):
      size = levels[level].shape[1:3]
      node = Node(self.features, self.norm, offsets, name=f'fnode_{number}')
      nodes.append(node(nodes, size))
    return nodes[-len(levels) :]


def fusions(count: int) -> list[tuple[int, tuple[int, ...]]]:
  """The fusions of a cell: the level of each, and the nodes that it reads.

  The cell's inputs are nodes 0, 1, ..., finest first; every fusion adds one.

  Args:
    count: levels of the pyramid, 2 or more.

  Example:
    >>> fusions(3)
    [(1, (1, 2)), (0, (0, 3)), (1, (1, 3, 4)), (2, (2, 5))]
  """
  found, newest = [], {count - 1: count - 1}
  for level in range(count - 2, -1, -1):
    found.append((level, (level, newest[level + 1])))
    newest[level] = count - 1 + len(found)
  for level in range(1, count):
    own = dict.fromkeys((level, newest[level]))
    found.append((level, (*own, count - 1 + len(found))))
  return found


class Pyramid(nn.Module):
  """Coarser levels by pooling, then the cells."""

  features: int
  cells: int
  levels: int
  norm: Norm

  @nn.compact
  def __call__(self, levels: Sequence[Array]) -> list[Array]:
    levels = list(levels)
    for number in range(len(levels), self.levels):
      x = levels[-1]
      size = tuple(-(-n // 2) for n in x.shape[1:3])
      resample = Resample(self.features, self.norm, name=f'resample_{number}')
      levels.append(resample(x, size))
    for number in range(self.cells):
      levels = Cell(self.features, self.norm, name=f'cell_{number}')(levels)
    return levels


class LevelNorm(nn.Module):
  """The batch norm of one level of a head."""

  norm: Norm

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return self.norm(name='bn')(x)


class Head(nn.Module):
  """Convolutions that all levels share, with batch norms of their own."""

  features: int
  outputs: int
  repeats: int
  norm: Norm
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, levels: Sequence[Array]) -> list[Array]:
    convs = [
      Separable(self.features, name=f'conv_rep_{i}')
      for i in range(self.repeats)
    ]
    predict = Separable(self.outputs, bias_init=self.bias_init, name='predict')
    found = []
    for number, x in enumerate(levels):
      for i, conv in enumerate(convs):
        norm = LevelNorm(self.norm, name=f'bn_rep_{i}_{number}')
        x = nn.silu(norm(conv(x)))
      found.append(predict(x))
    return found


class EfficientDet(nn.Module):
  """EfficientDet; D0 by default.

  Attributes:
    num_classes: K.
    backbone: name of an EfficientNet.
    features: channels of the pyramid and of the heads.
    cells: times that the pyramid is passed down and up.
    repeats: convolutions of a head before the last.
    levels: first and last level; level l has a stride of 2 ** l. The first is 1
      to 5.
    octaves: sizes of the anchors at a place, within a doubling.
    aspects: (width, height) factors of the anchors.
    anchor_scale: side of the smallest anchor, in strides.
    drop_path: see `EfficientNet`; the published training leaves it at 0.2.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  backbone: str = 'efficientnet_b0'
  features: int = 64
  cells: int = 3
  repeats: int = 3
  levels: tuple[int, int] = (3, 7)
  octaves: int = 3
  aspects: tuple[tuple[float, float], ...] = ((1, 1), (1.4, 0.7), (0.7, 1.4))
  anchor_scale: float = 4.0
  drop_path: float = 0.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> dict[str, Array]:
    """Class scores and box codes at every anchor.

    Args:
      frames: `[B, H, W, 3]` normalised RGB of any size.
      train: whether batch statistics are used and updated, and paths dropped.

    Returns:
      'classes', `[B, A, K]` logits, and 'boxes', `[B, A, 4]` codes (see
      `deltax.boxes.codes`), in the order of `deltax.boxes.pyramid_anchors`.
    """
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      epsilon=1e-3,
      momentum=0.99,
      axis_name=self.axis_name,
    )
    backbone = efficientnet(
      self.backbone,
      drop_path=self.drop_path,
      axis_name=self.axis_name,
      name='backbone',
    )
    first, last = self.levels
    maps = backbone(frames, train)
    taps = range(first, min(last, max(STAGE_OF_LEVEL)) + 1)
    count = last - first + 1
    levels = Pyramid(self.features, self.cells, count, norm, name='fpn')(
      [maps[STAGE_OF_LEVEL[level]] for level in taps]
    )
    anchors = self.octaves * len(self.aspects)
    head = functools.partial(
      Head, self.features, repeats=self.repeats, norm=norm
    )
    rare = nn.initializers.constant(-math.log((1 - RARE) / RARE))
    classes = head(
      outputs=anchors * self.num_classes, bias_init=rare, name='class_net'
    )(levels)
    boxes = head(outputs=anchors * 4, name='box_net')(levels)

    def joined(maps, size):
      flat = [x.reshape(x.shape[0], -1, size) for x in maps]
      return jnp.concatenate(flat, 1)

    return {
      'classes': joined(classes, self.num_classes),
      'boxes': joined(boxes, 4),
    }
