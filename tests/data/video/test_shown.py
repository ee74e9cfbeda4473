"""A video looks as a player shows it: turned, in proportion, in its colours."""

import av
import cv2
import numpy as np
import odd_videos
import pytest

from deltax.data.video.files import VideoError, read_video, write_video
from deltax.data.video.shown import within

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def whole(path, **options):
  return read_video(path, rate=1e9, short_side=None, crop=None, **options)


def corners(picture):
  """The names of the colours, row by row."""
  height, width = picture.shape[:2]
  names = {RED: 'r', GREEN: 'g', BLUE: 'b', YELLOW: 'y'}
  places = [(y, x) for y in (1, 3) for x in (1, 3)]
  seen = [picture[y * height // 4, x * width // 4] for y, x in places]
  nearest = [
    min(names, key=lambda colour: np.abs(np.subtract(colour, pixel)).sum())
    for pixel in seen
  ]
  return ''.join(map(names.get, nearest))


@pytest.fixture(scope='module')
def coded(tmp_path_factory):
  """Red and green above blue and yellow, 48 rows and 64 columns."""
  frame = np.zeros((48, 64, 3), np.uint8)
  frame[:24, :32], frame[:24, 32:] = RED, GREEN
  frame[24:, :32], frame[24:, 32:] = BLUE, YELLOW
  path = tmp_path_factory.mktemp('coded') / 'coded.mp4'
  write_video(path, [frame] * 3, 10)
  return path


@pytest.mark.parametrize(
  ('matrix', 'expected'),
  [
    ((1, 0, 0, 1), 'rgby'),
    ((0, 1, -1, 0), 'bryg'),  # a quarter clockwise
    ((-1, 0, 0, -1), 'ybgr'),
    ((0, -1, 1, 0), 'gyrb'),
    ((-1, 0, 0, 1), 'gryb'),  # left and right exchanged
    ((1, 0, 0, -1), 'byrg'),
    ((0, 1, 1, 0), 'rbgy'),  # rows and columns exchanged
    ((0, -1, -1, 0), 'ygbr'),
  ],
)
def test_a_video_is_turned_and_mirrored_as_it_says(
  coded, tmp_path, matrix, expected
):
  path = odd_videos.turned(coded, tmp_path / 'turned.mp4', *matrix)
  frames = whole(path).frames
  assert corners(frames[0]) == expected
  assert frames.shape[1:3] == ((48, 64) if matrix[0] else (64, 48))


@pytest.mark.parametrize(
  ('aspect', 'shape'),
  [((4, 3), (48, 85)), ((1, 2), (96, 64)), ((1, 1), (48, 64))],
)
def test_pixels_that_are_not_square_are_spread(tmp_path, aspect, shape):
  """No pixel is given up: the shorter side grows."""
  circle = np.zeros((48, 64, 3), np.uint8)
  x, y = aspect
  axes = (round(20 * min(1, y / x)), round(20 * min(1, x / y)))
  cv2.ellipse(circle, (32, 24), axes, 0, 0, 360, (255,) * 3, -1)
  path = tmp_path / 'film.mkv'
  odd_videos.write(path, [circle] * 2, aspect=aspect)
  picture = whole(path).frames[0]
  assert picture.shape[:2] == shape
  rows, columns = (np.ptp(np.nonzero(picture[..., 0] > 127), 1) + 1).tolist()
  assert abs(rows - columns) <= 3
  small = read_video(path, short_side=24, crop=None).frames[0]
  assert min(small.shape[:2]) == 24


def test_an_aspect_that_cannot_be_is_none(tmp_path):
  path = tmp_path / 'film.mkv'
  frames = [np.zeros((48, 64, 3), np.uint8)] * 2
  odd_videos.write(path, frames, aspect=(1, 4000))
  assert whole(path).frames.shape[1:3] == (48, 64)


@pytest.mark.parametrize(
  ('colorspace', 'color_range', 'expected'),
  [
    (2, 0, (255, 0, 0)),  # what is not told is BT.601 of limited range
    (5, 1, (255, 0, 0)),
    (1, 1, (255, 24, 0)),  # BT.709
    (5, 2, (238, 16, 15)),  # full range
  ],
)
def test_colours_are_those_that_the_file_tells(
  tmp_path, colorspace, color_range, expected
):
  path = tmp_path / 'film.mkv'
  tags = {'colorspace': colorspace, 'color_range': color_range}
  frames = [np.full((48, 64, 3), RED, np.uint8)] * 2
  odd_videos.write(path, frames, codec='ffv1', **tags)
  colour = whole(path).frames[0, 24, 32]
  np.testing.assert_allclose(colour, expected, atol=6)


def test_what_is_written_tells_its_colours(coded):
  """Else a player takes those of a large picture for others."""
  with av.open(str(coded)) as file:
    frame = next(file.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (6, 1)


@pytest.fixture(scope='module')
def changing(tmp_path_factory):
  """One size, then a wider picture, then twice the first size."""
  folder, parts = tmp_path_factory.mktemp('changing'), []
  for k, size in enumerate([(48, 64), (32, 64), (96, 128)]):
    path = folder / f'{k}.ts'
    frames = np.full((20, *size, 3), 80 * (k + 1), np.uint8)
    parts.append(odd_videos.write(path, frames, form='mpegts'))
  return odd_videos.joined(folder / 'film.ts', *parts)


def test_a_size_that_changes_keeps_its_proportions_and_is_told(changing):
  video = whole(changing)
  assert (video.resized, video.damaged) == (2, 0)
  assert video.frames.shape == (60, 48, 64, 3)
  np.testing.assert_allclose(
    video.frames[[0, -1]].mean((1, 2, 3)), [80, 240], 2
  )
  wide = video.frames[30].mean((1, 2))
  assert (wide[8:40] > 150).all() and (wide[:8] < 5).all()
  assert (wide[40:] < 5).all()
  np.testing.assert_allclose(np.diff(video.times), 0.1, atol=1e-3)
  assert video.duration == pytest.approx(6, abs=0.01)


def test_a_size_that_changes_leaves_no_bars_where_the_middle_is_taken(changing):
  video = read_video(changing, short_side=32, crop=24)
  assert video.frames.shape == (6, 24, 24, 3)
  means = [80, 80, 160, 160, 240, 240]
  np.testing.assert_allclose(video.frames.min((1, 2, 3)), means, atol=6)
  assert video.resized == 2


@pytest.mark.parametrize('size', [(1, 400), (400, 1), (7, 5), (9, 1)])
def test_a_picture_of_any_size_fits_into_another(size):
  picture = np.full((*size, 3), 9, np.uint8)
  fitted = within(picture, (10, 6, 3))
  assert fitted.shape == (10, 6, 3)
  assert set(np.unique(fitted)) <= {0, 9} and fitted.max() == 9


def test_a_picture_that_would_be_spread_to_a_vast_one_is_refused(tmp_path):
  path = tmp_path / 'film.mkv'
  frames = [np.zeros((2000, 4000, 3), np.uint8)]
  odd_videos.write(path, frames, aspect=(15, 1))
  with pytest.raises(VideoError, match=r'film\.mkv: a picture of 2000x60000'):
    whole(path)
