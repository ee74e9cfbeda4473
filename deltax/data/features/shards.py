"""Which video is where in the shards of a feature store.

`index` is a picture of the shards, taken when a writer closes: a checksum, and
JSON. Records that came after it, or all if it is missing or damaged, are found
in the shards themselves.
"""

import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from absl import logging

from deltax import files
from deltax.data.features import records

Ends = dict[int, int]


class Entry(NamedTuple):
  """Where a record is.

  Attributes:
    shard: number of the file.
    start: its first byte there.
    end: the byte after its last.
    shape: (T, R, D).
  """

  shard: int
  start: int
  end: int
  shape: tuple[int, int, int]


def shard_path(folder: pathlib.Path, shard: int) -> pathlib.Path:
  """The file of a shard."""
  return folder / f'shard-{shard:05d}'


def find(folder: pathlib.Path) -> tuple[dict[str, Entry], Ends]:
  """All whole records of a store.

  Returns:
    Entries by name, and by shard where its last whole record ends.
  """
  entries, ends = _read(folder)
  for path in sorted(folder.glob('shard-*')):
    shard = int(path.name.removeprefix('shard-'))
    ends.setdefault(shard, 0)
    size = path.stat().st_size
    if size > ends[shard]:
      for name, entry in _found(path, shard, ends[shard], size):
        entries[name] = entry
        ends[shard] = entry.end
  return entries, ends


def write(folder: pathlib.Path, entries: Mapping[str, Entry]) -> None:
  """Writes the index, beside and renamed."""
  ends = {}
  for entry in entries.values():
    ends[entry.shard] = max(ends.get(entry.shard, 0), entry.end)
  rows = [[name, *entry] for name, entry in entries.items()]
  text = json.dumps({'ends': ends, 'records': rows})
  files.write_text(folder / 'index', f'{_checksum(text)}\n{text}', durable=True)


def _read(folder: pathlib.Path) -> tuple[dict[str, Entry], Ends]:
  """What the index says; nothing if that cannot be."""
  path = folder / 'index'
  if not path.exists():
    return {}, {}
  checksum, _, text = path.read_text('utf-8', 'replace').partition('\n')
  if checksum != _checksum(text):
    logging.warning('%s is damaged; the shards are read instead', path)
    return {}, {}
  index = json.loads(text)
  ends = {int(shard): end for shard, end in index['ends'].items()}
  for shard, end in ends.items():
    path = shard_path(folder, shard)
    if not path.exists() or path.stat().st_size < end:
      logging.warning('%s is missing or cut off', path)
      return {}, {}
  entries = {
    name: Entry(shard, start, end, tuple(shape))
    for name, shard, start, end, shape in index['records']
  }
  return entries, ends


def _found(
  path: pathlib.Path, shard: int, start: int, size: int
) -> list[tuple[str, Entry]]:
  """The whole records of a shard behind `start`."""
  found = []
  with open(path, 'rb') as file:
    for at, head in records.find(file, start, size):
      if at > start:
        logging.warning('%s: bytes %d to %d are no record', path, start, at)
      start = at + head.length
      found.append((head.name, Entry(shard, at, start, head.shape)))
    # After a power failure the last may have its length, but not its values.
    if found:
      name, last = found[-1]
      file.seek(last.start)
      if records.unpack(file.read(last.end - last.start)) is None:
        logging.warning('%s: %r at its end is damaged: dropped', path, name)
        found.pop()
  return found


def _checksum(text: str) -> str:
  return f'{zlib.crc32(text.encode()):08x}'
