"""What is known of files beside their videos, kept by content with an index.

Pairs that people have said are no copies, and other files of the same content
as a video. A file that is moved or renamed stays what it was.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from deltax import files, plain
from deltax.retrieval.index.folder import Index

MARKS = 'marks.json'
_FORM = {
  'version': plain.COUNT,
  'different': [(plain.TEXT, plain.TEXT)],
  'same': {str: plain.TEXT},  # contents of files by their paths
}
_VERSION = 1


def read_marks(folder: str | os.PathLike) -> frozenset[frozenset[str]]:
  """Pairs of contents that are no copies of each other; none were marked: {}.

  Args:
    folder: of an index.

  Raises:
    ValueError: the file of marks is damaged.
  """
  return frozenset(map(frozenset, _read(folder)['different']))


def same_files(index: Index) -> dict[str, str]:
  """Names of videos by the path of another file of the same content.

  Raises:
    ValueError: the file of marks is damaged.
  """
  same = _read(index.folder)['same']
  rows = index.find('content', list(same.values()))
  return {p: index.names[rows[of]] for p, of in same.items() if of in rows}


def note_same(folder: pathlib.Path, contents: Mapping[str, str]) -> None:
  """Notes files of the same content as a video.

  Args:
    folder: of the index.
    contents: of the files, by their paths.

  Raises:
    ValueError: the file of marks is damaged.
  """
  with files.locked(folder / 'lock'):
    marks = _read(folder)
    same = {**marks['same'], **contents}
    _write(folder, {**marks, 'same': same}, marks)


def mark(index: Index, first: str, second: str, *, different: bool) -> bool:
  """Notes whether two videos are no copies of each other, for good.

  Args:
    index: that has them.
    first: name of a video.
    second: name of another.
    different: True notes it, False takes it back.

  Returns:
    Whether that is new.

  Raises:
    ValueError: there is no video of a name, both are one, or what the file of
      one is was never noted.
  """
  contents = [_content(index, name) for name in (first, second)]
  if first == second or contents[0] == contents[1]:
    raise ValueError(f'{first!r} and {second!r} are one video')
  pair = frozenset(contents)
  with files.locked(index.folder / 'lock'):
    marks = _read(index.folder)
    before = set(map(frozenset, marks['different']))
    after = before | {pair} if different else before - {pair}
    listed = sorted(map(sorted, after))
    _write(index.folder, {**marks, 'different': listed}, marks)
  return after != before


def _read(folder: str | os.PathLike) -> dict[str, Any]:
  path = pathlib.Path(folder) / MARKS
  if not path.exists():
    return {'version': _VERSION, 'different': [], 'same': {}}
  marks = plain.read_json(path, _FORM)
  if marks['version'] != _VERSION:
    raise ValueError(
      f'{path} has version {marks["version"]}, this library reads {_VERSION}'
    )
  return marks


def _write(folder: pathlib.Path, marks, before) -> None:
  if marks != before:
    files.write_json(folder / MARKS, marks, durable=True)


def _content(index: Index, name: str) -> str:
  file = index.files[index.row(name)]
  if file is None:
    raise ValueError(
      f'{index.folder} does not know what the file of {name!r} is, to tell it '
      'again after a move: `deltax add` it once more'
    )
  return file.content
