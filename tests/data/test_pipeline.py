"""Batches and augmentation."""

import cv2
import jax
import numpy as np
import pytest

from deltax.data import augment, clips, pipeline


def numbered(element, rng):
  return {'frames': np.array([element]), 'draw': rng.random(1)}


def test_training_shows_every_element_once_an_epoch_in_a_new_order():
  batches = pipeline.training(range(6), numbered, batch_size=3, seed=0)
  orders = []
  for epoch in range(8):
    pair = [batches[2 * epoch + k]['frames'][:, 0] for k in range(2)]
    orders.append(tuple(np.concatenate(pair)))
    assert sorted(orders[-1]) == list(range(6))
  assert len(set(orders)) > 4


def test_randomness_differs_by_place_and_depends_on_the_seed():
  draws = {}
  for seed in (0, 1):
    batches = pipeline.training(range(5), numbered, batch_size=4, seed=seed)
    draws[seed] = [batches[k]['draw'] for k in range(50)]
    assert len(np.unique(draws[seed])) == 200
    np.testing.assert_array_equal(batches[7]['draw'], draws[seed][7])
  assert not np.intersect1d(draws[0], draws[1]).size


def test_training_is_endless_and_never_padded():
  batches = pipeline.training(range(2), numbered, batch_size=3, seed=0)
  assert len(batches) > 10**15
  np.testing.assert_array_equal(batches[10**9]['mask'], np.ones(3))


def of_processes(monkeypatch, count, make):
  """What `make` gives in each of some processes."""
  monkeypatch.setattr(jax, 'process_count', lambda: count)
  for process in range(count):
    monkeypatch.setattr(jax, 'process_index', lambda process=process: process)
    yield make()


def test_processes_make_consecutive_stretches_of_the_same_batches(monkeypatch):
  def make():
    return pipeline.training(range(7), numbered, batch_size=6, seed=2)

  def shown(batches):
    return [batches[index] for index in (0, 5)]

  whole = shown(make())
  parts = list(of_processes(monkeypatch, 3, lambda: shown(make())))
  again = list(
    of_processes(monkeypatch, 3, lambda: shown(make().of_all_processes()))
  )
  for index in range(2):
    for name in ('frames', 'draw', 'mask'):
      stretches = [part[index][name] for part in parts]
      assert [len(stretch) for stretch in stretches] == [2, 2, 2]
      np.testing.assert_array_equal(
        np.concatenate(stretches), whole[index][name]
      )
      for all_of_them in again:
        np.testing.assert_array_equal(
          all_of_them[index][name], whole[index][name]
        )


def test_processes_that_do_not_divide_a_training_batch_are_an_error(
  monkeypatch,
):
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  with pytest.raises(ValueError, match=r'batch_size of 4 .* by 3 processes'):
    pipeline.training(range(7), numbered, batch_size=4, seed=0)


@pytest.mark.parametrize('batch_size', [1, 4, 6])
def test_processes_evaluate_everything_once_in_equally_many_batches(
  monkeypatch, batch_size
):
  def make():
    batches = pipeline.evaluation(
      range(7), lambda k: {'frames': np.array([k])}, batch_size=batch_size
    )
    return [batches[index] for index in range(len(batches))]

  parts = list(of_processes(monkeypatch, 3, make))
  assert len({len(part) for part in parts}) == 1
  seen = []
  for batches in zip(*parts, strict=True):
    for batch in batches:
      assert batch['frames'].shape == (-(-batch_size // 3), 1)
      seen += batch['frames'][batch['mask'] > 0, 0].tolist()
  assert seen == list(range(7))


def test_padding_has_no_label_no_box_and_is_not_real():
  example = {
    'labels': np.ones((2, 2), np.uint8),
    'classes': np.ones((2, 3), np.int32),
    'boxes': np.ones((2, 3, 4), np.float32),
    'real': np.ones(2, bool),
  }
  batches = pipeline.evaluation([0], lambda k: example, batch_size=2)
  assert batches[0]['mask'].tolist() == [1, 0]
  for name, blank in [('labels', 255), ('classes', -1), ('boxes', 0)]:
    assert (batches[0][name][0] == 1).all()
    assert (batches[0][name][1] == blank).all()
    assert batches[0][name].dtype == example[name].dtype
  assert batches[0]['real'].tolist() == [[True, True], [False, False]]


def test_examples_of_a_batch_are_joined_before_they_are_stacked(monkeypatch):
  def join(rows):
    count = max(len(row['frames']) for row in rows)
    return [{'frames': np.resize(row['frames'], count)} for row in rows]

  def ragged(k, rng=None):
    return {'frames': np.full(k, k)}

  batches = pipeline.evaluation([2, 3], ragged, batch_size=2, join=join)
  assert batches[0]['frames'].tolist() == [[2, 2, 2], [3, 3, 3]]
  batches = pipeline.training([1, 4], ragged, batch_size=2, seed=0, join=join)
  assert batches[0]['frames'].shape == (2, 4)
  # A process without examples of its own pads with what it would have seen.
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  batches = pipeline.evaluation([5], ragged, batch_size=2, join=join)
  assert batches[0]['frames'].tolist() == [[0] * 5]
  assert batches[0]['mask'].tolist() == [0]


def test_no_examples_is_an_error_and_so_is_a_batch_past_the_end():
  with pytest.raises(ValueError, match='no examples'):
    pipeline.training([], numbered, batch_size=1, seed=0)
  with pytest.raises(ValueError, match='no examples'):
    pipeline.evaluation([], lambda k: k, batch_size=1)
  batches = pipeline.evaluation(
    [1], lambda k: {'frames': np.array([k])}, batch_size=1
  )
  with pytest.raises(IndexError, match='batch 1 of 1'):
    batches[1]


def clip(frames=3, size=(16, 32)):
  """Frames whose pixels tell where they are, and labels that agree."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 11, (frames, *size)).astype(np.uint8)
  return {'frames': np.stack([labels * 20] * 3, -1), 'labels': labels}


def test_a_flip_mirrors_all_frames_and_their_labels_together():
  before, turned = clip(), 0
  for seed in range(20):
    after = augment.flip(before, np.random.default_rng(seed))
    np.testing.assert_array_equal(after['frames'][..., 0], after['labels'] * 20)
    if not np.array_equal(after['labels'], before['labels']):
      turned += 1
      np.testing.assert_array_equal(
        after['labels'], before['labels'][:, :, ::-1]
      )
  assert 4 < turned < 16


def test_jitter_changes_all_frames_alike_and_no_label():
  before = clip()
  before['frames'][1] = before['frames'][0]
  after = augment.jitter(before, np.random.default_rng(3), 0.5)
  np.testing.assert_array_equal(after['labels'], before['labels'])
  np.testing.assert_array_equal(after['frames'][0], after['frames'][1])
  assert not np.array_equal(after['frames'], before['frames'])


def test_scaling_and_cropping_keep_frames_and_labels_together():
  """On a ramp, a misplaced label shows as a difference of grey levels."""
  y, x = np.mgrid[:64, :128]
  grey = (x + y).astype(np.uint8)
  still = {'frames': np.stack([grey] * 3, -1)[None], 'labels': grey[None]}
  sizes = set()
  for seed in range(30):
    after = augment.scale_and_crop(still, np.random.default_rng(seed), (48, 96))
    assert after['frames'].shape == (1, 48, 96, 3)
    known = after['labels'] != 255
    sizes.add(int(known.sum()))
    assert not after['frames'][~known].any()
    miss = after['frames'][..., 0].astype(int) - after['labels']
    assert np.abs(miss[known]).max() <= 2
  assert min(sizes) == 32 * 64  # the smallest scale is one half
  assert max(sizes) == 48 * 96


def test_drift_without_strength_repeats_the_still():
  frame = cv2.resize(
    np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (80, 60)
  )
  label = frame[..., 0] // 25
  still = augment.drift(frame, label, np.random.default_rng(1), 3, 0.0)
  for t in range(3):
    np.testing.assert_array_equal(still['frames'][t], frame)
    np.testing.assert_array_equal(still['labels'][t], label)


def test_drift_gets_nearer_to_the_still_with_every_frame():
  frame = cv2.resize(
    np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (80, 60)
  )
  moved = augment.drift(frame, frame[..., 0], np.random.default_rng(1), 4)
  miss = np.abs(moved['frames'].astype(int) - frame).mean((1, 2, 3))
  assert miss[0] > miss[1] > miss[2] > miss[3] == 0
  assert (moved['labels'][0] == 255).any()


def test_a_pair_has_every_distance_up_to_the_largest():
  rng = np.random.default_rng(0)
  pairs = [clips.choose(rng, 6, 2, 3) for _ in range(300)]
  assert {later - key for key, later in pairs} == {1, 2, 3}
  assert {key for key, _ in pairs} == {0, 1, 2, 3, 4}
  assert max(later for _, later in pairs) == 5
  assert clips.choose(rng, 4, 4, 3) == [0, 1, 2, 3]
