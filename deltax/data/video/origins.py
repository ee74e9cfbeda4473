"""What files were when something was made of them, and which are others now."""

import json
import os
import pathlib
from collections.abc import Mapping

from deltax import identity, plain
from deltax.identity import Identity, identify

_LINE = {'name': plain.TEXT, 'file': plain.ANY}


class Origins:
  """What files were, each noted when it is read.

  Args:
    path: of the list, a file of JSON lines; there may be none yet.

  Raises:
    ValueError: what is noted is damaged.
  """

  def __init__(self, path: pathlib.Path):
    self._path, self._files = path, {}
    if self._path.exists():
      # A writer that was killed leaves half a line behind.
      for line in self._path.read_text('utf-8').split('\n')[:-1]:
        self._read(line)

  def note(self, name: str, file: Identity) -> None:
    """Writes down what the file of a video is; the last note counts."""
    about = {'name': name, 'file': identity.as_stored(file)}
    with open(self._path, 'a', encoding='utf-8') as written:
      written.write(json.dumps(about) + '\n')
    self._files[name] = file

  def changed(self, videos: Mapping[str, str | os.PathLike]) -> tuple[str, ...]:
    """Names of videos whose file is another by now; notes what is unknown."""
    changed = []
    for name, path in videos.items():
      file = self._files.get(name)
      if file is None:
        self.note(name, identify(path))
      elif not file.is_as_it_was(path):
        now = identify(path)
        if now.content == file.content:
          self.note(name, now)
        else:
          changed.append(name)
    return tuple(changed)

  def _read(self, line: str) -> None:
    try:
      about = plain.check(plain.loads(line), _LINE, 'a line')
      file = identity.read_stored(about['file'], 'a line')
    except ValueError as error:
      raise ValueError(f'{self._path} is damaged: {error}') from error
    if file is not None:
      self._files[about['name']] = file
