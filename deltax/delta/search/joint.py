"""One choice among students of layers, of blocks that hold them, and of spans.

A block has either one student, or whatever its layers have. Both cost, and both
do something to the network's outputs; so of every block the choices that none
other beats are known from those of its layers, and the outermost blocks choose
within a limit as layers do.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deltax.delta.search import choice


class Price(NamedTuple):
  """What a candidate of a unit costs and does.

  Attributes:
    harm: to the network's outputs, in any unit.
    cost: in the unit of the limit.
  """

  harm: float
  cost: float


class Offer(NamedTuple):
  """What a layer, a block or a span may get.

  Attributes:
    path: of the unit.
    layers: names of the calls of layers that it covers.
    candidates: by name.
  """

  path: str
  layers: frozenset[str]
  candidates: Mapping[str, Price]


class _Plan(NamedTuple):
  """Candidates for all that a unit covers, `{path: name}`, and their price."""

  price: Price
  names: dict[str, str]


def joint(offers: Sequence[Offer], limit: float) -> dict[str, str]:
  """The choice of least harm whose cost is within a limit, nearly.

  Args:
    offers: layers, blocks and spans, of which one may cover others.
    limit: of the sum of the costs.

  Returns:
    `{path: name}` of what gets a student; whatever that covers has none.

  Raises:
    ValueError: two units share a layer and neither covers the other, or even
      the cheapest choice is beyond the limit.

  Example:
    >>> part = {'skip': Price(4, 0), 'teacher': Price(0, 5)}
    >>> block = Offer('block', frozenset('ab'), {'residual': Price(1, 3)})
    >>> layers = [Offer(name, frozenset(name), part) for name in 'ab']
    >>> joint([*layers, block], 4), joint([*layers, block], 10)
    ({'block': 'residual'}, {'a': 'teacher', 'b': 'teacher'})
  """
  plans = [_plans(offer, offers) for offer in _outermost(offers)]
  rows = {str(n): own for n, own in enumerate(plans)}
  picked = choice.within(
    {n: [-plan.price.harm for plan in own] for n, own in rows.items()},
    {n: [plan.price.cost for plan in own] for n, own in rows.items()},
    limit,
  )
  names = {}
  for n, index in picked.items():
    names |= rows[n][index].names
  return names


def _outermost(offers: Sequence[Offer]) -> list[Offer]:
  """Those that no other covers; of two of the same layers, both in one list."""
  found = []
  for offer in sorted(offers, key=lambda offer: -len(offer.layers)):
    holders = [own for own in found if own.layers & offer.layers]
    if any(not offer.layers <= own.layers for own in holders):
      raise ValueError(
        f'{offer.path!r} and {holders[0].path!r} share a layer, and neither is '
        'within the other'
      )
    if not holders:
      found.append(offer)
  return found


def _plans(offer: Offer, offers: Sequence[Offer]) -> list[_Plan]:
  """What may be had for all that an offer covers, the cheapest first."""
  own = [_Plan(price, {offer.path: n}) for n, price in offer.candidates.items()]
  inside = [
    other
    for other in offers
    if other is not offer and other.layers <= offer.layers
  ]
  if not inside:
    return _unbeaten(own)
  together = [_Plan(Price(0.0, 0.0), {})]
  for part in _outermost(inside):
    together = _unbeaten(
      [
        _Plan(
          Price(*(x + y for x, y in zip(one.price, two.price, strict=True))),
          one.names | two.names,
        )
        for one in together
        for two in _plans(part, inside)
      ]
    )
  return _unbeaten([*own, *together])


def _unbeaten(plans: Sequence[_Plan]) -> list[_Plan]:
  """Plans on the lower hull of harm over cost: what any price would choose."""
  hull: list[_Plan] = []
  for plan in sorted(plans, key=lambda plan: plan.price[::-1]):
    price = plan.price
    if hull and price.harm >= hull[-1].price.harm:
      continue
    while len(hull) > 1 and _is_above(hull[-2].price, hull[-1].price, price):
      hull.pop()
    hull.append(plan)
  return hull


def _is_above(first: Price, middle: Price, last: Price) -> bool:
  """Whether a price lies on or above the line between two others."""
  slope = (last.harm - first.harm) / (last.cost - first.cost)
  return middle.harm >= first.harm + slope * (middle.cost - first.cost)
