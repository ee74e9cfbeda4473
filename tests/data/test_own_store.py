"""Anybody's videos are decoded once, whatever happens, and never too large."""

import pathlib
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from own_films import SIZE, at_times, films, prepared, scene

from deltax.data.own import choose, prepare, store
from deltax.data.own.cuts import Changes, find_cuts
from deltax.data.own.decode import decode, fitted
from deltax.data.video.files import write_video
from deltax.data.video.frames import Header

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return films(tmp_path_factory.mktemp('films'))


@pytest.fixture
def warnings(monkeypatch):
  """What the log is told while videos are prepared."""
  told = []
  monkeypatch.setattr(
    prepare.logging, 'warning', lambda text, *args: told.append(text % args)
  )
  return told


def test_damaged_files_are_named_left_out_and_not_tried_again(
  folder, tmp_path, warnings, monkeypatch
):
  films = tmp_path / 'films'
  films.mkdir()
  whole = (folder / 'below' / 'other.mkv').read_bytes()
  (films / 'half.mkv').write_bytes(whole[: len(whole) // 2])
  (films / 'empty.mp4').write_bytes(b'')
  (films / 'copy.mkv').write_bytes(whole)
  (films / 'text.mp4').write_text('no film')
  (films / 'whole.mkv').write_bytes(whole)
  videos = prepared(films, tmp_path / 'store')
  assert list(videos) == ['copy.mkv']
  told = warnings[-1]
  assert told.startswith('4 of 5 videos are left out: ')
  assert 'half.mkv: the file is cut off' in told
  assert 'whole.mkv: a copy of copy.mkv' in told
  monkeypatch.setattr(prepare, 'decode', None)
  prepared(films, tmp_path / 'store')
  assert warnings[-1] == told
  (films / 'copy.mkv').unlink()
  (films / 'whole.mkv').unlink()
  with pytest.raises(ValueError, match=r'^not one of 3 videos can be read; '):
    prepared(films, tmp_path / 'store')


KILLED = """
import os, signal, sys, pathlib
from deltax.data.own import decode, prepare
read, seen = decode.read_chunks, []
def dying(*args, **options):
  for part in read(*args, **options):
    seen.append(1)
    if len(seen) == 60:
      os.kill(os.getpid(), signal.SIGKILL)
    yield part
decode.read_chunks = dying
prepare.prepare([sys.argv[1]], pathlib.Path(sys.argv[2]), size=(48, 64),
                fit='cover', rate=None, max_bytes=1 << 30)
"""


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
  command = [sys.executable, '-c', KILLED, str(folder), str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, check=False)
  assert done.returncode == -signal.SIGKILL
  whole = [path for path in tmp_path.iterdir() if path.is_file()]
  before = {p.name: p.stat().st_mtime_ns for p in whole if store.read(p)}
  assert len(before) == 1
  read = []

  def noted(path, *args, **options):
    read.append(path.name)
    return decode(path, *args, **options)

  monkeypatch.setattr(prepare, 'decode', noted)
  videos = prepared(folder, tmp_path)
  assert len(read) == 2
  assert len(videos) == 3
  (kept,) = before
  assert (tmp_path / kept).stat().st_mtime_ns == before[kept]
  # Nothing is left beside what is whole.
  assert sorted(path.suffix for path in tmp_path.iterdir()) == [''] * 4
  prepared(folder, tmp_path)
  assert len(read) == 2


def test_a_damaged_file_of_the_store_is_made_again(folder, tmp_path):
  first = prepared(folder, tmp_path)['cut.mp4'].stored
  frames = np.array(first.frames)
  for path in tmp_path.iterdir():
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-5])
  again = prepared(folder, tmp_path)['cut.mp4'].stored
  np.testing.assert_array_equal(again.frames, frames)
  assert not again.frames.flags.writeable


def test_long_videos_are_thinned_to_the_bound_evenly(tmp_path, warnings):
  path = tmp_path / 'long.mp4'
  write_video(path, scene(0, 400), 25)
  write_video(tmp_path / 'short.mp4', scene(1, 20), 25)
  frame = 3 * SIZE[0] * SIZE[1]
  bound = 120 * frame
  videos = prepared(tmp_path, tmp_path / 'store', max_bytes=bound)
  long, short = (videos[n].stored for n in ('long.mp4', 'short.mp4'))
  assert len(short.frames) == 20
  assert not short.limit
  assert 80 <= len(long.frames) <= 100
  assert any(re.match(r'long\.mp4: thinned to \d+ of 400', t) for t in warnings)
  # Stretches of 12 frames, evenly over 16 seconds.
  starts = long.times[long.starts]
  assert len(starts) >= 7
  assert np.diff(starts).max() < 3.1
  assert long.times[-1] > 14
  shots = choose.find_shots(long, None, 100)
  clips = [choose.clip_at(shots, k, 2, 100) for k in choose.find_keys(shots, 2)]
  assert max(np.diff(long.times[clip])[0] for clip in clips) < 0.5
  # The pictures are those of their times, after all of it was moved.
  np.testing.assert_array_equal(long.frames, at_times(path, long.times))
  # With room, it is decoded again; with less, too.
  whole = prepared(tmp_path, tmp_path / 'store')['long.mp4'].stored
  assert len(whole.frames) == 400
  less = prepared(tmp_path, tmp_path / 'store', max_bytes=bound)
  assert len(less['long.mp4'].stored.frames) <= 100
  np.testing.assert_array_equal(long.frames[0], whole.frames[0])


@pytest.mark.parametrize('count', [None, 40])
def test_a_header_that_tells_too_little_does_not_break_the_bound(
  tmp_path, count
):
  path, into = tmp_path / 'long.mp4', tmp_path / 'stored'
  write_video(path, scene(0, 200), 25)
  for _ in decode(
    *(path, into),
    header=Header(25.0, count),
    size=SIZE,
    fit='cover',
    rate=30.0,
    limit=64,
  ):
    pass
  stored = store.read(into)
  assert 32 <= len(stored.frames) <= 64
  assert stored.times[-1] > 6
  np.testing.assert_array_equal(stored.frames, at_times(path, stored.times))
  assert into.stat().st_size < 64 * 3 * SIZE[0] * SIZE[1] + 8000


def test_pictures_keep_their_proportions_unless_told():
  frame = np.zeros((60, 120, 3), np.uint8)
  cv2.circle(frame, (60, 30), 20, (255, 255, 255), -1)
  sides = {}
  for fit in ('cover', 'inside', 'stretch'):
    small = fitted(frame, (30, 30), fit)[..., 0] > 127
    assert small.shape == (30, 30)
    sides[fit] = small.any(1).sum(), small.any(0).sum()
  assert sides == {'cover': (20, 20), 'inside': (10, 10), 'stretch': (20, 10)}


def test_a_fast_camera_is_no_cut_and_a_cut_in_stillness_is():
  moved = np.full(40, 20.0)
  moved[0], recoloured = 0, np.full(40, 0.3)
  assert not find_cuts(moved, recoloured).any()
  changes = Changes()
  for frame in [*scene(0, 1).repeat(12, 0), *scene(1, 1).repeat(12, 0)]:
    changes(frame)
  cuts = find_cuts(changes.moved, changes.recoloured)
  assert np.flatnonzero(cuts).tolist() == [12]
  assert not find_cuts([0.0], [0.0]).any()
