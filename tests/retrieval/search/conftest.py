"""A Milvus server, and little patience with one."""

import pytest

from deltax.retrieval.search import milvus_collection


@pytest.fixture
def hurry(monkeypatch):
  """Gives servers up soon, from when it is called.

  Only of those that are to be given up: a busy machine may be slow.
  """

  def impatient():
    monkeypatch.setattr(milvus_collection, 'PAUSES', (0.05, 0.1))
    monkeypatch.setattr(milvus_collection, 'CONNECT', 1)
    monkeypatch.setattr(milvus_collection, 'CALL', 5)

  return impatient


@pytest.fixture
def server(tmp_path, monkeypatch):
  milvus_servers = pytest.importorskip('milvus_servers')
  server = milvus_servers.Server(tmp_path / 'served', monkeypatch)
  yield server
  server.stop()
