"""Faster R-CNN on a dilated ResNet, as delta distillation was published with.

The dense part (backbone, neck, proposal convolutions) is the network that a
transform takes over; the part that looks at boxes is the method `heads`.

Source: Ren et al., "Faster R-CNN", NeurIPS 2015; in the form "R101-DC5" of
mmdet 2. Submodules carry the names of its checkpoints, numbers joined by an
underscore.
"""

import flax.linen as nn
import jax.numpy as jnp

from deltax.boxes.roi_align import roi_align
from deltax.layers import conv2d, fast_conv
from deltax.models.resnet import ResNet
from deltax.types import Array

STRIDE = 16  # pixels a feature


class FasterRCNN(nn.Module):
  """Faster R-CNN with one feature map, at a sixteenth of the frame's size.

  Batch norm uses running statistics in training too, and no gradient reaches
  the first convolution and its norm, as published.

  Attributes:
    num_classes: K, without the background.
    anchors: A, anchors of every feature.
    blocks: of the four stages of the backbone.
    planes: width of the backbone's first stage.
    width: C, channels of the feature map.
    hidden: width of the fully connected layers.
  """

  num_classes: int
  anchors: int = 12
  blocks: tuple[int, ...] = (3, 4, 23, 3)
  planes: int = 64
  width: int = 512
  hidden: int = 1024

  def setup(self):
    self.backbone = ResNet(
      blocks=self.blocks,
      planes=self.planes,
      strides=(1, 2, 2, 1),
      dilations=(1, 1, 1, 2),
      frozen_norm=True,
      frozen_stem=True,
    )
    self.neck = _Neck(self.width)
    self.rpn_head = _ProposalHead(self.width, self.anchors)
    self.roi_head = _RoIHead(self.num_classes, self.hidden)

  def __call__(self, frames: Array, train: bool = False) -> dict[str, Array]:
    """The dense part.

    Args:
      frames: `[B, H, W, 3]` normalised RGB of any size.
      train: changes nothing; statistics are always the running ones.

    Returns:
      For h and w, H and W over 16, rounded up: 'features' `[B, h, w, C]`,
      'objectness' `[B, h, w, A]` logits of the anchors, 'codes' `[B, h, w,
      4 * A]` box codes of the anchors, one anchor's after another's.
    """
    features = self.neck(self.backbone(frames, train)[-1])
    objectness, codes = self.rpn_head(features)
    if self.is_initializing():
      self.heads(features, jnp.zeros((len(frames), 1, 4)))
    return {'features': features, 'objectness': objectness, 'codes': codes}

  def heads(self, features: Array, boxes: Array) -> tuple[Array, Array]:
    """Class scores and corrections of boxes.

    Args:
      features: `[B, h, w, C]`, as the dense part gives them.
      boxes: `[B, R, 4]` (x0, y0, x1, y1) in pixels of the frame; no gradient
        flows to them.

    Returns:
      `[B, R, K + 1]` logits, the background last, and `[B, R, 4 * K]` box
      codes, one class's after another's.
    """
    return self.roi_head(roi_align(features, boxes, stride=STRIDE))


class _Neck(nn.Module):
  """Narrows the backbone's features."""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return _ConvModule(self.features, name='convs_0')(x)


class _ConvModule(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return nn.relu(conv2d(self.features, bias=True, name='conv')(x))


class _ProposalHead(nn.Module):
  """Objectness and box codes of every anchor."""

  features: int
  anchors: int

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    x = nn.relu(conv2d(self.features, bias=True, name='rpn_conv')(x))
    objectness = _cautious_conv(self.anchors, 'rpn_cls')(x)
    return objectness, _cautious_conv(4 * self.anchors, 'rpn_reg')(x)


class _RoIHead(nn.Module):
  num_classes: int
  hidden: int

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    return _BoxHead(self.num_classes, self.hidden, name='bbox_head')(x)


class _BoxHead(nn.Module):
  """Two fully connected layers from `[..., 7, 7, C]`, then scores and codes."""

  num_classes: int
  hidden: int

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    # The order of the published weights: channels, then rows and columns.
    x = jnp.moveaxis(x, -1, -3).reshape(*x.shape[:-3], -1)
    for i in range(2):
      x = nn.relu(nn.Dense(self.hidden, name=f'shared_fcs_{i}')(x))
    scores = nn.Dense(
      self.num_classes + 1, kernel_init=_near_zero(0.01), name='fc_cls'
    )(x)
    codes = nn.Dense(
      4 * self.num_classes, kernel_init=_near_zero(0.001), name='fc_reg'
    )(x)
    return scores, codes


_near_zero = nn.initializers.normal


def _cautious_conv(features, name):
  """A 1x1 convolution whose first answers are near zero."""
  return nn.Conv(
    features,
    (1, 1),
    kernel_init=_near_zero(0.01),
    conv_general_dilated=fast_conv,
    name=name,
  )
