"""Which pairs are re-ranked, and what comes out."""

import dns_rule
import numpy as np
import pytest

from deltax.data.features.annotations import Copies
from deltax.metrics.protocols import evaluate
from deltax.retrieval.search import rerank

GOLDEN = dns_rule.load('evaluation.json')['rerank']


def golden():
  """Coarse, selector and fine scores, NaN for videos that are not available."""
  there = np.array(GOLDEN['available'])
  coarse, fine = np.array(GOLDEN['coarse']), np.array(GOLDEN['fine'])
  selector = np.full(len(there), np.nan)
  selector[there] = GOLDEN['selector_scores']
  return np.where(there, coarse, np.nan), selector, fine


@pytest.mark.parametrize('share', GOLDEN['by_percentage'])
def test_a_share_is_re_ranked_as_published(share):
  coarse, selector, fine = golden()
  own = rerank.by_percentage(coarse, selector, fine, float(share))
  there = np.array(GOLDEN['available'])
  expected = np.array(GOLDEN['by_percentage'][share])
  np.testing.assert_array_equal(own[there], expected[there])
  assert np.isnan(own[~there]).all()


def test_pairs_are_taken_in_the_published_order():
  coarse, selector, _ = golden()
  places = np.flatnonzero(GOLDEN['available'])[GOLDEN['order_desc']]
  whole = rerank.by_budget(coarse, selector, 21, pairs=21)
  np.testing.assert_array_equal(whole, places)


def test_all_shares_go_from_coarse_to_fine():
  rng = np.random.default_rng(0)
  coarse, selector, fine = rng.random((3, 40))
  changed = [
    (rerank.by_percentage(coarse, selector, fine, share) != coarse).sum()
    for share in rerank.SHARES
  ]
  assert changed == [2 * step for step in range(21)]
  assert rerank.SHARES[3] == 0.15 and rerank.SHARES[-1] == 1
  np.testing.assert_array_equal(
    rerank.by_percentage(coarse, selector, fine, 1), fine
  )


def slow_budget(coarse, selector, top_k, pairs):
  """Places by sorting twice."""
  known = [place for place in range(len(coarse)) if not np.isnan(coarse[place])]
  best = sorted(known, key=lambda place: -coarse[place])[:top_k]
  needed = (
    best if selector is None else sorted(best, key=lambda p: -selector[p])
  )
  return needed[:pairs]


@pytest.mark.parametrize('levels', [3, 1000])
@pytest.mark.parametrize('guided', [True, False])
def test_a_budget_takes_the_needy_among_the_best(levels, guided):
  rng = np.random.default_rng(levels)
  for top_k, pairs in ((10, 4), (4, 10), (50, 50), (1, 1), (0, 5), (5, 0)):
    coarse = np.floor(levels * rng.random(50)) / levels
    coarse[rng.integers(0, 50, 5)] = np.nan
    selector = rng.random(50) if guided else None
    own = rerank.by_budget(coarse, selector, top_k, pairs=pairs)
    assert own.tolist() == slow_budget(coarse, selector, top_k, pairs)


def test_the_selector_is_only_read_where_the_coarse_student_is_best():
  coarse, selector = np.array([0.9, 0.1, 0.8]), np.array([0.1, np.nan, 0.2])
  own = rerank.by_budget(coarse, selector, 2, pairs=2)
  assert own.tolist() == [2, 0]


def test_a_budget_of_time_is_one_of_pairs():
  assert rerank.pairs_within(100, 8) == 12
  assert rerank.pairs_within(7, 8) == 0
  for wrong in ((-1, 8), (100, 0), (100, -1)):
    with pytest.raises(ValueError, match='a positive one for a pair'):
      rerank.pairs_within(*wrong)


def test_what_does_not_fit_is_named():
  three, two = np.zeros(3), np.zeros(2)
  with pytest.raises(ValueError, match=r'selector of shape \(2,\)'):
    rerank.by_percentage(three, two, three, 0.5)
  with pytest.raises(ValueError, match=r'fine of shape \(2,\)'):
    rerank.by_percentage(three, three, two, 0.5)
  with pytest.raises(ValueError, match=r'selector of shape \(2,\)'):
    rerank.by_budget(three, two, 1, pairs=1)
  for share in (20, -0.1, np.nan):
    with pytest.raises(ValueError, match='not within 0 and 1'):
      rerank.by_percentage(three, three, three, share)
  with pytest.raises(ValueError, match='top_k=-1'):
    rerank.by_budget(three, three, -1, pairs=1)
  holes = np.array([0, np.nan, 0])
  with pytest.raises(ValueError, match=r'pair 1 .* has no fine score'):
    rerank.by_percentage(three, np.array([0, 1, 0]), holes, 0.4)


def search(seed=0, queries=6, count=60):
  """Queries with copies that the fine student knows and the coarse does not."""
  rng = np.random.default_rng(seed)
  names = [f'video {place}' for place in range(count)]
  relevant = rng.random((queries, count)) < 0.15
  fine = np.where(relevant, 0.8, -0.5) + 0.05 * rng.random(relevant.shape)
  coarse = (fine / 2 + 0.5) + 0.5 * rng.standard_normal(relevant.shape)
  selector = np.abs(coarse - (fine / 2 + 0.5))
  annotation = Copies(
    {
      f'query {number}': frozenset(np.array(names)[row].tolist())
      for number, row in enumerate(relevant)
    }
  )
  return annotation, names, coarse, selector, fine


def trade_off(annotation, names, *arrays, **options):
  return rerank.trade_off(
    annotation,
    *arrays,
    queries=tuple(annotation.relevant),
    targets=names,
    seconds={'coarse': 0.1, 'selector': 0.02, 'fine': 10.0},
    bytes_per_video=4100,
    **options,
  )


def test_the_trade_off_goes_from_the_coarse_to_the_fine_scores():
  annotation, names, coarse, selector, fine = search()
  rows = trade_off(annotation, names, coarse, selector, fine)
  assert [row['share'] for row in rows] == list(rerank.SHARES)
  queries = tuple(annotation.relevant)
  part = [
    rerank.by_percentage(*scores, 0.25)
    for scores in zip(coarse, selector, fine / 2 + 0.5, strict=True)
  ]
  for row, scores in ((rows[0], coarse), (rows[5], part), (rows[-1], fine)):
    alone = dict(zip(queries, scores, strict=True))
    expected = evaluate(annotation, alone, targets=names)['scores']
    assert row['scores'] == pytest.approx(expected)
  maps = [row['scores']['mAP'] for row in rows]
  assert maps[0] < 0.7 and maps[-1] == 1 and maps[10] > maps[2] > maps[0]


def test_the_trade_off_has_time_storage_and_pairs():
  annotation, names, coarse, selector, fine = search()
  coarse[:, :10] = np.nan  # ten videos are missing
  rows = trade_off(annotation, names, coarse, selector, fine)
  assert [row['pairs'] for row in rows[:5]] == [0, 2, 5, 7, 10]
  assert rows[0]['seconds'] == pytest.approx(0.12)
  assert rows[4]['seconds'] == pytest.approx(2.12)
  assert {row['bytes'] for row in rows} == {4100}
  present = evaluate(
    annotation,
    dict(zip(annotation.relevant, fine, strict=True)),
    targets=names,
    available=names[10:],
  )
  again = trade_off(
    *(annotation, names, coarse, selector, fine), available=names[10:]
  )
  assert again[-1]['scores'] == pytest.approx(present['scores'])
  assert again[-1]['scores']['mAP'] > rows[-1]['scores']['mAP']


def test_a_trade_off_of_other_shapes_is_named():
  annotation, names, coarse, selector, fine = search()
  with pytest.raises(
    ValueError, match=r'selector of shape \(60, 6\): exp.*\(6,'
  ):
    trade_off(annotation, names, coarse, selector.T, fine)
