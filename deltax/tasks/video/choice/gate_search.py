"""A gate search: gates that are open, then the choice that they settle on."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta import gates as gating
from deltax.delta.search import choice
from deltax.tasks.video.choice.prices import Prices
from deltax.types import Array

Gates = Mapping[str, Array]
# How much the dearest choice can be favoured: from not at all to in any case.
_LOG_FAVOURS = -20.0, 30.0
_HALVINGS = 40
# Of a gate that is settled: its probabilities are as good as 0 and 1.
SETTLED = 100.0


class Stage(NamedTuple):
  """Where a gate search stands in one step.

  Attributes:
    weights: `[K]` of the candidates that this step trains with, by path.
    chosen: `[K - 1]` logits of the choice, for the model state; empty where no
      choice is settled.
    is_open: bool, whether the gates are still searched; may be traced.
  """

  weights: dict[str, Array]
  chosen: dict[str, Array]
  is_open: Array | bool


@dataclasses.dataclass(frozen=True)
class GateSearch:
  """When gates settle, and on what.

  Attributes:
    target: what a later frame may cost, as a share of the teacher's; evaluation
      and deployment take the likeliest choice of the gates that keeps to it, in
      place of each gate's own. None for no limit.
    steps: after so many steps the gates are settled: the choice stays, its
      students are trained without noise and without the budget loss. None for
      never.
  """

  target: float | None = None
  steps: int | None = None

  @property
  def settles(self) -> bool:
    """Whether there is a choice beside the gates."""
    return self.target is not None or self.steps is not None

  def start(self, logits: Gates, prices: Prices) -> dict[str, Array]:
    """The choice before the first step; empty without one.

    Args:
      logits: `[K - 1]` by path of a gate.
      prices: of the candidates.

    Raises:
      ValueError: no choice reaches the target.
    """
    if not self.settles:
      return {}
    return settled(logits, prices, self.target)

  def stage(
    self,
    step: Array,
    weights: Gates,
    logits: Gates,
    kept: Gates,
    prices: Prices,
  ) -> Stage:
    """What one step trains with.

    The choice is part of the model state, because an optimizer's momentum moves
    logits on that no longer get a gradient.

    Args:
      step: `[]` steps done.
      weights: `[K]` of the candidates as drawn, by path.
      logits: `[K - 1]` of the gates.
      kept: the choice that the step before left.
      prices: of the candidates.
    """
    if not self.settles:
      return Stage(dict(weights), {}, True)
    now = settled(logits, prices, self.target)
    if self.steps is None:
      return Stage(dict(weights), now, True)
    # The last update of the search is seen one step later: in step `steps` the
    # choice is settled once more, and only then stays.
    chosen = {
      path: jnp.where(step <= self.steps, now[path], kept[path]) for path in now
    }
    is_open = step < self.steps
    return Stage(
      {
        path: jnp.where(is_open, drawn, one_hot(chosen[path]))
        for path, drawn in weights.items()
      },
      chosen,
      is_open,
    )

  def watched(self, step: Array, logits: Gates, kept: Gates) -> Gates:
    """`[]` probability of every gate's first candidate, by 'gate/<path>'.

    Args:
      step: `[]` steps done.
      logits: `[K - 1]` of the gates.
      kept: the choice; once the search is over it takes their place.
    """
    if self.steps is not None:
      is_open = step < self.steps
      logits = {
        path: jnp.where(is_open, own, kept[path])
        for path, own in logits.items()
      }
    return {
      f'gate/{path}': gating.probabilities(own)[0]
      for path, own in logits.items()
    }


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
