"""The data set of copies: its plan, its files, and being killed."""

import itertools
import json
import os

import numpy as np
import pytest

from deltax.data.copies import edits, make, plan
from deltax.data.features.annotations import read_copies
from deltax.data.features.similarities import read_similarities
from deltax.data.street import film as street_film
from deltax.data.video import packaged
from deltax.data.video.files import read_video, write_video

OPTIONS = {'worlds': 4, 'copies': 4, 'short_side': 32}


@pytest.fixture
def filmed(monkeypatch, tmp_path):
  """Quick films instead of rendered ones, and one clip with a copy of it."""
  made = []

  def film(path, seed, seconds, stretch, size):
    rng = np.random.default_rng([seed, int(stretch[0])])
    scene = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    made.append(path.name)
    write_video(path, (np.roll(scene, t, 1) for t in range(24)), 6.0)

  noise = np.random.default_rng(0).integers(0, 256, (20, 50, 70, 3), np.uint8)
  for name in ('clip', 'clip_again'):
    write_video(tmp_path / f'{name}.mp4', noise, 10)
  found = [
    packaged.PackagedClip('clip', str(tmp_path / 'clip.mp4')),
    packaged.PackagedClip('again', str(tmp_path / 'clip_again.mp4'), 'clip'),
  ]
  monkeypatch.setattr(street_film, 'film', film)
  monkeypatch.setattr(packaged, 'find_clips', lambda: found)
  return made


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_all_files_are_there_and_agree(filmed, tmp_path):
  folder = make.make_copies(tmp_path / 'set', **OPTIONS)
  annotation = json.loads((folder / 'annotations.json').read_text())
  videos = annotation['videos']
  files = {path.stem for path in (folder / 'videos').iterdir()}
  assert files == set(videos)
  # a clip and two sources of each of four streets; a copy that was found; two
  # streets have a distractor only if a split has two streets
  assert len(annotation['queries']) == 9
  assert len(videos) == 9 * 5 + 1 + 2
  assert videos['again']['source'] == 'clip'
  for name, video in videos.items():
    assert video['split'] == videos[video['source']]['split']
    if video['host']:
      assert (folder / 'hosts' / f'{video["host"]}.mp4').is_file()
      assert video['host'] not in videos
    if '-' in name:
      read = read_video(folder / 'videos' / f'{name}.mp4', crop=None)
      for start, end, first, last in video['segments']:
        assert 0 <= start < end < read.duration + 0.3
        assert 0 <= first < last
  for split in ('train', 'test'):
    own = {name for name, video in videos.items() if video['split'] == split}
    read = read_copies(folder / f'{split}.json')
    assert read.database == own
    for query, relevant in read.relevant.items():
      assert {n for n in own if videos[n]['source'] == query} == {
        query,
        *relevant,
      }
  pairs = read_similarities(folder / 'train_pairs.json')
  for anchor, (positives, negatives) in pairs.pairs.items():
    for name in (*positives, *negatives):
      same = videos[name]['source'] == videos[anchor]['source']
      assert same == (name in positives)
    hosts = {videos[name]['host'] for name in negatives} - {None}
    assert videos[anchor]['host'] not in hosts
  mixed = read_similarities(folder / 'selector_pairs.json').pairs
  for anchor, (positives, negatives) in pairs.pairs.items():
    assert mixed[anchor][0] == positives
    assert len(mixed[anchor][1]) >= len(negatives)


def test_a_video_that_is_read_shows_what_was_edited(filmed, tmp_path):
  folder = make.make_copies(tmp_path / 'set', **OPTIONS)
  videos = json.loads((folder / 'annotations.json').read_text())['videos']
  flipped = [
    name for name, video in videos.items() if video['edits'] == ['flip']
  ]
  assert flipped
  for name in flipped:
    source, copy = (
      read_video(
        folder / 'videos' / f'{each}.mp4', rate=6, short_side=None, crop=None
      ).frames.astype(float)
      for each in (videos[name]['source'], name)
    )
    assert np.corrcoef(source[:, :, ::-1].ravel(), copy.ravel())[0, 1] > 0.7
    assert np.corrcoef(source.ravel(), copy.ravel())[0, 1] < 0.3


class Killed(BaseException):
  """Not caught by anything that catches errors."""


def test_killed_at_any_video_it_continues_to_the_same_files(
  filmed, tmp_path, monkeypatch
):
  whole = make.make_copies(tmp_path / 'whole', **OPTIONS, workers=1)
  originals = len(filmed)
  del filmed[:]
  written = itertools.count(1)
  deaths = (3, 17, 40)

  def dying(path, frames, rate, **options):
    if next(written) in deaths:
      # As a process does that is killed: its lock is gone, its files are not.
      left = path.with_name(f'.{path.name}.writing-12345678')
      left.mkdir()
      (left / path.name).write_bytes(b'half')
      raise Killed
    write_video(path, frames, rate, **options)

  monkeypatch.setattr(make, 'write_video', dying)
  part = tmp_path / 'part'
  for _ in deaths:
    with pytest.raises(Killed):
      make.make_copies(part, **OPTIONS, workers=1)
    assert not (part / 'annotations.json').exists()
  make.make_copies(part, **OPTIONS, workers=1)
  assert len(filmed) == originals  # none was filmed twice
  assert contents(part) == contents(whole)


def test_made_once_it_is_found(filmed, tmp_path, monkeypatch):
  folder = make.make_copies(tmp_path / 'set', **OPTIONS)
  before = contents(folder)
  monkeypatch.setattr(packaged, 'find_clips', list)  # other clips today
  monkeypatch.setattr(make, 'write_video', None)
  make.make_copies(folder, **OPTIONS)
  assert contents(folder) == before
  with pytest.raises(ValueError, match=r"'seed': 0.*asked for.*'seed': 1"):
    make.make_copies(folder, **OPTIONS, seed=1)


def test_a_clip_that_cannot_be_read_is_left_out_with_its_copies(
  filmed, tmp_path, monkeypatch, caplog
):
  film, found = tmp_path / 'film.avi', packaged.find_clips()
  noise = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
  write_video(film, noise, 10)
  film.write_bytes(film.read_bytes()[: film.stat().st_size * 6 // 10])
  broken = packaged.PackagedClip('film', str(film))
  copy = packaged.PackagedClip('film_again', found[0].path, 'film')
  monkeypatch.setattr(packaged, 'find_clips', lambda: [broken, copy, *found])
  with caplog.at_level('WARNING'):
    folder = make.make_copies(tmp_path / 'set', **OPTIONS)
  assert f'a clip is left out: {film}: ' in caplog.text
  assert f'{found[0].path} is left out like film' in caplog.text
  monkeypatch.setattr(packaged, 'find_clips', lambda: found)
  other = make.make_copies(tmp_path / 'other', **OPTIONS)
  assert contents(folder) == contents(other)


def test_no_more_of_a_long_clip_is_read_than_is_used(tmp_path, monkeypatch):
  path, numbers = tmp_path / 'long.mp4', np.arange(150) % 50 * 5
  frames = np.broadcast_to(
    numbers[:, None, None, None].astype(np.uint8), (150, 32, 32, 3)
  )
  write_video(path, frames, 6)
  read, parts = make.read_chunks, []
  monkeypatch.setattr(
    make,
    'read_chunks',
    lambda *args, **options: (
      parts.append(part) or part for part in read(*args, **options)
    ),
  )
  first, rate = make._start(path, 5.0, 32)
  assert len(first) == 30 and rate == pytest.approx(6)
  np.testing.assert_allclose(first.mean((1, 2, 3)), numbers[:30], atol=3)
  assert len(parts) == 1


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    (['film', 'film'], r"'film': of /0\.mp4 and of /1\.mp4; rename"),
    (['film', 'film-3'], r"'film-3': of /0\.mp4 and of /1\.mp4"),
    (['street_002_b'], r"'street_002_b': of /0\.mp4 and of a street"),
  ],
)
def test_two_videos_of_one_name_are_refused_naming_both_files(names, message):
  found = [
    packaged.PackagedClip(name, f'/{place}.mp4')
    for place, name in enumerate(names)
  ]
  for order in (0, 1):
    listed = plan.originals(found, 4, order)
    with pytest.raises(ValueError, match=message):
      plan.check_names(listed, 4)
  plan.check_names(listed[len(found) :], 4)


def test_stages_are_told_where_nobody_watches(filmed, tmp_path, caplog):
  with caplog.at_level('INFO'):
    make.make_copies(tmp_path / 'set', **OPTIONS)
  told = [record.getMessage() for record in caplog.records]
  assert len(told) == 4
  assert told[0].endswith(f'making originals for {2 + 4 * 3} videos')
  assert 'copies are made, in ' in told[3]


def test_a_single_clip_is_in_train(tmp_path):
  found = [packaged.PackagedClip('film', '/film.mp4')]
  for seed in range(5):
    listed = plan.originals(found, 4, seed)
    assert listed[0].split == 'train'


def test_impossible_sets_are_refused(tmp_path):
  for wrong in ({'worlds': 3}, {'copies': 0}, {'short_side': 33}):
    with pytest.raises(ValueError, match='at least 4 worlds'):
      make.make_copies(tmp_path / 'set', **wrong)
  assert not (tmp_path / 'set').exists()


@pytest.mark.parametrize('seed', range(4))
def test_splits_share_no_drive_and_both_have_hosts_and_queries(seed):
  for worlds in (4, 5, 21):
    listed = plan.originals([], worlds, seed)
    by_split = {
      split: [each for each in listed if each.split == split]
      for split in ('train', 'test')
    }
    groups = [{each.group for each in own} for own in by_split.values()]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == worlds
    for own in by_split.values():
      assert {'source', 'host'} <= {each.role for each in own}
    for each in listed:
      assert 0 <= each.stretch[0] < each.stretch[1] <= plan.DRIVE
    assert len({(each.world, each.stretch) for each in listed}) == len(listed)


def test_copies_of_a_source_have_different_single_edits_and_pairs_of_edits():
  seen = set()
  for number in range(40):
    planned = plan.edits(f'source_{number}', 7, 0)
    single = [names[0] for names in planned[:4]]
    assert len(set(single)) == 4
    assert all(len(set(names)) == 2 for names in planned[4:])
    assert all(set(names) <= set(edits.EDITS) for names in planned)
    seen |= set(single)
  assert seen == set(edits.EDITS)


def test_clips_of_a_folder_of_ones_own_are_found(tmp_path, monkeypatch):
  for name in ('my film.MP4', 'notes.txt', 'b.mkv'):
    (tmp_path / name).write_bytes(b'')
  monkeypatch.setenv('DELTAX_CLIPS', str(tmp_path))
  names = [each.name for each in packaged.find_clips()]
  assert names[-2:] == ['b', 'my_film']
  monkeypatch.setenv('DELTAX_CLIPS', str(tmp_path / 'none'))
  with pytest.raises(FileNotFoundError, match='none is no folder'):
    packaged.find_clips()


def test_originals_come_before_their_copies_and_files_exist():
  found = packaged.find_clips()
  for number, each in enumerate(found):
    assert os.path.getsize(each.path) > 1000
    earlier = {other.name for other in found[:number]}
    assert not each.copy_of or each.copy_of in earlier


def test_a_street_is_filmed_the_same_each_time(tmp_path):
  pytest.importorskip('panda3d')
  for name in ('a.mp4', 'b.mp4'):
    street_film.film(tmp_path / name, 7, 12.0, (10.0, 10.5), (32, 48))
  assert (tmp_path / 'a.mp4').read_bytes() == (tmp_path / 'b.mp4').read_bytes()
  video = read_video(tmp_path / 'a.mp4', rate=6, short_side=None, crop=None)
  assert video.frames.shape == (3, 32, 48, 3)
  assert video.frames.std() > 5
