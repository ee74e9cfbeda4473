"""Annotation files give their published counts, and nothing of them runs."""

import collections
import json
import pathlib
import pickle
import tracemalloc

import numpy as np
import pytest

from deltax.data.features import annotations, plain_pickle

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


@pytest.mark.parametrize(
  ('read', 'change'),
  [
    ('read_fivr', {'200k': 3}),
    ('read_fivr', {'200k': {'queries': [['a']], 'database': ['a']}}),
    ('read_fivr', {'200k': {'queries': 'a', 'database': ['a']}}),
    ('read_fivr', {'200k': {'queries': ['a'], 'database': 3}}),
    ('read_fivr', {'annotation': {'a': 3, 'b': {}}}),
    ('read_fivr', {'annotation': {'a': {'ND': 3}, 'b': {}}}),
    ('read_fivr', {'annotation': {'a': {'ND': [['x']]}, 'b': {}}}),
    ('read_cc_web_video', {'queries': 3}),
    ('read_cc_web_video', {'ground_truth': [{'x': 'E'}]}),
    ('read_cc_web_video', {'ground_truth': [{1: 2}]}),
    ('read_cc_web_video', {'excluded': [3]}),
    ('read_cc_web_video', {'index': ['a']}),
    ('read_evve', {'annotation': {'flood': 3}}),
    ('read_evve', {'annotation': {'flood': [['a'], [['x']], []]}}),
    ('read_evve', {'queries': [None]}),
    ('read_vcdb', {'positives': {'a': 'b'}}),
    ('read_vcdb', {'queries': {'a': 1}}),
  ],
)
def test_values_of_another_type_are_refused(tmp_path, read, change):
  whole = {
    'read_fivr': fivr_data(),
    'read_cc_web_video': {
      'index': {'a': 1},
      'queries': ['a'],
      'ground_truth': [{1: 'E'}],
      'excluded': [[2]],
    },
    'read_evve': {
      'annotation': {'flood': [['a'], ['x'], []]},
      'queries': ['a'],
      'database': ['x'],
    },
    'read_vcdb': {'queries': ['a'], 'positives': {'a': ['b']}, 'dataset': []},
  }
  read = getattr(annotations, read)
  data = whole[read.__name__]
  read(write(tmp_path, data))
  with pytest.raises(ValueError, match=r'file\.pickle .*expected') as error:
    read(write(tmp_path, {**data, **change}))
  assert '\n' not in str(error.value)


def test_names_and_texts_that_are_none_are_refused(tmp_path):
  path = tmp_path / 'copies.json'
  for data in ({'relevant': {'a': [[1]]}}, {'relevant': {}, 'database': 3}):
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match='expected'):
      annotations.read_copies(path)
  path.write_text('[' * 100_000)
  with pytest.raises(ValueError, match='nested more than 100 deep'):
    annotations.read_copies(path)
  path.write_bytes(b'a b 1\n\xff')
  with pytest.raises(ValueError, match=r'copies\.json is no text in UTF-8'):
    annotations.read_svd(path)


PLAIN = {
  'set': {1, 2.5, 'ü', None},
  'frozen': frozenset({'a'}),
  'nested': [(1, -(2**40), 10**18), {'x': [True, False]}, b'\x00\xff', ''],
  3: {'y': np.float32(0.5), 'z': np.int64(7), 'w': np.bool_(True)},
}


@pytest.mark.parametrize('protocol', range(6))
def test_plain_data_of_every_protocol_are_read(tmp_path, protocol):
  path = tmp_path / 'a.pickle'
  path.write_bytes(pickle.dumps(PLAIN, protocol))
  assert plain_pickle.load(path) == PLAIN
  assert type(plain_pickle.load(path)[3]['z']) is int


@pytest.mark.parametrize(
  'content',
  [
    b'N' + b'r' + (1 << 28).to_bytes(4, 'little') + b'0N.',  # a place far off
    b'B' + (1 << 31).to_bytes(4, 'little') + b'.',
    b'\x8e' + (1 << 40).to_bytes(8, 'little') + b'.',
    b'\x96' + (1 << 40).to_bytes(8, 'little') + b'.',
    b'\x8b' + (1 << 30).to_bytes(4, 'little') + b'.',
    b'I' + b'9' * 9999 + b'\n.',
    # Keys whose hash walks a structure: deep, and one that doubles 60 times.
    b'}' + b')' + b'\x85' * 30_000 + b'Ns.',
    b'}' + b')q\x00' + b'h\x00h\x00\x86q\x00' * 60 + b'Ns.',
  ],
)
def test_a_small_pickle_takes_little_memory_and_time(tmp_path, content):
  path = tmp_path / 'a.pickle'
  path.write_bytes(b'\x80\x04' + content)
  tracemalloc.start()
  with pytest.raises(ValueError, match=r'a\.pickle is no pickle of plain data'):
    plain_pickle.load(path)
  assert tracemalloc.get_traced_memory()[1] < 64 << 20
  tracemalloc.stop()
