"""A collection of rows that Milvus keeps: by a server, or in a file.

    key      of a vector: the video's id and which of its vectors it is
    seal_*   what else tells the video; the name says whose collection it is
    of       how many vectors the video has
    vector   of length 1

One row more, `STATE`, says what all others are together, so that two short
questions tell whether any is missing, stale or foreign. It is taken away before
others change and put back after.
"""

import collections
import importlib
import logging
import os
import pathlib
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from deltax.errors import DeltaxError

TOKEN = 'DELTAX_MILVUS_TOKEN'
CONNECT, CALL, BUILD = 5, 30, 600  # seconds that an answer may take
PAUSES = (0.5, 1, 2, 4)  # seconds before a call is tried again
LIMIT = 16384  # rows that a server gives at once
EF = 512  # rows that a search of a graph keeps in sight, at least
STATE = -1  # a key
ROW = np.dtype([('key', 'i8'), ('seal', 'i8'), ('of', 'i8')])

_SENT = 2**22  # bytes of vectors sent at once
_TOGETHER = 2**16  # rows that are found at once
# Pings more often than every five minutes are refused by servers as they come.
_QUIET = {'grpc.keepalive_time_ms': 600_000}
_OPEN = collections.Counter()  # files that this process has open

T = TypeVar('T')


def _pymilvus():
  try:
    pymilvus = importlib.import_module('pymilvus')
  except ImportError as error:
    raise ImportError(
      "a coarse search by Milvus needs its client: pip install 'deltax-jax"
      "[milvus]'"
    ) from error
  # They tell each failed call with its traceback; here it is tried again, and
  # told in a sentence.
  for name in ('pymilvus', 'milvus_lite'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  return pymilvus


def _grpc():
  return importlib.import_module('grpc')


def check_address(address: str) -> None:
  """Raises DeltaxError unless this is an address that an index may keep."""
  try:
    parts = urllib.parse.urlsplit(address)
    whole = parts.hostname and (parts.port or True)  # raises where it is none
  except ValueError:
    parts, whole = urllib.parse.urlsplit(''), False
  if parts.username or parts.password:
    raise DeltaxError(
      'an index keeps the address of its Milvus server, so there is no user '
      f'or password in it: set {TOKEN}=user:password instead'
    )
  if not whole or parts.scheme not in ('http', 'https') or parts.query:
    raise DeltaxError(
      f'{address!r} is no address of a Milvus server: expected one like '
      'http://host:19530'
    )


class Written(NamedTuple):
  """What the rows of a collection are together.

  Attributes:
    digest: of the videos and their seals.
    rows: how many.
  """

  digest: int
  rows: int


class Collection:
  """Rows on a server, or in a file; asked again when it does not answer.

  Args:
    place: an address, or a file whose name ends with `.db`.
    name: of the collection.
    owner: whose it is, a part of a name.
    size: E of the vectors.

  Every method but `close` raises DeltaxError in the end, if there is no server,
  or another process has the file, or the collection is another's; and
  ImportError where the client is not installed. Threads take turns.
  """

  def __init__(
    self, place: str | pathlib.Path, name: str, owner: str, size: int
  ):
    self.place = place
    self._name, self._seal, self._size = name, f'seal_{owner}', size
    self._client, self._close = None, lambda: None
    self._whole, self._lock = False, threading.Lock()
    # A file is served by this very process, which is not waited for in vain.
    self._build = None if isinstance(place, pathlib.Path) else BUILD
    _pymilvus()

  def begin(self) -> np.ndarray:
    """`[N]`, dtype `ROW`: all rows but `STATE`, which is taken away.

    The collection is made if there is none, and anew where the first filling
    of it was never finished.
    """
    return self._tried(self._begin)

  def upsert(self, rows: np.ndarray, vectors: np.ndarray) -> None:
    """Puts rows `[N]`, dtype `ROW`, and float `[N, E]` in place."""
    step = max(1, _SENT // (4 * self._size))
    for start in range(0, len(rows), step):
      data = [
        {'key': key, self._seal: seal, 'of': of, 'vector': vector}
        for (key, seal, of), vector in zip(
          rows[start : start + step].tolist(),
          np.asarray(vectors[start : start + step], np.float32),
          strict=True,
        )
      ]
      self._call('upsert', data=data)

  def delete(self, keys: np.ndarray) -> None:
    """Deletes rows."""
    for start in range(0, len(keys), LIMIT):
      self._call('delete', ids=keys[start : start + LIMIT].tolist())

  def finish(self, written: Written) -> None:
    """Says what the rows are now, and makes all of them ready to be searched.

    What is not flushed and not loaded is searched row by row.
    """
    state = np.array([(STATE, written.digest, written.rows)], ROW)
    self.upsert(state, np.zeros((1, self._size)))
    self._tried(lambda c: c.flush(self._name, timeout=self._build))
    self._tried(self._prepare)

  def written(self) -> Written | None:
    """What the rows are together; None where that is not as was said."""
    return self._tried(self._written)

  def nearest(
    self, vectors: np.ndarray, limit: int, written: Written
  ) -> tuple[np.ndarray, np.ndarray] | None:
    """Keys and dot products of the nearest vectors, best first.

    Args:
      vectors: float32 `[Q, E]`.
      limit: how many at most.
      written: what the rows are expected to be.

    Returns:
      int64 and float32 `[Q, L]`, L at most `limit` + 1; a key of `STATE` is
      no vector's. None where the rows are others, so that no answer from them
      is given.
    """
    limit = min(limit + 1, LIMIT)
    step = max(1, _TOGETHER // limit)

    def ask(client):
      if not self._is_whole(client):
        return None
      keys = np.full((len(vectors), limit), STATE)
      scores = np.full((len(vectors), limit), -np.inf, np.float32)
      for start in range(0, len(vectors), step):
        found = client.search(
          self._name,
          data=list(np.asarray(vectors[start : start + step], np.float32)),
          limit=limit,
          # Else a graph gives fewer than are asked for, without a word.
          search_params={'params': {'ef': max(EF, limit)}},
          output_fields=['key'],
          consistency_level='Strong',
          timeout=CALL,
        )
        for query, hits in enumerate(found, start):
          keys[query, : len(hits.ids)] = hits.ids
          scores[query, : len(hits.ids)] = hits.distances
      # Asked after the search: had they changed before it, this tells.
      return (keys, scores) if self._written(client) == written else None

    return self._tried(ask)

  def close(self) -> None:
    """Lets go of the server, or the file; the next call opens it again."""
    self._close()
    self._client, self._whole = None, False

  def _begin(self, client) -> np.ndarray:
    if not self._is_whole(client):
      client.drop_collection(self._name, timeout=CALL)
      schema = _pymilvus().MilvusClient.create_schema(auto_id=False)
      integer = _pymilvus().DataType.INT64
      schema.add_field('key', integer, is_primary=True)
      schema.add_field(self._seal, integer)
      schema.add_field('of', integer)
      schema.add_field(
        'vector', _pymilvus().DataType.FLOAT_VECTOR, dim=self._size
      )
      client.create_collection(
        self._name, schema=schema, consistency_level='Strong', timeout=CALL
      )
      return np.zeros(0, ROW)
    client.delete(self._name, ids=[STATE], timeout=CALL)
    parts, fields = [np.zeros(0, ROW)], ('key', self._seal, 'of')
    rows = client.query_iterator(
      self._name,
      batch_size=LIMIT,
      filter=f'key > {STATE}',
      output_fields=list(fields),
      consistency_level='Strong',
      timeout=CALL,
    )
    while part := rows.next():
      parts.append(np.array([tuple(map(row.get, fields)) for row in part], ROW))
    rows.close()
    return np.concatenate(parts)

  def _prepare(self, client) -> None:
    if not self._is_whole(client):
      index = client.prepare_index_params()
      # The graph that a server makes by itself; it has no numbers to choose,
      # and none to outgrow.
      index.add_index('vector', index_type='AUTOINDEX', metric_type='IP')
      # Not waited for: until it is there, rows are compared one by one.
      client.create_index(self._name, index, timeout=self._build, sync=False)
      client.load_collection(self._name, timeout=self._build)
      self._whole = True

  def _written(self, client) -> Written | None:
    if not self._is_whole(client):
      return None
    strong = {'consistency_level': 'Strong', 'timeout': CALL}
    fields = [self._seal, 'of']
    state = client.get(self._name, ids=[STATE], output_fields=fields, **strong)
    (count,) = client.query(self._name, output_fields=['count(*)'], **strong)
    if not state or count['count(*)'] != state[0]['of'] + 1:
      return None
    return Written(state[0][self._seal], state[0]['of'])

  def _call(self, method: str, **arguments: Any) -> None:
    def call(client):
      getattr(client, method)(self._name, timeout=CALL, **arguments)

    self._tried(call)

  def _tried(self, call: Callable[[Any], T]) -> T:
    """What a call gives, which is made again if that fails."""
    with self._lock:
      return self._tried_alone(call)

  def _tried_alone(self, call: Callable[[Any], T]) -> T:
    failed = _pymilvus().MilvusException, _grpc().RpcError
    for pause in (*PAUSES, None):
      try:
        if self._client is None:
          self._open()
        return call(self._client)
      except failed as error:
        self.close()
        if pause is None:
          raise DeltaxError(self._problem(error)) from error
        time.sleep(pause)

  def _open(self) -> None:
    file = isinstance(self.place, pathlib.Path)
    client = _pymilvus().MilvusClient(
      str(self.place),
      token='' if file else os.environ.get(TOKEN, ''),
      timeout=CONNECT,
      dedicated=True,
      grpc_options=_QUIET,
    )
    _OPEN[self.place] += 1
    self._close = weakref.finalize(self, _close, client, self.place)
    self._client = client

  def _is_whole(self, client) -> bool:
    """Whether the collection was ever filled; it is loaded, if so."""
    if not self._whole and client.has_collection(self._name, timeout=CALL):
      self._check(client.describe_collection(self._name, timeout=CALL))
      if client.list_indexes(self._name, timeout=CALL):
        client.load_collection(self._name, timeout=self._build)
        self._whole = True
    return self._whole

  def _check(self, about: dict[str, Any]) -> None:
    """Raises DeltaxError if a collection is not ours."""
    fields = {field['name']: field['params'] for field in about['fields']}
    ours = fields.keys() == {'key', self._seal, 'of', 'vector'}
    if not ours or int(fields['vector']['dim']) != self._size:
      raise DeltaxError(
        f'the collection {self._name} at {self.place} is of another index or '
        f'model: expected vectors of {self._size} numbers and a field '
        f'{self._seal}, it has {", ".join(sorted(fields))}'
      )

  def _problem(self, error: Exception) -> str:
    lines = str(getattr(error, 'message', error)).splitlines() or ['']
    reason = lines[0][:200]
    if not isinstance(self.place, pathlib.Path):
      return (
        f'no answer from {self.place}, where a Milvus server was expected, '
        f'after {len(PAUSES) + 1} attempts: {reason}'
      )
    lite = importlib.import_module('milvus_lite')
    try:
      lite.MilvusLite(str(self.place)).close()
    except lite.DataDirLockedError:
      return (
        f'{self.place} is in use by another process, and milvus-lite gives it '
        'to one at a time: wait for that one, or give the index a server'
      )
    except Exception as found:  # whatever is in a damaged file
      reason = str(found)
    return (
      f'{self.place} cannot be searched ({reason}): delete it, and the next '
      'search makes it again'
    )


def _close(client, place) -> None:
  client.close()
  _OPEN[place] -= 1
  if isinstance(place, pathlib.Path) and not _OPEN[place]:
    lite = importlib.import_module('milvus_lite')
    lite.server_manager_instance.release_server(str(place))
