"""A segmentation network on the features of an EfficientNet: a design of ours.

Features at strides 8, 16 and 32 are projected to one width. The coarsest is
scaled by what the whole picture says; each is doubled and added to the next
finer, and two convolutions turn the sum into class scores. Nearly all the work
is in 1x1 convolutions, which is where delta distillation saves.
"""

import functools

import flax.linen as nn

from deltax.layers import BatchNorm, conv2d, resize_bilinear
from deltax.models.efficientnet import efficientnet
from deltax.types import Array

_STAGES = (6, 4, 2)  # of the backbone, at strides 32, 16 and 8


class EfficientNetSeg(nn.Module):
  """Class scores at an eighth of the size.

  Attributes:
    num_classes: K.
    backbone: name of an EfficientNet.
    width: channels of the decoder.
    drop_path: see `EfficientNet`.
    axis_name: mapped axis over which batch statistics are pooled.
  """

  num_classes: int
  backbone: str = 'efficientnet_lite0'
  width: int = 96
  drop_path: float = 0.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, frames: Array, train: bool = False) -> Array:
    """Class scores of frames.

    Args:
      frames: `[B, H, W, 3]` normalised RGB; H and W are multiples of 8.
      train: whether batch statistics are used and updated, and paths dropped.

    Returns:
      `[B, H / 8, W / 8, K]` logits.

    Raises:
      ValueError: if H or W is not a multiple of 8.
    """
    rows, cols = frames.shape[1:3]
    if rows % 8 or cols % 8:
      raise ValueError(
        f'EfficientNetSeg got frames of {rows}x{cols}; expected rows and '
        'columns that are multiples of 8'
      )
    norm = functools.partial(
      BatchNorm, use_running_average=not train, axis_name=self.axis_name
    )
    backbone = efficientnet(
      self.backbone,
      drop_path=self.drop_path,
      axis_name=self.axis_name,
      name='backbone',
    )
    stages = backbone(frames, train)
    top = stages[_STAGES[0]]
    context = conv2d(self.width, 1, bias=True, name='context')(
      top.mean((1, 2), keepdims=True)
    )
    total = None
    for i, stage in enumerate(_STAGES):
      x = conv2d(self.width, 1, name=f'project_{i}')(stages[stage])
      x = nn.relu(norm(name=f'project_bn_{i}')(x))
      if total is None:
        total = x * nn.sigmoid(context)
      else:
        total = x + resize_bilinear(total, x.shape[1:3])
    x = conv2d(self.width, groups=self.width, name='mix_dw')(total)
    x = conv2d(self.width, 1, name='mix_pw')(x)
    x = nn.relu(norm(name='mix_bn')(x))
    return conv2d(self.num_classes, 1, bias=True, name='classifier')(x)
