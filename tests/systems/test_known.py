"""An index knows its files by their content, wherever they are by now."""

import json
import os
import shutil
import unicodedata

import numpy as np
import pytest

from deltax import identity, retrieval, systems
from deltax.data.video.files import write_video
from deltax.identity import identify
from deltax.retrieval.index import folder as index_module
from deltax.retrieval.index.folder import Index
from deltax.systems import folder as system_folder
from deltax.systems import indexing

SIZE = 48


def extract(frames):
  """One region a frame: a picture of 4 x 4 pixels."""
  cells = frames[:, :224, :224].astype(np.float32)
  cells = cells.reshape(len(frames), 4, 56, 4, 56, 3)
  x = cells.mean((2, 4)).reshape(len(frames), 1, SIZE) - 127
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


@pytest.fixture(autouse=True)
def system(monkeypatch):
  made = systems.make_system(None)._replace(extract=extract)
  monkeypatch.setattr(system_folder, 'open_system', lambda place: made)
  return made


@pytest.fixture
def reads(monkeypatch):
  """Which files are decoded."""
  paths, read = [], indexing.read_parts

  def noted(system, path):
    paths.append(os.path.basename(path))
    return read(system, path)

  monkeypatch.setattr(indexing, 'read_parts', noted)
  return paths


def make(path, seed):
  noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 4, 3), np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_video(path, noise.repeat(16, 1).repeat(16, 2).repeat(2, 0), 2)
  return path


@pytest.fixture
def films(tmp_path):
  for seed, name in enumerate(('a.mp4', 'b.mp4', 'trip/c.mp4')):
    make(tmp_path / 'films' / name, seed)
  return tmp_path / 'films'


def names(place):
  return sorted(Index(place).names)


def best(place, query):
  index, system = systems.open_index(place)
  read = systems.read_video(system, query)
  found = retrieval.Searcher(index, system).search(read.regions, k=1)
  return found.matches[0].name


def test_what_was_touched_or_is_as_it_was_is_not_read(films, tmp_path, reads):
  place = tmp_path / 'i'
  assert systems.index_files(place, [films]).done == 3
  os.utime(films / 'a.mp4', ns=(10**18, 10**18))
  del reads[:]
  added = systems.index_files(place, [films])
  assert (added.done, added.there, added.moved) == (0, 3, {})
  assert not reads
  index = Index(place)
  assert index.files[index.row('a.mp4')].modified == 10**18


def test_another_film_at_the_same_path_is_encoded_again(films, tmp_path, reads):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  shutil.copy(films / 'a.mp4', tmp_path / 'old.mp4')
  make(films / 'a.mp4', 9)
  del reads[:]
  added = systems.index_files(place, [films])
  assert (added.done, added.there, added.videos) == (1, 2, 3)
  assert added.replaced == ('a.mp4',) and reads == ['a.mp4']
  assert names(place) == ['a.mp4', 'b.mp4', 'trip/c.mp4']
  assert best(place, films / 'a.mp4') == 'a.mp4'
  index = Index(place)
  assert index.files[index.row('a.mp4')] == identify(films / 'a.mp4')
  # What replaces a film and cannot be read leaves the index as it was.
  (films / 'a.mp4').write_text('no video')
  added = systems.index_files(place, [films])
  assert list(added.failed) == ['a.mp4'] and added.videos == 3


def test_a_folder_that_has_moved_is_followed(films, tmp_path, reads):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  films.rename(tmp_path / 'archive')
  del reads[:]
  added = systems.index_files(place, [tmp_path / 'archive'])
  assert (added.done, added.there, added.videos) == (0, 3, 3)
  assert not reads and not added.moved  # their names are as they were
  index = Index(place)
  path = index.paths[index.row('trip/c.mp4')]
  assert path == str(tmp_path.resolve() / 'archive/trip/c.mp4')


def test_a_renamed_file_keeps_its_video_by_its_new_name(films, tmp_path, reads):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  (films / 'b.mp4').rename(films / 'trip/new.mp4')
  make(films / 'b.mp4', 7)  # another film where it was
  del reads[:]
  added = systems.index_files(place, [films])
  assert added.moved == {'b.mp4': 'trip/new.mp4'}
  assert (added.done, added.there) == (1, 3) and reads == ['b.mp4']
  assert names(place) == ['a.mp4', 'b.mp4', 'trip/c.mp4', 'trip/new.mp4']
  assert best(place, films / 'b.mp4') == 'b.mp4'
  assert best(place, films / 'trip/new.mp4') == 'trip/new.mp4'
  index = Index(place)
  index.remove(['trip/new.mp4'])
  assert names(place) == ['a.mp4', 'b.mp4', 'trip/c.mp4']


def test_files_that_have_changed_places_are_told_apart(films, tmp_path, reads):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  (films / 'a.mp4').rename(tmp_path / 'x')
  (films / 'b.mp4').rename(films / 'a.mp4')
  (tmp_path / 'x').rename(films / 'b.mp4')
  del reads[:]
  added = systems.index_files(place, [films])
  assert (added.done, added.videos) == (0, 3) and not reads
  index = Index(place)
  for name, path in zip(index.names, index.paths, strict=True):
    assert path.endswith(name)
    assert best(place, path) == name


def test_a_file_that_has_become_a_copy_of_another_is_no_video_more(
  films, tmp_path
):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  shutil.copy(films / 'b.mp4', films / 'a.mp4')
  added = systems.index_files(place, [films])
  assert list(added.same.values()) == ['b.mp4']
  assert names(place) == ['b.mp4', 'trip/c.mp4']


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path, reads):
  for number in (1, 2, 3):
    make(tmp_path / f'card{number}/DJI_0001.MP4', number)
  place = tmp_path / 'i'
  systems.index_files(place, [tmp_path / 'card1', tmp_path / 'card2'])
  both = ['card1/DJI_0001.MP4', 'card2/DJI_0001.MP4']
  assert names(place) == both
  systems.index_files(place, [tmp_path / 'card3/DJI_0001.MP4'])
  assert names(place) == ['DJI_0001.MP4', *sorted(both)]
  make(tmp_path / 'card4/DJI_0001.MP4', 4)
  systems.index_files(place, [tmp_path / f'card{n}' for n in range(1, 5)])
  assert names(place) == ['DJI_0001.MP4', *both, 'card4/DJI_0001.MP4']
  assert len(reads) == 4


def test_one_content_is_one_video_whatever_it_is_called(films, tmp_path, reads):
  accent = unicodedata.normalize('NFD', 'é.mp4')
  make(films / accent, 5)
  (films / 'alias.mp4').symlink_to(films / 'b.mp4')
  os.link(films / 'b.mp4', films / 'hard.mp4')
  shutil.copy(films / 'b.mp4', films / 'trip/copy.mp4')
  (films / 'elsewhere').symlink_to(films / 'trip')
  (films / 'trip/loop').symlink_to(films)
  place = tmp_path / 'i'
  given = [films, films / 'trip', films / '../films/a.mp4', films / 'elsewhere']
  added = systems.index_files(place, given)
  assert (added.done, added.videos) == (4, 4)
  expected = [
    'a.mp4',
    'b.mp4',
    'trip/c.mp4',
    unicodedata.normalize('NFC', accent),
  ]
  assert names(place) == expected
  assert [os.path.basename(path) for path in added.same] == ['copy.mp4']
  assert len(added.skipped['other names of one file']) >= 5
  systems.index_files(place, [films / 'elsewhere', films / 'hard.mp4'])
  assert names(place) == expected and len(reads) == 4


def test_copies_of_what_cannot_be_read_are_left_out_too(films, tmp_path):
  for name in ('x.mp4', 'y.mp4'):
    (films / name).write_text('no video')
  added = systems.index_files(tmp_path / 'i', [films])
  assert sorted(added.failed) == ['x.mp4', 'y.mp4'] and not added.same


def made_old(place):
  """The index as an older library has written it."""
  manifest = json.loads((place / 'manifest.json').read_text())
  del manifest['moved']
  for segment in manifest['segments']:
    del segment['background'], segment['ids']
    for name in ('files.json', 'places.npy', 'lookup.npy'):
      del segment['files'][name]
      (place / 'segments' / segment['name'] / name).unlink()
  (place / 'manifest.json').write_text(json.dumps(manifest))


def test_an_older_index_learns_what_its_files_are(films, tmp_path, reads):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  made_old(place)
  assert [*Index(place).files] == [None] * 3
  assert best(place, films / 'a.mp4') == 'a.mp4'
  del reads[:]
  added = systems.index_files(place, [films])
  assert (added.done, added.there) == (0, 3) and not reads
  assert None not in Index(place).files
  (films / 'a.mp4').rename(films / 'z.mp4')
  assert systems.index_files(place, [films]).moved == {'a.mp4': 'z.mp4'}
  assert not reads


def test_what_was_written_after_an_older_index_is_encoded_again(
  films, tmp_path, reads
):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  made_old(place)
  make(films / 'a.mp4', 9)
  (films / 'trip').rename(films / 'tour')
  later = (films / 'a.mp4').stat().st_mtime_ns + 10**10
  os.utime(films / 'a.mp4', ns=(later, later))
  del reads[:]
  added = systems.index_files(place, [films, films / 'tour'])
  assert added.replaced == ('a.mp4',) and added.there == 1
  assert sorted(reads) == ['a.mp4', 'c.mp4']  # nobody knows what was in trip


def test_where_files_are_outlasts_merging(films, tmp_path, monkeypatch):
  monkeypatch.setattr(index_module, 'MERGED', 3)
  place = tmp_path / 'i'
  systems.index_files(place, [films / 'a.mp4'])
  (films / 'a.mp4').rename(films / 'z.mp4')
  systems.index_files(place, [films / 'z.mp4'])
  assert json.loads((place / 'manifest.json').read_text())['moved']
  for name in ('b.mp4', 'trip/c.mp4'):
    systems.index_files(place, [films / name])
  assert len(Index(place).manifest['segments']) == 1
  assert not Index(place).manifest['moved']
  index = Index(place)
  assert sorted(index.names) == ['b.mp4', 'c.mp4', 'z.mp4']
  for path, file in zip(index.paths, index.files, strict=True):
    assert file == identify(path)


def test_a_reader_knows_the_files_when_its_shards_are_gone(films, tmp_path):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  reader = Index(place)
  (films / 'a.mp4').unlink()
  Index(place).remove(['a.mp4', 'trip/c.mp4'])  # rewrites what is left
  assert len(list((place / 'segments').iterdir())) == 2
  assert reader.state('a.mp4') == 'missing' and reader.state('b.mp4') == ''
  assert reader.files[reader.row('b.mp4')] == identify(films / 'b.mp4')
  del reader
  Index(place).compact()
  Index(place).follow({})  # whoever writes next gives the space back
  assert len(list((place / 'segments').iterdir())) == 1


def test_of_two_who_add_the_same_the_second_finds_it_there(
  films, tmp_path, monkeypatch
):
  place = tmp_path / 'i'
  read, once = indexing.read_parts, []

  def slow(system, path):
    if not once:  # another begins after this one and is done before
      once.append(path)
      other = systems.index_files(place, [films])
      assert other.done == 4
    return read(system, path)

  monkeypatch.setattr(indexing, 'read_parts', slow)
  make(films / 'd/b.mp4', 4)
  added = systems.index_files(place, [films / 'a.mp4', films / 'd/b.mp4'])
  assert (added.done, added.there, added.videos) == (0, 2, 4)
  make(films / 'e/b.mp4', 5)
  del once[:]
  monkeypatch.setattr(indexing, 'read_parts', read)
  added = systems.index_files(place, [films / 'e/b.mp4'])
  assert added.done == 1 and 'e/b.mp4' in Index(place)


def test_a_long_file_is_known_by_samples_of_all_of_it(tmp_path):
  path = tmp_path / 'long'
  data = np.random.default_rng(0).integers(0, 256, 3 * identity.WHOLE)
  data = bytearray(data.astype(np.uint8).tobytes())
  path.write_bytes(data)
  first = identify(path)
  assert first.is_as_it_was(path)
  for place in (0, len(data) - 1, identity.WHOLE // 4):
    changed = bytearray(data)
    changed[place] ^= 1
    path.write_bytes(changed)
    other = identify(path)
    assert other.size == first.size and other.content != first.content
  path.write_bytes(data[:-1])
  assert identify(path).content != first.content


def test_a_damaged_list_of_files_is_told(films, tmp_path):
  place = tmp_path / 'i'
  systems.index_files(place, [films])
  (listed,) = place.rglob('files.json')
  listed.write_text(listed.read_text().replace('[', '{', 1))
  with pytest.raises(ValueError, match=r'files\.json is damaged'):
    systems.index_files(place, [films])
