"""Annotation files give their published counts, and nothing of them runs."""

import collections
import json
import pathlib
import pickle

import pytest

from deltax.data.features import annotations

PUBLISHED = pathlib.Path(__file__).parents[3] / '..' / 'shared' / 'annotations'
needs_published = pytest.mark.skipif(
  not PUBLISHED.exists(), reason='the published annotation files are absent'
)


def write(folder, data, name='file.pickle'):
  path = folder / name
  path.write_bytes(pickle.dumps(data))
  return path


def fivr_data(**changes):
  data = {
    '5k': {'queries': ['a'], 'database': {'b', 'c'}},
    '200k': {'queries': ['a', 'b'], 'database': {'a', 'b', 'c', 'd'}},
    'annotation': {
      'a': {'ND': ['b'], 'IS': ['c', 'd'], 'DA': ['ND', 'IS']},
      'b': {'DS': ['a']},
    },
  }
  return {**data, **changes}


@needs_published
@pytest.mark.parametrize(
  ('version', 'queries', 'videos', 'inside', 'positives'),
  [
    ('200k', 100, 225_960, 100, (74.6, 88.4, 123.6)),
    ('5k', 50, 5000, 1, (21.6, 26.4, 38.9)),
  ],
)
def test_fivr_has_its_published_counts(
  version, queries, videos, inside, positives
):
  read = annotations.read_fivr(PUBLISHED / 'fivr.pickle', version)
  assert len(read.queries) == queries and len(read.database) == videos
  assert sum(query in read.database for query in read.queries) == inside
  for last, mean in enumerate(positives, 2):
    labels = annotations.FIVR_LABELS[:last]
    relevant = [
      frozenset().union(*(read.labels[q].get(name, ()) for name in labels))
      for q in read.queries
    ]
    found = sum(len(names & read.database) for names in relevant)
    assert found / queries == pytest.approx(mean, abs=0.05)


@needs_published
def test_fivr_has_its_published_labels():
  read = annotations.read_fivr(PUBLISHED / 'fivr.pickle')
  totals = {
    name: sum(len(labels.get(name, ())) for labels in read.labels.values())
    for name in annotations.FIVR_LABELS
  }
  assert totals == {'ND': 1325, 'DS': 6132, 'CS': 1892, 'IS': 3580}


@needs_published
def test_cc_web_video_has_its_published_counts():
  read = annotations.read_cc_web_video(PUBLISHED / 'cc_web_video.pickle')
  assert len(read.videos) == 13_115 and len(read.queries) == 24
  assert len(read.labels) == len(read.excluded) == 24
  totals = collections.Counter(
    label for labels in read.labels for label in labels.values()
  )
  assert totals == {
    **{'E': 748, 'S': 2651, 'V': 42, 'M': 308, 'L': 40},
    **{'X': 9086, 'x': 1},
  }


@needs_published
def test_evve_has_its_published_counts():
  read = annotations.read_evve(PUBLISHED / 'evve.pickle')
  assert len(read.events) == 13
  assert len(read.queries) == 620 and len(read.database) == 2373
  assert sum(len(event.positives) for event in read.events.values()) == 1252
  known = frozenset().union(*(e.queries for e in read.events.values()))
  assert known == set(read.queries)


@needs_published
def test_svd_has_its_published_counts():
  read = annotations.read_svd(PUBLISHED / 'svd_test_groundtruth.txt')
  labels = [label for row in read.labels.values() for label in row.values()]
  assert len(read.labels) == 206 and len(labels) == 6355
  assert labels.count(1) == 1759 and labels.count(0) == 4596
  assert len({name for row in read.labels.values() for name in row}) == 5951


def test_a_version_of_fivr_has_its_own_queries_and_database(tmp_path):
  path = write(tmp_path, fivr_data())
  easy = tmp_path / 'easy.txt'
  easy.write_text('b\n\nc\n')
  read = annotations.read_fivr(path, '5k', easy_duplicates=easy)
  assert read.queries == ('a',) and read.database == {'b', 'c'}
  assert read.labels == {'a': {'ND': {'b'}, 'IS': {'c', 'd'}}}
  assert read.easy_duplicates == {'b', 'c'}
  assert annotations.read_fivr(path).queries == ('a', 'b')
  with pytest.raises(ValueError, match="'1k', known: 200k, 5k"):
    annotations.read_fivr(path, '1k')


def test_vcdb_is_read_with_or_without_distractors(tmp_path):
  path = write(
    tmp_path,
    {'queries': ['a', 'b'], 'positives': {'a': {'b'}, 'b': {'a'}}}
    | {'dataset': ['x', 'y']},
  )
  read = annotations.read_vcdb(path)
  assert read.queries == ('a', 'b') and read.distractors == ()
  assert read.positives == {'a': {'b'}, 'b': {'a'}}
  assert annotations.read_vcdb(path, distractors=True).distractors == ('x', 'y')


def test_svd_has_unlabelled_videos_if_they_are_given(tmp_path):
  path, others = tmp_path / 'labels', tmp_path / 'others'
  path.write_text('q.mp4 a.mp4 1\nq.mp4 b.mp4 0\n\nr.mp4 a.mp4 0\n')
  others.write_text('x.mp4\ny.mp4\n')
  read = annotations.read_svd(path, others)
  assert read.labels == {
    'q.mp4': {'a.mp4': 1, 'b.mp4': 0},
    'r.mp4': {'a.mp4': 0},
  }
  assert read.unlabelled == ('x.mp4', 'y.mp4')


def test_a_wrong_line_of_svd_is_named(tmp_path):
  path = tmp_path / 'labels'
  path.write_text('q.mp4 a.mp4 1\nq.mp4 b.mp4 yes\n')
  with pytest.raises(ValueError, match=r"labels, line 2: .* 'q.mp4 b.mp4 yes'"):
    annotations.read_svd(path)
  path.write_text('\n')
  with pytest.raises(ValueError, match='holds no labels'):
    annotations.read_svd(path)


class Hostile:
  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return pathlib.Path.touch, (self.marker,)


@pytest.mark.parametrize('name', ['fivr', 'cc_web_video', 'evve', 'vcdb'])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, name):
  marker = tmp_path / 'ran'
  path = write(tmp_path, fivr_data(evil=Hostile(marker)))
  with pytest.raises(ValueError, match=r'file\.pickle is no pickle of plain'):
    getattr(annotations, f'read_{name}')(path)
  assert not marker.exists()


@pytest.mark.parametrize(
  ('name', 'lacks'),
  [
    ('fivr', 'annotation, 200k, 5k'),
    ('cc_web_video', 'index, queries, ground_truth, excluded'),
    ('evve', 'annotation, queries, database'),
    ('vcdb', 'queries, positives, dataset'),
  ],
)
def test_another_pickle_is_named_with_what_it_lacks(tmp_path, name, lacks):
  read = getattr(annotations, f'read_{name}')
  with pytest.raises(ValueError, match=rf'file\.pickle lacks {lacks}'):
    read(write(tmp_path, {'other': 1}))
  with pytest.raises(ValueError, match='holds a list, expected a dict'):
    read(write(tmp_path, [1, 2]))
  with pytest.raises(FileNotFoundError, match=r'nowhere\.pickle'):
    read(tmp_path / 'nowhere.pickle')


def test_a_query_of_fivr_without_labels_is_named(tmp_path):
  path = write(tmp_path, fivr_data(annotation={'a': {'ND': ['b']}}))
  with pytest.raises(ValueError, match=r'file\.pickle lacks b'):
    annotations.read_fivr(path)


def test_events_of_evve_must_be_whole(tmp_path):
  data = {'annotation': {'flood': ({'a'}, {'x'})}}
  data |= {'queries': ['a'], 'database': ['x']}
  with pytest.raises(ValueError, match='event flood has 2 sets, expected its'):
    annotations.read_evve(write(tmp_path, data))
  data['annotation'] = {'flood': ({'a'}, {'x'}, set())}
  read = annotations.read_evve(write(tmp_path, data))
  assert read.events == {'flood': (frozenset('a'), frozenset('x'))}
  data['queries'] = ['a', 'b']
  with pytest.raises(ValueError, match='query b belongs to no event'):
    annotations.read_evve(write(tmp_path, data))


def test_lists_of_cc_web_video_must_be_as_long_as_its_queries(tmp_path):
  data = {'index': {'a': 1}, 'queries': ['a'], 'ground_truth': [{1: 'E'}]}
  path = write(tmp_path, {**data, 'excluded': []})
  with pytest.raises(ValueError, match=r'1 queries, .* exclusions for 0'):
    annotations.read_cc_web_video(path)


def test_your_own_annotation_is_json(tmp_path):
  path = tmp_path / 'copies.json'
  data = {'relevant': {'a': ['b', 'c'], 'b': []}, 'database': ['b', 'c', 'd']}
  path.write_text(json.dumps(data))
  read = annotations.read_copies(path)
  assert read.relevant == {'a': {'b', 'c'}, 'b': frozenset()}
  assert read.database == {'b', 'c', 'd'}
  del data['database']
  path.write_text(json.dumps(data))
  assert annotations.read_copies(path).database is None
  path.write_text(json.dumps({'relevant': {'a': 'b'}}))
  with pytest.raises(ValueError, match="relevant to 'a' must be a list"):
    annotations.read_copies(path)
  path.write_text('{')
  with pytest.raises(ValueError, match=r'copies\.json is no JSON file'):
    annotations.read_copies(path)
