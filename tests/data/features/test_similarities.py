"""Scores of pairs: the published file, ours, and labels as scores."""

import json
import pickle

import pytest

from deltax.data.features import plain_pickle
from deltax.data.features.similarities import (
  Similarities,
  labelled,
  present,
  read_similarities,
  write_similarities,
)

PAIRS = Similarities(
  {
    'a/1': ({'b': 0.75}, {'c': -0.5, 'd': 0.0}),
    'd': ({}, {'b': -1.0}),
  }
)


class Trap:
  """A pickle that would run a command when it is loaded."""

  def __reduce__(self):
    return exec, ("raise SystemExit('run')",)


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / 'new' / 'pairs.json'
  write_similarities(path, PAIRS)
  assert read_similarities(path) == PAIRS
  assert read_similarities(path).names == ('a/1', 'b', 'c', 'd')
  assert [file.name for file in path.parent.iterdir()] == ['pairs.json']


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_the_published_layout_is_read(tmp_path, protocol):
  numpy = pytest.importorskip('numpy')
  path = tmp_path / 'similarities.pickle'
  data = {
    'index': ['a/1', 'b', 'c', 'd'],
    'pairs': {
      0: {
        'positives': {1: numpy.float32(0.75)},
        'negatives': {2: -0.5, numpy.int64(3): 0},
      },
      3: {'positives': {}, 'negatives': {1: -1.0}},
    },
  }
  path.write_bytes(pickle.dumps(data, protocol))
  assert read_similarities(path) == PAIRS


def test_a_pickle_that_runs_something_is_refused(tmp_path):
  path = tmp_path / 'similarities.pickle'
  path.write_bytes(pickle.dumps({'index': [], 'pairs': Trap()}))
  with pytest.raises(
    ValueError, match=r'names builtins\.exec.*nothing was run'
  ):
    read_similarities(path)
  for damaged in (b'', b'\x80\x04}', b'no pickle', pickle.dumps([1])[:-1]):
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match='no pickle of plain data'):
      plain_pickle.load(path)


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    ([1], 'no pickle'),
    ({'pairs': {}}, "'names'"),
    ({'names': ['a'], 'pairs': {'0': {'positives': {'1': 1}}}}, 'no video 1'),
    ({'names': ['a'], 'pairs': {'-1': {}}}, 'no video -1'),
    ({'names': ['a'], 'pairs': {'0': {'positives': {'0': 'x'}}}}, 'float'),
    ({'names': ['a'], 'pairs': {'0': {'positives': {'0': 1e999}}}}, 'finite'),
  ],
)
def test_other_files_are_refused_by_name(tmp_path, data, message):
  path = tmp_path / 'other.json'
  path.write_text(json.dumps(data))
  with pytest.raises(ValueError, match=message) as error:
    read_similarities(path)
  assert 'other.json' in str(error.value)


def test_scores_that_are_not_finite_are_not_written(tmp_path):
  pairs = Similarities({'a': ({'b': float('nan')}, {})})
  with pytest.raises(ValueError, match='not finite'):
    write_similarities(tmp_path / 'pairs.json', pairs)
  assert not list(tmp_path.iterdir())


def test_missing_videos_are_named_and_their_pairs_left_out():
  kept, missing = present(PAIRS, {'a/1', 'c', 'd'})
  assert kept == Similarities({'a/1': ({}, {'c': -0.5, 'd': 0.0})})
  assert missing == ('b',)
  assert present(PAIRS, {'b'})[0].pairs == {}


def test_copies_are_positives_and_a_shared_host_makes_no_pair():
  shown = {'a': ['x'], 'a1': ['x', 'h'], 'b1': ['y', 'h'], 'c': ['z']}
  pairs = labelled(shown).pairs
  assert pairs['a1'] == ({'a': 1.0}, {'c': -1.0})
  assert pairs['b1'] == ({}, {'a': -1.0, 'c': -1.0})


def test_half_of_few_negatives_are_near():
  shown = {str(k): [str(k)] for k in range(40)}
  near = {name: 'odd' if int(name) % 2 else 'even' for name in shown}
  few = labelled(shown, negatives=6, near=near)
  for anchor, (positives, negatives) in few.pairs.items():
    assert not positives and len(negatives) == 6 and anchor not in negatives
    assert sum(near[name] == near[anchor] for name in negatives) >= 3
  assert few == labelled(shown, negatives=6, near=near)
  assert few != labelled(shown, negatives=6, near=near, seed=1)
