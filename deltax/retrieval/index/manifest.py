"""What an index says of itself, replaced as a whole or not at all."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from deltax import files

VERSION = 1
MANIFEST = 'manifest.json'


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
      'shape': None,
      'next_id': 0,
      'next_segment': 0,
      'segments': [],
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
  try:
    manifest = json.loads(path.read_text('utf-8'))
    version = manifest['version']
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(f'{path} is damaged: {error}') from error
  if version != VERSION:
    raise ValueError(
      f'{folder} is an index of version {version}, this library reads version '
      f'{VERSION}'
    )
  return manifest


def write_manifest(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Puts a manifest in the place of the one that is there."""
  files.write_json(folder / MANIFEST, manifest, durable=True)
