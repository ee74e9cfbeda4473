"""Tells what is in an index, what it takes, and what a larger one would take.

    deltax info my.index --names
    deltax info my.index --check
    deltax info my.index --memory-gb 256 --disk-gb 8000

Bytes are told of every part, for a video and for a second of one, and for a
million and a billion videos that are as long, with how many machines hold them:
what every search reads has to fit into their memory, and all of it on their
disks. A search reads what it needs and compares that with its checksums;
--check reads and compares all of it.
"""

import argparse
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from deltax.retrieval.index.folder import Index

LARGE = 10**6, 10**9  # videos
MEMORY, DISK = 64.0, 4000.0  # GB of a machine
# What is told of as one, by the files that it is in.
PARTS = {
  'coarse': ('coarse.npy',),
  'clips': ('clips.npy', 'clip_counts.npy'),
  'fine': ('fine.bin',),
  'times': ('times.bin',),
  'pictures': ('pictures.bin',),
  'names': ('names.json', 'files.json', 'places.npy', 'lookup.npy'),
  'numbers': ('videos.npy',),
}
DRIVERS = {
  'coarse': 'numbers of a coarse vector',
  'clips': 'seconds of the videos: a vector for every clip of them',
  'fine': 'frames of the videos; binary codes take a 32nd of others',
  'times': 'frames of the videos',
  'pictures': 'pictures that results show',
  'names': 'lengths of names and paths',
  'numbers': 'videos',
  'engine': 'vectors of videos and clips, in the short codes of the engine',
}


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument(
    '--names', action='store_true', help='list the videos as well'
  )
  parser.add_argument(
    '--check', action='store_true', help='read all, and compare checksums'
  )
  for name, value in (('memory', MEMORY), ('disk', DISK)):
    parser.add_argument(
      f'--{name}-gb',
      type=float,
      default=value,
      metavar='GB',
      help=f'{name} of a machine, to count machines; default: {value:g}',
    )
  parser.add_argument('--json', action='store_true', help='as JSON')


def run(arguments: argparse.Namespace) -> None:
  """Reads and tells.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged, or a machine has no memory or disk.
  """
  for name in ('memory_gb', 'disk_gb'):
    if not 0 < getattr(arguments, name) < math.inf:
      option, value = name.replace('_', '-'), getattr(arguments, name)
      raise ValueError(f'--{option} is more than 0, got {value}')
  index = Index(arguments.index)
  if arguments.check:
    index.check()
  about = measure(index)
  machine = arguments.memory_gb * 1e9, arguments.disk_gb * 1e9
  about['projected'] = {
    str(videos): projected(about, videos, *machine) for videos in LARGE
  }
  if arguments.names:
    about['names'] = sorted(index.names)
  if arguments.json:
    print(json.dumps(about, indent=2))
    return
  print(
    f'{index.folder}: {about["videos"]:,} videos, {about["hours"]:.2f} hours'
  )
  print(f'model        {about["fingerprint"]}, {about["model"] or "untrained"}')
  address = about['coarse_address']
  print(
    f'coarse       searched by: {about["coarse_search"]}'
    + (f', {address}' if address else '')
  )
  print(f'background   {about["background"]:,} videos more, never found')
  print(f'removed      {about["removed"]:,} videos, still on the disk')
  print(f'segments     {about["segments"]:,}')
  print(f'on the disk  {sum(about["bytes"].values()) / 1e6:,.1f} MB')
  if arguments.check:
    print('checksums    all are right')
  if about['stored']:
    print('\n'.join(['', *table(about), '', *machines(about, arguments)]))
  if arguments.names:
    print('\n'.join(about['names']))


def measure(index: Index) -> dict[str, Any]:
  """Counts of videos, and bytes of each part, as plain values."""
  records = index.manifest['segments']
  sizes = dict.fromkeys((*PARTS, 'engine'), 0)
  for record in records:
    for part, names in PARTS.items():
      files = [record['files'][n] for n in names if n in record['files']]
      sizes[part] += sum(file['bytes'] for file in files)
  kind = index.manifest['coarse_search']
  sizes['engine'] = sum(
    path.stat().st_size
    for pattern in (f'{kind}.faiss', f'{kind}.db', f'{kind}.db/**/*')
    for path in index.folder.glob(pattern)
    if path.is_file()
  )
  is_background = index.table['background']
  seconds = index.table['duration']
  return {
    'videos': int((~is_background).sum()),
    'hours': float(seconds[~is_background].sum() / 3600),
    'background': int(is_background.sum()),
    'removed': sum(len(record['removed']) for record in records),
    'stored': sum(record['videos'] for record in records),
    'seconds': float(seconds.mean()) if len(seconds) else 0.0,
    'segments': len(records),
    'bytes': sizes,
    'fingerprint': index.fingerprint,
    'model': index.manifest['model'],
    'description': index.manifest['description'],
    'coarse_search': kind,
    'coarse_address': index.manifest['coarse_address'],
  }


def projected(
  about: Mapping[str, Any], videos: int, memory: float, disk: float
) -> dict[str, Any]:
  """What so many videos of the same mean length would take.

  Args:
    about: what `measure` tells of an index.
    videos: how many.
    memory: bytes of a machine.
    disk: bytes of a machine.

  Returns:
    Bytes in all, those that every search reads, which are to fit into memory,
    and how many machines hold both.
  """
  sizes, scale = about['bytes'], videos / max(about['stored'], 1)
  on_disk = sum(sizes.values()) * scale
  read = sum(sizes[part] for part in searched(about)) * scale
  return {
    'disk': on_disk,
    'memory': read,
    'machines': max(1, math.ceil(read / memory), math.ceil(on_disk / disk)),
  }


def searched(about: Mapping[str, Any]) -> tuple[str, ...]:
  """The parts that every search reads all of."""
  exact = about['coarse_search'] == 'exact' or not about['bytes']['engine']
  return ('coarse', 'clips', 'numbers') if exact else ('engine', 'numbers')


def table(about: Mapping[str, Any]) -> list[str]:
  """Bytes of each part, for a video, for a second, and for many videos."""
  lines = [
    f'{"":14}{"bytes a video":>14}{"a second":>11}{"a million":>14}'
    f'{"a billion videos":>19}'
  ]
  sizes = about['bytes']
  for name, size in (*sizes.items(), ('in all', sum(sizes.values()))):
    one = size / about['stored']
    second = f'{one / about["seconds"]:,.1f}' if about['seconds'] else '-'
    lines.append(
      f'  {name:12}{one:14,.0f}{second:>11}{one / 1e3:11,.2f} GB'
      f'{one / 1e3:16,.2f} TB'
    )
  return lines


def machines(
  about: Mapping[str, Any], arguments: argparse.Namespace
) -> list[str]:
  """How many machines many videos need, and what most of it is for."""
  told = []
  for videos, name in zip(LARGE, ('a million', 'a billion'), strict=True):
    need = about['projected'][str(videos)]
    count = need['machines']
    told.append(
      f'{name} videos of {about["seconds"]:,.0f} s: {count:,} '
      f'machine{"s" * (count > 1)} of {arguments.memory_gb:g} GB of memory and '
      f'{arguments.disk_gb:g} GB of disk; a search reads '
      f'{need["memory"] / 1e9:,.1f} GB, all are {need["disk"] / 1e9:,.1f} GB'
    )
  sizes = about['bytes']
  for parts, what in ((sizes, 'the disk'), (searched(about), 'a search')):
    most = max(parts, key=lambda part: sizes[part])
    share = sizes[most] / sum(sizes[part] for part in parts)
    told.append(
      f'most of {what} is {most} ({share:.0%}): it grows with the '
      f'{DRIVERS[most]}'
    )
  return told
