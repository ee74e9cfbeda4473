"""Pairs of an annotation, and pairs that two students have scored."""

import json
import logging
import pathlib

import numpy as np
import pytest
from absl import logging as absl_logging

from deltax import data
from deltax.data.features.annotations import read_fivr
from deltax.data.features.pairs import VideoPair
from deltax.data.features.scored_pairs import _balanced, deserves
from deltax.data.features.similarities import Similarities, write_similarities
from deltax.data.features.store import FeatureStore

NAMES = [f'v{k}' for k in range(12)]


@pytest.fixture
def features(tmp_path):
  with FeatureStore(tmp_path / 'features', fingerprint='none') as store:
    for number, name in enumerate(NAMES):
      store.add(name, np.full((number + 1, 2, 3), number + 1, np.float32))
  return tmp_path / 'features'


def annotated(features, tmp_path, annotation, **options):
  path = tmp_path / 'test.json'
  path.write_text(json.dumps(annotation))
  defaults = {'batch_size': 4, 'train': False, 'frames': 8}
  return data.make_dataset(
    'pairs',
    'test',
    features=features,
    annotations=path,
    **defaults | options,
  )


def real_rows(batches):
  """Arrays of all real examples, and that padding comes last."""
  stacked = {}
  for index in range(len(batches)):
    batch = batches[index]
    real = batch['mask'] > 0
    assert (np.diff(batch['mask']) <= 0).all()
    for name, value in batch.items():
      stacked.setdefault(name, []).append(value[real])
  return {name: np.concatenate(rows) for name, rows in stacked.items()}


def test_every_query_meets_every_other_video_of_the_database(
  features, tmp_path
):
  annotation = {
    'relevant': {'v1': ['v2', 'v3'], 'v9': []},
    'database': ['v1', 'v2', 'v3', 'v4', 'v5'],
  }
  rows = real_rows(annotated(features, tmp_path, annotation))
  found = list(
    zip(rows['query_id'], rows['target_id'], rows['relevant'], strict=True)
  )
  expected = [(1, t, float(t in (2, 3))) for t in (2, 3, 4, 5)]
  assert found == expected + [(9, t, 0.0) for t in (1, 2, 3, 4, 5)]
  for role in ('query', 'target'):
    ids, masks = rows[f'{role}_id'], rows[f'{role}_mask']
    for number, video, mask in zip(ids, rows[role], masks, strict=True):
      length = min(number + 1, 8)
      assert mask.tolist() == [1.0] * length + [0.0] * (8 - length)
      assert (video[:length] == number + 1).all() and not video[length:].any()
  assert not rows['scores'].any() and not rows['coarse'].any()


def test_without_a_database_all_features_are_searched(features, tmp_path):
  batches = annotated(features, tmp_path, {'relevant': {'v0': ['v1']}})
  rows = real_rows(batches)
  assert rows['target_id'].tolist() == list(range(1, 12))
  assert rows['query'].dtype == np.float32 and rows['query_id'].dtype == 'int32'


def test_missing_videos_of_an_annotation_are_named(
  features, tmp_path, caplog, monkeypatch
):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  annotation = {
    'relevant': {'v1': ['v2'], 'lost': ['v3']},
    'database': ['v1', 'v2', 'away'],
  }
  with caplog.at_level(logging.WARNING):
    rows = real_rows(annotated(features, tmp_path, annotation))
  assert '2 videos have no features and are left out: lost, away' in caplog.text
  assert rows['query_id'].tolist() == [1]


def test_annotated_pairs_are_not_trained_on(features, tmp_path):
  with pytest.raises(ValueError, match='to evaluate on'):
    annotated(features, tmp_path, {'relevant': {'v0': []}}, train=True)
  with pytest.raises(ValueError, match='need annotations'):
    data.make_dataset(
      'pairs', 'test', batch_size=1, train=False, features=features
    )


def score(pair):
  """Fine and coarse: far apart for one pair of four."""
  query, target = (int(name[1:]) for name in pair)
  fine = np.sin(query * 12 + target)
  return fine, fine / 2 + 0.5 + (0.5 if (query + target) % 4 == 0 else 0.1)


def scored(features, tmp_path, split, **options):
  fine, coarse = (
    Similarities(
      {
        anchor: tuple(
          {
            name: float(score((anchor, name))[which])
            for name in NAMES
            if name != anchor and (int(name[1:]) % 3 == 0) == positive
          }
          for positive in (True, False)
        )
        for anchor in NAMES
      }
    )
    for which in (0, 1)
  )
  del coarse.pairs['v11']
  write_similarities(tmp_path / 'fine.json', fine)
  write_similarities(tmp_path / 'coarse.json', coarse)
  defaults = {'batch_size': 8, 'train': False, 'frames': 4}
  return data.make_dataset(
    'scored_pairs',
    split,
    features=features,
    fine=tmp_path / 'fine.json',
    coarse=tmp_path / 'coarse.json',
    **defaults | options,
  )


def keys(rows):
  return list(zip(rows['query_id'], rows['target_id'], strict=True))


def test_pairs_that_both_students_scored_are_split_once(features, tmp_path):
  train, validation = (
    real_rows(scored(features, tmp_path, split))
    for split in ('train', 'validation')
  )
  assert len(keys(validation)) == round(0.03 * 11 * 11)
  everything = keys(train) + keys(validation)
  assert len(everything) == len(set(everything)) == 11 * 11
  assert not any(query == 11 for query, _ in everything)
  for rows in (train, validation):
    wanted = [score((NAMES[q], NAMES[t])) for q, t in keys(rows)]
    np.testing.assert_allclose(rows['scores'], [f for f, _ in wanted], 1e-6)
    np.testing.assert_allclose(rows['coarse'], [c for _, c in wanted], 1e-6)
    np.testing.assert_array_equal(rows['relevant'], rows['target_id'] % 3 == 0)


def test_an_epoch_of_training_is_balanced_and_repeats_no_pair(
  features, tmp_path
):
  train = real_rows(scored(features, tmp_path, 'train'))
  deserving = np.abs(train['scores'] / 2 + 0.5 - train['coarse']) > 0.2
  count = 2 * min(deserving.sum(), (~deserving).sum())
  batches = scored(
    features, tmp_path, 'train', train=True, batch_size=int(count)
  )
  seen = set()
  for epoch in range(12):
    batch = batches[epoch]
    rare = np.abs(batch['scores'] / 2 + 0.5 - batch['coarse']) > 0.2
    assert rare.sum() == count // 2
    assert len(set(keys(batch))) == count
    assert set(keys(batch)) <= set(keys(train))
    seen |= set(keys(batch))
  assert len(seen) > 0.8 * len(keys(train))


def test_labels_compare_scores_on_one_scale():
  fine = np.array([-1.0, -1.0, 1.0, 1.0])
  coarse = np.array([0.1, 0.3, 0.9, 0.7])
  found = deserves(fine, coarse)
  assert found.tolist() == [False, True, False, True]
  assert not deserves(fine, coarse, 0.5).any()
  for pair in zip(fine, coarse, found, strict=True):
    assert deserves(*pair[:2]) == pair[2]


def test_pairs_of_only_one_kind_are_not_trained_on(features):
  alike = VideoPair('v0', 'v1', 0.0, 0.0, 0.5)
  with pytest.raises(ValueError, match='0 of 2 pairs'):
    _balanced([alike, alike], 0.2, 0)


def test_scored_pairs_need_both_files(features):
  with pytest.raises(ValueError, match="'fine' and 'coarse'"):
    data.make_dataset(
      *('scored_pairs', 'train'),
      batch_size=1,
      train=True,
      features=features,
    )


def test_made_videos_stand_in_for_a_first_look():
  options = {'batch_size': 4, 'features': '', 'frames': 24}
  rows = real_rows(data.make_dataset('pairs', 'test', train=False, **options))
  assert rows['relevant'].sum() == 4 * 3 * 2
  batches = data.make_dataset('scored_pairs', 'train', train=True, **options)
  assert np.isfinite(batches[0]['coarse']).all()


def test_the_published_annotation_of_fivr_serves_as_it_is(tmp_path):
  path = pathlib.Path(__file__).parents[4] / 'shared/annotations/fivr.pickle'
  if not path.exists():
    pytest.skip('the published annotation is not here')
  fivr = read_fivr(path, '5k')
  query = sorted(fivr.queries)[0]
  relevant = sorted(fivr.labels[query]['ND'] & fivr.database)[:2]
  others = sorted(fivr.database - set().union(*fivr.labels[query].values()))[:3]
  regions = np.eye(4, dtype=np.float32)[None].repeat(5, 0)
  with FeatureStore(tmp_path / 'store', fingerprint='a') as store:
    for name in [query, *relevant, *others]:
      store.add(name, regions)
  rows = real_rows(
    data.make_dataset(
      *('pairs', 'test'),
      batch_size=4,
      train=False,
      features=tmp_path / 'store',
      annotations=path,
      frames=8,
    )
  )
  assert rows['relevant'].sum() == len(relevant) > 0
  assert len(rows['relevant']) == len([*relevant, *others])
