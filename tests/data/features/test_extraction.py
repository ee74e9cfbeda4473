"""From video files to a store, with files that are broken."""

import logging
import pathlib
import threading
import tracemalloc

import numpy as np
import pytest

from deltax.data.features import extraction
from deltax.data.features.extraction import extract, read_failures
from deltax.data.features.store import FeatureStore
from deltax.data.video import files
from deltax.data.video.files import read_chunks, read_video, write_video
from deltax.data.video.find import find_videos


class Colours:
  """Mean colours of a 3 x 3 grid, and how often it was asked."""

  fingerprint = 'colours'

  def __init__(self, stop_at=None):
    self.shapes, self._stop_at = [], stop_at

  def __call__(self, frames):
    if len(self.shapes) == self._stop_at:
      raise KeyboardInterrupt
    self.shapes.append(frames.shape)
    return colours(frames)


def colours(frames):
  grid = frames[:, :222, :222].reshape(len(frames), 3, 74, 3, 74, 3)
  means = grid.mean((2, 4), dtype=np.float64)
  return means.reshape(len(frames), 9, 3).astype(np.float32)


def frames(count, seed):
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (count, 4, 6, 3), np.uint8)
  return small.repeat(16, 1).repeat(16, 2)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """Three short videos, one of more than two chunks, and broken files."""
  folder = tmp_path_factory.mktemp('videos')
  (folder / 'more').mkdir()
  for k, seconds in enumerate([1, 4, 16, 37]):
    name = f'more/{k}.mkv' if k % 2 else f'{k}.mp4'
    write_video(folder / name, frames(seconds * 2, k), 2)
  whole = (folder / '2.mp4').read_bytes()
  (folder / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
  whole = (folder / 'more/3.mkv').read_bytes()
  (folder / 'cut.mkv').write_bytes(whole[: len(whole) // 2])
  (folder / 'empty.avi').touch()
  (folder / 'junk.webm').write_bytes(b'junk' * 999)
  (folder / 'notes.txt').write_text('no video')
  return find_videos([folder])


GOOD = ('0.mp4', '2.mp4', 'more/1.mkv', 'more/3.mkv')
BROKEN = ('cut.mkv', 'cut.mp4', 'empty.avi', 'junk.webm')


def opened(folder):
  return FeatureStore(folder / 's', fingerprint='colours')


def test_every_video_gets_the_features_of_its_frames(tmp_path, videos):
  extractor = Colours()
  with opened(tmp_path) as store:
    report = extract(videos, store, extractor)
  assert sorted(report.done) == sorted(GOOD)
  assert report.skipped == ()
  assert report.damaged == {}
  store = FeatureStore(tmp_path / 's')
  for name in GOOD:
    expected = colours(read_video(videos[name]).frames)
    np.testing.assert_array_equal(store[name], expected)
  assert store.shape('more/3.mkv') == (37, 9, 3)


def test_the_extractor_always_gets_as_many_frames(tmp_path, videos):
  extractor = Colours()
  with opened(tmp_path) as store:
    extract({name: videos[name] for name in GOOD}, store, extractor)
  assert set(extractor.shapes) == {(16, 224, 224, 3)}
  assert len(extractor.shapes) == 1 + 1 + 1 + 3


def test_broken_files_are_named_and_not_fatal(tmp_path, videos):
  missing = {'gone.mp4': tmp_path / 'gone.mp4'}
  with opened(tmp_path) as store:
    report = extract(missing | videos, store, Colours())
    assert read_failures(store) == report.failed
    assert sorted(store.names) == sorted(GOOD)
  assert sorted(report.failed) == sorted(('gone.mp4', *BROKEN))
  reasons = {
    'cut.mkv': 'cut off',
    'cut.mp4': 'no readable video',
    'empty.avi': 'empty',
    'junk.webm': 'no readable video',
    'gone.mp4': 'no such file',
  }
  for name, reason in reasons.items():
    assert reason in report.failed[name]
    assert name in report.failed[name]


def test_what_is_there_is_not_done_again(tmp_path, videos):
  good = {name: videos[name] for name in GOOD}
  with opened(tmp_path) as store:
    extract({'0.mp4': videos['0.mp4']}, store, Colours())
  extractor = Colours()
  with opened(tmp_path) as store:
    report = extract(good, store, extractor)
    assert report.skipped == ('0.mp4',)
    assert len(report.done) == 3
    assert len(extractor.shapes) == 1 + 1 + 3
    again = Colours()
    report = extract(good, store, again)
  assert (report.done, set(report.skipped)) == ((), set(GOOD))
  assert not again.shapes


@pytest.mark.parametrize('chunk', range(6))
def test_a_stopped_extraction_goes_on_where_it_was(tmp_path, videos, chunk):
  good = {name: videos[name] for name in GOOD}
  with opened(tmp_path) as store, pytest.raises(KeyboardInterrupt):
    extract(good, store, Colours(stop_at=chunk))
  already = FeatureStore(tmp_path / 's').names
  assert len(already) == min(chunk, 3)
  extractor = Colours()
  with opened(tmp_path) as store:
    report = extract(good, store, extractor)
    assert report.skipped == already
    assert len(extractor.shapes) == 6 - len(already)
    for name in GOOD:
      expected = colours(read_video(videos[name]).frames)
      np.testing.assert_array_equal(store[name], expected)
  assert not [t for t in threading.enumerate() if 'decode' in t.name]


def test_a_video_that_was_mended_is_forgotten_as_a_failure(tmp_path, videos):
  broken = {name: videos[name] for name in BROKEN}
  with opened(tmp_path) as store:
    extract(broken, store, Colours())
    assert set(read_failures(store)) == set(BROKEN)
    extract({'cut.mp4': videos['2.mp4']}, store, Colours())
    assert set(read_failures(store)) == {*BROKEN} - {'cut.mp4'}
    assert 'cut.mp4' in store
    extract({name: videos['0.mp4'] for name in BROKEN[:1]}, store, Colours())
    extract({name: videos['0.mp4'] for name in BROKEN[2:]}, store, Colours())
    assert read_failures(store) == {}
    assert not extraction.failures_path(store).exists()


def test_features_of_hours_are_there_once():
  """What grows is moved by the system, not copied."""
  tracemalloc.start()
  whole, part = None, np.ones((64, 9, 100), np.float32)
  for _ in range(200):
    whole = files.appended(whole, part)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert whole.shape == (12_800, 9, 100) and (whole == 1).all()
  assert whole.flags.c_contiguous
  assert peak < whole.nbytes * 1.1


def test_damaged_frames_are_reported_and_kept(tmp_path, monkeypatch):
  path = tmp_path / 'film.mkv'
  write_video(path, frames(300, 0), 10)
  data = bytearray(path.read_bytes())
  for place in range(len(data) // 2, len(data) // 2 + 4000, 97):
    data[place] ^= 0x55
  path.write_bytes(data)
  parts = []

  # The decoder's threads conceal a frame more or less: of 300 readings of this
  # file 284 counted 6 and 16 counted 5. So the very reading is asked.
  def listening(*arguments):
    for part in read_chunks(*arguments):
      parts.append(part)
      yield part

  monkeypatch.setattr(extraction, 'read_chunks', listening)
  with opened(tmp_path) as store:
    report = extract({'film': path}, store, Colours())
    assert store.shape('film')[0] == sum(len(part.frames) for part in parts)
  assert report.done == ('film',)
  assert report.damaged == {'film': parts[-1].damaged}
  assert report.damaged['film'] > 0


def test_another_extractor_is_refused(tmp_path, videos):
  with FeatureStore(tmp_path / 's', fingerprint='other') as store:
    with pytest.raises(ValueError, match=r'fingerprint other, the .* colours'):
      extract(videos, store, Colours())


def test_an_extractor_that_is_wrong_is_no_broken_video(tmp_path, videos):
  class Wrong(Colours):
    def __call__(self, frames):
      return colours(frames).mean(1)

  with opened(tmp_path) as store:
    with pytest.raises(ValueError, match=r'made \[16, 3\] of 16 frames'):
      extract(videos, store, Wrong())
    assert not store.names


def test_few_chunks_wait_for_a_slow_extractor(tmp_path, monkeypatch):
  """So an hour of video needs no more memory than a minute."""
  path = tmp_path / 'long.mp4'
  write_video(path, frames(600, 0), 1)
  read, seen, waiting = files.read_chunks, [], []

  def counted(*args):
    for part in read(*args):
      seen.append(part)
      yield part

  class Slow(Colours):
    def __call__(self, frames):
      ready.wait(0.05)
      waiting.append(len(seen) - len(waiting))
      return super().__call__(frames)

  ready = threading.Event()
  monkeypatch.setattr(extraction, 'read_chunks', counted)
  with opened(tmp_path) as store:
    extract({'long': path}, store, Slow())
    assert store.shape('long') == (600, 9, 3)
  assert len(waiting) == 38
  assert max(waiting) <= extraction._AHEAD + 1


def test_progress_is_a_bar_or_a_log(tmp_path, videos, capsys, caplog):
  good = {name: videos[name] for name in (*GOOD, 'empty.avi')}
  with FeatureStore(tmp_path / 'bar', fingerprint='colours') as store:
    extract(good, store, Colours(), progress=True)
  shown = capsys.readouterr()
  assert '5/5' in shown.err
  assert 'empty.avi is left out' in shown.err
  assert not shown.out
  with caplog.at_level(logging.INFO, 'absl'), opened(tmp_path) as store:
    extract(good, store, Colours())
  told = [record.getMessage() for record in caplog.records]
  assert any('empty.avi is left out' in line for line in told)
  assert '5 of 5 videos, 1 left out' in told[-1]


def test_videos_are_found_by_their_endings_below_a_folder(tmp_path):
  for name in ['b.mp4', 'A/c.MKV', 'A/d.txt', '.hidden/e.mp4', 'A/.f.mp4']:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  found = find_videos([tmp_path])
  assert found == {
    'A/c.MKV': tmp_path / 'A/c.MKV',
    'b.mp4': tmp_path / 'b.mp4',
  }
  assert list(find_videos([tmp_path], endings=False)) == ['A/c', 'b']
  odd = tmp_path / 'A/d.txt'
  assert list(find_videos([odd, tmp_path / 'A'])) == ['d.txt', 'c.MKV']
  assert find_videos([tmp_path, tmp_path / 'b.mp4', tmp_path / 'A']) == found
  (tmp_path / 'b.mkv').touch()
  with pytest.raises(ValueError, match=r'two videos named b: '):
    find_videos([tmp_path], endings=False)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(
    ValueError, match=r'no videos in .*/empty; nothing is there'
  ):
    find_videos([tmp_path / 'empty'])
  with pytest.raises(FileNotFoundError, match='none: no such file or folder'):
    find_videos([pathlib.Path('none')])
