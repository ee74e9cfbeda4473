"""What a video file is made of, without decoding it."""

import numpy as np
import pytest

from deltax.data.video.facts import read_facts, read_length
from deltax.data.video.files import write_video
from deltax.data.video.stream import VideoError


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'avi'])
def test_the_header_tells_the_length_and_the_size(tmp_path, kind):
  path = tmp_path / f'film.{kind}'
  write_video(path, np.zeros((50, 32, 64, 3), np.uint8), 10)
  assert read_length(path) == pytest.approx(5, abs=0.2)
  facts = read_facts(path)
  assert (facts.width, facts.height, facts.codec) == (64, 32, 'h264')
  assert facts.bytes == path.stat().st_size


def test_a_stream_without_a_header_tells_no_length(tmp_path):
  path = tmp_path / 'film.h264'
  write_video(path, np.zeros((50, 32, 64, 3), np.uint8), 10)
  assert read_length(path) == 0


def test_what_is_no_video_is_named(tmp_path):
  path = tmp_path / 'note.txt'
  path.write_text('words')
  for read in (read_facts, read_length):
    with pytest.raises(VideoError, match=r'note\.txt: '):
      read(path)
