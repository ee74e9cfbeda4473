"""A detector of one level: DDRNet's output read as classes and boxes.

Our own, for small frames: every place of one fine map answers for boxes of all
sizes, which suits a network of two resolutions.
"""

import math

import flax.linen as nn

from deltax.models.ddrnet import DDRNet
from deltax.types import Array

RARE = 0.01  # probability of an object at the start


class DDRNetDetector(nn.Module):
  """DDRNet with anchors; an output at 1/4 of the size by default.

  Attributes:
    num_classes: K.
    planes, head_planes, spp_planes, stem_stride: see `DDRNet`.
    octaves: sizes of the anchors within a doubling.
    doublings: from the smallest size to the largest.
    aspects: (width, height) factors of the anchors.
    anchor_scale: side of the smallest anchor, in strides.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  planes: int = 16
  head_planes: int = 64
  spp_planes: int = 64
  stem_stride: int = 1
  octaves: int = 2
  doublings: int = 4
  aspects: tuple[tuple[float, float], ...] = ((1, 1), (1.4, 0.7), (0.7, 1.4))
  anchor_scale: float = 2.0
  axis_name: str | None = None

  @property
  def levels(self) -> tuple[int, int]:
    """The one level, twice: a stride of 2 ** level."""
    return (int(math.log2(4 * self.stem_stride)),) * 2

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> dict[str, Array]:
    """Class scores and box codes at every anchor.

    Args:
      frames: `[B, H, W, 3]` normalised RGB, of sizes that `DDRNet` takes.
      train: whether batch statistics are used and updated.

    Returns:
      As `EfficientDet`.
    """
    anchors = self.octaves * self.doublings * len(self.aspects)
    outputs = DDRNet(
      anchors * (self.num_classes + 4),
      planes=self.planes,
      head_planes=self.head_planes,
      spp_planes=self.spp_planes,
      stem_stride=self.stem_stride,
      axis_name=self.axis_name,
      name='backbone',
    )(frames, train)
    split = anchors * self.num_classes
    shape = len(frames), -1
    classes = outputs[..., :split].reshape(*shape, self.num_classes)
    return {
      'classes': classes - math.log((1 - RARE) / RARE),
      'boxes': outputs[..., split:].reshape(*shape, 4),
    }
