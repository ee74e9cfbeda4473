"""DDRNet as a detector, for small frames: our own.

The features of DDRNet at a quarter of the size are the finest level; the others
are pooled from them. One head looks at all levels.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from deltax.layers import BatchNorm, conv2d, max_pool
from deltax.models.ddrnet import DDRNet
from deltax.models.efficientdet import RARE
from deltax.types import Array


class DDRNetDetector(nn.Module):
  """DDRNet, levels pooled from its features, and a head of two convolutions.

  All levels share the head, with batch norms of their own.

  Attributes:
    num_classes: K.
    planes, spp_planes, blocks: see `DDRNet`.
    features: channels of the levels and of the head.
    levels: first and last level; level l has a stride of 2 ** l. The first is 2
      or 3.
    octaves: sizes of the anchors at a place, within a doubling.
    aspects: (width, height) factors of the anchors.
    anchor_scale: side of the smallest anchor, in strides.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  planes: int = 16
  spp_planes: int = 64
  blocks: tuple[int, int, tuple[int, ...], int] = (2, 2, (2,), 2)
  features: int = 64
  levels: tuple[int, int] = (2, 5)
  octaves: int = 2
  aspects: tuple[tuple[float, float], ...] = ((1, 1), (1.4, 0.7), (0.7, 1.4))
  anchor_scale: float = 2.5
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> dict[str, Array]:
    """Class scores and box codes at every anchor.

    Args:
      frames: `[B, H, W, 3]` normalised RGB; H and W are multiples of the stride
        of the first level.
      train: whether batch statistics are used and updated.

    Returns:
      As `EfficientDet`.
    """
    first, last = self.levels
    x = DDRNet(
      self.features,
      planes=self.planes,
      head_planes=self.features,
      spp_planes=self.spp_planes,
      blocks=self.blocks,
      stem_stride=2 ** (first - 2),
      axis_name=self.axis_name,
      name='backbone',
    )(frames, train)
    each = self.octaves * len(self.aspects)
    head = conv2d(self.features, name='head')
    predict = conv2d(
      each * (self.num_classes + 4), 1, bias=True, name='predict'
    )
    classes, boxes = [], []
    for level in range(first, last + 1):
      x = x if level == first else max_pool(x)
      norm = BatchNorm(
        use_running_average=not train,
        axis_name=self.axis_name,
        name=f'norm_{level}',
      )
      found = predict(nn.relu(norm(head(nn.relu(x)))))
      split = each * self.num_classes
      shape = frames.shape[0], -1
      classes.append(found[..., :split].reshape(*shape, self.num_classes))
      boxes.append(found[..., split:].reshape(*shape, 4))
    rare = math.log((1 - RARE) / RARE)
    return {
      'classes': jnp.concatenate(classes, 1) - rare,
      'boxes': jnp.concatenate(boxes, 1),
    }
