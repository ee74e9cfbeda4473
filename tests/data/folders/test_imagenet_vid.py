"""The ImageNet VID loader, on a tree that the street writes in its layout."""

import functools

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from deltax.data import describe, make_dataset
from deltax.data.folders import imagenet_vid_builder
from deltax.data.folders.imagenet_vid_tree import STILLS as STILLS_LIST
from deltax.data.folders.imagenet_vid_tree import read_objects
from deltax.data.labels import CAR, IMAGENET_VID_IDS, TRUCK
from deltax.data.street import drive, layouts

SIZE, FRAMES = (64, 128), 23
VIDEO = 'ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000'
STILLS = {f'ILSVRC2013_train_extra0/s{k}': k for k in (2, 9)}
KINDS = {CAR: 6, TRUCK: 5}  # car, bus


@pytest.fixture(scope='module')
def worlds():
  rendered = drive.render_worlds([0, 1, 2], FRAMES, SIZE)
  return [world for _, world in rendered]


@pytest.fixture
def root(tmp_path, worlds):
  """Two videos to train on, one to validate on, two stills of the latter."""
  root = tmp_path / 'ILSVRC'
  layouts.write_imagenet_vid(worlds[0], root, 'train', VIDEO)
  layouts.write_imagenet_vid(worlds[1], root, 'train', VIDEO[:-1] + '1')
  layouts.write_imagenet_vid(worlds[2], root, 'val', 'ILSVRC2015_val_0')
  for name, index in STILLS.items():
    layouts.write_imagenet_det(worlds[2], root, index, name)
  return root


def dataset(root, split='train', train=True, batch_size=2, **options):
  options = {'data_dir': root.parent / 'data', 'size': SIZE, **options}
  return make_dataset(
    'imagenet_vid',
    split,
    batch_size=batch_size,
    train=train,
    root=root,
    **options,
  )


def picture(root, index, video=VIDEO, split='train'):
  path = root / 'Data' / 'VID' / split / video / f'{index:06d}.JPEG'
  return cv2.imread(str(path))[..., ::-1]


def annotation(root, index, video=VIDEO, split='train'):
  return root / 'Annotations' / 'VID' / split / video / f'{index:06d}.xml'


def boxes_of(world, index):
  """`[(class, x0, y0, x1, y1)]` of cars and trucks in one frame."""
  return [
    (KINDS[int(kind)], *map(int, box))
    for kind, box, frame in zip(
      world.box_classes, world.boxes, world.box_frames, strict=True
    )
    if frame == index and int(kind) in KINDS
  ]


def found(boxes, classes):
  rows = zip(classes, boxes, strict=True)
  return [(int(kind), *map(int, box)) for kind, box in rows if kind >= 0]


def object_xml(box, name='n02958343'):
  bounds = ''.join(
    f'<{k}>{v}</{k}>'
    for k, v in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
  )
  return (
    f'<object><trackid>3</trackid><name>{name}</name><bndbox>{bounds}</bndbox>'
    '<occluded>1</occluded><generated>0</generated></object>'
  )


def test_the_classes_are_the_thirty_of_the_benchmark():
  info = describe('imagenet_vid')
  assert len(info.classes) == len(set(IMAGENET_VID_IDS)) == 30
  assert info.classes[0] == 'airplane' and info.classes[29] == 'zebra'
  assert len({tuple(colour) for colour in info.palette}) == 30
  assert IMAGENET_VID_IDS[6] == layouts.WORDNET[CAR]


def test_the_data_set_holds_exactly_the_files(root, worlds):
  builder = imagenet_vid_builder.prepare(root, root.parent / 'data')
  records = builder.as_data_source('train')
  assert len(records) == 2 * FRAMES
  videos = imagenet_vid_builder.stretches(builder, 'train')
  assert [video.first for video in videos] == [0, FRAMES]
  for video, world in zip(videos, worlds, strict=False):
    for index in range(FRAMES):
      record = records[video.first + index]
      assert record['index'] == index
      np.testing.assert_array_equal(
        record['frame'], picture(root, index, video.name)
      )
      rows = boxes_of(world, index)
      assert found(record['boxes'], record['classes']) == rows
      assert video.labelled[index] == bool(rows)
      shown = (world.box_frames == index) & np.isin(world.box_classes, [*KINDS])
      np.testing.assert_array_equal(record['tracks'], world.box_tracks[shown])
  stills = imagenet_vid_builder.stretches(builder, 'stills')
  assert [video.name for video in stills] == [f'train/{k}' for k in STILLS]


def test_records_keep_their_order_however_much_there_is(root, monkeypatch):
  """tfds by itself needs TensorFlow for what outgrows its memory buffer."""
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 0)
  monkeypatch.setattr(
    tfds.download,
    'DownloadConfig',
    functools.partial(tfds.download.DownloadConfig, num_shards=2),
  )
  builder = imagenet_vid_builder.prepare(root, root.parent / 'data')
  files = {path.name for path in builder.data_path.glob('*train*-of-*')}
  assert len(files) == 2
  indices = [record['index'] for record in builder.as_data_source('train')]
  assert indices == [*range(FRAMES)] * 2


def test_a_data_set_that_was_built_needs_no_root(root, monkeypatch):
  dataset(root)
  monkeypatch.delenv(imagenet_vid_builder.VARIABLE, raising=False)
  batches = make_dataset(
    'imagenet_vid',
    'val',
    batch_size=1,
    train=False,
    data_dir=root.parent / 'data',
  )
  assert batches[0]['frames'].shape == (1, 2, 512, 512, 3)
  with pytest.raises(ValueError, match='DELTAX_IMAGENET_VID'):
    make_dataset(
      'imagenet_vid', 'val', batch_size=1, train=False, data_dir=root
    )


def pairs_of(root, worlds, **options):
  """`[(source, first frame, second frame)]`, as many training pairs show."""
  sources = [
    [picture(root, k, VIDEO[:-1] + str(video)) for k in range(FRAMES)]
    for video in range(2)
  ] + [[picture(root, k, 'ILSVRC2015_val_0', 'val') for k in range(FRAMES)]]
  places = {
    frame[:, ::turn].tobytes(): (source, k, turn)
    for source, frames in enumerate(sources)
    for k, frame in enumerate(frames)
    for turn in (1, -1)
  }
  batches, seen = dataset(root, batch_size=4, **options), []
  for index in range(40):
    batch = batches[index]
    for row in range(4):
      one, other = (places[frame.tobytes()] for frame in batch['frames'][row])
      assert one[0] == other[0] and one[2] == other[2]  # one video, one flip
      for t, (source, k, turn) in enumerate((one, other)):
        boxes = batch['boxes'][row, t]
        if turn < 0:
          boxes = np.concatenate(
            [
              128 - boxes[:, [2]],
              boxes[:, [1]],
              128 - boxes[:, [0]],
              boxes[:, [3]],
            ],
            1,
          )
        assert found(boxes, batch['classes'][row, t]) == boxes_of(
          worlds[source], k
        )
      seen.append((one[0], one[1], other[1]))
  return seen


def test_sorted_pairs_are_sampled_as_for_efficientdet(root, worlds):
  seen = pairs_of(root, worlds, pairs='sorted')
  videos = [(one, other) for source, one, other in seen if source < 2]
  assert all(0 <= other - one <= 9 for one, other in videos)
  assert len({other - one for one, other in videos}) == 10
  anchors = {(2 * k + 1) * FRAMES // 30 for k in range(0, 15, 2)}
  assert all({one, other} & anchors for one, other in videos)
  stills = {(one, other) for source, one, other in seen if source == 2}
  assert stills == {(k, k) for k in STILLS.values()}


def test_pairs_with_the_anchor_first_are_sampled_as_for_faster_rcnn(
  root, worlds
):
  seen = pairs_of(root, worlds, pairs='anchor_first', stills=False)
  assert {source for source, _, _ in seen} == {0, 1}
  distances = {other - one for _, one, other in seen}
  assert min(distances) < -5 and max(distances) > 5 and 0 not in distances
  assert max(map(abs, distances)) <= 9
  anchors = {(2 * k + 1) * FRAMES // 30 for k in range(15)}
  assert {one for _, one, _ in seen} == anchors


def test_evaluation_shows_every_frame_once_key_frame_first(root, worlds):
  batches = dataset(root, 'val', train=False, clip_length=10, batch_size=2)
  assert len(batches) == 2
  frames = []
  for batch in (batches[0], batches[1]):
    for row in np.flatnonzero(batch['mask']):
      for t in range(10):
        rows = found(batch['boxes'][row, t], batch['classes'][row, t])
        if batch['real'][row, t]:
          assert rows == boxes_of(worlds[2], len(frames))
          frames.append(batch['frames'][row, t])
        else:
          assert not rows
          np.testing.assert_array_equal(batch['frames'][row, t], frames[-1])
  np.testing.assert_array_equal(
    frames,
    [picture(root, k, 'ILSVRC2015_val_0', 'val') for k in range(FRAMES)],
  )
  np.testing.assert_array_equal(batches[1]['mask'], [1, 0])
  assert batches[1]['real'][0].sum() == 3 and not batches[1]['real'][1].any()


def test_frames_are_letterboxed_or_have_the_sides_that_are_asked_for(
  root, worlds
):
  whole = dataset(root, 'val', train=False, batch_size=1)[0]
  half = dataset(root, 'val', train=False, batch_size=1, size=(64, 64))[0]
  assert half['frames'].shape == (1, 2, 64, 64, 3)
  np.testing.assert_array_equal(half['size'], [[32, 64]])
  np.testing.assert_allclose(half['boxes'] * 2, whole['boxes'], atol=1e-4)
  large = dataset(root, 'val', train=False, batch_size=1, sides=(100, 60))[0]
  assert large['frames'].shape == (1, 2, 64, 112, 3)
  np.testing.assert_array_equal(large['size'], [[50, 100]])
  batch = dataset(root, clip_length=1, sides=(100, 60))[0]
  assert batch['frames'].shape == (2, 1, 64, 112, 3)


def test_a_frame_without_objects_is_no_anchor(root):
  for index in range(FRAMES):
    if index != 11:  # the middle of the 8th of 15 parts
      annotation(root, index).write_text('<annotation/>')
  batches = dataset(
    root, clip_length=1, stills=False, batch_size=1, pairs='anchor_first'
  )
  seen = {
    turned.tobytes()
    for index in range(64)
    for turned in [batches[index]['frames'][0, 0]]
  }
  shown = [
    k
    for k in range(FRAMES)
    for turn in (1, -1)
    if picture(root, k)[:, ::turn].tobytes() in seen
  ]
  assert set(shown) == {11}


def test_boxes_are_cut_at_the_border_and_dropped_outside(root):
  boxes = [(-5, 10, 30, 90), (128, 0, 140, 20), (10, 10, 10, 30), (1, 2, 3, 4)]
  objects = ''.join(map(object_xml, boxes))
  objects += object_xml((0, 0, 9, 9), 'n00007846')  # a person: not of the 30
  path = annotation(root, 0, 'ILSVRC2015_val_0', 'val')
  path.write_text(f'<annotation>{objects}</annotation>')
  batch = dataset(root, 'val', train=False)[0]
  rows = found(batch['boxes'][0, 0], batch['classes'][0, 0])
  assert rows == [(6, 0, 10, 30, 64), (6, 1, 2, 3, 4)]
  record = imagenet_vid_builder.prepare(
    data_dir=root.parent / 'data'
  ).as_data_source('val')
  assert record[0]['occluded'].all() and not record[0]['generated'].any()
  assert read_objects(path, (128, 64)).outside == 2


def test_a_grey_still_is_read_as_three_equal_colours(root):
  path = root / 'Data/DET/train' / f'{next(iter(STILLS))}.JPEG'
  cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
  for batch in (dataset(root)[k] for k in range(30)):
    assert batch['frames'].shape == (2, 2, *SIZE, 3)


@pytest.mark.parametrize(
  ('content', 'reason'),
  [
    ('<annotation><object>', 'no element found|mismatched'),
    ('<html/>', 'its root is html'),
    (
      '<annotation><object><name>n02958343</name></object></annotation>',
      'bndbox',
    ),
    (f'<annotation>{object_xml("abcd")}</annotation>', 'could not convert'),
  ],
)
def test_a_broken_annotation_is_named(root, content, reason):
  path = annotation(root, 5)
  path.write_text(content)
  with pytest.raises(ValueError, match=reason) as error:
    dataset(root)
  assert str(path) in str(error.value)
  assert not list((root.parent / 'data').rglob('*.array_record*'))


def test_missing_files_are_named_before_anything_is_built(root):
  annotation(root, 7).unlink()
  with pytest.raises(FileNotFoundError, match='1 missing') as error:
    dataset(root)
  assert str(annotation(root, 7)) in str(error.value)
  (root / 'Data/VID/train' / VIDEO / '000003.JPEG').unlink()
  with pytest.raises(
    FileNotFoundError, match=r'without a gap.*000003'
  ) as error:
    dataset(root)
  assert VIDEO in str(error.value)


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    (lambda data: data[:-300], 'cut off'),
    (lambda data: b'', 'expected a JPEG'),
    (lambda data: cv2.imencode('.png', np.zeros((4, 4)))[1].tobytes(), 'PNG'),
  ],
)
def test_a_broken_picture_is_named(root, change, reason):
  path = root / 'Data/VID/train' / VIDEO / '000004.JPEG'
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(ValueError, match=reason) as error:
    dataset(root)
  assert str(path) in str(error.value)


def test_stills_need_their_list_and_the_list_its_files(root):
  listed = root / 'ImageSets' / 'VID' / STILLS_LIST
  content = listed.read_text()
  listed.write_text(content + 'train/nowhere/nothing 1\n')
  with pytest.raises(FileNotFoundError, match='nowhere/nothing'):
    dataset(root)
  listed.write_text(content + '../secret 1\n')
  with pytest.raises(ValueError, match='line 3'):
    dataset(root)
  listed.unlink()
  with pytest.raises(FileNotFoundError, match=STILLS_LIST):
    dataset(root)


def test_without_stills_the_videos_alone_are_trained_on(root):
  (root / 'Data' / 'DET').rename(root / 'elsewhere')
  with pytest.raises(ValueError, match='stills=False'):
    dataset(root)
  assert dataset(root, stills=False)[0]['mask'].all()


def test_wrong_requests_say_what_is_known(root, tmp_path):
  with pytest.raises(ValueError, match=r"'test'.*train, val"):
    dataset(root, 'test')
  with pytest.raises(ValueError, match=r"'random'.*sorted, anchor_first"):
    dataset(root, pairs='random')
  for train, length in [(True, 3), (True, None), (False, None), (False, 0)]:
    with pytest.raises(ValueError, match='clip_length='):
      dataset(root, train=train, clip_length=length)
  empty = tmp_path / 'empty'
  empty.mkdir()
  with pytest.raises(FileNotFoundError, match='expected Data/VID'):
    dataset(empty, data_dir=tmp_path / 'other')
  (empty / 'Data' / 'VID').mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match=r'PART/VIDEO/000000\.JPEG'):
    dataset(empty, data_dir=tmp_path / 'other')
