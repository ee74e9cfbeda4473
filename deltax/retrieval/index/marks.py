"""What people have said of pairs of videos, kept beside an index by content.

A file that is moved or renamed stays what it was, and so does what was said.
"""

import os
import pathlib

from deltax import files, plain
from deltax.retrieval.index.folder import Index

MARKS = 'marks.json'
_FORM = {'version': plain.COUNT, 'different': [(plain.TEXT, plain.TEXT)]}
_VERSION = 1


def read_marks(folder: str | os.PathLike) -> frozenset[frozenset[str]]:
  """Pairs of contents that are no copies of each other; none were marked: {}.

  Args:
    folder: of an index.

  Raises:
    ValueError: the file of marks is damaged.
  """
  path = pathlib.Path(folder) / MARKS
  if not path.exists():
    return frozenset()
  marks = plain.read_json(path, _FORM)
  if marks['version'] != _VERSION:
    raise ValueError(
      f'{path} has version {marks["version"]}, this library reads {_VERSION}'
    )
  return frozenset(map(frozenset, marks['different']))


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
    before = read_marks(index.folder)
    after = before | {pair} if different else before - {pair}
    if after != before:
      listed = {'version': _VERSION, 'different': sorted(map(sorted, after))}
      files.write_json(index.folder / MARKS, listed, durable=True)
  return after != before


def _content(index: Index, name: str) -> str:
  file = index.files[index.row(name)]
  if file is None:
    raise ValueError(
      f'{index.folder} does not know what the file of {name!r} is, to tell it '
      'again after a move: `deltax add` it once more'
    )
  return file.content
