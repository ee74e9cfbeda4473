"""Tells what is in an index and what it takes on the disk.

deltax info my.index --names
"""

import argparse
import json
import pathlib

from deltax.retrieval.index.folder import Index

MANY = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument('index', type=pathlib.Path, help='folder of the index')
  parser.add_argument(
    '--names', action='store_true', help='list the videos as well'
  )
  parser.add_argument('--json', action='store_true', help='as JSON')


def run(arguments: argparse.Namespace) -> None:
  """Reads and tells.

  Raises:
    FileNotFoundError: there is no index.
    ValueError: it is damaged.
  """
  index = Index(arguments.index)
  about = measure(index)
  if arguments.names:
    about['names'] = sorted(index.names)
  if arguments.json:
    print(json.dumps(about, indent=2))
    return
  videos, sizes = about['videos'], about['bytes']
  print(f'{index.folder}: {videos:,} videos, {about["hours"]:.2f} hours')
  print(f'model        {about["fingerprint"]}, {about["model"] or "untrained"}')
  address = about['coarse_address']
  print(
    f'coarse       searched by: {about["coarse_search"]}'
    + (f', {address}' if address else '')
  )
  print(f'background   {about["background"]:,} videos more, never found')
  print(f'removed      {about["removed"]:,} videos, still on the disk')
  print(f'segments     {about["segments"]:,}')
  print(f'on the disk  {sum(sizes.values()) / 1e6:,.1f} MB')
  if about['stored']:
    print('                bytes a video   GB for a million')
    for name, size in sizes.items():
      one = size / about['stored']
      print(f'  {name:12} {one:15,.0f} {one * MANY / 1e9:18,.1f}')
  if arguments.names:
    print('\n'.join(about['names']))


def measure(index: Index) -> dict:
  """Counts of videos, and bytes of each kind of file, as plain values."""
  records = index.manifest['segments']
  sizes = {'coarse': 0, 'fine': 0, 'selector': 0, 'pictures': 0, 'other': 0}
  for record in records:
    sizes['selector'] += 4 * record['videos']
    sizes['other'] -= 4 * record['videos']
    for name, file in record['files'].items():
      kind = name.partition('.')[0]
      sizes[kind if kind in sizes else 'other'] += file['bytes']
  background = index.table['background']
  return {
    'videos': int((~background).sum()),
    'hours': float(index.table['duration'][~background].sum() / 3600),
    'background': int(background.sum()),
    'removed': sum(len(record['removed']) for record in records),
    'stored': sum(record['videos'] for record in records),
    'segments': len(records),
    'bytes': sizes,
    'fingerprint': index.fingerprint,
    'model': index.manifest['model'],
    'description': index.manifest['description'],
    'coarse_search': index.manifest['coarse_search'],
    'coarse_address': index.manifest['coarse_address'],
  }
