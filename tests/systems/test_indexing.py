"""Indexing without a command: files or features in, a searchable index out."""

import json

import numpy as np
import pytest

from deltax import retrieval, systems
from deltax.data.features.made import make_features
from deltax.data.video.files import write_video
from deltax.retrieval.index.folder import Index
from deltax.systems import folder as system_folder
from deltax.systems import indexing, reading

SIZE = 48


def extract(frames):
  """One region a frame: a picture of 4 x 4 pixels."""
  height, width = (n // 4 * 4 for n in frames.shape[1:3])
  cells = frames[:, :height, :width].astype(np.float32)
  cells = cells.reshape(len(frames), 4, height // 4, 4, width // 4, 3)
  x = cells.mean((2, 4)).reshape(len(frames), 1, SIZE) - 127
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def make_system(**changed):
  return systems.make_system(None)._replace(extract=extract, **changed)


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
  """The system that needs no training has a small extractor here."""
  monkeypatch.setattr(system_folder, 'open_system', lambda place: make_system())


@pytest.fixture(scope='module')
def films(tmp_path_factory):
  folder = tmp_path_factory.mktemp('films')
  for seed, name in enumerate(('a', 'b', 'c')):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 4, 4, 3), np.uint8)
    frames = noise.repeat(16, 1).repeat(16, 2).repeat(2, 0)
    write_video(folder / f'{name}.mp4', frames, 2)
  (folder / 'empty.mp4').touch()
  return folder


def test_files_are_indexed_in_one_call_and_found_again(films, tmp_path):
  place = tmp_path / 'more' / 'my.index'
  added = systems.index_files(place, [films])
  assert (added.done, added.there, added.videos) == (3, 0, 3)
  assert list(added.failed) == ['empty.mp4'] and not added.damaged
  index, system = systems.open_index(place)
  query = systems.read_video(system, films / 'b.mp4')
  result = retrieval.Searcher(index, system).search(
    query.regions, times=query.times, duration=query.duration
  )
  assert result.matches[0].name == 'b.mp4'
  assert result.matches[0].score == pytest.approx(1, abs=1e-5)
  again = systems.index_files(str(place), [str(films / 'a.mp4')])
  assert (again.done, again.there, again.videos) == (0, 1, 3)


def test_an_index_of_before_a_system_was_shipped_opens_untrained(
  films, tmp_path, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    system_folder, 'open_system', lambda name: asked.append(name) or made
  )
  made = make_system()
  place = tmp_path / 'my.index'
  systems.index_files(place, [films])
  index, _ = systems.open_index(place)
  assert asked == ['binary', 'binary'] and index.manifest['model'] == 'binary'
  manifest = json.loads((place / 'manifest.json').read_text())
  (place / 'manifest.json').write_text(json.dumps({**manifest, 'model': None}))
  systems.open_index(place)
  systems.open_index(place, 'attention')
  assert asked[2:] == ['untrained', 'attention']
  systems.index_files(tmp_path / 'plain.index', [films], model='untrained')
  assert asked[4:] == ['untrained']


def test_videos_are_added_to_what_is_there_background_too(films, tmp_path):
  place = tmp_path / 'i'
  systems.index_files(place, [films / 'a.mp4'])
  added = systems.index_files(place, [films / 'b.mp4'], background=True)
  assert (added.done, added.videos) == (1, 2)
  index, _ = systems.open_index(place)
  assert index.table['background'].tolist() == [False, True]


def test_a_system_may_be_given_and_another_is_refused(films, tmp_path):
  mine = make_system(fingerprint='mine')
  systems.index_files(tmp_path / 'i', [films / 'a.mp4'], model=mine)
  with pytest.raises(ValueError, match='built with the model mine'):
    systems.index_files(tmp_path / 'i', [films / 'b.mp4'])
  _, system = systems.open_index(tmp_path / 'i', mine)
  assert system is mine


def test_nothing_is_made_where_nothing_can_be_indexed(films, tmp_path):
  (tmp_path / 'file').write_text('mine')
  for place, files, options, message in (
    ('i', [films / 'empty.mp4'], {}, r'no video could be added: empty\.mp4: '),
    (
      'i',
      [films / 'a.mp4'],
      {'coarse_search': 'x'},
      "coarse search 'x'; kn",
    ),
    ('file', [films / 'a.mp4'], {}, 'file is there already'),
    ('i', [], {}, 'no videos in'),
  ):
    with pytest.raises(ValueError, match=message):
      systems.index_files(tmp_path / place, files, **options)
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_long_video_is_read_part_by_part_and_indexed_all_the_same(
  tmp_path, monkeypatch
):
  noise = np.random.default_rng(1).integers(0, 256, (43, 4, 4, 3), np.uint8)
  frames = noise.repeat(16, 1).repeat(16, 2)
  write_video(tmp_path / 'long.mp4', frames, 1)
  monkeypatch.setattr(reading, 'CHUNK', 4)
  monkeypatch.setattr(reading, 'LONG', 8)
  system, lengths = make_system(), []
  whole = systems.read_video(system, tmp_path / 'long.mp4')

  def parts(system, path):
    for part in reading.read_parts(system, path):
      lengths.append(len(part.regions))
      yield part

  monkeypatch.setattr(indexing, 'read_parts', parts)
  systems.index_files(tmp_path / 'i', [tmp_path / 'long.mp4'])
  assert lengths == [8] * 5 + [3]
  index, codes = Index(tmp_path / 'i'), retrieval.encode(system, whole.regions)
  np.testing.assert_array_equal(index.fine(0), codes.fine)
  np.testing.assert_array_equal(index.times(0), whole.times)
  assert index.table['duration'][0] == whole.duration == 43
  np.testing.assert_allclose(index.clips(0), codes.clips, atol=1e-3)
  np.testing.assert_allclose(index.coarse()[0], codes.coarse, atol=0.1)
  pictures = index.pictures(0)
  assert list(pictures) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
  assert pictures == {n: whole.pictures[n] for n in pictures}


def test_features_are_indexed_without_an_extractor(tmp_path):
  features = make_features(sources=3, copies=1, regions=2, size=32).features
  system = systems.make_system(None)
  index = systems.index_features(tmp_path / 'i', features, system)
  assert sorted(index.names) == sorted(features)
  found = retrieval.Searcher(index, system).search(features['source-1'], k=2)
  assert found.matches[0].name == 'source-1'
  assert {match.name for match in found.matches} == {
    'source-1',
    'source-1-copy-0',
  }
  for name, regions in features.items():
    row = index.row(name)
    codes = retrieval.encode(system, regions)
    np.testing.assert_array_equal(index.fine(row), codes.fine)
    np.testing.assert_array_equal(index.times(row), np.arange(len(regions)))
  with pytest.raises(ValueError, match='a system without an extractor'):
    system.extract(np.zeros((1, 8, 8, 3), np.uint8))
  with pytest.raises(ValueError, match='without an extractor cannot be saved'):
    systems.save_system(tmp_path / 'system', system)


def test_features_that_cannot_be_indexed_leave_nothing(tmp_path):
  features = make_features(sources=2, copies=0, regions=2, size=32).features
  features['broken'] = features['source-0'] * np.nan
  system = systems.make_system(None)
  for given, message in ((features, 'NaN'), ({}, 'no features to index')):
    with pytest.raises(ValueError, match=message):
      systems.index_features(tmp_path / 'i', given, system)
  assert not list(tmp_path.iterdir())
