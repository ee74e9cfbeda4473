"""A student for every layer within a budget, chosen before any training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta.search import choice, latency
from deltax.tasks.network import bring
from deltax.tasks.parts import variables_of
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
  spec = {**(options['delta'].get('spec') or {}), 'candidates': CANDIDATES}
  delta = delta_wing.distill(brought.net, delta_wing.make_spec(**spec))
  clips = [brought.prepare(jnp.asarray(batch['frames'])) for batch in batches]
  frame = brought.prepare(jnp.zeros((1, *options['size'], 3), jnp.uint8))
  params = delta.init(jax.random.key(0), _teacher(options), frame)
  fitted = delta_wing.fit(delta, params, clips)
  harms = delta_wing.harms(fitted)
  if by_time:
    measured = latency.measure(
      *(brought.net, params['teacher'], delta.spec, frame.shape),
      progress=progress or (lambda done, count: None),
    )
    names = {path: list(own) for path, own in harms.items()}
    costs = {
      path: [measured.candidates[path][name].ms for name in own]
      for path, own in names.items()
    }
    whole, rest = measured.frame, measured.rest
  else:
    costs, teacher = delta.costs(params, frame)
    whole, rest = sum(teacher.values()), 0.0
  return [
    {**spec, 'candidates': CANDIDATES[2:3], 'choices': _within(...)}
    for target in targets
  ]
