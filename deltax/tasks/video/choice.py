"""What a search for students pays for, and the choice that it ends with."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from deltax import delta as delta_wing
from deltax.delta import gates as gating
from deltax.delta.search import choice, latency
from deltax.delta.search.latency import Latencies
from deltax.delta.survey import survey
from deltax.types import Array

# How much the dearest choice can be favoured: from not at all to in any case.
_LOG_FAVOURS = -20.0, 30.0
_HALVINGS = 40
# Of a gate that is settled: its probabilities are as good as 0 and 1.
SETTLED = 100.0


class Prices(NamedTuple):
  """What a network's candidates cost, in one unit.

  Attributes:
    candidates: of every candidate, by path of a layer or a block.
    teacher: of its own layer or block, by path.
    rest: of a frame, that no student touches.
  """

  candidates: Mapping[str, tuple[float, ...]]
  teacher: Mapping[str, float]
  rest: float = 0.0

  @property
  def whole(self) -> float:
    """What the teacher costs."""
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
  net: nn.Module,
  spec: delta_wing.Spec,
  variables: Any,
  frame: Any,
) -> Prices:
  """Milliseconds of a network's candidates, as `deltax profile` wrote them.

  Layers are matched by their names: the times are those of the frames that were
  measured, whatever the size of `frame`, which may be a crop for training.

  Args:
    latencies: what it wrote.
    net: the network.
    spec: which layers and blocks, which candidates.
    variables: of the network; only shapes matter.
    frame: `[..., H, W, C]`; only the shape matters.

  Raises:
    ValueError: a layer, a block or a candidate was not measured.
  """
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables
  )
  shape = jax.ShapeDtypeStruct((1, *frame.shape[-3:]), jnp.float32)
  selected = spec.select(survey(net, shapes, shape))
  candidates, teacher = latency.table(latencies, selected)
  # Of more layers than were measured, those left out belong to the rest.
  rest = max(0.0, latencies.frame - sum(teacher.values()))
  return Prices(candidates, teacher, rest)


def settled(
  logits: Mapping[str, Array], prices: Prices, target: float | None
) -> dict[str, Array]:
  """The logits of gates that have chosen; may be traced.

  Gates that are undecided expect to pay more than their likeliest choice costs.
  What that leaves of the target is spent too, where it loses least probability.

  Args:
    logits: `[K - 1]` by path, as `deltax.delta.gates` has them.
    prices: of the candidates.
    target: share of the teacher's cost that the choice reaches as nearly as the
      candidates allow, and never exceeds; None for the likeliest candidate of
      every gate.

  Returns:
    `[K - 1]` by path, `SETTLED` or its negative. No gradient flows through.

  Example:
    >>> logits = {'a': jnp.array([2.0]), 'b': jnp.array([1.0])}
    >>> prices = Prices({'a': (8, 2), 'b': (8, 2)}, {'a': 8, 'b': 8})
    >>> for target in (None, 0.7):
    ...   found = settled(logits, prices, target)
    ...   print({path: float(own[0]) for path, own in found.items()})
    {'a': 100.0, 'b': 100.0}
    {'a': 100.0, 'b': -100.0}
  """
  if not logits:
    return {}
  if target is None:
    weights = {path: one_hot(own) for path, own in logits.items()}
  else:
    costs, limit = prices.gated(logits), prices.limit(target, logits)
    favoured = _favouring(logits, costs, limit)
    weights = choice.settle(favoured, costs, limit, spend=True)
  return certain(weights)


def certain(weights: Mapping[str, Array]) -> dict[str, Array]:
  """Logits as `settled` gives them, from `[K]` weights that are 0 and 1."""
  return {path: SETTLED * (2 * own[:-1] - 1) for path, own in weights.items()}


def _favouring(logits, costs, limit):
  """Logits that favour dear candidates, just enough to reach a limit."""
  costs = {path: jnp.asarray(own, jnp.float32) for path, own in costs.items()}
  dearest = sum(own.max() for own in costs.values())

  def favoured(log_favour):
    favour = jnp.exp(log_favour) / dearest
    return {
      path: own + favour * (costs[path][:-1] - costs[path][-1])
      for path, own in logits.items()
    }

  def reaches(logits):
    paid = (costs[path][gating.choose(own)] for path, own in logits.items())
    return sum(paid) >= limit

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) / 2
    reached = reaches(favoured(middle))
    return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

  _, favour = lax.fori_loop(0, _HALVINGS, halve, _LOG_FAVOURS)
  return lax.cond(
    reaches(logits), lambda: dict(logits), lambda: favoured(favour)
  )


def one_hot(logits: Array) -> Array:
  """`[K]` weights of the hard choice, from `[K - 1]` logits."""
  return jax.nn.one_hot(gating.choose(logits), logits.size + 1)
