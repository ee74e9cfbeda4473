"""What changes reach: a unit behind skipped ones has nothing to predict.

The change of a unit's output is predicted from that of its inputs. Where these
come of units alone that are skipped, nothing changes, whatever student the unit
has: its cost buys nothing. So either it is skipped too, or one of those is not.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from deltax.delta.plan import Plan
from deltax.delta.search.joint import Offer, Price, joint
from deltax.delta.units import path_of

FRAME = ''  # the source of all change
SKIP = 'skip'

Sources = Mapping[str, frozenset[str]]


def sources(plan: Plan, variables: Any, shape: Sequence[int]) -> Sources:
  """What the inputs of every unit with candidates come of.

  Args:
    plan: for frames of this size.
    variables: of the network; only shapes matter.
    shape: of a frame, `(B, H, W, C)`.

  Returns:
    By path, the paths of the units whose outputs reach it through no other, and
    `FRAME` where the frame does.
  """
  marks = {path: jnp.zeros(()) for path in plan.selected}
  frame = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
  program, seen = jax.make_jaxpr(
    functools.partial(_inputs, plan), return_shape=True
  )(marks, variables, frame)
  jaxpr = program.jaxpr
  named = [*sorted(marks), *(None for _ in jax.tree.leaves(variables)), FRAME]
  reach = {
    variable: frozenset(() if name is None else (name,))
    for variable, name in zip(jaxpr.invars, named, strict=True)
  }

  def of(variables):
    known = (v for v in variables if not isinstance(v, Literal))
    return frozenset().union(*(reach.get(v, frozenset()) for v in known))

  for equation in jaxpr.eqns:
    came = of(equation.invars)
    reach |= {variable: came for variable in equation.outvars}
  places = jax.tree.unflatten(jax.tree.structure(seen), jaxpr.outvars)
  return {path: of(jax.tree.leaves(own)) for path, own in places.items()}


def _inputs(plan, marks, variables, frame):
  """The inputs of every unit, where the outputs are marks in their places."""
  seen: dict[str, list] = {}

  def hook(name, teacher, inputs):
    path = path_of(name)
    seen.setdefault(path, []).append(inputs)
    return jnp.zeros_like(teacher(*inputs)) + marks[path]

  plan.run(variables, frame, hook)
  return seen


def unmoved(sources: Sources, skipped: Collection[str]) -> set[str]:
  """Units whose inputs never change while others are skipped.

  Example:
    >>> chain = {'a': frozenset(['']), 'b': frozenset('a')}
    >>> unmoved(chain, ['a'])
    {'b'}
  """
  moving, before = {FRAME}, set()
  while moving != before:
    before = moving
    moving = {FRAME} | {
      path
      for path, own in sources.items()
      if path not in skipped and own & before
    }
  return {path for path, own in sources.items() if not own & moving}


def joint_of_moved(
  offers: Sequence[Offer],
  limit: float,
  sources_of: Callable[[Mapping[str, str]], Sources],
) -> dict[str, str]:
  """`joint`, but that no unit costs anything that no change reaches.

  Of two ways the one of less harm: what is behind skipped units is skipped too,
  and its cost spent elsewhere; or what stands before others is not skipped.

  Args:
    offers, limit: as `joint` takes them.
    sources_of: `sources` of the units of a choice.

  Returns:
    As `joint`.

  Raises:
    ValueError: as `joint`.
  """
  ways = []
  for otherwise in (_given_up, _revived):
    mine: Sequence[Offer] | None = offers
    while mine is not None:
      try:
        chosen = joint(mine, limit)
      except ValueError:
        if not ways:
          raise
        break
      came = sources_of(chosen)
      skipped = {path for path, name in chosen.items() if name == SKIP}
      idle = unmoved(came, skipped) - skipped
      idle &= {own.path for own in offers if SKIP in own.candidates}
      if not idle and mine is offers:
        return chosen
      if not idle:
        prices = {own.path: own.candidates for own in mine}
        harm = sum(prices[path][name].harm for path, name in chosen.items())
        ways.append((harm, len(ways), chosen))
        break
      mine = otherwise(mine, came, skipped, idle)
  return min(ways)[-1]


def _given_up(offers, came, skipped, idle) -> list[Offer]:
  """What is skipped stays so, and what it makes idle is skipped for nothing."""
  del came
  fixed = [own for own in offers if own.path in skipped | idle]
  left = []
  for own in offers:
    if own in fixed:
      price = own.candidates[SKIP]
      harm = 0.0 if own.path in idle else price.harm
      left.append(own._replace(candidates={SKIP: Price(harm, price.cost)}))
    elif not any(own.layers < other.layers for other in fixed):
      left.append(own)
  return left


def _revived(offers, came, skipped, idle) -> list[Offer] | None:
  """What makes others idle is not skipped; None where that is no help."""
  needed = {
    path
    for path in skipped
    if idle & unmoved(came, skipped) - unmoved(came, skipped - {path})
  }
  if not needed:
    return None
  left = []
  for own in offers:
    others = {n: price for n, price in own.candidates.items() if n != SKIP}
    changed = own.path in needed and others
    left.append(own._replace(candidates=others) if changed else own)
  return left if left != list(offers) else None
