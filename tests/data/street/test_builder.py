"""The street as a tfds data set and as batches."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from deltax.data import describe, make_dataset
from deltax.data.street import drive
from deltax.data.street.builder import FIRST_VALIDATION_SEED, prepare

OPTIONS = {'worlds': (3, 2), 'frames': 5, 'size': (32, 64)}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  prepare(**OPTIONS, data_dir=folder)
  return folder


@pytest.fixture(scope='module')
def worlds():
  return [world for _, world in drive.render_worlds(range(3), 5, (32, 64))]


def dataset(data_dir, split='train', train=True, batch_size=2, **options):
  return make_dataset(
    'street',
    split,
    batch_size=batch_size,
    train=train,
    data_dir=data_dir,
    **{'max_distance': 3, **OPTIONS, **options},
  )


def test_the_data_set_holds_exactly_what_was_rendered(data_dir, worlds):
  world = worlds[1]
  builder = prepare(**OPTIONS, data_dir=data_dir)
  records = builder.as_data_source('train')
  for t in range(5):
    record = records[5 + t]
    assert (record['world'], record['index']) == (1, t)
    np.testing.assert_array_equal(record['frame'], world.frames[t])
    np.testing.assert_array_equal(record['labels'][..., 0], world.labels[t])
    rows = world.box_frames == t
    np.testing.assert_array_equal(record['boxes'], world.boxes[rows])
    np.testing.assert_array_equal(record['classes'], world.box_classes[rows])
    np.testing.assert_array_equal(record['tracks'], world.box_tracks[rows])


def test_evaluation_shows_whole_worlds_with_their_exact_motion(data_dir):
  batches = dataset(
    data_dir, 'validation', train=False, clip_length=None, flow=True
  )
  first = FIRST_VALIDATION_SEED
  worlds = [drive.render_world(first + k, 5, (32, 64)) for k in range(2)]
  assert len(batches) == 1
  batch = batches[0]
  np.testing.assert_array_equal(batch['frames'], [w.frames for w in worlds])
  np.testing.assert_array_equal(batch['labels'], [w.labels for w in worlds])
  np.testing.assert_array_equal(batch['visible'], [w.visible for w in worlds])
  # motion is stored in steps of 1 / 64 pixel
  flow = np.stack([w.flow for w in worlds])
  np.testing.assert_allclose(batch['flow'], flow, atol=1 / 128 + 1e-6)


def test_an_opened_data_set_is_not_rendered_again(data_dir, monkeypatch):
  def refuse(*arguments, **options):
    raise AssertionError('rendered again')

  monkeypatch.setattr(drive, 'render_worlds', refuse)
  assert dataset(data_dir)[0]['frames'].shape == (2, 2, 32, 64, 3)


def test_a_build_that_fails_leaves_no_data_set(tmp_path, monkeypatch, worlds):
  def fail(seeds, *arguments, **options):
    yield 0, worlds[0]
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(drive, 'render_worlds', fail)
    with pytest.raises(KeyboardInterrupt):
      prepare(**OPTIONS, data_dir=tmp_path)
  assert not list(tmp_path.rglob('*.array_record*'))
  monkeypatch.setattr(
    drive,
    'render_worlds',
    lambda seeds, *a, **k: ((seed, worlds[0]) for seed in seeds),
  )
  assert prepare(**OPTIONS, data_dir=tmp_path).is_prepared()


def test_windows_come_in_order_and_the_last_batch_is_padded(data_dir):
  batches = dataset(
    data_dir, 'validation', train=False, clip_length=2, batch_size=3
  )
  whole = dataset(data_dir, 'validation', train=False, clip_length=None)[0]
  assert len(batches) == 2  # two worlds of two windows each
  np.testing.assert_array_equal(batches[0]['mask'], [1, 1, 1])
  np.testing.assert_array_equal(batches[1]['mask'], [1, 0, 0])
  np.testing.assert_array_equal(
    batches[0]['frames'][1], whole['frames'][0, 2:4]
  )
  np.testing.assert_array_equal(
    batches[1]['labels'][0], whole['labels'][1, 2:4]
  )
  assert (batches[1]['labels'][1:] == 255).all()
  assert not batches[1]['frames'][1:].any()


def test_a_pair_is_a_key_frame_and_a_later_frame_of_one_world(data_dir, worlds):
  batches = dataset(data_dir, batch_size=1)
  seen = set()
  for index in range(60):
    pair = batches[index]['frames'][0]
    found = {
      (k, key, later - key)
      for k, world in enumerate(worlds)
      for frames in (world.frames, world.frames[:, :, ::-1])
      for key in range(5)
      for later in range(5)
      if np.array_equal(pair, frames[[key, later]])
    }
    assert len(found) == 1
    seen |= found
  assert {distance for _, _, distance in seen} == {1, 2, 3}
  assert {k for k, _, _ in seen} == {0, 1, 2}


def test_a_batch_is_a_pure_function_of_its_number(data_dir):
  batches = dataset(data_dir, seed=5, jitter=0.2)
  first = [batches[k] for k in (7, 0, 7)]
  for name in ('frames', 'labels', 'mask'):
    np.testing.assert_array_equal(first[0][name], first[2][name])
  assert not np.array_equal(first[0]['frames'], first[1]['frames'])
  other = dataset(data_dir, seed=6, jitter=0.2)[7]
  assert not np.array_equal(first[0]['frames'], other['frames'])


def test_a_restarted_process_sees_the_same_batch(data_dir):
  code = (
    'import sys, zlib\n'
    'from deltax.data import make_dataset\n'
    "b = make_dataset('street', 'train', batch_size=2, train=True, seed=5, "
    'jitter=0.2, max_distance=3, worlds=(3, 2), frames=5, size=(32, 64), '
    'data_dir=sys.argv[1])[7]\n'
    "print(zlib.crc32(b['frames'].tobytes() + b['labels'].tobytes()))"
  )
  batch = dataset(data_dir, seed=5, jitter=0.2)[7]
  here = zlib.crc32(batch['frames'].tobytes() + batch['labels'].tobytes())
  there = subprocess.run(
    [sys.executable, '-c', code, str(data_dir)],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )
  assert int(there.stdout.split()[-1]) == here


def test_every_epoch_shows_every_world_once(data_dir, worlds):
  batches = dataset(data_dir, batch_size=3, clip_length=1)
  orders = []
  for epoch in range(6):
    labels = batches[epoch]['labels'][:, 0]
    order = []
    for label in labels:
      order += [
        k
        for k, world in enumerate(worlds)
        for flipped in (world.labels, world.labels[:, :, ::-1])
        if (flipped == label).all((1, 2)).any()
      ]
    assert sorted(order) == [0, 1, 2]
    orders.append(tuple(order))
  assert len(set(orders)) > 1


def test_longer_training_clips_are_consecutive_frames(data_dir, worlds):
  world = worlds[0]
  batch = dataset(data_dir, worlds=(3, 2), clip_length=5, batch_size=6)[0]
  clips = [c for c in batch['frames'] if np.array_equal(c, world.frames)]
  mirrored = world.frames[:, :, ::-1]
  clips += [c for c in batch['frames'] if np.array_equal(c, mirrored)]
  assert len(clips) == 2  # two epochs of three worlds in one batch


def test_wrong_requests_name_what_is_known(data_dir):
  with pytest.raises(ValueError, match=r"'kitti'.*camvid, cityscapes_video"):
    make_dataset('kitti', 'train', batch_size=1, train=True)
  with pytest.raises(ValueError, match=r"'test'.*train, validation"):
    dataset(data_dir, 'test')
  with pytest.raises(ValueError, match='do not fit in videos of 5 frames'):
    dataset(data_dir, max_distance=5)
  with pytest.raises(ValueError, match='evaluation only'):
    dataset(data_dir, clip_length=None)


def test_describe_names_every_class_with_a_colour():
  for name in ('street', 'camvid', 'cityscapes_video'):
    info = describe(name)
    assert info.palette.shape == (len(info.classes), 3)
    assert len({tuple(colour) for colour in info.palette}) == len(info.classes)
