"""Detectors by name: a network, its losses, and how its outputs are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from deltax import models
from deltax.boxes import Detections
from deltax.tasks.detection import efficientdet, faster_rcnn
from deltax.types import Array


class Detector(NamedTuple):
  """A detector on frames of one size; N frames, M boxes at most.

  Attributes:
    net: the network, for evaluation.
    training_net: the same, its batch statistics pooled over the devices.
    losses: `(variables, outs, frames, key) -> {name: [N]}`, weighted. `outs` is
      what `net.apply(variables, frames)` gave. `frames` holds 'boxes' `[N, M,
      4]`, 'classes' int32 `[N, M]` (-1 = no box), 'size' `[N, 2]` rows and
      columns of the picture inside the frame, and perhaps 'mask' `[N]`, 0 for a
      frame that does not count. Their mean over the frames that count, of all
      devices, is the published loss of that batch.
    detect: `(variables, outs, size) -> Detections` of N frames.
    imitate: `(outs, targets) -> [N]`, how far outputs are from the teacher's.
  """

  net: Any
  training_net: Any
  losses: Callable[..., dict[str, Array]]
  detect: Callable[..., Detections]
  imitate: Callable[[Any, Any], Array]


# By the network's family.
FAMILIES = {
  'ddrnet_det': efficientdet.make,
  'efficientdet': efficientdet.make,
  'faster_rcnn': faster_rcnn.make,
}


def make_detector(
  model: str,
  *,
  num_classes: int,
  size: tuple[int, int],
  axis_name: str | None = None,
  **options: Any,
) -> Detector:
  """A detector by the name of its network.

  Args:
    model: name of the network, as `deltax.models.create` takes it.
    num_classes: K.
    size: (H, W) of the frames.
    axis_name: mapped axis of the devices.
    **options: see `make` of the family's file.

  Returns:
    The detector.

  Raises:
    ValueError: if no detector has that name, or no frame that size.
  """
  family = models.family(model)
  if family not in FAMILIES:
    raise ValueError(
      f'no detector {model!r}; known families: {", ".join(FAMILIES)}'
    )
  if (
    not isinstance(size, tuple | list)
    or len(size) != 2
    or any(type(side) is not int or side < 1 for side in size)
  ):
    raise ValueError(
      f'a detector cannot have size={size!r:.80}; expected rows and columns'
    )
  options |= {'num_classes': num_classes, 'axis_name': axis_name}
  return Detector(*FAMILIES[family](model, size=size, **options))
