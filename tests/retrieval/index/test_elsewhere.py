"""Indexes at an address, and several that are searched as one."""

import fsspec
import numpy as np
import pytest
from made_indexes import assert_has, flip, make, video

from deltax.retrieval.index.elsewhere import remote
from deltax.retrieval.index.elsewhere.remote import RemoteIndex, is_address
from deltax.retrieval.index.elsewhere.together import Together
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.coarse_search import KINDS, open_coarse

VIDEOS = [video(name, 3 + n) for n, name in enumerate('abcdefg')]


@pytest.fixture
def address():
  """A place in the memory of the process where nothing is yet."""
  yield 'memory://films/my.index'
  fsspec.filesystem('memory').store.clear()


def upload(folder, address):
  for path in folder.rglob('*'):
    if path.is_file():
      place = f'{address}/{path.relative_to(folder)}'
      fsspec.filesystem('memory').pipe_file(place, path.read_bytes())


@pytest.fixture
def fetched(monkeypatch):
  """Notes what is fetched."""
  system, noted = type(fsspec.filesystem('memory')), []
  fetch = system.cat_file

  def cat_file(self, path, *arguments, **options):
    noted.append(path.rpartition('/')[2])
    return fetch(self, path, *arguments, **options)

  monkeypatch.setattr(system, 'cat_file', cat_file)
  return noted


@pytest.mark.parametrize('block', [64, 1 << 20])
def test_an_index_at_an_address_has_what_was_put_there(
  tmp_path, address, fetched, block, monkeypatch
):
  monkeypatch.setattr(remote, 'BLOCK', block)
  folder = make(tmp_path / 'i', VIDEOS[:4], VIDEOS[4:]).folder
  upload(folder, address)
  assert_has(RemoteIndex(f'{address}/', tmp_path / 'cache'), VIDEOS)
  del fetched[:]
  again = RemoteIndex(address, tmp_path / 'cache')
  assert_has(again, VIDEOS)
  assert fetched == ['manifest.json'] and again.state('a') == ''


def test_only_what_is_asked_for_is_fetched(tmp_path, address, fetched):
  upload(make(tmp_path / 'i', VIDEOS[:4], VIDEOS[4:]).folder, address)
  index = RemoteIndex(address, tmp_path / 'cache')
  assert fetched == ['manifest.json'] and len(index) == 7
  index.fine(5)
  assert sorted(fetched) == ['fine.bin', 'manifest.json', 'videos.npy']


def test_what_is_away_or_damaged_is_told_by_its_address(tmp_path, address):
  with pytest.raises(FileNotFoundError, match=f'^{address} is no index: it'):
    RemoteIndex(address, tmp_path / 'cache')
  folder = make(tmp_path / 'i', VIDEOS[:4], VIDEOS[4:]).folder
  flip(folder / 'segments/000001/coarse.npy', -1)
  upload(folder, address)
  fsspec.filesystem('memory').rm(f'{address}/segments/000002/coarse.npy')
  index = RemoteIndex(address, tmp_path / 'cache')
  with pytest.raises(ValueError, match=f'^{address}/.*/coarse.npy is damaged'):
    index.coarse()
  with pytest.raises(FileNotFoundError, match=r'000002/coarse\.npy is not th'):
    index.vectors([6])


def test_an_address_is_no_path():
  assert is_address('s3://films/my.index')
  assert not is_address('C:/films') and not is_address('films:1')


@pytest.mark.parametrize('kind', KINDS)
def test_several_indexes_are_searched_as_one(tmp_path, address, kind):
  if kind != 'exact':
    pytest.importorskip('faiss')
  whole = Index.create(
    tmp_path / 'all', fingerprint='aa', description={}, coarse_search=kind
  )
  parts = []
  for number, videos in enumerate((VIDEOS[:3], VIDEOS[3:4], VIDEOS[4:])):
    part = Index.create(
      tmp_path / str(number),
      fingerprint='aa',
      description={},
      coarse_search=kind,
    )
    part.add(videos)
    whole.add(videos)
    parts.append(part)
  parts[2].remove(['g'])
  whole.remove(['g'])
  upload(parts[2].folder, address)
  parts[2] = RemoteIndex(address, tmp_path / 'cache')
  joined = Together(parts)
  assert [*joined.names] == [*whole.names] and len(joined) == 6
  rows = [4, 0, 3, 5]
  for one, other in zip(joined.vectors(rows), whole.vectors(rows), strict=True):
    np.testing.assert_array_equal(one, other)
  for row in rows:
    np.testing.assert_array_equal(joined.fine(row), whole.fine(row))
    assert joined.numbers([row])['frames'] == whole.numbers([row])['frames']
  queries = np.stack([v.coarse for v in VIDEOS[2:5]])
  searched = np.array([0, 1, 2, 3, 4])
  ids, scores = open_coarse(joined, searched).query(queries, 4)
  found = [joined.names[row] for row in joined.rows_of(ids[:, 0])]
  assert found == ['c', 'd', 'e'] and ids.shape == (3, 4)
  if kind == 'exact':
    own, expected = open_coarse(whole, searched).query(queries, 4)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert [joined.rows_of(row).tolist() for row in ids] == [
      whole.rows_of(row).tolist() for row in own
    ]


def test_indexes_of_two_models_are_not_searched_as_one(tmp_path):
  one = make(tmp_path / 'one', VIDEOS)
  other = Index.create(tmp_path / 'two', fingerprint='bb', description={})
  with pytest.raises(ValueError, match='two with bb: their codes cannot be'):
    Together([one, other])
