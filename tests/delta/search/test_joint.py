"""One choice among students of layers, of blocks and of spans."""

import itertools

import numpy as np
import pytest

from deltax.delta.search.joint import Offer, Price, joint


def offers_of(rng, layers=6, blocks=('abc', 'ef')):
  """Layers named by a letter, with some candidates each, and blocks of them."""
  names = 'abcdef'[:layers]

  def candidates(count):
    cost = np.sort(rng.uniform(0, 5, count))
    harm = np.sort(rng.uniform(0, 9, count))[::-1]
    rows = zip(harm, cost, strict=True)
    return {f'{k}': Price(float(h), float(c)) for k, (h, c) in enumerate(rows)}

  return [
    *(Offer(name, frozenset(name), candidates(3)) for name in names),
    *(Offer(name.upper(), frozenset(name), candidates(2)) for name in blocks),
  ]


def all_choices(offers):
  """Every way to give each layer one candidate, of itself or of its block."""
  layers = {o.path: o for o in offers if len(o.layers) == 1}
  blocks = [o for o in offers if len(o.layers) > 1]
  for with_student in itertools.product(
    *[(None, *o.candidates) for o in blocks]
  ):
    of_blocks = {
      block.path: name
      for block, name in zip(blocks, with_student, strict=True)
      if name is not None
    }
    taken = {x for o in blocks if o.path in of_blocks for x in o.layers}
    free = [path for path in layers if path not in taken]
    for names in itertools.product(*[layers[path].candidates for path in free]):
      yield of_blocks | dict(zip(free, names, strict=True))


def price_of(offers, chosen):
  by_path = {offer.path: offer.candidates for offer in offers}
  prices = [by_path[path][name] for path, name in chosen.items()]
  return sum(p.harm for p in prices), sum(p.cost for p in prices)


@pytest.mark.parametrize('seed', range(4))
def test_the_choice_is_as_good_as_the_best_of_all_but_for_one_step(seed):
  offers = offers_of(np.random.default_rng(seed))
  every = [price_of(offers, chosen) for chosen in all_choices(offers)]
  widest = max(
    max(p.harm for p in offer.candidates.values()) * len(offer.layers)
    for offer in offers
  )
  for limit in (8.0, 12.0, 18.0):
    within = [harm for harm, cost in every if cost <= limit]
    chosen = joint(offers, limit)
    harm, cost = price_of(offers, chosen)
    assert chosen in [*all_choices(offers)]
    assert cost <= limit + 1e-9
    assert min(within) <= harm + 1e-9 <= min(within) + widest


def test_a_block_gets_its_student_where_that_is_the_better_bargain():
  layers = [
    Offer(name, frozenset(name), {'skip': Price(5, 0), 'low': Price(1, 4)})
    for name in 'ab'
  ]
  good = Offer('block', frozenset('ab'), {'residual': Price(3, 4)})
  bad = Offer('block', frozenset('ab'), {'residual': Price(9, 7.9)})
  assert joint([*layers, good], 4.5) == {'block': 'residual'}
  assert joint([*layers, good], 8.5) == {'a': 'low', 'b': 'low'}
  assert joint([*layers, bad], 8.5) == {'a': 'low', 'b': 'low'}


def test_blocks_may_be_within_blocks_and_cover_the_same_layers():
  inner = Offer('inner', frozenset('ab'), {'x': Price(1, 1)})
  same = Offer('same', frozenset('ab'), {'x': Price(2, 0.5)})
  outer = Offer('outer', frozenset('abc'), {'x': Price(9, 0.1)})
  layers = [
    Offer(name, frozenset(name), {'teacher': Price(0, 5)}) for name in 'abc'
  ]
  offers = [*layers, inner, same, outer]
  assert joint(offers, 0.2) == {'outer': 'x'}
  assert joint(offers, 15) == dict.fromkeys('abc', 'teacher')
  assert joint(offers, 6) == {'inner': 'x', 'c': 'teacher'}


def test_units_that_overlap_are_told():
  one = Offer('one', frozenset('ab'), {'x': Price(1, 1)})
  two = Offer('two', frozenset('bc'), {'x': Price(1, 1)})
  with pytest.raises(ValueError, match="'two' and 'one' share a layer"):
    joint([one, two], 9)


def test_a_limit_below_the_cheapest_choice_is_told():
  one = Offer('one', frozenset('a'), {'x': Price(1, 2)})
  with pytest.raises(ValueError, match='the cheapest choice costs 2, 1 more'):
    joint([one], 1)
