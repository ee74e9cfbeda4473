"""Average precision and recall are those of their definitions."""

import numpy as np
import pytest

from deltax.metrics import retrieval


def draw(seed, count=60, levels=None, missing=0):
  """Scores, of few values if `levels` are given, and which are relevant."""
  rng = np.random.default_rng(seed)
  scores = rng.random(count)
  if levels:
    scores = np.floor(scores * levels)
  scores[rng.permutation(count)[:missing]] = np.nan
  return scores, np.flatnonzero(rng.random(count) < 0.3)


def ranked(scores):
  """Places by descending score, as Python's stable sort leaves them."""
  listed = [place for place, score in enumerate(scores) if score == score]
  return sorted(listed, key=lambda place: scores[place], reverse=True)


CASES = [(None, 0), (None, 20), (4, 0), (4, 20), (1, 0)]


@pytest.mark.parametrize(('levels', 'missing'), CASES)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_ranks_are_those_of_a_stable_sort(levels, missing, dtype):
  for seed in range(10):
    scores, relevant = draw(seed, levels=levels, missing=missing)
    scores = scores.astype(dtype)
    order = ranked(scores)
    expected = [rank for rank, place in enumerate(order) if place in relevant]
    ranking = retrieval.Ranking(scores)
    assert len(ranking) == 60 - missing
    assert ranking.ranks(relevant).tolist() == expected
    shuffled = np.random.default_rng(seed).permutation(relevant)
    assert ranking.ranks(shuffled).tolist() == expected


def test_scores_of_other_types_rank_too():
  expected = retrieval.Ranking([3.0, 1, 2]).ranks([1, 2])
  for dtype in (np.float16, np.int32, np.uint8):
    scores = np.array([3, 1, 2], dtype)
    np.testing.assert_array_equal(
      retrieval.Ranking(scores).ranks([1, 2]), expected
    )
  with pytest.raises(ValueError, match=r'shape \(1, 3\): expected \[N\]'):
    retrieval.Ranking([[3.0, 1, 2]])


def test_nothing_in_a_list_has_no_rank():
  for scores in ([], [np.nan, np.nan]):
    ranking = retrieval.Ranking(scores)
    assert len(ranking) == 0
    assert ranking.ranks(range(len(scores))).tolist() == []


@pytest.mark.parametrize(('levels', 'missing'), CASES)
def test_lists_are_pooled_as_if_they_were_one(levels, missing):
  for seed in range(10):
    lists = [draw(seed, count, levels, missing) for count in (40, 25, 60)]
    whole = np.concatenate([scores for scores, _ in lists])
    (_, first), (_, second), (_, third) = lists
    places = np.concatenate([first, second + 40, third + 65])
    own = retrieval.pooled(
      [retrieval.Ranking(scores) for scores, _ in lists],
      [relevant for _, relevant in lists],
    )
    np.testing.assert_array_equal(own, retrieval.Ranking(whole).ranks(places))


def test_average_precision_is_that_of_its_definition():
  for seed in range(10):
    scores, relevant = draw(seed, levels=9, missing=5)
    hits, total = 0, 0.0
    for rank, place in enumerate(ranked(scores)):
      if place in relevant:
        hits += 1
        total += hits / (rank + 1)
    own = retrieval.average_precision(
      retrieval.Ranking(scores).ranks(relevant), len(relevant)
    )
    assert own == pytest.approx(total / len(relevant), rel=1e-12)


def test_trapezoids_are_those_of_their_definition():
  for seed in range(10):
    scores, relevant = draw(seed)
    area, hits = 0.0, 0
    for rank, place in enumerate(ranked(scores)):
      if place in relevant:
        before = hits / rank if rank else 1.0
        hits += 1
        area += (before + hits / (rank + 1)) / 2 / len(relevant)
    ranks = retrieval.Ranking(scores).ranks(relevant)
    own = retrieval.trapezoid_precision(ranks, len(relevant))
    assert own == pytest.approx(area, rel=1e-12)


def by_threshold(scores, relevant):
  """Sum over the thresholds of precision times the growth of recall."""
  total, before = 0.0, 0
  for threshold in sorted(set(scores[~np.isnan(scores)]), reverse=True):
    kept = np.flatnonzero(scores >= threshold)
    hits = len(set(kept) & set(relevant))
    total += hits / len(kept) * (hits - before) / len(relevant)
    before = hits
  return total


@pytest.mark.parametrize(('levels', 'missing'), CASES)
def test_tied_average_precision_is_that_of_its_definition(levels, missing):
  for seed in range(10):
    scores, relevant = draw(seed, levels=levels, missing=missing)
    own = retrieval.tied_average_precision(scores, relevant, len(relevant))
    assert own == pytest.approx(by_threshold(scores, relevant), rel=1e-12)


def test_of_equal_scores_only_the_tied_precision_forgets_the_order():
  scores = np.zeros(4)
  first, last = [0], [3]

  def tied(places):
    return retrieval.tied_average_precision(scores, places, 1)

  def plain(places):
    ranks = retrieval.Ranking(scores).ranks(places)
    return retrieval.average_precision(ranks, 1)

  assert tied(first) == tied(last) == 0.25
  assert (plain(first), plain(last)) == (1, 0.25)


def test_what_was_not_found_costs_its_share():
  assert retrieval.average_precision([0, 1], 4) == 0.5
  assert retrieval.trapezoid_precision([0, 1], 4) == 0.5
  assert retrieval.tied_average_precision([0.9, 0.8], [0, 1], 4) == 0.5
  assert retrieval.recall([0, 1], 4, k=10) == 0.5


def test_without_anything_relevant_there_is_no_score():
  assert np.isnan(retrieval.average_precision([], 0))
  assert np.isnan(retrieval.tied_average_precision([0.5], [], 0))
  assert np.isnan(retrieval.recall([], 0, k=1))
  assert retrieval.trapezoid_precision([], 0) == 0  # as EVVE has it


def test_nothing_found_is_zero():
  assert retrieval.average_precision([], 3) == 0
  assert retrieval.trapezoid_precision([], 3) == 0
  assert retrieval.tied_average_precision([0.5], [], 3) == 0
  assert retrieval.recall([], 3, k=1) == 0


def test_recall_asks_for_no_more_than_k():
  ranks = [0, 1, 2, 30]
  assert retrieval.recall(ranks, 4, k=1) == 1
  assert retrieval.recall(ranks, 4, k=2) == 1
  assert retrieval.recall(ranks, 4, k=10) == 0.75
  assert retrieval.recall(ranks, 4, k=31) == 1
  assert retrieval.recall([1], 4, k=1) == 0
