"""Which video is where in the shards of a feature store.

The file `index` lists the records, as of when the last writer closed: a line
with a checksum, and JSON. Records that were added later, or all of them if that
file is missing or damaged, are found by reading the shards.
"""

import json
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from absl import logging

from deltax import files, plain
from deltax.data.features.shards import records

Ends = dict[int, int]

_LISTED = {
  'ends': {str: plain.COUNT},
  'records': [(plain.TEXT, *3 * [plain.COUNT], 3 * (plain.COUNT,))],
}
_SHARD = re.compile(r'shard-(\d{5,9})')


class Location(NamedTuple):
  """Where a video's record lies.

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


def locate(folder: pathlib.Path) -> tuple[dict[str, Location], Ends]:
  """All whole records of a store.

  Returns:
    Locations by name of video, and by shard the byte after its last whole
    record.
  """
  locations, ends = _read(folder)
  for path in sorted(folder.glob('shard-*')):
    named = _SHARD.fullmatch(path.name)
    if named is None:
      continue  # nothing of ours
    shard = int(named[1])
    ends.setdefault(shard, 0)
    size = path.stat().st_size
    if size > ends[shard]:
      for name, location in _later(path, shard, ends[shard], size):
        locations[name] = location
        ends[shard] = location.end
  return locations, ends


def write_list(folder: pathlib.Path, locations: Mapping[str, Location]) -> None:
  """Writes the list of all records, whole or not at all."""
  ends = {}
  for location in locations.values():
    ends[location.shard] = max(ends.get(location.shard, 0), location.end)
  rows = [[name, *location] for name, location in locations.items()]
  text = json.dumps({'ends': ends, 'records': rows})
  files.write_text(folder / 'index', f'{_checksum(text)}\n{text}', durable=True)


def _read(folder: pathlib.Path) -> tuple[dict[str, Location], Ends]:
  """What the list says; nothing if the shards cannot be like that."""
  path = folder / 'index'
  if not path.exists():
    return {}, {}
  checksum, _, text = path.read_text('utf-8', 'replace').partition('\n')
  try:
    if checksum != _checksum(text):
      raise ValueError('its checksum is another')
    listed = plain.check(plain.loads(text), _LISTED, path)
    # JSON has no numbers as keys.
    ends = {int(shard): end for shard, end in listed['ends'].items()}
    _check_places(listed['records'], ends)
  except ValueError as error:
    logging.warning('%s is damaged; the shards are read instead', path)
    logging.debug('%s', error)
    return {}, {}
  for shard, end in ends.items():
    path = shard_path(folder, shard)
    if not path.exists() or path.stat().st_size < end:
      logging.warning('%s is missing or cut off', path)
      return {}, {}
  locations = {
    name: Location(shard, start, end, tuple(shape))
    for name, shard, start, end, shape in listed['records']
  }
  return locations, ends


def _check_places(rows: list, ends: Ends) -> None:
  """Raises a ValueError for a record that lies outside of its shard."""
  for name, shard, start, end, _ in rows:
    if not start < end <= ends.get(shard, 0):
      raise ValueError(f'{name!r} lies outside of shard {shard}')


def _later(
  path: pathlib.Path, shard: int, start: int, size: int
) -> list[tuple[str, Location]]:
  """The whole records of a shard from byte `start` on."""
  located = []
  with open(path, 'rb') as file:
    for at, head in records.find(file, start, size):
      if at > start:
        logging.warning('%s: bytes %d to %d are no record', path, start, at)
      start = at + head.length
      located.append((head.name, Location(shard, at, start, head.shape)))
    # After a power failure the last may have its length, but not its values.
    if located:
      name, last = located[-1]
      file.seek(last.start)
      if records.unpack(file.read(last.end - last.start)) is None:
        logging.warning('%s: %r at its end is damaged: dropped', path, name)
        located.pop()
  return located


def _checksum(text: str) -> str:
  return f'{zlib.crc32(text.encode()):08x}'
