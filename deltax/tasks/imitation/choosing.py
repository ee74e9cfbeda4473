"""A student for every layer within a budget, chosen before any training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta.search import choice
from deltax.tasks.network import bring
from deltax.tasks.video.budget import Budget
from deltax.types import Batch

# What a layer may get: nothing, and ever more.
CANDIDATES = (
  ('skip',),
  ('low_rank', 16),
  ('low_rank', 8),
  ('low_rank', 4),
  ('low_rank', 2),
  ('teacher',),
)


def choose(
  options: Mapping[str, Any],
  batches: Sequence[Batch],
  targets: Sequence[float],
  *,
  by_time: bool,
  progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
  """Specs whose later frames cost so much, at the least harm to the outputs.

  All candidates of all layers are fitted to some clips. What a candidate misses
  of its layer's change, times how much the outputs mind that, is its harm; the
  choice has the least in all.

  Args:
    options: keyword arguments of `make_task`, teacher included.
    batches: of training, with 'frames'.
    targets: what a later frame may cost, as shares of the network's frame.
    by_time: whether costs are milliseconds measured here, else
      multiply-accumulates.
    progress: told how many of how many programs are compiled and timed.

  Returns:
    Options of `make_spec` for each target.

  Raises:
    ValueError: a target is no positive share, or not even the cheapest choice
      has it.
  """
  brought = bring(
    options['model'], options.get('options'), options.get('preparation')
  )
  spec = dict(options['delta'].get('spec') or {}) | {'candidates': CANDIDATES}
  delta = delta_wing.distill(brought.net, delta_wing.make_spec(**spec))
  clips = [brought.prepare(jnp.asarray(batch['frames'])) for batch in batches]
  frame = brought.prepare(jnp.zeros((1, *options['size'], 3), jnp.uint8))
  teacher = options.get('teacher')
  if teacher is None:
    teacher = brought.variables(jax.random.key(0), frame)
  params = delta.init(jax.random.key(0), teacher, frame)
  latencies = None
  if by_time:
    latencies = delta_wing.latency.measure(
      *(brought.net, params['teacher'], delta.spec, frame.shape),
      progress=progress,
    )
  prices = Budget(latencies=latencies).prices(delta, params['teacher'], frame)
  limits = [prices.limit(_share(x), params['gates']) for x in targets]
  fitted = delta_wing.fit(delta, params, clips)
  values = {
    path: [-fitted.matters[path] * missed for missed in by_candidate.values()]
    for path, by_candidate in fitted.after.items()
    if path in params['gates']
  }
  costs = prices.gated(values)
  return [
    {
      **spec,
      'candidates': CANDIDATES[2:3],
      'choices': _named(fitted.after, choice.within(values, costs, limit)),
    }
    for limit in limits
  ]


def _share(target: float) -> float:
  if not target > 0:
    raise ValueError(f'a target is a positive share, got {target}')
  return target


def _named(
  missed: Mapping[str, Mapping[str, float]], chosen: Mapping[str, int]
) -> dict[str, tuple]:
  """Rows of `CANDIDATES` by path; of the layers that can have one only, that.

  Args:
    missed: of every candidate, by its name and path.
    chosen: index of the candidate by path, where there are several.
  """
  made = delta_wing.make_spec(candidates=CANDIDATES).candidates
  rows = {c.name: row for c, row in zip(made, CANDIDATES, strict=True)}
  return {
    path: rows[list(by_candidate)[chosen.get(path, 0)]]
    for path, by_candidate in missed.items()
  }
