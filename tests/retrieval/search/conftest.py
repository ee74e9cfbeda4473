"""A Milvus server, and little patience with it."""

import pytest

from deltax.retrieval.search import milvus_collection


@pytest.fixture
def impatient(monkeypatch):
  monkeypatch.setattr(milvus_collection, 'PAUSES', (0.05, 0.1))
  monkeypatch.setattr(milvus_collection, 'CONNECT', 1)
  monkeypatch.setattr(milvus_collection, 'CALL', 5)


@pytest.fixture
def server(tmp_path, monkeypatch, impatient):
  milvus_servers = pytest.importorskip('milvus_servers')
  server = milvus_servers.Server(tmp_path / 'served', monkeypatch)
  yield server
  server.stop()
