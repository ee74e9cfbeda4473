"""What is fuzzed: valid files of every kind, and what reads them.

A reader may refuse a damaged file with the errors that its docstring names, and
with one sentence that says which file it is.
"""

import functools
import json
import pathlib
import pickle
import random
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import faulty
import inputs
import mutators

MB = 1 << 20


class Target(NamedTuple):
  """One kind of input.

  Attributes:
    name: of the kind.
    make: writes valid files of it to a folder.
    read: reads all of them; or raises.
    damage: `(rng, folder)`, does something to the files.
    errors: what the readers' docstrings name.
    base: bytes that memory may grow by whatever the size of the files.
    is_capped: whether more memory is refused while it reads, so that asking for
      it is found too; HDF5 and FFmpeg ask for what a header says, and give it
      back unused.
    is_file: whether it is told by files alone what to do: then errors name one,
      and nothing else is opened.
  """

  name: str
  make: Callable[[pathlib.Path], None]
  read: Callable[[pathlib.Path], Any]
  damage: Callable[[random.Random, pathlib.Path], None]
  errors: tuple[type[Exception], ...] = (ValueError, OSError)
  base: int = 64 * MB
  is_capped: bool = True
  is_file: bool = True


def _each(
  read: Callable[[pathlib.Path], Any],
) -> Callable[[pathlib.Path], None]:
  """Reads what is in a folder, one after the other."""

  def all_of(folder):
    for path in sorted(folder.iterdir()):
      read(path)

  return all_of


def _one(special: dict[str, Callable] | None = None) -> Callable:
  """Damages one file of a folder, and takes the others away."""

  def damage(rng, folder):
    kept = rng.choice(sorted(folder.iterdir()))
    for path in folder.iterdir():
      if path != kept:
        path.unlink()
    mutators.damage_folder(rng, folder, special=special or {})

  return damage


def _damage_pickle(rng, path):
  value = mutators.damaged_value(rng, pickle.loads(path.read_bytes()))
  path.write_bytes(pickle.dumps(value, rng.randrange(5)))


def _damage_store(rng, path):
  """A list, or a record, that is wrong and has the right checksums."""
  if path.name == 'index':
    text = path.read_text('utf-8').partition('\n')[2]
    path.write_text(text, 'utf-8')
    mutators.damage_json(rng, path)
    content = path.read_bytes()
    path.write_bytes(f'{zlib.crc32(content):08x}\n'.encode() + content)
  else:
    data = bytearray(path.read_bytes())
    name = int.from_bytes(data[4:6], 'little')
    fields, text = data[:24], data[28 : 28 + name]
    place = rng.randrange(4, 24)
    fields[place] = rng.randrange(256)
    text = mutators.damaged(rng, bytes(text)) if rng.random() < 0.3 else text
    checked = zlib.crc32(fields + text).to_bytes(4, 'little')
    path.write_bytes(fields + checked + text + data[28 + name :])


def _damage_store_folder(rng, folder):
  mutators.damage_folder(
    rng, folder, special={'': _damage_store, '.json': mutators.damage_json}
  )


def _damage_index(rng, folder):
  """Anything in it, most often under the right sizes and checksums."""
  mutators.damage_folder(rng, folder, special={'.json': mutators.damage_json})
  try:
    if rng.random() < 0.7:
      _seal(folder)
  except Exception:
    pass  # too damaged to be sealed


def _seal(folder):
  manifest = json.loads((folder / 'manifest.json').read_text())
  for record in manifest['segments']:
    for name, file in record['files'].items():
      content = (folder / 'segments' / record['name'] / name).read_bytes()
      if file['bytes'] in (len(content), None):
        continue
      file['bytes'] = len(content)
    for name in ('videos.npy', 'names.json', 'times.bin'):
      path = folder / 'segments' / record['name'] / name
      record['files'][name]['checksum'] = zlib.crc32(path.read_bytes())
  (folder / 'manifest.json').write_text(json.dumps(manifest))


_JSON, _NPZ = {'.json': mutators.damage_json}, {'.npz': mutators.damage_zip}
_PICKLE = {**_JSON, '.pickle': _damage_pickle}
_FOLDER = functools.partial(mutators.damage_folder, special=_JSON | _NPZ)
TARGETS = {
  target.name: target
  for target in (
    Target(
      'torch',
      inputs.make_torch,
      _each(inputs.read_torch),
      _one({'.pth': mutators.damage_zip}),
    ),
    Target(
      'weights',
      inputs.make_weights,
      _each(inputs.read_weights),
      _one(_NPZ),
    ),
    Target(
      'hdf5',
      inputs.make_hdf5,
      _each(inputs.read_hdf5),
      _one(),
      # HDF5 makes room for the length that a text tells, before it looks.
      base=4160 * MB,
      is_capped=False,
    ),
    Target('store', inputs.make_store, inputs.read_store, _damage_store_folder),
    Target('index', inputs.make_index, inputs.read_index, _damage_index),
    Target(
      'annotations',
      inputs.make_annotations,
      _each(inputs.read_annotations),
      _one(_PICKLE),
    ),
    Target(
      'similarities',
      inputs.make_similarities,
      _each(inputs.read_similarities),
      _one(_PICKLE),
    ),
    Target(
      'video',
      inputs.make_videos,
      _each(inputs.read_videos),
      _one(),
      base=100 * MB,
      is_capped=False,
    ),
    Target('system', inputs.make_system, inputs.read_system, _FOLDER),
    Target(
      'tables', inputs.make_tables, _each(inputs.read_tables), _one(_JSON)
    ),
    Target(
      'run',
      inputs.make_run,
      inputs.read_run,
      # Files of JSON have no ending there, and others none too.
      functools.partial(
        mutators.damage_folder, special={'': mutators.damage_json}
      ),
    ),
    Target(
      'flags',
      inputs.make_flags,
      inputs.read_flags,
      inputs.damage_flags,
      is_file=False,
    ),
  )
}
FAULTY = {
  name: Target(
    name,
    lambda folder: (folder / 'file').write_text('x'),
    read,
    lambda rng, folder: None,
  )
  for name, read in faulty.READERS.items()
}
