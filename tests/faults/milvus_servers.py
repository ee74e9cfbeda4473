"""Real Milvus servers for tests, and indexes that are searched by them."""

import contextlib
import socket
import subprocess
import sys
import time

import numpy as np
from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from pymilvus import MilvusClient

from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search import coarse_search

SIZE = 16


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


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


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
