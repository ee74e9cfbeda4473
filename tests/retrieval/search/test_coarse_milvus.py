"""Coarse vectors searched by Milvus: always those of the index."""

import concurrent.futures
import os
import shutil

import numpy as np
import pytest
from made_films import fake_system

from deltax.errors import DeltaxError
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import write_manifest
from deltax.retrieval.search.milvus_collection import (
  STATE,
  Collection,
)
from deltax.retrieval.search.searcher import Searcher
from deltax.systems import index_features

pytest.importorskip('pymilvus')

from milvus_servers import (
  check,
  collection_of,
  drawn,
  made,
  opened,
  unit,
  video,
)

from deltax.retrieval.search.coarse_milvus import MilvusSearch


def test_of_the_hundred_nearest_most_are_found(server):
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((10, 64))[np.arange(3000) % 10]
  vectors = unit(centres + rng.standard_normal((3000, 64)))
  search = MilvusSearch(Collection(server.address, 'many', 'me', 64))
  search.build(np.arange(3000), vectors)
  ids, _ = search.query(vectors[:50], 100)
  nearest = np.argsort(-(vectors[:50] @ vectors.T), axis=1)[:, :100]
  found = [np.isin(a, b).mean() for a, b in zip(nearest, ids, strict=True)]
  assert np.mean(found) >= 0.95


def test_a_server_restarted_between_queries_gives_the_same_answers(
  server, tmp_path
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  check(search, index)
  server.stop()
  server.start()
  check(search, index)
  server.stop()
  server.start('another disk')  # all is lost
  check(search, index)


def test_a_searcher_gives_the_same_scores_as_with_all_compared(
  server, tmp_path
):
  rng = np.random.default_rng(0)
  features = {f'{n}': unit(rng.standard_normal((8, 9, 48))) for n in range(20)}
  system = fake_system()
  plain = index_features(tmp_path / 'index', features, system)
  manifest = {**plain.manifest, 'coarse_search': 'milvus'}
  write_manifest(
    tmp_path / 'index', {**manifest, 'coarse_address': server.address}
  )
  both = [Searcher(i, system) for i in (plain, Index(tmp_path / 'index'))]
  for name in ('3', '11'):
    expected, found = (
      [match._replace(row=0) for match in s.search(features[name]).matches]
      for s in both
    )
    assert len(found) == 20 and found[0].name == name
    assert found == expected
    server.restart()


def lose_a_row(client, name, rows):
  client.delete(name, ids=[rows[0]['key']])


def lose_the_state(client, name, rows):
  client.delete(name, ids=[STATE])


def add_a_row(client, name, rows):
  client.upsert(name, [{**rows[0], 'key': 2**40}])


def replace_a_row(client, name, rows):
  """By one of another video: as many as before, and none is known."""
  lose_a_row(client, name, rows)
  add_a_row(client, name, rows)


def lose_all(client, name, rows):
  client.drop_collection(name)


@pytest.mark.parametrize(
  'harm', [lose_a_row, lose_the_state, add_a_row, replace_a_row, lose_all]
)
def test_a_collection_that_others_have_changed_is_put_right(
  server, tmp_path, harm
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  check(search, index)
  with server.client() as client:
    rows = client.query(
      collection_of(index), filter=f'key > {STATE}', limit=100
    )
    harm(client, collection_of(index), rows)
  check(search, index, queries=np.array([rows[0]['vector']]))
  check(opened(index), index)


def test_a_video_of_which_a_part_was_written_is_written_whole(server, tmp_path):
  index = made(tmp_path / 'index', server.address)
  opened(index)
  with server.client() as client:  # as a client that was killed leaves it
    rows = client.query(
      collection_of(index), filter=f'key > {STATE}', limit=100
    )
    client.delete(collection_of(index), ids=[STATE, rows[4]['key']])
  check(opened(index), index)


def test_a_filling_that_was_killed_is_begun_anew(server, tmp_path, monkeypatch):
  index = made(tmp_path / 'index', server.address)

  def killed(self, written):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Collection, 'finish', killed)
    with pytest.raises(KeyboardInterrupt):
      opened(index)
  check(opened(index), index)


def test_what_is_right_already_is_not_sent_again(server, tmp_path, monkeypatch):
  index = made(tmp_path / 'index', server.address)
  opened(index)
  sent, upsert = [], Collection.upsert

  def noted(self, rows, vectors):
    sent.extend(rows['key'].tolist())
    upsert(self, rows, vectors)

  monkeypatch.setattr(Collection, 'upsert', noted)
  opened(index)
  assert not sent
  index.add([video('new', drawn(1, seed=9)[0])])
  index.remove(['003'])
  check(opened(index), index)
  assert len(sent) == 4 and sent[-1] == STATE  # a video, two clips


def test_two_indexes_on_one_server_do_not_mix(server, tmp_path):
  first = made(tmp_path / 'first', server.address)
  second = made(tmp_path / 'second', server.address, seed=1)
  searches = opened(first), opened(second)
  for _ in range(2):
    check(searches[0], first)
    check(searches[1], second)


def test_a_collection_of_another_model_is_refused(server, tmp_path):
  index = made(tmp_path / 'index', server.address)
  opened(index)
  index.manifest['fingerprint'] = 'another'
  with pytest.raises(DeltaxError, match='of another index or model') as told:
    opened(index)
  with server.client() as client:
    (count,) = client.query(collection_of(index), output_fields=['count(*)'])
  assert count == {'count(*)': 91}  # it stays
  assert collection_of(index) in str(told.value)
  assert server.address in str(told.value)


def test_copies_of_an_index_that_go_on_by_themselves_are_each_answered_right(
  server, tmp_path
):
  index = made(tmp_path / 'index', server.address)
  shutil.copytree(tmp_path / 'index', tmp_path / 'copy')
  copy = Index(tmp_path / 'copy')
  index.add([video('here', drawn(1, seed=9)[0], seed=1)])
  copy.add([video('there', drawn(1, seed=10)[0], seed=2)])  # of the same id
  searches = opened(index), opened(copy)
  for _ in range(2):
    check(searches[0], index)
    check(searches[1], copy)


def test_a_search_of_what_an_index_was_says_so_when_others_have_moved_on(
  server, tmp_path
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  other = Index(tmp_path / 'index')
  other.remove(['003'])
  check(search, index)  # the collection is still what it was
  check(opened(other), other)
  with pytest.raises(DeltaxError, match='open it again'):
    search.query(drawn(1), 5)
  check(opened(other), other)


def test_two_that_fill_at_once_fill_it_once(server, tmp_path, monkeypatch):
  made(tmp_path / 'index', server.address)
  begun, begin = [], Collection.begin

  def noted(self):
    begun.append(1)
    return begin(self)

  monkeypatch.setattr(Collection, 'begin', noted)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    both = [Index(tmp_path / 'index') for _ in range(2)]
    for index, search in zip(both, pool.map(opened, both), strict=True):
      check(search, index)
  assert len(begun) == 1


@pytest.mark.parametrize('there', [False, True])
def test_a_folder_that_cannot_be_written_to_is_searched_and_stays(
  tmp_path, monkeypatch, there
):
  index = made(tmp_path / 'index')
  if there:
    opened(index)

  def listed():
    return {
      path: path.stat().st_mtime_ns for path in tmp_path.glob('index/**/*')
    }

  before = listed()
  monkeypatch.setattr(os, 'access', lambda path, mode: False)
  search = opened(index)
  copied = search._collection.place.parent
  check(search, index)
  assert listed() == before
  del search
  assert not copied.exists()
