"""Boxes of the rendered street, as batches."""

import numpy as np
import pytest

from deltax.data import describe, make_dataset
from deltax.data.labels import CAR, PERSON, TRUCK
from deltax.data.street import drive
from deltax.data.street.builder import prepare

OPTIONS = {'worlds': (3, 2), 'frames': 5, 'size': (64, 128)}
ORDER = {CAR: 0, TRUCK: 1, PERSON: 2}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  prepare(**OPTIONS, data_dir=folder)
  return folder


@pytest.fixture(scope='module')
def worlds(data_dir):
  """What was drawn, by split: `[(frame, labels, boxes, classes), ...]`."""
  builder = prepare(**OPTIONS, data_dir=data_dir)
  return {
    split: [
      (record['frame'], record['labels'], record['boxes'], record['classes'])
      for record in builder.as_data_source(split)
    ]
    for split in ('train', 'validation')
  }


def dataset(data_dir, split='train', train=True, batch_size=2, **options):
  return make_dataset(
    'street_boxes',
    split,
    batch_size=batch_size,
    train=train,
    data_dir=data_dir,
    **{'max_distance': 3, **OPTIONS, **options},
  )


def wanted(record, min_side, min_shown):
  """The boxes of a frame, one after the other: `[(class, x0, y0, x1, y1)]`."""
  _, labels, boxes, classes = record
  rows = []
  for (x0, y0, x1, y1), kind in zip(boxes, classes, strict=True):
    seen = sum(
      int(labels[y, x, 0]) == kind for y in range(y0, y1) for x in range(x0, x1)
    )
    large = x1 - x0 >= min_side and y1 - y0 >= min_side
    if large and seen >= min_shown * (x1 - x0) * (y1 - y0):
      rows.append((ORDER[int(kind)], x0, y0, x1, y1))
  return rows


def found(boxes, classes):
  """The same from a frame of a batch, which has empty rows after the boxes."""
  count = int((classes >= 0).sum())
  assert (classes[count:] == -1).all() and not boxes[count:].any()
  return [
    (int(kind), *(int(v) for v in box))
    for kind, box in zip(classes[:count], boxes[:count], strict=True)
  ]


@pytest.mark.parametrize(
  ('min_side', 'min_shown'), [(0, 0), (4, 0), (0, 0.77), (6, 0.35)]
)
def test_evaluation_has_the_boxes_that_are_large_and_seen_enough(
  data_dir, worlds, min_side, min_shown
):
  batches = dataset(
    data_dir,
    'validation',
    train=False,
    clip_length=None,
    min_side=min_side,
    min_shown=min_shown,
  )
  assert len(batches) == 1
  batch = batches[0]
  assert batch['boxes'].shape == (2, 5, 64, 4)
  assert batch['boxes'].dtype == np.float32
  assert batch['classes'].dtype == np.int32
  assert batch['real'].all() and batch['real'].shape == (2, 5)
  np.testing.assert_array_equal(batch['size'], [[64, 128]] * 2)
  kept = 0
  for k, record in enumerate(worlds['validation']):
    place = divmod(k, 5)
    np.testing.assert_array_equal(batch['frames'][place], record[0])
    rows = found(batch['boxes'][place], batch['classes'][place])
    assert rows == wanted(record, min_side, min_shown)
    kept += len(rows)
  total = sum(len(record[2]) for record in worlds['validation'])
  assert kept == total if not min_side + min_shown else 0 < kept < total


def test_training_boxes_are_where_the_picture_shows_them(data_dir, worlds):
  batches = dataset(data_dir)
  mirrored = 0
  for index in range(12):
    batch = batches[index]
    for k in range(2):
      for t in range(2):
        frame = batch['frames'][k, t]
        rows = found(batch['boxes'][k, t], batch['classes'][k, t])
        for record in worlds['train']:
          if np.array_equal(frame, record[0]):
            assert rows == wanted(record, 6, 0.35)
            break
          if np.array_equal(frame[:, ::-1], record[0]):
            turned = [
              (kind, 128 - x1, y0, 128 - x0, y1)
              for kind, x0, y0, x1, y1 in wanted(record, 6, 0.35)
            ]
            assert rows == turned
            mirrored += 1
            break
        else:
          raise AssertionError('a frame that was never drawn')
  assert 8 < mirrored < 40


def test_scaled_training_frames_keep_their_size_and_rules(data_dir):
  batches = dataset(data_dir, scales=(0.6, 1.8), jitter=0.3, seed=4)
  sizes = set()
  for index in range(8):
    batch = batches[index]
    assert batch['frames'].shape == (2, 2, 64, 128, 3)
    present = batch['classes'] >= 0
    sides = (batch['boxes'][..., 2:] - batch['boxes'][..., :2])[present]
    assert sides.min() >= 6
    for k in range(2):
      rows, columns = batch['size'][k]
      sizes.add((rows, columns))
      boxes = batch['boxes'][k][present[k]]
      assert (boxes >= 0).all()
      assert (boxes <= [columns, rows, columns, rows]).all()
  assert len(sizes) > 3 and (64, 128) in sizes
  again = dataset(data_dir, scales=(0.6, 1.8), jitter=0.3, seed=4)[7]
  for name, value in batch.items():
    np.testing.assert_array_equal(value, again[name])


def test_the_last_window_of_a_world_fills_up_and_never_counts(data_dir, worlds):
  batches = dataset(
    data_dir, 'validation', train=False, clip_length=2, batch_size=4
  )
  assert len(batches) == 2  # three windows of each of two worlds
  batch = batches[0]
  np.testing.assert_array_equal(
    batch['real'], [[True, True], [True, True], [True, False], [True, True]]
  )
  last = worlds['validation'][4]
  np.testing.assert_array_equal(batch['frames'][2, 0], last[0])
  np.testing.assert_array_equal(batch['frames'][2, 1], last[0])
  assert found(batch['boxes'][2, 0], batch['classes'][2, 0])
  assert (batch['classes'][2, 1] == -1).all()
  batch = batches[1]
  np.testing.assert_array_equal(batch['mask'], [1, 1, 0, 0])
  assert not batch['real'][2:].any()
  assert (batch['classes'][2:] == -1).all()
  assert not batch['boxes'][2:].any()


def test_stills_for_a_teacher_are_clips_of_one_frame(data_dir):
  batch = dataset(data_dir, clip_length=1, batch_size=3)[2]
  assert batch['frames'].shape == (3, 1, 64, 128, 3)
  assert batch['classes'].shape == (3, 1, 64)


def test_only_the_largest_boxes_fit_in_few_rows(data_dir, worlds):
  options = {'min_side': 0, 'min_shown': 0, 'max_boxes': 3}
  batch = dataset(
    data_dir, 'validation', train=False, clip_length=None, **options
  )[0]
  record = worlds['validation'][0]
  boxes = record[2]
  largest = np.sort((boxes[:, 2:] - boxes[:, :2]).prod(-1))[-3:]
  kept = batch['boxes'][0, 0]
  np.testing.assert_array_equal(
    np.sort((kept[:, 2:] - kept[:, :2]).prod(-1)), largest
  )


def test_boxes_and_labels_come_from_the_same_files(data_dir, monkeypatch):
  def refuse(*arguments, **options):
    raise AssertionError('rendered again')

  monkeypatch.setattr(drive, 'render_worlds', refuse)
  boxes = dataset(data_dir, seed=3)[0]
  labels = make_dataset(
    'street',
    'train',
    batch_size=2,
    train=True,
    seed=3,
    max_distance=3,
    data_dir=data_dir,
    **OPTIONS,
  )[0]
  np.testing.assert_array_equal(boxes['frames'], labels['frames'])


def test_classes_have_names_and_colours():
  info = describe('street_boxes')
  assert info.classes == ('car', 'truck', 'person')
  assert info.palette.shape == (3, 3) and info.ignore == -1


def test_wrong_requests_name_what_is_known(data_dir):
  with pytest.raises(ValueError, match=r"'test'.*train, validation"):
    dataset(data_dir, 'test')
  with pytest.raises(ValueError, match='do not fit in videos of 5 frames'):
    dataset(data_dir, max_distance=5)
  with pytest.raises(ValueError, match='evaluation only'):
    dataset(data_dir, clip_length=None)
