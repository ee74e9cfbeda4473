"""The CamVid loader, on a small tree and (where present) on the real one."""

import pathlib

import cv2
import numpy as np
import pytest

from deltax import files
from deltax.data import make_dataset
from deltax.data.folders import camvid, pseudo

REAL = pathlib.Path(__file__).resolve().parents[3] / '..' / 'shared' / 'camvid'


@pytest.fixture
def root(tmp_path):
  rng = np.random.default_rng(0)
  for split, count in (('train', 3), ('val', 5)):
    (tmp_path / split).mkdir()
    (tmp_path / f'{split}annot').mkdir()
    for k in range(count):
      frame = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
      label = np.kron(rng.integers(0, 12, (6, 8)), np.ones((8, 8)))
      cv2.imwrite(str(tmp_path / split / f'x_{k}.png'), frame)
      cv2.imwrite(
        str(tmp_path / f'{split}annot' / f'x_{k}.png'), label.astype(np.uint8)
      )
  return tmp_path


def dataset(root, split, train, batch_size=2, **options):
  return make_dataset(
    'camvid', split, batch_size=batch_size, train=train, root=root, **options
  )


def stills(root, split):
  frames, labels = [], []
  for path in sorted((root / split).iterdir()):
    frames.append(cv2.imread(str(path))[..., ::-1])
    label = cv2.imread(str(root / f'{split}annot' / path.name), -1)
    labels.append(np.where(label == 11, 255, label))
  return np.stack(frames), np.stack(labels)


def test_evaluation_shows_consecutive_frames_with_void_ignored(root):
  frames, labels = stills(root, 'val')
  batches = dataset(root, 'val', False, clip_length=2, batch_size=3)
  assert len(batches) == 1
  np.testing.assert_array_equal(batches[0]['mask'], [1, 1, 0])
  np.testing.assert_array_equal(batches[0]['frames'][1], frames[2:4])
  np.testing.assert_array_equal(batches[0]['labels'][0], labels[:2])
  whole = dataset(root, 'val', False, clip_length=None)[0]
  np.testing.assert_array_equal(whole['labels'][0], labels)


def test_a_training_clip_ends_in_a_still_as_it_is(root):
  frames, labels = stills(root, 'train')
  batches = dataset(root, 'train', True, clip_length=3, batch_size=4)
  for index in range(5):
    batch = batches[index]
    for clip, label in zip(batch['frames'], batch['labels'], strict=True):
      matches = [
        np.array_equal(label[-1], labels[k][:, ::turn])
        for k in range(3)
        for turn in (1, -1)
        if np.array_equal(clip[-1], frames[k][:, ::turn])
      ]
      assert matches == [True]
      assert not np.array_equal(clip[0], clip[-1])


def test_the_invented_motion_moves_labels_with_the_picture(root):
  """Where a moved label is known, it is the still's label nearby."""
  batch = dataset(root, 'train', True, batch_size=8)[0]
  for label in batch['labels']:
    known = (label[0] != 255) & (label[1] != 255)
    assert known.mean() > 0.6
    assert (label[0] == label[1])[known].mean() > 0.6
  assert (batch['labels'][:, 0] == 255).mean() > (
    batch['labels'][:, 1] == 255
  ).mean()


def test_a_batch_is_a_pure_function_of_its_number(root):
  one = dataset(root, 'train', True, seed=1, crop=(32, 32))
  two = dataset(root, 'train', True, seed=1, crop=(32, 32))
  assert one[4]['frames'].shape == (2, 2, 32, 32, 3)
  for name in ('frames', 'labels'):
    np.testing.assert_array_equal(one[4][name], two[4][name])


def test_a_frame_without_its_label_map_is_named(root):
  missing = root / 'valannot' / 'x_2.png'
  missing.unlink()
  with pytest.raises(FileNotFoundError) as error:
    dataset(root, 'val', False)
  assert str(missing) in str(error.value)


def test_a_cut_off_frame_is_named_before_training_starts(root):
  broken = root / 'train' / 'x_1.png'
  broken.write_bytes(broken.read_bytes()[:100])
  with pytest.raises(ValueError, match='cut off') as error:
    dataset(root, 'train', True)
  assert str(broken) in str(error.value)


def test_an_unknown_label_is_named(root):
  path = root / 'valannot' / 'x_0.png'
  cv2.imwrite(str(path), np.full((48, 64), 12, np.uint8))
  with pytest.raises(ValueError, match='0 to 11') as error:
    dataset(root, 'val', False)[0]
  assert str(path) in str(error.value)


def test_a_split_without_frames_says_what_is_expected(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'val: expected frames'):
    dataset(tmp_path, 'val', False)


def test_pseudo_labels_stand_in_where_a_frame_has_no_label_map(root, tmp_path):
  (root / 'trainannot' / 'x_1.png').unlink()
  with pytest.raises(FileNotFoundError, match=r'trainannot.*x_1\.png'):
    dataset(root, 'train', True)
  found, made = camvid.to_label(root, 'train'), tmp_path / 'made'
  assert found.names == [f'trainannot/x_{k}.png' for k in range(3)]
  labels = np.full((48, 64), 8, np.uint8)
  labels[:, :9] = 255
  files.write_json(made / pseudo.MANIFEST, {'source': found.source})
  for name in found.names:
    (made / name).parent.mkdir(exist_ok=True)
    cv2.imwrite(str(made / name), found.encode(labels))
  options = {'clip_length': 1, 'pseudo_labels': str(made)}
  batches = dataset(root, 'train', True, batch_size=60, **options)
  shown = [
    k
    for frame, label in zip(
      batches[0]['frames'][:, 0], batches[0]['labels'][:, 0], strict=True
    )
    for k in range(3)
    for turn in (1, -1)
    if np.array_equal(frame, found.read(k)[:, ::turn])
    and np.array_equal(
      label[:, ::turn], labels if k == 1 else real_map(root, k)
    )
  ]
  assert len(shown) == 60
  # A third of one half.
  assert 3 <= shown.count(1) <= 20
  (made / 'trainannot' / 'x_1.png').unlink()
  with pytest.raises(FileNotFoundError, match=r'or .*made for each frame'):
    dataset(root, 'train', True, **options)
  with pytest.raises(ValueError, match='not for evaluation'):
    dataset(root, 'val', False, pseudo_labels=str(made))


def real_map(root, k):
  label = cv2.imread(str(root / 'trainannot' / f'x_{k}.png'), -1)
  return np.where(label == 11, 255, label)


@pytest.mark.skipif(not REAL.is_dir(), reason='CamVid is not here')
def test_the_real_clip_can_be_measured_at_every_distance():
  batches = dataset(REAL, 'val', False, clip_length=10, batch_size=1)
  assert len(batches) == 5
  batch = batches[0]
  assert batch['frames'].shape == (1, 10, 360, 480, 3)
  known = batch['labels'] != 255
  assert (batch['labels'][known] < 11).all()
  assert known.mean((2, 3)).min() > 0.8
  pair = dataset(REAL, 'train', True, batch_size=1, crop=(128, 256))[0]
  assert pair['frames'].shape == (1, 2, 128, 256, 3)
