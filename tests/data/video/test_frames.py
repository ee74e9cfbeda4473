"""Every frame of a video, at the size that is asked for."""

import numpy as np
import pytest

from deltax.data.prefetch import ahead
from deltax.data.video.files import VideoError, read_video, write_video
from deltax.data.video.frames import (
  MEAN_COLOUR,
  fit,
  fitted,
  read_frames,
  read_header,
  resize,
)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (17, 4, 6, 3), np.uint8)
  write_video(path, small.repeat(16, 1).repeat(16, 2), 12.5)
  return path


def test_every_frame_is_read_and_the_header_tells_how_many(film):
  frames = list(read_frames(film))
  whole = read_video(film, rate=1e9, short_side=None, crop=None)
  np.testing.assert_array_equal(np.stack(frames), whole.frames)
  assert len(frames) == 17
  assert read_header(film) == (12.5, 17)


def test_a_container_without_a_count_is_measured_by_its_length(film, tmp_path):
  path = tmp_path / 'film.mkv'
  write_video(path, read_frames(film), 12.5)
  header = read_header(path)
  assert header.rate == pytest.approx(12.5)
  assert header.count == 17


def test_a_damaged_file_is_told_at_its_end(film, tmp_path):
  path = tmp_path / 'film.mkv'
  write_video(path, read_frames(film), 12.5)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  frames = ahead(read_frames(path))
  next(frames)
  with pytest.raises(VideoError, match=r'film\.mkv: the file is cut off'):
    list(frames)


def test_a_shrunken_frame_has_the_means_of_areas():
  frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
  small = resize(frame, (4, 6))
  expected = frame.reshape(4, 2, 6, 2, 3).mean((1, 3))
  assert np.abs(small - expected).max() <= 0.5
  grown = resize(small, (16, 24))
  assert grown.shape == (16, 24, 3)
  np.testing.assert_array_equal(grown[0, 0], small[0, 0])
  np.testing.assert_array_equal(resize(frame, (8, 12)), frame)


@pytest.mark.parametrize(
  ('shape', 'size', 'inner'),
  [
    ((8, 16), (8, 8), (4, 8)),
    ((16, 8), (8, 8), (8, 4)),
    ((4, 4), (8, 8), (8, 8)),
    ((1, 400), (8, 8), (1, 8)),
  ],
)
def test_a_frame_keeps_its_proportions(shape, size, inner):
  frame = np.full((*shape, 3), 7, np.uint8)
  whole = fit(frame, size)
  assert whole.shape == (*size, 3)
  assert fitted(shape, size) == inner
  inside = np.zeros(size, bool)
  inside[: inner[0], : inner[1]] = True
  assert (whole[inside] == 7).all()
  assert (whole[~inside] == MEAN_COLOUR).all()
