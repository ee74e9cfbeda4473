"""Coarse vectors searched by Milvus: servers that come, go and lie."""

import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from made_films import fake_system

from deltax.errors import DeltaxError
from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.manifest import write_manifest
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search import coarse_search, milvus_collection
from deltax.retrieval.search.milvus_collection import (
  STATE,
  Collection,
  check_address,
)
from deltax.retrieval.search.searcher import Searcher
from deltax.systems import index_features

pytest.importorskip('pymilvus')

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from pymilvus import MilvusClient

from deltax.retrieval.search.coarse_milvus import MilvusSearch

SIZE = 16


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(milvus_collection, 'PAUSES', (0.05, 0.1))
  monkeypatch.setattr(milvus_collection, 'CONNECT', 1)
  monkeypatch.setattr(milvus_collection, 'CALL', 5)


class Server:
  """A real server at one address, which may be stopped and started."""

  def __init__(self, folder, patch):
    self._folder, self._patch = folder, patch
    self.port, self._running = 0, None
    self.start()

  def start(self, data='data'):
    server, db, self.port = start_server_in_thread(
      str(self._folder / data), port=self.port
    )
    self._running = server, db
    self.address = f'http://127.0.0.1:{self.port}'

  def restart(self, **changed):
    """With other methods, which a server looks up when it starts."""
    self.stop()
    for name, method in changed.items():
      self._patch.setattr(MilvusServicer, name, method)
    self.start()

  def stop(self):
    if self._running:
      server, db = self._running
      server.stop(None).wait()
      db.close()
      self._running = None

  @contextlib.contextmanager
  def client(self):
    client = MilvusClient(self.address, dedicated=True)
    yield client
    client.close()


@pytest.fixture
def server(tmp_path, monkeypatch):
  server = Server(tmp_path / 'served', monkeypatch)
  yield server
  server.stop()


def unit(x):
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def drawn(count, seed=0):
  return unit(np.random.default_rng(seed).standard_normal((count, SIZE)))


def video(name, vector, seed=0):
  """A video with two clips, and fine codes of its own."""
  codes = np.random.default_rng([seed, len(name)]).standard_normal((1, 1, 32))
  return IndexedVideo(
    name,
    name,
    vector,
    codes.astype(np.float32),
    np.zeros(1),
    clips=np.stack([np.roll(vector, 1), np.roll(vector, 2)]),
  )


def made(folder, address=None, count=30, seed=0, fingerprint='model'):
  index = Index.create(
    folder,
    fingerprint=fingerprint,
    description={},
    coarse_search='milvus',
    coarse_address=address,
  )
  vectors = drawn(count, seed)
  index.add(video(f'{n:03}', vectors[n], [seed, n]) for n in range(count))
  return index


def opened(index):
  return coarse_search.open_coarse(index, np.arange(len(index)))


def exact(index):
  rows = np.arange(len(index))
  return coarse_search.ExactSearch().build(
    *coarse_search._all_vectors(index, rows)
  )


def check(search, index, queries=None):
  """That a search gives what comparing with all vectors does."""
  queries = drawn(4, seed=9) if queries is None else queries
  ids, scores = search.query(queries, 5)
  expected_ids, expected = exact(index).query(queries, 5)
  np.testing.assert_array_equal(ids, expected_ids)
  np.testing.assert_allclose(scores, expected, atol=1e-5)


def collection_of(index):
  return f'deltax_{index.manifest["uid"]}'


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


def run_server(folder, port):
  process = subprocess.Popen(
    [sys.executable, '-m', 'milvus_lite', 'server', '--data-dir', folder]
    + ['--host', '127.0.0.1', '--port', str(port)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    with contextlib.suppress(OSError):
      socket.create_connection(('127.0.0.1', port), 1).close()
      return process
    time.sleep(0.1)
  raise AssertionError('no server')


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def test_a_server_that_is_killed_and_comes_back_gives_the_same_answers(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(milvus_collection, 'PAUSES', (0.5, 1, 2))
  port = free_port()
  index = made(tmp_path / 'index', f'http://127.0.0.1:{port}')
  process = run_server(tmp_path / 'data', port)
  try:
    search = opened(index)
    index.add([video('new', drawn(1, seed=9)[0])])
    search = opened(index)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = run_server(tmp_path / 'data', port)
    check(search, index)
  finally:
    process.kill()
    process.wait()


def test_where_nobody_listens_one_sentence_names_the_address(tmp_path):
  address = f'http://127.0.0.1:{free_port()}'
  index = made(tmp_path / 'index', address)
  with pytest.raises(DeltaxError, match='Milvus server was expected') as told:
    opened(index)
  assert address in str(told.value) and '\n' not in str(told.value)


def test_a_listener_that_never_answers_is_given_up(tmp_path):
  with socket.socket() as silent:
    silent.bind(('127.0.0.1', 0))
    silent.listen()
    address = f'http://127.0.0.1:{silent.getsockname()[1]}'
    index = made(tmp_path / 'index', address)
    start = time.monotonic()
    with pytest.raises(DeltaxError, match='Milvus server was expected') as told:
      opened(index)
    assert time.monotonic() - start < 20  # three times one second, and pauses
  assert address in str(told.value) and '\n' not in str(told.value)


def test_a_server_that_goes_for_good_ends_in_one_sentence(server, tmp_path):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  server.stop()
  with pytest.raises(DeltaxError, match='after 3 attempts') as told:
    search.query(drawn(1), 5)
  assert server.address in str(told.value) and '\n' not in str(told.value)


@pytest.mark.parametrize('slow', [1, 9])
def test_a_slow_server_is_asked_again_a_few_times(
  server, tmp_path, monkeypatch, slow
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  times, ask = [], MilvusServicer.Search

  def late(self, request, context):
    times.append(1)
    if len(times) <= slow:
      time.sleep(1)
    return ask(self, request, context)

  server.restart(Search=late)
  monkeypatch.setattr(milvus_collection, 'CALL', 0.5)
  if slow == 1:
    check(search, index)
    assert len(times) > 1
  else:
    with pytest.raises(DeltaxError, match='after 3 attempts'):
      search.query(drawn(1), 5)


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


def test_a_collection_that_was_refused_is_not_touched_by_asking_again(server):
  Collection(server.address, 'x', 'me', SIZE).begin()
  other = Collection(server.address, 'x', 'other', SIZE)
  for _ in range(2):
    with pytest.raises(DeltaxError, match='of another index or model'):
      other.begin()


def test_threads_that_search_while_a_server_restarts_get_the_same_answers(
  server, tmp_path
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  queries = drawn(16, seed=9)
  expected, _ = exact(index).query(queries, 5)

  def ask(n):
    return search.query(queries[n, None], 5)[0][0]

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    answers = [pool.submit(ask, n) for n in range(8)]
    server.restart()
    answers += [pool.submit(ask, n) for n in range(8, 16)]
    found = [answer.result() for answer in answers]
  np.testing.assert_array_equal(found, expected)


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


def test_one_process_opens_a_file_as_often_as_it_likes(tmp_path):
  index = made(tmp_path / 'index')
  first, second = opened(index), opened(index)
  check(first, index)
  del first
  check(second, index)
  del second
  shutil.rmtree(tmp_path / 'index')
  check(opened(made(tmp_path / 'index', seed=1)), Index(tmp_path / 'index'))


HOLDER = """
import sys, time
from milvus_lite import MilvusLite
held = MilvusLite(sys.argv[1])
print('held', flush=True)
time.sleep(float(sys.argv[2]))
held.close()
"""


@pytest.mark.parametrize('seconds', [1, 60])
def test_a_file_that_another_process_has_is_waited_for_a_little(
  tmp_path, monkeypatch, seconds
):
  monkeypatch.setattr(milvus_collection, 'PAUSES', (0.5, 1, 2))
  index = made(tmp_path / 'index')
  opened(index)
  path = tmp_path / 'index/milvus.db'
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, path, str(seconds)], stdout=subprocess.PIPE
  )
  try:
    assert holder.stdout.readline() == b'held\n'
    if seconds == 1:
      check(opened(index), index)
    else:
      with pytest.raises(DeltaxError, match='in use by another proc') as told:
        opened(index)
      assert str(path) in str(told.value) and '\n' not in str(told.value)
  finally:
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_a_damaged_file_is_one_sentence(tmp_path):
  index = made(tmp_path / 'index')
  opened(index)
  (schema,) = (tmp_path / 'index/milvus.db').glob('**/schema.json')
  schema.write_text('{')
  with pytest.raises(DeltaxError, match='delete it, and the next') as told:
    opened(index)
  assert '\n' not in str(told.value)
  shutil.rmtree(tmp_path / 'index/milvus.db')
  check(opened(index), index)


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


@pytest.mark.parametrize(
  'address',
  [
    *('localhost:19530', 'ftp://host', 'http://', 'x.db', ''),
    *('http://host:port', 'http://[::1', 'http://host?token=1'),
  ],
)
def test_what_is_no_address_is_told(address):
  with pytest.raises(DeltaxError, match='expected one like http://host:19530'):
    check_address(address)


def test_an_address_with_a_password_is_refused_and_not_repeated():
  with pytest.raises(DeltaxError, match='set DELTAX_MILVUS_TOKEN=') as told:
    check_address('https://root:s3cret@host:19530')
  assert 's3cret' not in str(told.value)


def test_the_token_goes_to_the_server_alone(server, tmp_path, monkeypatch):
  shown = []
  monkeypatch.setenv('DELTAX_MILVUS_TOKEN', 'me:s3cret')
  connect = MilvusServicer.Connect

  def noted(self, request, context):
    shown.extend(dict(context.invocation_metadata()).items())
    return connect(self, request, context)

  server.restart(Connect=noted)
  index = made(tmp_path / 'index', server.address)
  opened(index)
  assert 'authorization' in dict(shown)
  kept = [p for p in (tmp_path / 'index').glob('**/*') if p.is_file()]
  assert kept and not any(b's3cret' in path.read_bytes() for path in kept)


def test_without_the_client_it_says_what_to_install(tmp_path, monkeypatch):
  index = made(tmp_path / 'index')
  monkeypatch.setitem(sys.modules, 'pymilvus', None)
  with pytest.raises(ImportError, match=r"pip install 'deltax-jax\[milvus\]'"):
    opened(index)
