"""Milvus servers that come and go, and files that one process has."""

import concurrent.futures
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from deltax.errors import DeltaxError
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search import milvus_collection
from deltax.retrieval.search.milvus_collection import (
  Collection,
  check_address,
)

pytest.importorskip('pymilvus')

from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_servers import (
  SIZE,
  check,
  drawn,
  exact,
  free_port,
  made,
  opened,
  run_server,
  video,
)


def test_many_queries_are_asked_some_at_a_time(server, tmp_path, monkeypatch):
  index = made(tmp_path / 'index', server.address)
  monkeypatch.setattr(milvus_collection, '_TOGETHER', 40)
  check(opened(index), index, queries=drawn(23, seed=9))


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


def test_where_nobody_listens_one_sentence_names_the_address(tmp_path, hurry):
  hurry()
  address = f'http://127.0.0.1:{free_port()}'
  index = made(tmp_path / 'index', address)
  with pytest.raises(DeltaxError, match='Milvus server was expected') as told:
    opened(index)
  assert address in str(told.value) and '\n' not in str(told.value)


def test_a_listener_that_never_answers_is_given_up(tmp_path, hurry):
  hurry()
  with socket.socket() as silent:
    silent.bind(('127.0.0.1', 0))
    silent.listen()
    address = f'http://127.0.0.1:{silent.getsockname()[1]}'
    index = made(tmp_path / 'index', address)
    with pytest.raises(DeltaxError, match='Milvus server was expected') as told:
      opened(index)
  assert address in str(told.value) and '\n' not in str(told.value)


def test_a_server_that_goes_for_good_ends_in_one_sentence(
  server, tmp_path, hurry
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  server.stop()
  hurry()
  with pytest.raises(DeltaxError, match='after 3 attempts') as told:
    search.query(drawn(1), 5)
  assert server.address in str(told.value) and '\n' not in str(told.value)


@pytest.mark.parametrize('slow', [1, 9])
def test_a_slow_server_is_asked_again_a_few_times(
  server, tmp_path, monkeypatch, slow, hurry
):
  index = made(tmp_path / 'index', server.address)
  search = opened(index)
  times, ask = [], MilvusServicer.Search

  def late(self, request, context):
    times.append(1)
    if len(times) <= slow:
      time.sleep(6)
    return ask(self, request, context)

  server.restart(Search=late)
  hurry()
  monkeypatch.setattr(milvus_collection, 'CALL', 3)
  if slow == 1:
    check(search, index)
    assert len(times) > 1
  else:
    with pytest.raises(DeltaxError, match='after 3 attempts'):
      search.query(drawn(1), 5)


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
