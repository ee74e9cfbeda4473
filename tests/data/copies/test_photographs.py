"""Videos of photographs: each picture once, the same at every call."""

import cv2
import numpy as np
import pytest

from deltax.data.copies.photographs import film_photographs
from deltax.data.video.files import read_video


def photograph(seed, height=300, width=420):
  """A smooth picture, other at every place."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (6, 8, 3), np.uint8)
  size = width, height
  return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  (folder / 'deep').mkdir()
  for seed in range(4):
    cv2.imwrite(str(folder / f'deep/{seed}.png'), photograph(seed))
  cv2.imwrite(str(folder / 'large.png'), photograph(0, 600, 840))  # of 0
  cv2.imwrite(str(folder / 'small.png'), photograph(9, 100, 140))
  (folder / 'broken.jpg').write_bytes(b'no picture')
  (folder / 'empty.jpg').touch()
  (folder / 'notes.txt').write_text('nothing to see')
  return folder


def test_each_picture_is_filmed_once_and_the_rest_is_left_out(folder, tmp_path):
  videos = film_photographs([folder], tmp_path)
  assert 2 <= len(videos) <= 4
  assert sorted(tmp_path.iterdir()) == videos
  for path in videos:
    video = read_video(path, rate=100.0, short_side=None, crop=None)
    assert video.frames.shape[1] == 240 and 8 <= video.duration <= 14.5
    # The camera moves.
    assert abs(video.frames[0].astype(int) - video.frames[6]).mean() > 1


def test_the_same_folder_gives_the_same_videos_and_goes_on(folder, tmp_path):
  first = film_photographs([folder], tmp_path / 'a', seed=3)
  data = [path.read_bytes() for path in first]
  first[-1].unlink()
  film_photographs([folder], tmp_path / 'a', seed=3)
  assert [path.read_bytes() for path in first] == data
  other = film_photographs([folder], tmp_path / 'b', seed=4)
  assert [path.read_bytes() for path in other] != data


def test_a_folder_without_photographs_is_an_error(folder, tmp_path):
  with pytest.raises(ValueError, match='no photographs in'):
    film_photographs([folder / 'small.png', folder / 'notes.txt'], tmp_path)
