"""Frames have the times that a player shows them at, in files of any kind."""

import numpy as np
import odd_videos
import pytest

from deltax.data.video.files import VideoError, read_video, write_video
from deltax.data.video.frames import Noted, read_frames, read_header

SIZE = (48, 64)


def numbered(count):
  """Frames that tell their number by their brightness."""
  frames = np.zeros((count, *SIZE, 3), np.uint8)
  frames += (np.arange(count) * 2 % 250).astype(np.uint8)[:, None, None, None]
  return frames


def whole(path):
  return read_video(path, rate=float('inf'), short_side=None, crop=None)


def numbers(video):
  return np.round(video.frames.mean((1, 2, 3)) / 2).astype(int).tolist()


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  write_video(path, numbered(100), 10, crf=10)
  return path


@pytest.mark.parametrize(
  ('start', 'seconds'), [(5, 5), (5, 4.9), (0, 5), (1, 8)]
)
def test_a_film_that_was_trimmed_by_its_edit_list_is_whole(
  film, tmp_path, start, seconds
):
  path = odd_videos.trimmed(film, tmp_path / 'trimmed.mp4', start, seconds)
  video = whole(path)
  expected = np.arange(10 * start, round(10 * (start + seconds)))
  assert np.abs(np.subtract(numbers(video), expected)).max() <= 1
  assert video.duration == pytest.approx(seconds, abs=0.01)
  assert len(read_video(path).frames) == np.ceil(seconds)


def test_a_trimmed_film_that_is_cut_off_is_refused(film, tmp_path):
  """Its header stands at the end, unless it was written for the net."""
  import av

  path = tmp_path / 'film.mp4'
  with (
    av.open(str(film)) as source,
    av.open(str(path), 'w', options={'movflags': 'faststart'}) as copy,
  ):
    stream = copy.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
      if packet.size:
        packet.stream = stream
        copy.mux(packet)
  odd_videos.trimmed(path, path, 1, 8)
  assert whole(path).duration == pytest.approx(8, abs=0.01)
  path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
  with pytest.raises(VideoError, match=r'cut off: it ends after .* of 8\.0'):
    whole(path)


VARIABLE = [*(k / 30 for k in range(60)), *range(2, 12)]


def test_a_variable_rate_keeps_a_frame_for_each_second(tmp_path):
  path = tmp_path / 'film.mkv'
  odd_videos.write(path, numbered(70), 30, times=VARIABLE, codec='ffv1')
  video = read_video(path, short_side=None, crop=None)
  np.testing.assert_allclose(video.times, np.arange(12), atol=1e-3)
  expected = [0, 30, *range(60, 70)]
  assert np.abs(np.subtract(numbers(video), expected)).max() <= 1
  assert video.duration == pytest.approx(11.03, abs=0.01)
  assert video.damaged == 0
  np.testing.assert_allclose(whole(path).times, VARIABLE, atol=1e-3)


def test_a_rate_that_is_the_unit_of_a_clock_is_none(tmp_path):
  """Browsers record with 1000 'frames a second', whatever they have."""
  path = tmp_path / 'film.mkv'
  times = np.arange(60) / 12 + np.random.default_rng(0).uniform(0, 0.04, 60)
  odd_videos.write(path, numbered(60), 1000, times=times - times[0])
  video = read_video(path, short_side=None, crop=None)
  assert len(video.frames) == 5
  np.testing.assert_allclose(np.diff(video.times), 1, atol=0.13)


@pytest.mark.parametrize('form', ['mpegts', 'h264'])
def test_recordings_that_were_joined_follow_each_other(tmp_path, form):
  """The clock of a recording begins anew; a bare stream has none at all."""
  part = tmp_path / 'part'
  odd_videos.write(part, numbered(20), 10, form=form)
  path = odd_videos.joined(tmp_path / 'film', part, part, part)
  video = whole(path)
  np.testing.assert_allclose(video.times, np.arange(60) / 10, atol=2e-3)
  assert video.duration == pytest.approx(6, abs=0.01)
  assert len(read_video(path).frames) == 6


@pytest.mark.parametrize('ending', ['.mp4', '.mkv', '.avi', '.mov', '.ts'])
@pytest.mark.parametrize('times', [VARIABLE, [k / 240 for k in range(70)]])
def test_written_frames_keep_their_times(tmp_path, ending, times):
  path = tmp_path / f'12:30{ending}'
  end = times[-1] + (2.0 if ending in ('.mp4', '.mov') else 1 / 30)
  rate = 30 if times is VARIABLE else 240
  write_video(path, numbered(70), rate, times=[*times, end], crf=10)
  video = whole(path)
  assert np.abs(np.subtract(numbers(video), np.arange(70))).max() <= 1
  np.testing.assert_allclose(video.times, times, atol=1.1e-3)
  assert video.duration == pytest.approx(end, abs=0.05)


def test_frames_are_noted_while_they_are_read(film):
  noted = Noted()
  for number, _ in enumerate(read_frames(film, noted), 1):
    assert len(noted.times) >= number
  np.testing.assert_allclose(noted.times, np.arange(101) / 10, atol=1e-3)
  assert (noted.damaged, noted.resized) == (0, 0)


def test_a_fast_camera_is_believed(tmp_path):
  path = tmp_path / 'film.mp4'
  write_video(path, numbered(48), 240)
  assert read_header(path) == (240, 48)


@pytest.mark.parametrize('ending', ['.mp4', '.mkv'])
def test_frames_that_a_damaged_file_has_lost_are_counted(tmp_path, ending):
  path = tmp_path / f'film{ending}'
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (60, 6, 8, 3), np.uint8)
  write_video(path, small.repeat(8, 1).repeat(8, 2), 10)
  assert whole(path).damaged == 0
  odd_videos.damaged(path, path)
  video = whole(path)
  lost = 60 - len(video.frames)
  assert lost > 3
  assert abs(video.damaged - lost) <= max(3, lost // 4)
  assert video.duration == pytest.approx(6, abs=0.01)
  assert (np.diff(video.times) > 0).all()
