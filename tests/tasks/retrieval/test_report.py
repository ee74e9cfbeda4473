"""What an evaluation says: networks by name, mixed, and what was missing."""

import json

import numpy as np
import pytest

from deltax.data.features import annotations
from deltax.data.features.made import open_or_make
from deltax.data.features.store import FeatureStore
from deltax.metrics import protocols
from deltax.report import retrieval_text, write_retrieval_page
from deltax.systems.folder import UNTRAINED
from deltax.tasks.retrieval import report
from deltax.tasks.retrieval.report import Judged, make_report

COARSE, FINE = UNTRAINED['coarse'], UNTRAINED['fine']


def judged(features='', annotation='', **options):
  options = {'fine': {'plain': FINE}, **options}
  return Judged(
    COARSE, selectors={}, features=features, annotation=annotation, **options
  )


def vectors(names):
  """Means of all regions, of length 1: the coarse student by hand."""
  features, found = open_or_make('')[0], []
  for name in names:
    frames = features[name].sum(1)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    mean = frames.mean(0)
    found.append(mean / np.linalg.norm(mean))
  return np.stack(found)


@pytest.fixture(scope='module')
def page():
  return make_report(judged(), title='made')


def test_made_features_are_judged_by_the_videos_they_were_made_from(page):
  features, made = open_or_make('')
  names = sorted(features)
  alike = {query: frozenset(both[0]) for query, both in made.pairs.items()}
  x = vectors(names)
  expected = protocols.evaluate(
    annotations.Copies(alike),
    dict(zip(names, x @ x.T, strict=True)),
    targets=names,
  )
  coarse, fine = page.students
  assert (coarse.name, fine.name) == ('coarse', 'plain')
  assert coarse.scores == pytest.approx(expected['scores'], abs=1e-6)
  assert fine.scores['mAP'] > 0.5
  assert page.metric == 'mAP'
  assert page.queries == page.videos == len(names)
  assert (page.missing, page.empty, page.failed) == ([], [], {})


def test_a_curve_goes_from_the_coarse_to_the_fine_scores(page):
  curve = page.trade_off['plain']
  coarse, fine = (student.scores for student in page.students)
  assert [curve[0].share, curve[-1].share] == [0, 1]
  assert curve[0].scores == pytest.approx(coarse)
  assert curve[-1].scores == pytest.approx(fine)
  assert curve[0].seconds < curve[-1].seconds
  stored = sum(student.bytes for student in page.students)
  assert curve[0].bytes == stored + 4  # and the selector's number


def test_the_report_can_be_written(page, tmp_path):
  write_retrieval_page(tmp_path / 'page.html', page)
  assert 'made' in (tmp_path / 'page.html').read_text()
  assert 'plain' in retrieval_text(page)
  json.dumps(page)


def test_a_benchmark_on_the_disk_and_what_it_lacks(tmp_path):
  features = open_or_make('')[0]
  kept = [name for name in sorted(features) if name != 'source-1']
  with FeatureStore(tmp_path / 'store', fingerprint='none') as store:
    for name in kept[:8]:
      store.add(name, features[name])
  path = tmp_path / 'copies.json'
  relevant = {
    'source-0': ['source-0-copy-0', 'source-0-copy-1'],
    'source-1': ['source-1-copy-0'],
  }
  path.write_text(
    json.dumps({'relevant': relevant, 'database': [*kept[:8], 'gone']})
  )
  page = make_report(judged(tmp_path / 'store', path), title='')
  assert page.missing == ['source-1']
  assert page.unscored == 1
  assert (page.queries, page.videos) == (1, 8)
  assert list(page.by_query) == ['source-0']
  path.write_text(json.dumps({'relevant': {'lost': ['source-0']}}))
  with pytest.raises(ValueError, match=r'none of the 1 queries of .*copies'):
    make_report(judged(tmp_path / 'store', path), title='')


def test_every_benchmark_names_its_queries_and_its_database():
  named, label = frozenset({'a', 'b'}), {'a': frozenset({'b'})}
  for annotation in (
    annotations.Copies(label, named),
    annotations.Copies(label),
    annotations.Fivr(('a',), named, {'a': {}}),
    annotations.CcWebVideo({'a': 0, 'b': 1}, ('a',), ({},), (frozenset(),)),
    annotations.Evve({}, ('a',), named),
    annotations.Svd({'a': {'b': 1}}, ('a',)),
    annotations.Vcdb(('a',), label, ('b',)),
  ):
    found = report._names(annotation, ['a', 'b'])
    assert found == (['a'], ['a', 'b'])


def test_the_plotted_score_is_one_of_the_protocol():
  labels = {'a': {'DS': frozenset({'b'})}}
  scores = {'a': {'b': 0.5, 'c': 0.4}}
  database = frozenset({'b', 'c'})
  given = {
    'copies': annotations.Copies({'a': frozenset({'b'})}),
    'fivr': annotations.Fivr(('a',), database, labels),
    'cc_web_video': annotations.CcWebVideo(
      {'b': 0, 'c': 1}, ('a',), ({0: 'E', 1: 'X'},), (frozenset(),)
    ),
    'svd': annotations.Svd({'a': {'b': 1, 'c': 0}}),
    'evve': annotations.Evve(
      {'e': annotations.Event(frozenset({'a'}), frozenset({'b'}))},
      ('a',),
      database,
    ),
    'vcdb': annotations.Vcdb(('a',), {'a': frozenset({'b'})}, ('b', 'c')),
  }
  assert set(given) == set(report.BENCHMARKS)
  for name, (_, metric) in report.BENCHMARKS.items():
    assert metric in protocols.evaluate(given[name], scores)['scores'], name


def test_an_unknown_benchmark_is_told_with_the_known_ones():
  with pytest.raises(ValueError, match="no benchmark 'x'; known: copies, fivr"):
    make_report(judged(benchmark='x'), title='')
