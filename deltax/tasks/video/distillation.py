"""The distillation loss: predicted changes against the teacher's own."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from deltax.delta import losses
from deltax.training.parallel import mean_over_devices
from deltax.types import Array

SCALES = ('network', 'layer', 'none')


@dataclasses.dataclass(frozen=True)
class Distillation:
  """How the squared errors of the predicted changes become a loss.

  Attributes:
    weight: of the mean over layers of the scaled errors.
    steps: the loss ends after so many steps; None for never.
    scale: what an error is divided by: its mean over layers in the first batch
      in which anything moves ('network', as published for segmentation), each
      layer's own error then ('layer', as published for EfficientDet), or
      nothing ('none', as published for Faster R-CNN).
    last_call_only: whether a layer that is called several times a frame is
      distilled in its last call only, as published; else in each.

  Raises:
    ValueError: an unknown scale.

  Source: Habibian et al., ECCV 2022, section 3.2.
  """

  weight: float = 0.01
  steps: int | None = None
  scale: Literal['network', 'layer', 'none'] = 'network'
  last_call_only: bool = False

  def __post_init__(self):
    if self.scale not in SCALES:
      raise ValueError(
        f'no distillation_scale {self.scale!r}; known: {", ".join(SCALES)}'
      )

  def errors(
    self,
    predicted: Mapping[str, Array],
    target: Mapping[str, Array],
  ) -> Array:
    """`[L, B]` mean squared errors of L calls of layers.

    Args:
      predicted: `[B, T - 1, H, W, N]` changes of a layer's output by call, as
        `Delta.clip` gives them.
      target: the teacher's own, as `Delta.reference` gives them.
    """
    errors = losses.distillation(predicted, target)
    if self.last_call_only:
      errors = losses.last_calls(errors)
    return jnp.stack(list(errors.values()))

  def start(self, calls: int) -> Array:
    """The factors before the first batch: zeros, which stand for "not yet".

    Args:
      calls: L.

    Returns:
      `[L]` for a scale of each layer, else `[]`.
    """
    return jnp.zeros((calls,) if self.scale == 'layer' else ())

  def loss(
    self, errors: Array, factors: Array, step: Array, axis_name: str | None
  ) -> tuple[Array, Array]:
    """The weighted loss, and the factors that the next step begins with.

    Args:
      errors: `[L, B]` of this device's clips.
      factors: what errors are multiplied by, as `start` gives them.
      step: `[]` steps done.
      axis_name: mapped axis of the devices.

    Returns:
      `[B]`, and the factors. Those that have been fixed stay.

    Example:
      >>> errors = jnp.array([[1.0], [3.0]])
      >>> loss, factors = Distillation(0.1).loss(errors, 0.0, 0, None)
      >>> round(float(loss[0]), 3), float(factors)
      (0.1, 0.5)
    """
    if self.scale == 'none':
      mean = errors.mean(0)
    else:
      factors = self._fixed(errors, factors, axis_name)
      by_call = jnp.broadcast_to(factors, errors.shape[:1])
      mean = (errors * by_call[:, None]).mean(0)
    active = 1.0
    if self.steps is not None:
      active = jnp.where(step < self.steps, 1.0, 0.0)
    return self.weight * active * mean, factors

  def _fixed(self, errors, factors, axis_name):
    """The factors, fixed by this batch where none has fixed them before."""
    # All devices must divide by the same number.
    sizes = jax.lax.stop_gradient(mean_over_devices(errors.mean(1), axis_name))
    if self.scale == 'network':
      sizes = sizes.mean()
    # Nothing moves in a still clip: a later batch then fixes the factor.
    first = jnp.where(sizes > 0, 1 / jnp.where(sizes > 0, sizes, 1), 0)
    return jnp.where(factors > 0, factors, first)
