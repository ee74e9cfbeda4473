"""Networks by name: plain `flax.linen` modules that know of no transform."""

import functools
from typing import Any

import flax.linen as nn

from deltax.models.ddrnet import DDRNet
from deltax.models.ddrnet_det import DDRNetDetector
from deltax.models.efficientdet import EfficientDet
from deltax.models.efficientnet import efficientnet
from deltax.models.efficientnet_seg import EfficientNetSeg
from deltax.models.faster_rcnn import FasterRCNN
from deltax.models.hrnet import HRNet
from deltax.models.resnet import ResNet

MODELS = {
  'ddrnet23_slim': DDRNet,
  'ddrnet23': functools.partial(DDRNet, planes=64, head_planes=128),
  'ddrnet39': functools.partial(
    DDRNet, planes=64, head_planes=256, blocks=(3, 4, (3, 3), 3)
  ),
  'ddrnet23_tiny': functools.partial(
    DDRNet, planes=8, head_planes=16, spp_planes=32
  ),
  'ddrnet23_det': DDRNetDetector,
  'ddrnet23_det_tiny': functools.partial(
    DDRNetDetector, planes=8, spp_planes=16, features=16, octaves=1
  ),
  'hrnet_w18_small': HRNet,
  'efficientnet_b0': functools.partial(efficientnet, 'efficientnet_b0'),
  'efficientdet_d0': EfficientDet,
  'efficientdet_tiny': functools.partial(
    EfficientDet,
    backbone='efficientnet_tiny',
    features=16,
    cells=1,
    repeats=1,
    octaves=1,
    levels=(3, 5),
  ),
  'faster_rcnn_r101_dc5': FasterRCNN,
  'faster_rcnn_tiny': functools.partial(
    FasterRCNN, blocks=(1, 1, 1, 1), planes=8, width=32, hidden=64
  ),
  'resnet50': functools.partial(ResNet, blocks=(3, 4, 6, 3)),
  'resnet101': ResNet,
  'efficientnet_lite0': functools.partial(efficientnet, 'efficientnet_lite0'),
  'efficientnet_lite0_seg': EfficientNetSeg,
  'efficientdet_lite0': functools.partial(
    EfficientDet, backbone='efficientnet_lite0'
  ),
}


def create(name: str, *, num_classes: int, **options: Any) -> nn.Module:
  """A network by its name.

  Args:
    name: one of `MODELS`.
    num_classes: K, classes of the output.
    **options: attributes of the module, e.g. `axis_name`.

  Returns:
    A module: `net.init(key, frames)` gives its variables, `net.apply(variables,
    frames)` evaluates it, and `net.apply(..., train=True,
    mutable=['batch_stats'])` uses and updates batch statistics.

  Raises:
    ValueError: if no network has that name.

  Example:
    >>> create('ddrnet23_tiny', num_classes=11).num_classes
    11
  """
  if name not in MODELS:
    raise ValueError(f'no network {name!r}; known: {", ".join(MODELS)}')
  return MODELS[name](num_classes=num_classes, **options)
