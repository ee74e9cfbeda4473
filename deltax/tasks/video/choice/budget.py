"""The budget loss: what a later frame costs, or how far that is off target."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta import gates as gating
from deltax.delta.search.latency import Latencies
from deltax.tasks.video.choice.prices import Prices, measured
from deltax.types import Array


@dataclasses.dataclass(frozen=True)
class Budget:
  """What candidates cost, and how their cost becomes a loss.

  Attributes:
    weight: of the loss: the cost of a later frame's gated layers as drawn, as a
      share of the teacher's; with a target, how far the expected cost of a
      later frame is from it, as a share of the target.
    target: what a later frame may cost, as a share of the teacher's frame. With
      latencies both include the rest of the frame, which no student touches;
      without, they are the multiply-accumulates of the layers with students.
    published_cost: whether only the first candidate, the full copy, has a
      price: the teacher's.
    costs: price of each layer's full copy by path, in place of its
      multiply-accumulates, as the released cost files hold them; implies
      `published_cost`.
    latencies: what `deltax profile` measured: costs are its milliseconds in
      place of multiply-accumulates. The frames may be of another size than
      those of the clips.

  Raises:
    ValueError: latencies beside other costs, or a target that is no positive
      share.
  """

  weight: float = 0.1
  target: float | None = None
  published_cost: bool = False
  costs: Mapping[str, float] | None = None
  latencies: Latencies | None = None

  def __post_init__(self):
    if self.latencies and (self.costs or self.published_cost):
      raise ValueError('latency= is beside costs= or published_cost=; give one')
    if self.target is not None and not self.target > 0:
      raise ValueError(f'a target is a positive share, got {self.target}')

  def prices(
    self, delta: delta_wing.Delta, teacher: Any, frame: Array
  ) -> Prices:
    """What every candidate costs; plain numbers, whatever is traced.

    Args:
      delta: the delta network.
      teacher: variables of the network; only shapes matter.
      frame: `[..., H, W, 3]`; only the shape matters.

    Raises:
      ValueError: a layer, a block or a candidate was not measured.
    """
    if self.latencies:
      return measured(self.latencies, delta, teacher, frame)
    candidates, teachers = delta.costs({'teacher': teacher}, frame)
    teachers = self.costs or teachers
    if self.published_cost or self.costs:
      candidates = {
        path: (teachers[path], *[0.0] * (len(costs) - 1))
        for path, costs in candidates.items()
      }
    return Prices(candidates, teachers)

  def loss(
    self,
    prices: Prices,
    weights: Mapping[str, Array],
    logits: Mapping[str, Array],
  ) -> Array:
    """The weighted loss, `[]`.

    Args:
      prices: of the candidates.
      weights: `[K]` of the candidates as drawn, by path of a gate.
      logits: `[K - 1]` of the gates. They count where there is a target, in
        place of the weights: an expected cost has no noise.

    Example:
      >>> prices = Prices({'a': (8, 2)}, {'a': 8})
      >>> float(Budget(1.0).loss(prices, {'a': jnp.array([0.0, 1.0])}, {}))
      0.25
      >>> logits = {'a': jnp.array([0.0])}  # either candidate, 5 of 8
      >>> float(Budget(1.0, target=0.5).loss(prices, {}, logits))
      0.25
    """
    if self.target is None:
      cost = delta_wing.losses.budget(
        weights, prices.candidates, prices.teacher
      )
      return self.weight * cost
    share = prices.share(jax.tree.map(gating.probabilities, dict(logits)))
    return self.weight * jnp.abs(share / self.target - 1)
