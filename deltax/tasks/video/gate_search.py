"""The two stages of a gate search: gates that are open, then a choice."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from deltax.delta import gates as gating
from deltax.tasks.video import choice
from deltax.types import Array

Gates = Mapping[str, Array]


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

  def start(self, logits: Gates, prices: choice.Prices) -> dict[str, Array]:
    """The choice before the first step; empty without one.

    Args:
      logits: `[K - 1]` by path of a gate.
      prices: of the candidates.

    Raises:
      ValueError: no choice reaches the target.
    """
    if not self.settles:
      return {}
    return choice.settled(logits, prices, self.target)

  def stage(
    self,
    step: Array,
    weights: Gates,
    logits: Gates,
    kept: Gates,
    prices: choice.Prices,
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
    now = choice.settled(logits, prices, self.target)
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
        path: jnp.where(is_open, drawn, choice.one_hot(chosen[path]))
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
