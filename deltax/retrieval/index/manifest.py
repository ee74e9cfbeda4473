"""What an index says of itself, replaced as a whole or not at all."""

import os
import pathlib
import re
import uuid
from collections.abc import Mapping
from typing import Any

from deltax import files, plain
from deltax.plain import COUNT, DICT, TEXT, TEXT_OR_NONE

VERSION = 1
MANIFEST = 'manifest.json'
FILES = (
  *('coarse.npy', 'fine.bin', 'names.json', 'pictures.bin', 'times.bin'),
  'videos.npy',
)
# Not in shards that an older library wrote.
KNOWN = 'files.json'
CLIPS = ('clips.npy', 'clip_counts.npy')
PLACES, LOOKUP = 'places.npy', 'lookup.npy'
CODES = ('float32', 'uint32')

_ANY_ID = (1 << 48) - 1
_COUNT_OR_NONE = plain.Form(
  'a whole number or null', lambda value: value is None or plain.is_count(value)
)
_NAME = plain.Form(
  'the number of a segment, of six digits or more',
  lambda name: isinstance(name, str) and re.fullmatch(r'[0-9]{6,18}', name),
)
_UID = plain.Form(
  'hexadecimal digits, or nothing',
  lambda uid: isinstance(uid, str) and re.fullmatch(r'[0-9a-f]{0,32}', uid),
)
_SHAPE = {'coarse': COUNT, 'fine': (COUNT, COUNT), 'dtype': plain.one_of(CODES)}
_CHECKED = {'bytes': COUNT, 'checksum': COUNT}
_MOVED = (TEXT, TEXT, plain.ANY)  # name, path, what the file is
_FILES = {
  name: {'bytes': COUNT} if name in ('fine.bin', 'pictures.bin') else _CHECKED
  for name in FILES
}
_SEGMENT = {
  'name': _NAME,
  'videos': COUNT,
  'shape': _SHAPE,
  'files': _FILES,
  'removed': [TEXT],
}
_FORM = {
  'fingerprint': TEXT,
  'description': DICT,
  'model': TEXT_OR_NONE,
  'coarse_search': TEXT,
  'next_id': COUNT,
  'next_segment': COUNT,
  'segments': [_SEGMENT],
}


def create_manifest(folder: pathlib.Path, **about: Any) -> None:
  """Makes the folder of an empty index, whole or not at all.

  Args:
    folder: to make.
    **about: plain values that the manifest keeps.

  Raises:
    ValueError: there is something in the folder already.
  """
  check_free(folder)
  with files.filling(folder) as beside:
    (beside / 'segments').mkdir()
    manifest = {
      'version': VERSION,
      **about,
      # Its name on a server of vectors; other indexes of the same are the same.
      'uid': uuid.uuid4().hex if about['coarse_search'] == 'milvus' else '',
      'shape': None,
      'next_id': 0,
      'next_segment': 0,
      'segments': [],
      'moved': {},
    }
    write_manifest(beside, manifest)


def check_free(folder: pathlib.Path) -> None:
  """Raises ValueError if there is a file there, or something in the folder."""
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise ValueError(f'{folder} is there already')


def is_index(folder: pathlib.Path) -> bool:
  """Whether an index was begun in the folder, whole or damaged."""
  return (folder / MANIFEST).exists()


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """The manifest of an index.

  Raises:
    FileNotFoundError: the folder is no index.
    ValueError: it is damaged, or of another version.
  """
  path = folder / MANIFEST
  if not path.is_file():
    raise FileNotFoundError(f'{folder} is no index: it has no {MANIFEST}')
  manifest = plain.read_json(path)
  check_manifest(manifest, folder, path)
  return manifest


def check_manifest(
  manifest: Any, folder: str | os.PathLike, path: str | os.PathLike
) -> None:
  """Checks what a manifest says, and notes what an older library has not.

  Args:
    manifest: plain values.
    folder: of the index, for messages.
    path: of the manifest, for messages.

  Raises:
    ValueError: it is damaged, or of another version.
  """
  plain.check(manifest, {'version': COUNT}, path)
  if manifest['version'] != VERSION:
    raise ValueError(
      f'{folder} is an index of version {manifest["version"]}, this library '
      f'reads version {VERSION}'
    )
  plain.check(manifest, _FORM, path)
  # Codes of all segments are joined, and compared with those of a query.
  shape, names = manifest.get('shape'), set()
  for segment in manifest['segments']:
    if segment['shape'] != shape or segment['name'] in names:
      raise ValueError(
        f'{path} is damaged: segment {segment["name"]} is named twice, or of '
        'codes of another shape than the index'
      )
    names.add(segment['name'])
    if len(segment['removed']) > segment['videos']:
      raise ValueError(f'{path} is damaged: more is removed than there was')
    # An older library has not noted these.
    plain.check(segment.setdefault('background', None), _COUNT_OR_NONE, path)
    plain.check(segment.setdefault('ids', [0, _ANY_ID]), (COUNT, COUNT), path)
    if len({*CLIPS} & segment['files'].keys()) == 1:
      raise ValueError(f'{path} is damaged: clips lack their counts')
    for name in segment['files'].keys() & {KNOWN, *CLIPS, PLACES, LOOKUP}:
      plain.check(segment['files'][name], _CHECKED, path)
  # Videos whose file is elsewhere, or known, since their segment was written.
  plain.check(manifest.setdefault('moved', {}), {str: _MOVED}, path)
  # What a server of coarse vectors knows this index by, and where it is.
  plain.check(manifest.setdefault('uid', ''), _UID, path)
  plain.check(manifest.setdefault('coarse_address', None), TEXT_OR_NONE, path)


def stamp(folder: pathlib.Path) -> tuple[int, ...]:
  """Of an index's manifest: another when it was replaced; () if it is gone."""
  try:
    about = (folder / MANIFEST).stat()
  except OSError:
    return ()
  return about.st_ino, about.st_mtime_ns, about.st_size


def write_manifest(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Puts a manifest in the place of the one that is there."""
  files.write_json(folder / MANIFEST, manifest, durable=True)
