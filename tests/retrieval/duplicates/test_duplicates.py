"""Copies within a collection of made features."""

import itertools

import numpy as np
import pytest

from deltax import systems
from deltax.retrieval.duplicates import candidates, find, groups, rarity
from deltax.systems.folder import make_system


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_candidates_are_those_of_all_products():
  rng = np.random.default_rng(0)
  vectors = unit(rng.normal(size=(300, 8)).astype(np.float32))
  owners = np.sort(rng.integers(0, 150, 300))
  owners = np.unique(owners, return_inverse=True)[1]
  count = owners.max() + 1
  best = {
    (a, b): (vectors[owners == a] @ vectors[owners == b].T).max()
    for a, b in itertools.combinations(range(count), 2)
  }
  expected = sorted(best, key=lambda pair: -best[pair])
  found = candidates.nearest_pairs(vectors, owners, each=count, most=len(best))
  assert [tuple(pair) for pair in found.tolist()] == expected
  few = candidates.nearest_pairs(vectors, owners, each=3, most=50)
  assert len(few) == 50
  for a, b in few.tolist():
    near = [
      sorted(
        (n for n in range(count) if n != x),
        key=lambda n: -best[min(n, x), max(n, x)],
      )[:3]
      for x in (a, b)
    ]
    assert b in near[0] or a in near[1]


def test_one_video_and_no_budget_have_no_candidates():
  one = np.ones((2, 1), np.float32)
  assert not len(
    candidates.nearest_pairs(one, np.zeros(2, int), each=5, most=9)
  )
  two = candidates.nearest_pairs(one, np.arange(2), each=5, most=0)
  assert two.shape == (0, 2)


def test_groups_are_joined_by_any_chain():
  assert groups.group([]) == []
  assert groups.group([(5, 6), (1, 2), (6, 2), (8, 9)]) == [
    [1, 2, 5, 6],
    [8, 9],
  ]


def test_what_many_share_counts_little_and_whole_copies_share_all():
  whole = [(0.0, 10.0)]
  copies = [
    rarity.Overlap((a, b), (whole, whole))
    for a, b in itertools.combinations(range(20), 2)
  ]
  weights = rarity.second_weights([10.0] * 20, copies)
  np.testing.assert_allclose(weights[3], 1 / 19)
  assert rarity.shares(copies[0], weights) == pytest.approx((1, 1))
  opening = [(0.0, 5.0)]
  openings = [
    rarity.Overlap((a, b), (opening, opening))
    for a, b in itertools.combinations(range(20), 2)
  ]
  weights = rarity.second_weights([10.0] * 20, openings)
  assert rarity.shares(openings[0], weights) == pytest.approx([0.05] * 2)


@pytest.fixture(scope='module')
def index(tmp_path_factory):
  """Videos of a collection: one, one twice as long that has it, others."""
  rng = np.random.default_rng(1)

  def film(frames):
    return unit(rng.normal(size=(frames, 9, 64)).astype(np.float32))

  first = film(20)
  noise = rng.normal(size=first.shape).astype(np.float32) * 0.02
  features = {
    'first': first,
    'again': unit(first + noise),
    'longer': np.concatenate([film(15), first, film(10)]),
    **{f'other {n}': film(20) for n in range(6)},
  }
  folder = tmp_path_factory.mktemp('duplicates') / 'index'
  return systems.index_features(folder, features, make_system(None))


def test_pairs_are_told_with_what_they_are_and_where(index):
  found = find.find_duplicates(index, make_system(None))
  rows = {name: row for row, name in enumerate(index.names)}
  assert found.groups == ((rows['first'], rows['again']),)
  told = {(pair.first, pair.second): pair for pair in found.pairs}
  same = told.pop((rows['first'], rows['again']))
  assert same.relation == find.SAME and min(same.shares) > 0.95
  assert set(told) == {(rows[n], rows['longer']) for n in ('first', 'again')}
  for pair in told.values():
    assert pair.relation == find.CONTAINED
    assert pair.shares[0] > 0.95 > 0.6 > pair.shares[1]
    (where,) = pair.where
    assert where.query == pytest.approx((0, 20), abs=1)
    assert where.target == pytest.approx((15, 35), abs=1)


def test_a_budget_compares_the_most_similar_pairs_only(index):
  for budget in (0, 1, 3, 100):
    found = find.find_duplicates(index, make_system(None), budget=budget)
    assert found.compared == min(budget, 36)
    assert len(found.pairs) == min(budget, 3)
  with pytest.raises(ValueError, match='budget=-1'):
    find.find_duplicates(index, make_system(None), budget=-1)
