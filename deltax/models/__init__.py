"""Networks by name: plain `flax.linen` modules that know of no transform."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from deltax.models.ddrnet import DDRNet
from deltax.models.ddrnet_det import DDRNetDetector
from deltax.models.efficientdet import EfficientDet
from deltax.models.efficientnet import efficientnet
from deltax.models.efficientnet_seg import EfficientNetSeg
from deltax.models.faster_rcnn import FasterRCNN
from deltax.models.hrnet import HRNet
from deltax.models.resnet import ResNet


class Model(NamedTuple):
  """An entry of `MODELS`, called like the function that it holds.

  Attributes:
    make: `(*, num_classes, **options) -> nn.Module`.
    family: networks of one family give the same outputs, and are trained, read
      and stood in for in the same way.
  """

  make: Callable[..., nn.Module]
  family: str

  def __call__(self, **options: Any) -> nn.Module:
    return self.make(**options)


def _model(family, make, *arguments, **options):
  return Model(functools.partial(make, *arguments, **options), family)


_ddrnet = functools.partial(_model, 'ddrnet', DDRNet)
_ddrnet_det = functools.partial(_model, 'ddrnet_det', DDRNetDetector)
_efficientdet = functools.partial(_model, 'efficientdet', EfficientDet)
_efficientnet = functools.partial(_model, 'efficientnet', efficientnet)
_faster_rcnn = functools.partial(_model, 'faster_rcnn', FasterRCNN)
_resnet = functools.partial(_model, 'resnet', ResNet)

MODELS = {
  'ddrnet23_slim': _ddrnet(),
  'ddrnet23': _ddrnet(planes=64, head_planes=128),
  'ddrnet39': _ddrnet(planes=64, head_planes=256, blocks=(3, 4, (3, 3), 3)),
  'ddrnet23_tiny': _ddrnet(planes=8, head_planes=16, spp_planes=32),
  # One block a stage, to see whether a run works: it compiles in half the time.
  'ddrnet_tiny': _ddrnet(
    planes=8, head_planes=16, spp_planes=32, blocks=(1, 1, (1,), 1)
  ),
  'ddrnet23_det': _ddrnet_det(),
  'ddrnet23_det_tiny': _ddrnet_det(
    planes=8, spp_planes=16, features=16, octaves=1
  ),
  'ddrnet_det_tiny': _ddrnet_det(
    planes=8, spp_planes=16, features=16, octaves=1, blocks=(1, 1, (1,), 1)
  ),
  'hrnet_w18_small': _model('hrnet', HRNet),
  'efficientnet_b0': _efficientnet('efficientnet_b0'),
  'efficientnet_tiny': _efficientnet('efficientnet_tiny'),
  'efficientdet_d0': _efficientdet(),
  'efficientdet_tiny': _efficientdet(
    backbone='efficientnet_tiny',
    features=16,
    cells=1,
    repeats=1,
    octaves=1,
    levels=(3, 5),
  ),
  'faster_rcnn_r101_dc5': _faster_rcnn(),
  'faster_rcnn_tiny': _faster_rcnn(
    blocks=(1, 1, 1, 1), planes=8, width=32, hidden=64
  ),
  'resnet50': _resnet(blocks=(3, 4, 6, 3)),
  'resnet101': _resnet(),
  'efficientnet_lite0': _efficientnet('efficientnet_lite0'),
  'efficientnet_lite0_seg': _model('efficientnet_seg', EfficientNetSeg),
  'efficientdet_lite0': _efficientdet(backbone='efficientnet_lite0'),
}


def family(name: str | None) -> str | None:
  """The family of a network by its name; None for one that has none.

  Example:
    >>> family('efficientdet_d0')
    'efficientdet'
  """
  # A network added from outside may be a function alone.
  return getattr(MODELS.get(name), 'family', None)


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
    ValueError: if no network has that name, or it has not such an option.

  Example:
    >>> create('ddrnet23_tiny', num_classes=11).num_classes
    11
  """
  if name not in MODELS:
    raise ValueError(f'no network {name!r}; known: {", ".join(MODELS)}')
  try:
    return MODELS[name](num_classes=num_classes, **options)
  except TypeError as error:  # each says it itself, in the words of Python
    raise ValueError(
      f'the network {name!r} cannot have the options '
      f'{", ".join(map(str, options)) or "that are given"}: {error}'
    ) from error
