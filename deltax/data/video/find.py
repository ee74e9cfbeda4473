"""Finds video files."""

import os
import pathlib
from collections.abc import Iterable

ENDINGS = (
  *('.3gp', '.asf', '.avi', '.divx', '.f4v', '.flv', '.gif', '.m2ts', '.m4v'),
  *('.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.mxf', '.ogv', '.rm'),
  *('.rmvb', '.ts', '.vob', '.webm', '.wmv', '.y4m'),
)


def find_videos(
  places: Iterable[str | os.PathLike], *, endings: bool = True
) -> dict[str, pathlib.Path]:
  """Videos by name: a file's own, or its path below the folder that was named.

  Args:
    places: files, of whatever ending, and folders, where all files of a known
      ending count, those of folders inside too. Hidden ones do not.
    endings: whether names keep their ending, such as .mp4; ids of the published
      data sets mostly have none.

  Returns:
    Paths by name, in the order of the places and of the alphabet.

  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: there are no videos, or two of one name.
  """
  videos = {}
  for place in map(pathlib.Path, places):
    if place.is_dir():
      paths = {path.relative_to(place): path for path in _below(place)}
    elif place.is_file():
      paths = {pathlib.Path(place.name): place}
    else:
      raise FileNotFoundError(f'{place}: no such file or folder')
    for name, path in paths.items():
      name = (name if endings else name.with_suffix('')).as_posix()
      if name in videos:
        raise ValueError(f'two videos named {name}: {videos[name]}, {path}')
      videos[name] = path
  if not videos:
    raise ValueError(
      f'no videos in {", ".join(map(str, places))}; known endings: '
      f'{" ".join(ENDINGS)}'
    )
  return videos


def _below(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(
    path
    for path in folder.rglob('*')
    if path.suffix.lower() in ENDINGS
    and path.is_file()
    and not any(part[0] == '.' for part in path.relative_to(folder).parts)
  )
