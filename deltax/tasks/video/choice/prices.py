"""What the candidates of a network cost, for a gate search to pay."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta.search import latency
from deltax.delta.search.latency import Latencies
from deltax.delta.survey import survey
from deltax.types import Array


class Prices(NamedTuple):
  """What a network's candidates cost, in one unit.

  Attributes:
    candidates: of every candidate, by path of a layer or a block.
    teacher: of its own layer or block, by path.
    rest: of a later frame, that no student touches.
    frame: of the teacher; None for its layers or blocks and the same rest.
  """

  candidates: Mapping[str, tuple[float, ...]]
  teacher: Mapping[str, float]
  rest: float = 0.0
  frame: float | None = None

  @property
  def whole(self) -> float:
    """What the teacher costs."""
    if self.frame is not None:
      return self.frame
    return sum(self.teacher.values()) + self.rest

  def gated(self, gates: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Of the layers and blocks that have a gate."""
    return {path: self.candidates[path] for path in gates}

  def fixed(self, gates: Mapping[str, Any]) -> float:
    """Of a later frame, whatever the gates choose."""
    return self.rest + sum(
      costs[0] for path, costs in self.candidates.items() if path not in gates
    )

  def limit(self, target: float, gates: Mapping[str, Any]) -> float:
    """What all gates together may cost.

    Args:
      target: share of the teacher's cost.
      gates: anything by the paths of the gates.

    Raises:
      ValueError: even their cheapest candidates cost more.

    Example:
      >>> prices = Prices({'a': (8, 2), 'b': (1,)}, {'a': 8, 'b': 8}, rest=4)
      >>> prices.limit(0.5, {'a': None})
      5.0
    """
    limit = target * self.whole - self.fixed(gates)
    least = sum(min(costs) for costs in self.gated(gates).values())
    if least > limit:
      share = (least + self.fixed(gates)) / self.whole
      raise ValueError(
        f"target={target:.4g} of the teacher's cost is not to be reached: the "
        f'cheapest choice costs {share:.4g} of it'
      )
    return limit

  def share(self, weights: Mapping[str, Array]) -> Array:
    """`[]` expected cost of a later frame, as a share of the teacher's.

    Args:
      weights: `[K]` of the candidates, by path of a gate.

    Example:
      >>> prices = Prices({'a': (8, 2)}, {'a': 8}, rest=8)
      >>> float(prices.share({'a': jnp.array([0.5, 0.5])}))
      0.8125
    """
    expected = delta_wing.losses.budget(weights, self.candidates, self.teacher)
    own = sum(self.teacher.values())
    return (expected * own + self.fixed(weights)) / self.whole


def measured(
  latencies: Latencies,
  delta: delta_wing.Delta,
  variables: Any,
  frame: Any,
) -> Prices:
  """Milliseconds of a network's candidates, as `deltax profile` wrote them.

  Layers are matched by their names: the times are those of the frames that were
  measured, whatever the size of `frame`, which may be a crop for training.

  Args:
    latencies: what it wrote.
    delta: the delta network.
    variables: of the network; only shapes matter.
    frame: `[..., H, W, C]`; only the shape matters.

  Raises:
    ValueError: a layer, a block or a candidate was not measured.
  """
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables
  )
  shape = jax.ShapeDtypeStruct((1, *frame.shape[-3:]), jnp.float32)
  selected = delta.spec.select(survey(delta.net, shapes, shape))
  candidates, teacher = latency.table(latencies, selected)
  # Of more layers than were measured, those left out stay as they are.
  others = sum(
    own.ms for path, own in latencies.teacher.items() if path not in teacher
  )
  return Prices(candidates, teacher, latencies.rest + others, latencies.frame)
