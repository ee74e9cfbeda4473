"""The Cityscapes loader, on a tree that the street writes in its layout."""

import cv2
import numpy as np
import pytest

from deltax import files
from deltax.data import augment, make_dataset
from deltax.data.folders import cityscapes_video, pseudo
from deltax.data.labels import STREET_TRAIN_IDS
from deltax.data.street import drive
from deltax.data.street.layouts import write_cityscapes

SIZE = (32, 64)
FRAMES = 'leftImg8bit_sequence/val/b/b_000001_0000{:02d}_leftImg8bit.png'
TRUTH = 'gtFine/val/b/b_000001_000019_gtFine_labelIds.png'


@pytest.fixture(scope='module')
def worlds():
  rendered = drive.render_worlds([3, 5], 20, SIZE)
  return [world for _, world in rendered]


@pytest.fixture
def root(tmp_path, worlds):
  for split in ('train', 'val'):
    for city, world in zip('ab', worlds, strict=True):
      write_cityscapes(world, tmp_path, split, city, ord(city) - 97)
  return tmp_path


def dataset(root, split='val', train=False, batch_size=2, **options):
  options = {'root': root, 'crop': SIZE, **options}
  return make_dataset(
    'cityscapes_video', split, batch_size=batch_size, train=train, **options
  )


def train_ids(labels):
  return np.array(STREET_TRAIN_IDS, np.uint8)[labels]


@pytest.mark.parametrize('distance', [0, 1, 4])
def test_an_evaluation_clip_ends_in_the_labelled_frame(root, worlds, distance):
  batches = dataset(root, clip_length=distance + 1)
  assert len(batches) == 1
  batch = batches[0]
  for k, world in enumerate(worlds):
    np.testing.assert_array_equal(
      batch['frames'][k], world.frames[19 - distance : 20]
    )
    np.testing.assert_array_equal(
      batch['labels'][k, -1], train_ids(world.labels[19])
    )
  assert (batch['labels'][:, :-1] == 255).all()


def test_the_last_batch_is_padded(root):
  batches = dataset(root, batch_size=3)
  np.testing.assert_array_equal(batches[0]['mask'], [1, 1, 0])
  assert (batches[0]['labels'][2] == 255).all()


def test_training_pairs_keep_their_distance_and_share_the_change(
  root, worlds, monkeypatch
):
  monkeypatch.setattr(augment, 'scale_and_crop', lambda clip, rng, crop: clip)
  batches = dataset(root, 'train', train=True, batch_size=1)
  seen = set()
  for index in range(40):
    batch = batches[index]
    assert (batch['labels'][0, 0] == 255).all()
    for world in worlds:
      for turn in (1, -1):
        frames = world.frames[:, :, ::turn]
        labels = train_ids(world.labels[19])[:, ::turn]
        if np.array_equal(batch['frames'][0, 1], frames[19]):
          np.testing.assert_array_equal(batch['labels'][0, 1], labels)
          seen |= {
            (19 - k, turn)
            for k in range(19)
            if np.array_equal(batch['frames'][0, 0], frames[k])
          }
  assert {distance for distance, _ in seen} == {1, 2, 3, 4, 5}
  assert {turn for _, turn in seen} == {1, -1}


def test_training_batches_have_the_size_of_the_crop(root):
  batch = dataset(root, 'train', train=True, crop=(48, 80))[3]
  assert batch['frames'].shape == (2, 2, 48, 80, 3)
  assert batch['labels'].shape == (2, 2, 48, 80)
  again = dataset(root, 'train', train=True, crop=(48, 80))[3]
  np.testing.assert_array_equal(batch['frames'], again['frames'])


def test_a_missing_frame_is_named_before_training_starts(root):
  missing = root / FRAMES.format(17)
  missing.unlink()
  with pytest.raises(FileNotFoundError, match='1 missing') as error:
    dataset(root, clip_length=3)
  assert str(missing) in str(error.value)
  dataset(root, clip_length=2)  # frame 17 is not needed


def test_a_cut_off_file_is_named_before_training_starts(root):
  broken = root / FRAMES.format(18)
  broken.write_bytes(broken.read_bytes()[:-20])
  with pytest.raises(ValueError, match='cut off') as error:
    dataset(root)
  assert str(broken) in str(error.value)


def test_a_damaged_file_is_named_when_it_is_read(root):
  broken = root / FRAMES.format(18)
  content = bytearray(broken.read_bytes())
  content[len(content) // 2] ^= 0xFF
  broken.write_bytes(content)
  with pytest.raises(ValueError, match='not a readable image') as error:
    dataset(root)[0]
  assert str(broken) in str(error.value)


def test_a_label_map_of_another_size_names_both_files(root):
  cv2.imwrite(str(root / TRUTH), np.zeros((8, 8), np.uint8))
  with pytest.raises(ValueError, match=r'32x64 pixels.*8x8') as error:
    dataset(root)[0]
  assert TRUTH in str(error.value)


def test_a_colour_image_is_no_label_map(root):
  cv2.imwrite(str(root / TRUTH), np.zeros((*SIZE, 3), np.uint8))
  with pytest.raises(ValueError, match='expected a label map'):
    dataset(root)[0]


def test_an_empty_or_unknown_root_says_what_is_expected(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match='CITY_SEQ_FRAME_gtFine_labelIds'):
    dataset(tmp_path)
  with pytest.raises(FileNotFoundError, match='no such folder'):
    dataset(tmp_path / 'nowhere')
  monkeypatch.delenv('DELTAX_CITYSCAPES', raising=False)
  with pytest.raises(ValueError, match='DELTAX_CITYSCAPES'):
    dataset(None)


def test_the_root_may_come_from_the_environment(root, monkeypatch):
  monkeypatch.setenv('DELTAX_CITYSCAPES', str(root))
  assert dataset(None)[0]['frames'].shape == (2, 2, *SIZE, 3)


@pytest.fixture
def made(root):
  """Pseudo-labels, all of them cars, for two frames more than there were."""
  for k in (20, 21):
    frame = np.full((*SIZE, 3), k, np.uint8)
    name = f'a_000000_0000{k}_leftImg8bit.png'
    cv2.imwrite(
      str(root / cityscapes_video.FRAMES / 'train' / 'a' / name), frame
    )
  found = cityscapes_video.to_label(root, 'train')
  assert len(found.names) == 42
  folder = root / 'made'
  files.write_json(folder / pseudo.MANIFEST, {'source': found.source})
  for name in found.names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), found.encode(np.full(SIZE, 13, np.uint8)))
  return folder


def test_pseudo_labels_are_on_all_frames_of_a_snippet_but_the_labelled_one(
  root, made, worlds, monkeypatch
):
  monkeypatch.setattr(augment, 'scale_and_crop', lambda clip, rng, crop: clip)
  monkeypatch.setattr(augment, 'flip', lambda clip, rng: clip)
  shown = {
    world.frames[k].tobytes(): (city, k)
    for city, world in zip('ab', worlds, strict=True)
    for k in range(20)
  } | {np.full((*SIZE, 3), k, np.uint8).tobytes(): ('a', k) for k in (20, 21)}
  batches = dataset(root, 'train', train=True, pseudo_labels=str(made))
  last = []
  for index in range(150):
    for frames, labels in zip(*_both(batches[index]), strict=True):
      (city, key), (_, later) = [shown[frame.tobytes()] for frame in frames]
      assert 1 <= later - key <= 5
      for k, label in ((key, labels[0]), (later, labels[1])):
        world = worlds['ab'.index(city)]
        real = train_ids(world.labels[19]) if k == 19 else np.full(SIZE, 13)
        np.testing.assert_array_equal(label, real)
      last.append(later)
  assert set(last) == set(range(1, 22))
  assert abs(np.mean(np.array(last) == 19) - 0.52) < 0.08


def _both(batch):
  return batch['frames'], batch['labels']


def test_a_missing_pseudo_label_is_named_before_training_starts(root, made):
  missing = made / 'gtFine/train/b/b_000001_000007_gtFine_labelIds.png'
  missing.unlink()
  with pytest.raises(FileNotFoundError, match='deltax label') as error:
    dataset(root, 'train', train=True, pseudo_labels=str(made))
  assert str(missing) in str(error.value)
  with pytest.raises(ValueError, match='not for evaluation'):
    dataset(root, 'train', pseudo_labels=str(made))
