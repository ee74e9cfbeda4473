"""The nearest coarse vectors, exact and by FAISS, behind one interface."""

import os

import numpy as np
import pytest

from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search.coarse_search import (
  KINDS,
  ExactSearch,
  dots,
  open_coarse,
)

SIZE = 64


@pytest.fixture(params=KINDS)
def kind(request):
  if request.param.startswith('ivf'):
    pytest.importorskip('faiss')
  if request.param == 'milvus':
    pytest.importorskip('pymilvus')
  return request.param


@pytest.fixture
def empty(kind, tmp_path):
  if kind == 'exact':
    return ExactSearch()
  if kind == 'milvus':
    from deltax.retrieval.search.coarse_milvus import MilvusSearch
    from deltax.retrieval.search.milvus_collection import Collection

    return MilvusSearch(Collection(tmp_path / 'x.db', 'x', 'me', SIZE))
  from deltax.retrieval.search.coarse_faiss import FaissSearch

  return FaissSearch(kind)


def unit(x):
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def groups(count, seed=0):
  """Unit vectors in groups of ten that lie close to each other."""
  rng = np.random.default_rng(seed)
  centres = np.repeat(rng.standard_normal((-(-count // 10), SIZE)), 10, 0)
  return unit(centres[:count] + 0.1 * rng.standard_normal((count, SIZE)))


def slow(ids, vectors, query, k):
  scores = [
    float(np.dot(vector.astype(np.float64), query)) for vector in vectors
  ]
  order = sorted(range(len(ids)), key=lambda i: -scores[i])[:k]
  return [ids[i] for i in order], [scores[i] for i in order]


def test_exact_search_is_the_sorted_dot_products():
  vectors, ids = groups(57), np.arange(57) * 3 + 100
  search = ExactSearch().build(ids, vectors)
  found, scores = search.query(vectors[[5, 31]], 8)
  for row, query in enumerate(vectors[[5, 31]]):
    expected_ids, expected = slow(ids, vectors, query, 8)
    assert found[row].tolist() == expected_ids
    np.testing.assert_allclose(scores[row], expected, atol=2e-7)


@pytest.mark.parametrize('dtype', [np.float32, np.float16])
def test_dot_products_are_those_of_any_precision(dtype):
  rng = np.random.default_rng(3)
  vectors = unit(rng.standard_normal((700, SIZE)))
  vectors[0, :4] = [6e-8, -6e-8, 0, -0.0]  # the least there are
  vectors[1] = 0
  vectors, queries = vectors.astype(dtype), groups(3)
  expected = queries.astype(float) @ vectors.astype(float).T
  np.testing.assert_allclose(dots(queries, vectors), expected, atol=3e-7)
  assert dots(queries, vectors[:0]).shape == (3, 0)


def test_every_kind_finds_the_group_of_a_vector(empty):
  vectors = groups(2000)
  search = empty.build(np.arange(2000) + 7, vectors)
  ids, scores = search.query(vectors[::50], 10)
  assert ids.shape == scores.shape == (40, 10) and ids.dtype == np.int64
  assert scores.dtype == np.float32
  hits = (ids - 7) // 10 == (np.arange(0, 2000, 50) // 10)[:, None]
  assert hits.mean() > 0.99
  assert (np.diff(scores, axis=1) <= 0).all()


def test_what_is_added_later_is_found_too(empty):
  vectors = groups(200)
  search = empty.build(np.arange(100), vectors[:100])
  search.add(np.arange(100, 200), vectors[100:])
  ids, _ = search.query(vectors[[3, 150]], 10)
  assert [sorted(row) for row in ids.tolist()] == [
    [*range(10)],
    [*range(150, 160)],
  ]


def test_a_video_is_found_once_by_the_best_of_its_vectors(kind, empty):
  vectors = groups(2000)
  search = empty.build(np.arange(2000) // 4, vectors)  # four each
  ids, scores = search.query(vectors[::50], 5)
  assert ids.shape == scores.shape == (40, 5)
  for row, place in enumerate(range(0, 2000, 50)):
    # Codes of one bit take one of the group for another.
    assert place // 4 in ids[row, : 5 if kind.startswith('ivf') else 1]
    assert len(set(ids[row].tolist())) == 5
  assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize('asked', [5, 500, 2000])
def test_an_engine_reads_as_many_lists_as_what_is_asked_for_needs(empty, asked):
  vectors = groups(4000)  # FAISS: in 102 lists, of which 32 hold 1,250
  ids, _ = empty.build(np.arange(4000), vectors).query(vectors[::400], asked)
  assert ids.shape == (10, asked) and (ids >= 0).all()


@pytest.mark.parametrize('count', [0, 1, 3])
def test_few_vectors_give_few_answers(empty, count, capfd):
  vectors = groups(5)
  search = empty.build(np.arange(count), vectors[:count])
  ids, scores = search.query(vectors[:2], 10)
  assert ids.shape == scores.shape == (2, count)
  assert sorted(ids[1].tolist()) == list(range(count))
  assert capfd.readouterr().err == ''  # FAISS complains there


def test_an_unknown_codec_names_the_known():
  pytest.importorskip('faiss')
  from deltax.retrieval.search.coarse_faiss import FaissSearch

  with pytest.raises(ValueError, match=r"'pq'; known: .*'ivf_sq8'"):
    FaissSearch('pq')


def video(name, vector):
  codes = np.zeros((1, 1, 32), np.float32)
  return IndexedVideo(name, name, vector, codes, np.zeros(1))


def rows_of(index):
  return np.arange(len(index))


def test_the_search_of_an_index_follows_what_is_added_and_removed(
  tmp_path, kind
):
  vectors = groups(300)
  index = Index.create(
    tmp_path / 'index', fingerprint='', description={}, coarse_search=kind
  )

  def nearest(n):
    search = open_coarse(index, rows_of(index))
    ids, _ = search.query(vectors[[n]], 10)
    names = dict(zip(index.table['id'].tolist(), index.names, strict=True))
    return [names[i] for i in ids[0].tolist()]

  index.add(video(f'v{n}', vectors[n]) for n in range(150))
  assert {name[:2] for name in nearest(42)} == {'v4'}
  index.add(video(f'v{n}', vectors[n]) for n in range(150, 300))
  assert {name[:3] for name in nearest(221)} == {'v22'}
  index.remove(f'v{n}' for n in range(0, 145))  # rewrites the first segment
  assert {name[:3] for name in nearest(221)} == {'v22'}
  assert {*nearest(147)} > {f'v{n}' for n in range(145, 150)}
  assert not {'v42', 'v44'} & set(nearest(42))


def test_the_file_of_an_engine_is_used_and_made_anew_when_broken(tmp_path):
  pytest.importorskip('faiss')
  from deltax.retrieval.search import coarse_faiss

  vectors, path = groups(100), tmp_path / 'x.faiss'
  asked, given = [], []

  def read(places):
    asked.append(len(places))
    return np.asarray(given)[places], vectors[places]

  def opened(ids):
    given[:] = ids
    search = coarse_faiss.open_faiss(path, 'ivf_sq8', np.asarray(ids), read)
    assert sorted(search.ids) == sorted(ids)
    return search

  opened(range(50))
  opened(range(50))
  assert asked == [50]
  opened(range(10, 60))
  opened(range(10, 60))
  assert asked == [50, 10]
  path.write_bytes(path.read_bytes()[:100])
  opened(range(50))
  assert asked == [50, 10, 50]
  assert os.listdir(tmp_path) == ['x.faiss']


def test_an_engine_that_fits_the_index_is_opened_without_its_videos(tmp_path):
  pytest.importorskip('faiss')
  vectors = groups(200)
  index = Index.create(
    tmp_path / 'i', fingerprint='', description={}, coarse_search='ivf_sq8'
  )
  index.add(video(f'v{n}', vectors[n]) for n in range(100))
  made = open_coarse(index, rows_of(index)).query(vectors[:9], 5)
  index.numbers = index.vectors = None
  again = open_coarse(index, rows_of(index)).query(vectors[:9], 5)
  np.testing.assert_array_equal(made, again)
  index = Index(index.folder)
  index.add(video(f'v{n}', vectors[n]) for n in range(100, 200))
  ids, _ = open_coarse(index, rows_of(index)).query(vectors[[150]], 5)
  assert 150 in ids[0]


def test_an_engine_is_filled_part_by_part(tmp_path, monkeypatch):
  pytest.importorskip('faiss')
  from deltax.retrieval.search import coarse_faiss

  monkeypatch.setattr(coarse_faiss, 'TOGETHER', 64)
  vectors, asked = groups(1000), []

  def read(places):
    asked.append(len(places))
    return places, vectors[places]

  search = coarse_faiss.open_faiss(
    tmp_path / 'x.faiss', 'ivf_sq8', np.arange(1000), read
  )
  assert max(asked) <= 64 and sorted(search.ids) == list(range(1000))
  assert search.videos == 1000
  ids, _ = search.query(vectors[::50], 10)
  assert (ids // 10 == (np.arange(0, 1000, 50) // 10)[:, None]).mean() > 0.99


def test_an_engine_whose_lists_have_grown_is_built_anew(tmp_path):
  pytest.importorskip('faiss')
  from deltax.retrieval.search import coarse_faiss

  vectors, path = groups(1000), tmp_path / 'x.faiss'
  few, many = np.arange(50), np.arange(1000)

  def read(places):
    return places, vectors[places]

  coarse_faiss.open_faiss(path, 'ivf_sq8', few, read)
  search = coarse_faiss.open_faiss(path, 'ivf_sq8', many, read)
  assert not search.outgrown and sorted(search.ids) == many.tolist()


def test_a_kind_that_needs_no_engine_does_not_import_it(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'faiss', None)
  index = Index.create(tmp_path / 'i', fingerprint='', description={})
  index.add([video('a', groups(1)[0])])
  open_coarse(index, rows_of(index))
  from deltax.retrieval.search.coarse_faiss import FaissSearch

  with pytest.raises(ImportError, match='pip install faiss-cpu'):
    FaissSearch('ivf_sq8')
  assert KINDS[0] == 'exact'
