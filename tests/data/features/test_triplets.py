"""Triplets and views, as batches."""

import logging

import numpy as np
import pytest
from absl import logging as absl_logging

from deltax import data
from deltax.data.features.similarities import Similarities, write_similarities
from deltax.data.features.store import FeatureStore

LENGTHS = {'a': 10, 'b': 16, 'c': 9, 'd': 30, 'e': 12}
PAIRS = Similarities(
  {
    'a': ({'b': 0.8, 'c': 0.7}, {'d': -0.2, 'e': -0.4}),
    'b': ({'a': 0.8}, {'e': 0.1}),
    'c': ({'a': 0.9}, {}),
    'd': ({'gone': 0.5}, {'e': 0.0}),
    'e': ({'a': 0.5, 'gone': 0.4}, {'d': 0.3}),
  }
)


@pytest.fixture
def made(tmp_path):
  """Frame t of a video has the value t + 1, or minus that, by its name."""
  with FeatureStore(tmp_path / 'features', fingerprint='none') as store:
    for number, (name, length) in enumerate(LENGTHS.items()):
      rows = 100 * number + np.arange(1.0, length + 1, dtype=np.float32)
      store.add(name, np.tile(rows[:, None, None], (1, 2, 3)))
  write_similarities(tmp_path / 'pairs.json', PAIRS)
  return {
    'features': tmp_path / 'features',
    'similarities': tmp_path / 'pairs.json',
  }


def triplets(made, **options):
  defaults = {'batch_size': 3, 'train': True, 'frames': 24}
  return data.make_dataset('triplets', 'train', **made, **defaults | options)


def shown(video, mask):
  """The name of a padded video, and the frames it shows."""
  rows = video[mask > 0][:, 0, 0]
  number = int(rows[0] // 100)
  name = list(LENGTHS)[number]
  return name, (rows - 100 * number - 1).astype(int)


def test_a_triplet_has_its_videos_and_its_scores(made):
  batches = triplets(made, augment=False)
  for index in range(20):
    batch = batches[index]
    assert batch['anchor'].shape == (3, 24, 2, 3)
    for row in range(3):
      names = []
      for role in ('anchor', 'positive', 'negative'):
        mask = batch[f'{role}_mask'][row]
        name, frames = shown(batch[role][row], mask)
        length = min(LENGTHS[name], 24)
        assert frames.tolist() == list(range(length))
        assert mask.tolist() == [1.0] * length + [0.0] * (24 - length)
        assert not batch[role][row][mask == 0].any()
        names.append(name)
      positives, negatives = PAIRS.pairs[names[0]]
      scores = positives[names[1]], negatives[names[2]]
      np.testing.assert_allclose(batch['scores'][row], scores, rtol=1e-6)


def test_an_epoch_shows_every_anchor_that_has_both_kinds_once(made):
  batches = triplets(made)
  for epoch in range(5):
    batch = batches[epoch]
    names = [
      shown(*pair)[0]
      for pair in zip(batch['anchor'], batch['anchor_mask'], strict=True)
    ]
    assert sorted(names) == ['a', 'b', 'e']


def test_only_positives_and_negatives_are_reordered(made):
  batches = triplets(made, frames=32)
  changed = 0
  for index in range(40):
    batch = batches[index]
    for row in range(3):
      name, frames = shown(batch['anchor'][row], batch['anchor_mask'][row])
      assert frames.tolist() == list(range(LENGTHS[name]))
      name, frames = shown(batch['positive'][row], batch['positive_mask'][row])
      changed += frames.tolist() != list(range(LENGTHS[name]))
  assert 30 < changed < 90


def test_a_batch_depends_on_its_number_and_the_seed_only(made):
  first, again, other = (triplets(made, seed=seed) for seed in (0, 0, 1))
  for index in (7, 10**9):
    for name, value in first[index].items():
      np.testing.assert_array_equal(value, again[index][name])
  differ = [
    not np.array_equal(first[k]['positive'], other[k]['positive'])
    for k in range(5)
  ]
  assert any(differ)


def test_missing_videos_are_named(made, caplog, monkeypatch):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  with caplog.at_level(logging.WARNING):
    triplets(made)
  assert '1 videos have no features and are left out: gone' in caplog.text


def test_views_are_two_orders_of_the_same_video(made):
  batches = triplets(made, views=True, batch_size=5)
  different = 0
  for index in range(20):
    batch = batches[index]
    assert set(batch) == {
      *('view_a', 'view_a_mask', 'view_b', 'view_b_mask', 'mask')
    }
    names = []
    for row in range(5):
      (a, first), (b, second) = (
        shown(batch[view][row], batch[f'{view}_mask'][row])
        for view in ('view_a', 'view_b')
      )
      assert a == b
      names.append(a)
      different += first.tolist() != second.tolist()
    assert sorted(names) == list(LENGTHS)
  assert 40 < different < 95


def test_views_need_no_similarities(made):
  del made['similarities']
  assert triplets(made, views=True)[0]['view_a'].shape == (3, 24, 2, 3)
  with pytest.raises(ValueError, match='need similarities'):
    triplets(made)


def test_made_videos_stand_in_for_a_first_look():
  batches = data.make_dataset(
    'triplets', 'train', batch_size=2, train=True, features='', frames=24
  )
  np.testing.assert_allclose(batches[0]['scores'], [[0.9, -0.6]] * 2)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'frames': 30}, 'multiple of 4'),
    ({'train': False}, "evaluate on 'pairs'"),
  ],
)
def test_misuse_is_told(made, options, message):
  with pytest.raises(ValueError, match=message):
    triplets(made, **options)


def test_nothing_to_train_on_is_told(made, tmp_path):
  made['similarities'] = tmp_path / 'none.json'
  write_similarities(
    made['similarities'], Similarities({'a': ({'b': 1.0}, {})})
  )
  with pytest.raises(ValueError, match='no examples to train on'):
    triplets(made)


def test_videos_with_other_regions_are_named(made):
  with FeatureStore(made['features'], fingerprint='none') as store:
    store.add('gone', np.ones((5, 4, 3), np.float32))
  batches = triplets(made)
  with pytest.raises(ValueError, match=r"'gone': expected regions \[T, 2, 3\]"):
    [batches[index] for index in range(20)]
