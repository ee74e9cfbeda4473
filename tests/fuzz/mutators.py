"""Ways to damage files, drawn from a seeded generator of random numbers."""

import json
import os
import pathlib
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 16  # bytes of a damaged file, about
OUTSIDE = 'outside'  # a file beside the folder that is read: nobody may open it
NUMBERS = (
  *(0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31),
  *(2**32 - 1, 2**32, 10**12, 2**48, 2**63 - 1, 2**63, 2**64, -(2**31)),
  *(-(2**63), 10**30, 0.5, -0.0, 1e-320, 1e308, float('nan'), float('inf')),
)
TEXTS = (
  *('', 'x', '0', '-1', '1e999', 'nan', 'null', ' ', '.', '..', '/', '//'),
  *('a/b', '../..', f'../{OUTSIDE}', f'../../../{OUTSIDE}', '/etc/passwd'),
  *('\0', 'a\0b', '\n', 'é', '\ud800', '\u202e', '%s', '{}', '[0]', '-'),
  *('float32', 'object', 'O', '<f4', '>u8', 'V100000', 'datetime64', 'x' * 999),
)
_DEEP = '@deep@'  # a text that a JSON file has nested lists in the place of


def damaged(rng: random.Random, data: bytes) -> bytes:
  """Bytes with one to four things wrong."""
  for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
    data = rng.choice(_BYTES)(rng, data)[:LONGEST]
  return data


def _span(rng, data, longest=64):
  """Two places, at most so far apart."""
  start = rng.randrange(len(data) + 1)
  return start, min(len(data), start + rng.randrange(1, longest))


def _flip(rng, data):
  if not data:
    return data
  flipped = bytearray(data)
  for _ in range(rng.choice((1, 1, 2, 8))):
    flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  return bytes(flipped)


def _truncate(rng, data):
  return data[: rng.randrange(len(data) + 1)]


def _delete(rng, data):
  start, end = _span(rng, data)
  return data[:start] + data[end:]


def _repeat(rng, data):
  start, end = _span(rng, data)
  return data[:start] + data[start:end] * rng.choice((2, 3, 300)) + data[end:]


def _splice(rng, data):
  """Some bytes in the place of others."""
  start, end = _span(rng, data)
  place = rng.randrange(len(data) + 1)
  return data[:place] + data[start:end] + data[place + end - start :]


def _noise(rng, data):
  start, end = _span(rng, data, 16)
  return data[:start] + rng.randbytes(end - start) + data[end:]


def _number(rng, data):
  """An interesting number over or between the bytes, of either byte order."""
  code = rng.choice('<>') + rng.choice('BHIQ')
  size = struct.calcsize(code)
  number = int(rng.choice(NUMBERS[:-6])) % (1 << 8 * size)
  place = rng.randrange(len(data) + 1)
  kept = place + size * rng.choice((0, 1, 1))
  return data[:place] + struct.pack(code, number) + data[kept:]


def _text(rng, data):
  start, end = _span(rng, data, 16)
  text = rng.choice(TEXTS).encode('utf-8', 'surrogatepass')
  return data[:start] + text + data[end:]


_BYTES = (
  *(_flip, _flip, _truncate, _delete, _repeat, _splice, _noise),
  *(_number, _number, _text),
)


def damaged_value(rng: random.Random, value: Any) -> Any:
  """Plain values, one to three of which are others, doubled or gone."""
  whole = [value]
  for _ in range(rng.choice((1, 1, 2, 3))):
    container, key = rng.choice(list(_places(whole)))
    what = rng.randrange(8)
    if what == 0 and container is not whole:
      del container[key]
    elif what == 1 and isinstance(container, dict):
      container[rng.choice(TEXTS)] = container.pop(key)
    elif what == 2 and isinstance(container, list):
      container.insert(key, container[key])
    elif what == 3:
      other, place = rng.choice(list(_places(whole)))
      container[key] = other[place] if other is not whole else None
    else:
      container[key] = _other(rng)
  return whole[0]


def _places(container):
  """Where a value stands: its list or dict, and its place or key there."""
  if isinstance(container, dict | list):
    listed = isinstance(container, list)
    for key in range(len(container)) if listed else list(container):
      yield container, key
      yield from _places(container[key])


def _other(rng):
  return rng.choice(
    (
      *(lambda: None, lambda: True, lambda: [], lambda: {}, lambda: [[]]),
      *(lambda: rng.choice(NUMBERS), lambda: rng.choice(NUMBERS)),
      *(lambda: rng.choice(TEXTS), lambda: rng.choice(TEXTS)),
      *(lambda: {rng.choice(TEXTS): rng.choice(NUMBERS)}, lambda: _DEEP),
    )
  )()


def damage_json(rng: random.Random, path: pathlib.Path) -> None:
  """Other values in a JSON file; now and then nested ten thousands deep."""
  value = damaged_value(rng, json.loads(path.read_text('utf-8')))
  depth = rng.choice((10, 100_000))
  text = json.dumps(value).replace(json.dumps(_DEEP), '[' * depth + ']' * depth)
  path.write_bytes(text.encode('utf-8', 'surrogatepass'))


def damage_zip(rng: random.Random, path: pathlib.Path) -> None:
  """Entries of a zip archive that are damaged, renamed, packed or gone."""
  with zipfile.ZipFile(path) as archive:
    entries = [(name, archive.read(name)) for name in archive.namelist()]
  with zipfile.ZipFile(path, 'w') as archive:
    chosen = rng.randrange(len(entries))
    for number, (name, data) in enumerate(entries):
      packed = zipfile.ZIP_STORED
      if number == chosen:
        what = rng.randrange(10)
        if what == 0:
          name = rng.choice(TEXTS).encode('utf-8', 'replace').decode() or name
        elif what == 1:
          packed, data = zipfile.ZIP_DEFLATED, data * 50
        elif what == 2:
          continue
        else:
          data = damaged(rng, data)
      archive.writestr(zipfile.ZipInfo(name), data, packed)


def damage_folder(
  rng: random.Random,
  folder: pathlib.Path,
  *,
  special: dict[str, Callable[[random.Random, pathlib.Path], None]],
) -> None:
  """Something wrong with one file, rarely two.

  Args:
    rng: what draws it.
    folder: of valid files.
    special: by the ending of a file, how to damage what is in it; otherwise,
      and as often, its bytes are.
  """
  for _ in range(rng.choice((1, 1, 1, 1, 2))):
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    if not files:
      return
    path = rng.choice(files)
    inner = special.get(path.suffix)
    if rng.random() < 0.02:
      _displace(rng, path)
    elif inner and rng.random() < 0.6:
      try:
        inner(rng, path)
      except Exception:  # it was damaged before
        path.write_bytes(damaged(rng, path.read_bytes()))
    else:
      path.write_bytes(damaged(rng, path.read_bytes()))


def _displace(rng, path):
  """No file where one should be."""
  path.unlink()
  what = rng.randrange(4)
  if what == 0:
    path.mkdir()
  elif what == 1:
    os.symlink(path.name, path)  # a link to itself
  elif what == 2:
    shutil.copyfile(os.devnull, path)
