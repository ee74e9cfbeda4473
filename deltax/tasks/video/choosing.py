"""Students within a budget, chosen before any training."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging

from deltax import delta as delta_wing
from deltax.delta import Streamer, latency
from deltax.delta.cost import units
from deltax.delta.plan import Planner
from deltax.delta.search.flow import Sources, joint_of_moved, sources
from deltax.delta.search.joint import Offer, Price
from deltax.delta.spec import offered
from deltax.delta.survey import survey
from deltax.tasks.video import deployed
from deltax.types import Array

# What a layer may get: nothing, and ever more.
LAYERS = (
  ('skip',),
  ('low_rank', 16),
  ('low_rank', 8),
  ('low_rank', 4),
  ('low_rank', 2),
  ('teacher',),
)
BLOCKS = (
  ('skip',),
  ('residual', 8, 2),
  ('residual', 4, 2),
  ('residual', 4, 1),
  ('teacher',),
)
_ROUNDS = 6  # of measuring a choice, and correcting what it may cost
_NEAR = 0.02  # of the target: near enough

Rows = Sequence[Sequence[Any]]
Progress = Callable[[int, int], None]


def choose(
  net: Any,
  variables: Any,
  spec: Mapping[str, Any],
  clips: Sequence[Array],
  frame: Array,
  targets: Sequence[float],
  *,
  by: str = 'macs',
  candidates: Rows = LAYERS,
  blocks: Sequence[str] = (),
  spans: Sequence[tuple[str, str]] = (),
  block_candidates: Rows = BLOCKS,
  progress: Progress | None = None,
) -> list[dict[str, Any]]:
  """Specs whose later frames cost so much, at the least harm to the outputs.

  All candidates are fitted to some clips. What one misses of its unit's change,
  times how much the outputs mind that, is its harm; the choice has the least in
  all, and no unit costs anything that no change reaches. A choice by time is
  deployed and measured, and made again for as much less or more as it is off.

  Args:
    net: the network.
    variables: of it.
    spec: options of `make_spec`, of which the layers' rule, the reference and
      the like are kept.
    clips: float32 `[B, T, H, W, C]`, as the network takes them.
    frame: `[1, H, W, C]`, of the size that costs are told for.
    targets: what a later frame may cost, as shares of the network's frame.
    by: 'macs', or 'time': milliseconds measured here.
    candidates: of layers.
    blocks: classes or paths of modules that may have one student instead of
      their layers.
    spans: what else may, see `deltax.delta.Spec`.
    block_candidates: of blocks and spans.
    progress: told how many of how many programs are compiled for timing.

  Returns:
    Options of `make_spec` for each target.

  Raises:
    ValueError: a target is no positive share below 1, or not even the cheapest
      choice has it.
  """
  if by not in ('macs', 'time'):
    raise ValueError(f"students are chosen by 'macs' or 'time', got {by!r}")
  for target in targets:
    if not 0 < target < 1:
      raise ValueError(f'a target is a positive share below 1, got {target}')
  base = {name: own for name, own in spec.items() if name not in _CHOSEN}
  rows = {'candidates': candidates, 'block_candidates': block_candidates}
  menus = [
    {**base, **rows, **more}
    for more, wanted in (
      ({}, True),
      ({'blocks': blocks, 'candidates': _AROUND}, blocks),
      ({'spans': spans, 'candidates': _AROUND}, spans),
    )
    if wanted
  ]
  priced = functools.partial(_priced, net, variables, clips, frame, by)
  layers, *others = (priced(menu, progress) for menu in menus)
  of_blocks = {path for menu in others for path in menu.blocks}
  offers = [
    *layers.offers,
    *(own for menu in others for own in menu.offers if own.path in menu.blocks),
  ]
  kinds = _rows(candidates), _rows(block_candidates, blocks=True)
  ends = {f'{first}-{last}': (first, last) for first, last in spans}

  def options(chosen):
    """Those of a spec with the students of a choice."""
    return {
      **base,
      'candidates': (('teacher',),),
      'blocks': [p for p in chosen if p in of_blocks and p not in ends],
      'spans': [ends[p] for p in chosen if p in ends],
      'choices': {
        p: kinds[p in of_blocks][n]
        for p, n in chosen.items()
        if p in layers.picked or p in of_blocks
      },
    }

  def came(chosen):
    return _sources(net, variables, frame, options(chosen))

  def named(limit):
    """Options of a spec that costs so much."""
    return options(joint_of_moved(offers, limit - layers.rest, came))

  if by == 'macs':
    return [named(target * layers.whole) for target in targets]
  alone = Streamer(deployed.freeze_teacher(net, variables, frame), interval=1)
  measured = functools.partial(_measured, net, variables, frame, alone)
  return [
    _corrected(named, measured, target, layers.whole) for target in targets
  ]


# What a choice says of a spec; all else of it stays.
_CHOSEN = ('candidates', 'choices', 'blocks', 'block_candidates', 'spans')
# Of layers, while blocks are fitted. As everywhere the last candidate runs in
# front of what follows: the teacher, so that no unit is blamed for another.
_AROUND = (('low_rank', 4), ('teacher',))


class _Menu(NamedTuple):
  """What there is to choose from, and what a frame costs.

  Attributes:
    offers: of layers, blocks and spans.
    blocks: paths of the blocks and spans.
    picked: paths of the layers that may have students.
    whole: cost of the network's frame.
    rest: of a later frame, what no offer is about.
  """

  offers: list[Offer]
  blocks: set[str]
  picked: set[str]
  whole: float
  rest: float


def _priced(
  net: Any,
  variables: Any,
  clips: Sequence[Array],
  frame: Array,
  by: str,
  menu: Mapping[str, Any],
  progress: Progress | None,
) -> _Menu:
  """Fits all candidates of a spec, and prices them."""
  spec, picked = _with_others(delta_wing.make_spec(**menu))
  delta = delta_wing.distill(net, spec)
  params = delta.init(jax.random.key(0), variables, frame)
  listed = survey(delta.net, params['teacher'], frame)
  selected = delta.spec.select(listed)
  if by == 'time':
    times = latency.measure(
      *(net, params['teacher'], delta.spec, frame.shape), progress=progress
    )
    costs, teacher = latency.table(times, selected)
    whole, rest = times.frame, times.rest
  else:
    costs, teacher = delta.costs(params, frame)
    whole = delta_wing.count(net, params['teacher'], frame).key
    rest = max(0.0, whole - sum(teacher.values()))
  fitted = delta_wing.fit(delta, params, clips)
  calls = units(listed, selected)
  offers, blocks = [], set()
  for path, missed in fitted.after.items():
    unit, students = selected[path]
    prices = {
      student.name: Price(missed[student.name] * fitted.matters[path], cost)
      for student, cost in zip(students, costs[path], strict=True)
    }
    covered = {n for call in calls if call.path == path for n in call.calls}
    offers.append(Offer(path, frozenset(covered), prices))
    if isinstance(unit, delta_wing.Block):
      blocks.add(path)
  return _Menu(offers, blocks, picked, whole, rest)


def _sources(
  net: Any, variables: Any, frame: Array, options: Mapping[str, Any]
) -> Sources:
  """What the units of a spec have their changes from."""
  delta = delta_wing.distill(net, delta_wing.make_spec(**options))
  params = jax.eval_shape(delta.init, jax.random.key(0), variables, frame)
  plan = Planner(delta.net, delta.spec)(params['teacher'], frame.shape)
  return sources(plan, params['teacher'], frame.shape)


def _with_others(spec: delta_wing.Spec) -> tuple[delta_wing.Spec, set[str]]:
  """A spec in which layers without students have one candidate: themselves.

  A block that covers such a layer spares it, which is to be known. Beside the
  spec, paths of the other layers, which are known once it was asked for them.
  """
  picked: set[str] = set()

  def layers(every):
    picked.update(layer.path for layer in spec.layers(every))
    return every

  def candidates(layer):
    if layer.path not in picked:
      return (delta_wing.Teacher(),)
    return offered(spec.candidates, layer)

  return (
    dataclasses.replace(spec, layers=layers, candidates=candidates),
    picked,
  )


def _rows(rows: Rows, blocks: bool = False) -> dict[str, Sequence[Any]]:
  """Candidates as plain values, by the names that they have."""
  kind = 'block_candidates' if blocks else 'candidates'
  made = getattr(delta_wing.make_spec(**{kind: rows}), kind)
  return {c.name: row for c, row in zip(made, rows, strict=True)}


def _measured(
  net: Any,
  variables: Any,
  frame: Array,
  alone: Streamer,
  spec: Mapping[str, Any],
) -> float:
  """A later frame's share of the milliseconds of the network `alone`."""
  delta = delta_wing.distill(net, delta_wing.make_spec(**spec))
  params = delta.init(jax.random.key(0), variables, frame)
  stream = Streamer(delta.freeze(params, frame), interval=1 << 30)
  ms = deployed.measure(alone, frame, stream)
  return ms['later'] / ms['teacher']


def _corrected(
  named: Callable[[float], dict[str, Any]],
  measured: Callable[[Mapping[str, Any]], float],
  target: float,
  whole: float,
) -> dict[str, Any]:
  """A choice whose measured share is a target's.

  Parts do not add up to what the whole takes: what lies between them differs
  from choice to choice, and by steps. So a correction that leaves what is
  between a choice of too little and one of too much goes to the middle.
  """
  share, below, above, best = target, 0.0, math.inf, None
  for _ in range(_ROUNDS):
    try:
      spec = named(share * whole)
    except ValueError:
      if best is None:
        raise
      break  # the cheapest one was seen
    if all(row[0] == 'teacher' for row in spec['choices'].values()):
      above = share  # the network itself, whatever that adds up to
      share = (below + above) / 2
      continue
    took = measured(spec)
    logging.info('chosen for %.3f of a frame, measured %.3f', share, took)
    if best is None or abs(took - target) < abs(best[0] - target):
      best = took, spec
    if abs(took / target - 1) < _NEAR:
      break
    if took < target:
      below = max(below, share)
    else:
      above = min(above, share)
    share += target - took
    if below < above and not below < share < above:
      share = (below + above) / 2
  if best is None:
    raise ValueError(f'no student is within {target} of the network here')
  return best[1]
