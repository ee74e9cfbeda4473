"""Protocols give the published scores, and hide nothing that is missing."""

import pathlib

import dns_rule
import numpy as np
import pytest
from rules import generator

from deltax.data.features import annotations
from deltax.metrics.protocols import PROTOCOLS, evaluate

GOLDEN = dns_rule.load('evaluation.json')
PUBLISHED = pathlib.Path(__file__).parents[2] / '..' / 'shared' / 'annotations'
FIRST = [f'v{number:02d}' for number in range(25)]


def sets(lists):
  return {name: frozenset(names) for name, names in lists.items()}


def fivr():
  golden = GOLDEN['fivr']
  return annotations.Fivr(
    tuple(golden['queries']),
    frozenset(golden['database']),
    {query: sets(labels) for query, labels in golden['annotation'].items()},
    frozenset(GOLDEN['fivr_s2vs']['easy_duplicates']),
  )


def cc_web():
  golden = GOLDEN['cc_web']
  return annotations.CcWebVideo(
    golden['index'],
    tuple(golden['queries']),
    tuple(
      {int(number): label for number, label in labels.items()}
      for labels in golden['ground_truth']
    ),
    tuple(frozenset(numbers) for numbers in golden['excluded']),
  )


def evve():
  golden = GOLDEN['evve']
  return annotations.Evve(
    {
      name: annotations.Event(frozenset(queries), frozenset(positives))
      for name, (queries, positives, _) in golden['events'].items()
    },
    tuple(golden['queries']),
    frozenset(golden['database']),
  )


def svd():
  golden = GOLDEN['svd']
  return annotations.Svd(golden['ground_truth'], tuple(golden['unlabeled']))


def vcdb():
  golden = GOLDEN['vcdb']
  return annotations.Vcdb(
    tuple(golden['queries']),
    sets(golden['positives']),
    tuple(golden['distractors']),
  )


MADE = {'fivr': fivr, 'cc_web': cc_web, 'evve': evve, 'svd': svd, 'vcdb': vcdb}


def similarities(name):
  return {q: dict(row) for q, row in GOLDEN[name]['similarities'].items()}


def dense(rows):
  """The same similarities as arrays, and the targets' names."""
  targets = list(dict.fromkeys(name for row in rows.values() for name in row))
  arrays = {
    query: np.array([row.get(name, np.nan) for name in targets])
    for query, row in rows.items()
  }
  return {'similarities': arrays, 'targets': targets}


def assert_scores(found, expected):
  assert expected
  for name, score in expected.items():
    own = found['scores'][name.removeprefix('VCDB_')]
    assert own == pytest.approx(score, rel=1e-12), name


CASES = [
  ('fivr', None, None, GOLDEN['fivr']['result']),
  ('fivr', None, GOLDEN['fivr']['all_db'], GOLDEN['fivr']['result']),
  ('fivr', None, FIRST, GOLDEN['fivr']['result_first25']),
  ('fivr', 'fivr_s2vs', None, GOLDEN['fivr_s2vs']['result']),
  ('cc_web', None, None, GOLDEN['cc_web']['result']),
  ('evve', None, None, GOLDEN['evve']['result']),
  (
    *('evve', None, GOLDEN['evve']['database'][:22]),
    GOLDEN['evve']['result_db_first22'],
  ),
  ('svd', None, None, GOLDEN['svd']['result']),
  ('vcdb', None, None, GOLDEN['vcdb']['result']),
]


@pytest.mark.parametrize('form', [dict, dense])
@pytest.mark.parametrize(('name', 'protocol', 'available', 'expected'), CASES)
def test_scores_are_the_published_ones(
  name, protocol, available, expected, form
):
  rows = similarities(name)
  given = dense(rows) if form is dense else {'similarities': rows}
  found = evaluate(
    MADE[name](), **given, available=available, protocol=protocol
  )
  assert_scores(found, expected)
  assert found['missing'] == found['empty'] == []
  assert found['unscored'] == 0


@pytest.mark.skipif(not PUBLISHED.exists(), reason='no published annotation')
def test_fivr_5k_scores_as_published():
  read = annotations.read_fivr(PUBLISHED / 'fivr.pickle', '5k')
  names = sorted(read.database)
  places = {name: place for place, name in enumerate(names)}
  scores = {}
  for query in read.queries:
    scores[query] = generator(f'eval/fivr5k/{query}').random(len(names))
    for name in frozenset().union(*read.labels[query].values()) & set(names):
      scores[query][places[name]] += 0.5
  found = evaluate(read, scores, targets=names)
  assert_scores(found, GOLDEN['fivr5k_real']['result'])
  assert found['missing'] == found['empty'] == []


@pytest.mark.skipif(not PUBLISHED.exists(), reason='no published annotation')
def test_perfect_scores_on_the_real_annotations_are_perfect():
  read = annotations.read_evve(PUBLISHED / 'evve.pickle')
  perfect = {
    query: {name: float(name in event.positives) for name in read.database}
    for event in read.events.values()
    for query in event.queries
  }
  assert evaluate(read, perfect)['scores'] == {'mAP': 1, 'event_mAP': 1}
  read = annotations.read_svd(PUBLISHED / 'svd_test_groundtruth.txt')
  found = evaluate(read, read.labels)
  assert found['scores'] == {'mAP': 1} and len(found['by_query']) == 206
  read = annotations.read_cc_web_video(PUBLISHED / 'cc_web_video.pickle')
  perfect = {
    query: {
      name: float(labels.get(number, 'X') in 'ESLMV')
      for name, number in read.videos.items()
    }
    for query, labels in zip(read.queries, read.labels, strict=True)
  }
  scores = evaluate(read, perfect)['scores']
  # One video that is labelled has no name, and is never found.
  for name in ('mAP', 'mAP_c', 'mAP_star'):
    assert 0.995 < scores[name] < 1
  assert scores['mAP_c_star'] == pytest.approx(scores['mAP_c'], abs=1e-12)


@pytest.mark.parametrize('name', MADE)
def test_a_missing_query_is_named_and_does_not_count(name):
  rows = similarities(name)
  lost = next(iter(rows))
  whole = evaluate(MADE[name](), rows)
  del rows[lost]
  found = evaluate(MADE[name](), rows)
  assert found['missing'] == [lost]
  assert found['by_query'] == {
    query: row for query, row in whole['by_query'].items() if query != lost
  }
  for score in next(iter(whole['by_query'].values())):
    rest = [row[score] for row in found['by_query'].values()]
    assert found['scores'][score] == pytest.approx(np.mean(rest))


@pytest.mark.parametrize('name', MADE)
def test_without_any_query_the_error_shows_both_names(name):
  rows = {f'{q}.mp4': row for q, row in similarities(name).items()}
  first = next(iter(similarities(name)))
  with pytest.raises(ValueError, match=rf'such as {first}, has .*{first}\.mp4'):
    evaluate(MADE[name](), rows)


@pytest.mark.parametrize('name', MADE)
def test_other_queries_are_not_read(name):
  rows = similarities(name)
  more = {**rows, 'stranger': {'anything': 1.0}}
  assert evaluate(MADE[name](), more) == evaluate(MADE[name](), rows)


def test_a_query_of_fivr_in_its_own_list_is_never_found():
  labels = {'q': {'ND': frozenset('aq')}}
  made = annotations.Fivr(('q',), frozenset('qab'), labels)
  rows = {'q': {'q': 1.0, 'a': 0.9, 'b': 0.8}}
  # As published: relevant to itself and not found, or not relevant to itself.
  assert evaluate(made, rows)['scores']['DSVR'] == 1 / 2
  found = evaluate(made, rows, protocol='fivr_s2vs')['scores']
  assert found['DSVR'] == found['DSVD'] == 1


def test_what_is_not_available_is_as_if_it_had_no_label():
  rows, left = similarities('evve'), GOLDEN['evve']['database'][:21]
  events = {
    name: event._replace(positives=event.positives & set(left))
    for name, event in evve().events.items()
  }
  less = evve()._replace(events=events, database=frozenset(left))
  assert less.events != evve().events
  expected = evaluate(less, rows)
  assert evaluate(evve(), rows, available=left) == expected


def copies(**changes):
  made = annotations.Copies({'a': frozenset('bc'), 'b': frozenset('a')})
  return made._replace(**changes)


def scores():
  return {
    'a': {'a': 1.0, 'x': 0.9, 'b': 0.8, 'y': 0.7, 'c': 0.1},
    'b': {'a': 0.5, 'b': 1.0, 'x': 0.6, 'y': 0.1},
  }


def test_your_own_annotation_has_precision_and_recall():
  found = evaluate(copies(), scores())
  assert found['by_query'] == {
    'a': {'mAP': (1 / 2 + 2 / 4) / 2, 'recall@1': 0, 'recall@10': 1},
    'b': {'mAP': 1 / 2, 'recall@1': 0, 'recall@10': 1},
  }
  assert found['scores'] == {
    **{'mAP': 0.5, 'recall@1': 0, 'recall@10': 1},
    # One list: x b y x' a' c, y'
    'uAP': pytest.approx((1 / 2 + 2 / 5 + 3 / 6) / 3),
  }


def test_a_list_of_the_best_only_does_not_raise_a_score():
  rows = scores()
  del rows['a']['c'], rows['a']['y']
  found = evaluate(copies(), rows)
  assert found['by_query']['a']['mAP'] == 1 / 4
  assert found['unscored'] == 1  # c
  nan = {**rows, 'a': {**rows['a'], 'c': np.nan}}
  assert evaluate(copies(), nan) == found
  could = evaluate(copies(), rows, available='abxy')
  assert could['by_query']['a']['mAP'] == 1 / 2 and could['unscored'] == 0


def test_a_query_to_which_nothing_is_relevant_is_named():
  found = evaluate(copies(), scores(), available='bcxy')
  assert found['empty'] == ['b'] and np.isnan(found['by_query']['b']['mAP'])
  assert found['scores']['mAP'] == found['by_query']['a']['mAP']
  nothing = evaluate(copies(), scores(), available='xy')
  assert nothing['empty'] == ['a', 'b'] and np.isnan(nothing['scores']['mAP'])
  assert np.isnan(nothing['scores']['uAP'])


def test_only_the_database_is_ranked():
  found = evaluate(copies(database=frozenset('abcy')), scores())
  assert found['by_query']['b']['mAP'] == 1  # without x


def test_a_query_that_finds_itself_wins_nothing():
  rows = scores()
  del rows['a']['a'], rows['b']['b']
  assert evaluate(copies(), rows) == evaluate(copies(), scores())
  own = copies(relevant={'a': frozenset('abc'), 'b': frozenset('ab')})
  assert evaluate(own, scores()) == evaluate(copies(), scores())


def test_equal_scores_rank_in_the_order_given():
  rows = {'a': {'b': 0.5, 'c': 0.5, 'x': 0.5}, 'b': {'a': 1.0}}
  assert evaluate(copies(), rows)['by_query']['a']['mAP'] == 1
  turned = {**rows, 'a': dict(reversed(rows['a'].items()))}
  found = evaluate(copies(), turned)['by_query']['a']['mAP']
  assert found == (1 / 2 + 2 / 3) / 2


def test_similarities_are_left_as_they_were():
  for name in MADE:
    given = dense(similarities(name))
    before = {q: row.copy() for q, row in given['similarities'].items()}
    for protocol in PROTOCOLS if name == 'fivr' else (None,):
      if protocol in (None, 'fivr', 'fivr_s2vs'):
        evaluate(MADE[name](), **given, protocol=protocol)
    for query, row in given['similarities'].items():
      np.testing.assert_array_equal(row, before[query])


def test_what_does_not_fit_is_named():
  rows = scores()
  with pytest.raises(ValueError, match="'copy', known: fivr, fivr_s2vs, cc_w"):
    evaluate(copies(), rows, protocol='copy')
  arrays = {query: np.zeros(3) for query in rows}
  with pytest.raises(ValueError, match=r"'a' are an array: give the names"):
    evaluate(copies(), arrays)
  with pytest.raises(
    ValueError, match=r"'a' have shape \(3,\); expected \[4\]"
  ):
    evaluate(copies(), arrays, targets='abcd')
  with pytest.raises(ValueError, match='3 targets have 2 different names'):
    evaluate(copies(), arrays, targets='aba')
