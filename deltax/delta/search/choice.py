"""Which candidate every layer gets, within a budget.

Values and costs are given by layer and candidate; a choice is
`{path: index of the candidate}`. Costs may be multiply-accumulates
(`Delta.costs`) or milliseconds (`deltax.delta.search.latency.table`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.delta import gates
from deltax.types import Array

Table = Mapping[str, Sequence[float]]
Choice = dict[str, int]
_HALVINGS = 100
_TRACED_HALVINGS = 40
_LOG_PRICES = -20.0, 30.0  # of all costs together: from nothing to forbidding
_TINY = 1e-30
_MUTATIONS = 0.05  # share of layers that a child draws anew


def within(values: Table, costs: Table, limit: float) -> Choice:
  """The choice of largest value whose cost is within a limit, nearly.

  Cost times a price is subtracted from every value, so that each layer can
  choose for itself; the price is found by bisection. What then is left of the
  limit goes, one by one, to the layers that gain most for it. The value is less
  than the largest by no more than what one layer can gain or lose.

  Args:
    values: of every candidate, by path; larger is better, of any unit.
    costs: of every candidate, by path.
    limit: of the sum of the costs, in their unit.

  Returns:
    The choice.

  Raises:
    ValueError: if the cheapest choice exceeds the limit, or the tables are of
      other layers or candidates.

  Example:
    >>> within({'a': [3, 1], 'b': [2, 0]}, {'a': [8, 2], 'b': [4, 1]}, 7)
    {'a': 1, 'b': 0}
  """
  _check_paths(values, costs)
  costs = {path: costs[path] for path in values}
  _check_reachable(costs, limit)
  if not values:
    return {}
  cost = _padded(costs, 0.0)
  value = _padded(values, -np.inf)
  rows = np.arange(len(cost))

  def best(price):
    score = value - price * cost
    equal = score == score.max(1, keepdims=True)
    return np.where(equal, cost, np.inf).argmin(1)

  def paid(picked):
    return cost[rows, picked].sum()

  low, high = 0.0, _highest_price(values, costs)
  if paid(best(low)) <= limit:
    high = low
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    if paid(best(middle)) <= limit:
      high = middle
    else:
      low = middle
  picked = best(high)
  while True:
    gain = value - value[rows, picked][:, None]
    extra = cost - cost[rows, picked][:, None]
    possible = (gain > 0) & (extra <= limit - paid(picked))
    if not possible.any():
      return dict(zip(values, picked.tolist(), strict=True))
    # What gains and costs nothing comes first.
    density = gain / np.maximum(extra, _TINY)
    best_of_all = np.where(possible, density, -np.inf).argmax()
    row, index = np.unravel_index(best_of_all, cost.shape)
    picked[row] = index


def settle(
  logits: Mapping[str, Array], costs: Table, limit: Any, *, spend: bool = False
) -> dict[str, Array]:
  """The likeliest choice of gates within a limit; may be traced.

  As `within`, of log-probabilities, in float32.

  Args:
    logits: `[K - 1]` by path, as `deltax.delta.gates` has them.
    costs: cost of each of the K candidates, by path.
    limit: of the sum of the costs, in their unit; may be traced.
    spend: whether what is left of the limit goes to costlier candidates, though
      less likely, one by one where the least probability is lost for it.

  Returns:
    `[K]` weights by path, one of them 1 and the others 0. No gradient flows
    through. Where even the cheapest choice exceeds the limit, it is that.

  Raises:
    ValueError: if logits and costs are of other layers or candidates.

  Example:
    >>> logits = {'a': jnp.array([2.0]), 'b': jnp.array([1.0])}
    >>> chosen = settle(logits, {'a': (8, 2), 'b': (8, 2)}, 10.0)
    >>> {path: int(weights.argmax()) for path, weights in chosen.items()}
    {'a': 0, 'b': 1}
  """
  if not logits:
    return {}
  sizes = {path: gate.size + 1 for path, gate in logits.items()}
  _check_paths({path: range(size) for path, size in sizes.items()}, costs)
  table = _padded({path: costs[path] for path in sizes}, 0.0)
  unit = table.max(1).sum() or 1.0
  cost, share = jnp.asarray(table / unit, jnp.float32), limit / unit
  value = jnp.stack(
    [
      jnp.pad(
        jax.nn.log_softmax(gates.complete(lax.stop_gradient(gate))),
        (0, table.shape[1] - gate.size - 1),
        constant_values=-jnp.inf,
      )
      for gate in logits.values()
    ]
  )

  def best(log_price):
    score = value - jnp.exp(log_price) * cost
    return score.shape[1] - 1 - score[:, ::-1].argmax(1)

  def of(table, picked):
    return jnp.take_along_axis(table, picked[:, None], 1)

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) / 2
    fits = of(cost, best(middle)).sum() <= share
    return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

  def density(picked, wanted):
    """Of every candidate that is wanted and that the limit allows."""
    gain, extra = value - of(value, picked), cost - of(cost, picked)
    fits = extra <= share - of(cost, picked).sum()
    possible = wanted(gain, extra) & fits & (value > -jnp.inf)
    return jnp.where(possible, gain / jnp.maximum(extra, _TINY), -jnp.inf)

  _, price = lax.fori_loop(0, _TRACED_HALVINGS, halve, _LOG_PRICES)
  # Layers choose for themselves at a price that leaves some of the limit over:
  # first to what gains by it, then, if asked, to whatever it still buys.
  picked = _filled(
    best(price), lambda picked: density(picked, lambda gain, extra: gain > 0)
  )
  if spend:
    picked = _filled(
      picked, lambda picked: density(picked, lambda gain, extra: extra > 0)
    )
  return {
    path: jax.nn.one_hot(picked[row], size)
    for row, (path, size) in enumerate(sizes.items())
  }


def _filled(picked: Array, density: Callable[[Array], Array]) -> Array:
  """Takes the densest possible candidate again and again, while there is one.

  Args:
    picked: int `[L]`, index of the candidate of every layer.
    density: of every candidate `[L, K]`, given what is picked; -inf where it is
      not possible.
  """

  def fill(picked):
    densities = density(picked)
    row, index = jnp.unravel_index(densities.argmax(), densities.shape)
    return picked.at[row].set(index)

  return lax.while_loop(
    lambda picked: (density(picked) > -jnp.inf).any(), fill, picked
  )


def evolve(
  score: Callable[[list[Choice]], Sequence[float]],
  costs: Table,
  limit: float,
  *,
  seed: int = 0,
  population: int = 32,
  generations: int = 20,
) -> Choice:
  """The best choice that an evolutionary search finds within a limit.

  The better half of a generation stays. Children take every layer from one of
  two parents, draw a few anew, and give up costly candidates at random until
  they are within the limit. No choice is scored twice.

  Args:
    score: of some choices, one number each; larger is better.
    costs: of every candidate, by path.
    limit: of the sum of the costs, in their unit.
    seed: of the draws.
    population: choices of a generation, two or more.
    generations: how many follow the first.

  Returns:
    The choice.

  Raises:
    ValueError: if the cheapest choice exceeds the limit, or the population is
      too small.
  """
  if population < 2:
    raise ValueError(f'a population is two or more, got {population}')
  _check_reachable(costs, limit)
  cost = _padded(costs, np.inf)
  sizes = np.array([len(row) for row in costs.values()])
  rows, draw = np.arange(len(cost)), np.random.default_rng(seed)

  def repaired(picked):
    while cost[rows, picked].sum() > limit:
      row = draw.choice(np.flatnonzero(cost[rows, picked] > cost.min(1)))
      cheaper = np.flatnonzero(cost[row] < cost[row, picked[row]])
      picked[row] = draw.choice(cheaper)
    return tuple(picked.tolist())

  def child(parents):
    one, other = draw.choice(len(parents), 2, replace=False)
    picked = np.where(
      draw.random(len(rows)) < 0.5, parents[one], parents[other]
    )
    anew = draw.random(len(rows)) < max(_MUTATIONS, 1 / len(rows))
    return repaired(np.where(anew, draw.integers(sizes), picked))

  scores: dict[tuple[int, ...], float] = {}

  def judge(generation):
    fresh = [
      child for child in dict.fromkeys(generation) if child not in scores
    ]
    if fresh:
      named = [dict(zip(costs, child, strict=True)) for child in fresh]
      scores.update(zip(fresh, map(float, score(named)), strict=True))

  judge([repaired(draw.integers(sizes)) for _ in range(population)])
  for _ in range(generations):
    kept = sorted(scores, key=scores.get, reverse=True)[: population // 2]
    parents = kept if len(kept) > 1 else kept * 2
    judge([child(parents) for _ in range(population - len(kept))])
  return dict(zip(costs, max(scores, key=scores.get), strict=True))


def total(costs: Table, choice: Mapping[str, int]) -> float:
  """Cost of a choice.

  Example:
    >>> total({'a': (8, 2), 'b': (4, 1)}, {'a': 1, 'b': 0})
    6.0
  """
  return float(sum(costs[path][index] for path, index in choice.items()))


def _check_paths(values, costs):
  for path in {**values, **costs}:
    if path not in values or len(costs.get(path, ())) != len(values[path]):
      raise ValueError(
        f'{path!r} has {len(values.get(path, ()))} candidates with values and '
        f'{len(costs.get(path, ()))} with costs, expected as many'
      )


def _check_reachable(costs, limit):
  least = np.array([min(row) for row in costs.values()]).sum()
  if least > limit:
    raise ValueError(
      f'the cheapest choice costs {least:.6g}, {least - limit:.3g} more than '
      f'the limit of {limit:.6g}'
    )


def _padded(table, filler):
  """`[L, K]` of a table whose layers have K candidates or fewer."""
  width = max(map(len, table.values()))
  return np.array(
    [[*row, *[filler] * (width - len(row))] for row in table.values()], float
  )


def _highest_price(values, costs):
  """A price at which every layer takes its cheapest candidate."""
  most = max(max(row) - min(row) for row in values.values())
  gaps = [np.diff(np.unique(row)) for row in costs.values()]
  return 2 * most / min(np.concatenate(gaps), default=1.0)
