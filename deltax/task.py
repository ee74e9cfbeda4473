"""The seam between what is trained and the loop that trains it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deltax.types import Array, Batch, Key, ModelState, Params

Fit = Callable[
  [Params, ModelState, Sequence[Batch]], tuple[Params, dict[str, Any]]
]


class Task(NamedTuple):
  """Pure functions; the loop knows nothing else of a task.

  Attributes:
    init: `(key, batch) -> (params, model_state)`. `batch` is the first batch of
      the training data, so that shapes and first-step constants come from it.
    losses: `(params, model_state, batch, key) -> ({name: [B] or []},
      model_state)`. Unreduced and already weighted. The loop averages `[B]`
      losses over the examples whose `batch['mask']` is 1, adds `[]` losses as
      they are, and minimises the sum.
    evaluate: `(params, model_state, batch) -> {name: [B, ...]}`, counts, to be
      summed over the examples whose mask is 1, or arrays to be stacked.
    summarise: `({name: [...]}) -> {score: float}`, from the summed counts, or
      `({name: [N, ...]}) -> {score: float}` from the stacked arrays.
    watch: `(params, model_state) -> {name: []}`, what else is worth a line in
      the metrics of a run, such as the state of the gates; or None.
    fit: `(params, model_state, batches) -> (params, {name: value})`, what can
      be solved for before the first step, of the numbers of which a line is
      worth keeping; or None.
    choose: `(params, model_state, batches, spec, size, targets, **wishes) ->
      specs`, options of what is trained whose later frames of a size cost so
      much; or None.
    stack: whether the arrays of `evaluate` are stacked over the N real
      examples, for scores that are no function of sums, such as average
      precision; else they are summed.
  """

  init: Callable[[Key, Batch], tuple[Params, ModelState]]
  losses: Callable[
    [Params, ModelState, Batch, Key], tuple[dict[str, Array], ModelState]
  ]
  evaluate: Callable[[Params, ModelState, Batch], dict[str, Array]]
  summarise: Callable[[dict[str, Array]], dict[str, float]]
  watch: Callable[[Params, ModelState], dict[str, Array]] | None = None
  fit: Fit | None = None
  choose: Callable[..., list[dict[str, Any]]] | None = None
  stack: bool = False
