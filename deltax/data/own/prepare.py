"""Finds videos and decodes each once, into one file of a store.

A file is called by what is in the video and how it was decoded: it serves
whatever the video is called later, and a killed run goes on at the video where
it was.
"""

import hashlib
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import NamedTuple

from absl import logging

from deltax import files, progress
from deltax.data.own import store
from deltax.data.own.decode import decode, expected_frames
from deltax.data.video.find import describe_skipped, find
from deltax.data.video.frames import Header, read_header
from deltax.data.video.stream import VideoError
from deltax.identity import identify

_VERSION = 1  # of what is decoded, and how
MOST_FPS = 30.0  # frames a second that are kept, unless told otherwise
_BETTER = 1.5  # times as many frames may be kept: it is decoded again
_NAMED = 5  # of the videos that are left out


class Footage(NamedTuple):
  """A video that can be trained on.

  Attributes:
    path: of its file.
    content: what its file is, see `deltax.identity`.
    stored: its frames.
  """

  path: pathlib.Path
  content: str
  stored: store.Stored


class _Source(NamedTuple):
  """A video to decode: what it is, where to, and how many frames of it."""

  path: pathlib.Path
  content: str
  header: Header
  file: pathlib.Path
  limit: int


def prepare(
  places: Iterable,
  folder: pathlib.Path,
  *,
  size: tuple[int, int],
  fit: str,
  rate: float | None,
  max_bytes: int,
) -> dict[str, Footage]:
  """All videos of some places by name, decoded; tells what is left out.

  Args:
    places: files and folders.
    folder: of the store.
    size: rows and columns of a frame.
    fit: how a picture comes to that size, see `decode.fitted`.
    rate: frames a second; None for those of the video, at most 30.
    max_bytes: of the frames of all these videos together.

  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: not one video can be read, or `max_bytes` is too small.
    OSError: the store cannot be written.
  """
  sources, reasons = _survey(places, folder, size, fit, rate)
  sources = _shared(sources, 3 * size[0] * size[1], rate, max_bytes)
  folder.mkdir(parents=True, exist_ok=True)
  how = {'size': size, 'fit': fit, 'rate': rate or MOST_FPS}
  # One process decodes, the others wait.
  with files.locked(folder / 'lock'):
    todo = {
      name: source for name, source in sources.items() if not _done(source)
    }
    frames = [
      expected_frames(source.header, how['rate']) for source in todo.values()
    ]
    total = None if None in frames else sum(frames)
    if todo:
      work = _decode_all(todo, how)
      for _ in progress.told(work, total, 'frames decoded', 'own_videos'):
        pass
  videos = {}
  for name, source in sources.items():
    stored = store.read(source.file)
    if stored is None:
      reasons[name] = _refusal(source).read_text('utf-8')
    else:
      videos[name] = Footage(source.path, source.content, stored)
  _tell(reasons, len(sources) + len(reasons) - len(sources.keys() & reasons))
  if not videos:
    raise ValueError(
      f'not one of {len(reasons):,} videos can be read; '
      + describe_reasons(reasons)
    )
  return videos


def describe_reasons(reasons: Mapping[str, str]) -> str:
  """Names of videos with what is wrong with each, the first of them.

  >>> describe_reasons({'a.mp4': 'the file is empty'})
  'a.mp4: the file is empty'
  """
  told = [f'{name}: {reasons[name]}' for name in list(reasons)[:_NAMED]]
  more = len(reasons) - len(told)
  return '; '.join([*told, f'and {more:,} more'] if more else told)


def _survey(places, folder, size, fit, rate):
  """Sources by name, still without a limit, and why others are none."""
  found = find(places)
  if found.skipped:
    logging.info('passed by: %s', ', '.join(describe_skipped(found.skipped)))
  sources, reasons, names = {}, {}, {}
  for name, path in found.videos.items():
    try:
      content = identify(path).content
      if content in names:
        reasons[name] = f'a copy of {names[content]}'
        continue
      header = read_header(path)
    except (VideoError, OSError) as error:
      reasons[name] = _reason(error, path)
      continue
    names[content] = name
    how = repr((_VERSION, content, tuple(size), fit, rate or MOST_FPS))
    digest = hashlib.blake2b(how.encode(), digest_size=16).hexdigest()
    sources[name] = _Source(path, content, header, folder / digest, 0)
  return sources, reasons


def _shared(
  sources: Mapping[str, _Source],
  frame_bytes: int,
  rate: float | None,
  max_bytes: int,
) -> dict[str, _Source]:
  """The sources with their limits: short ones leave room for long ones."""
  if not sources:
    return {}
  counts = {
    name: expected_frames(source.header, rate or MOST_FPS) or float('inf')
    for name, source in sources.items()
  }
  room, left, limit = max_bytes // frame_bytes, len(counts), 0
  for count in sorted(counts.values()):
    limit = room // left
    if count > limit:
      break
    # A header may tell a little less than there is.
    room, left = room - count, left - 1
    limit = room // left if left else limit
  if limit < 2:
    raise ValueError(
      f'max_bytes={max_bytes:,} holds fewer than two frames of {frame_bytes:,} '
      f'bytes of each of {len(sources):,} videos'
    )
  return {
    name: source._replace(limit=int(limit)) for name, source in sources.items()
  }


def _done(source: _Source) -> bool:
  """Whether a video was decoded, or refused, as it would be now."""
  stored = store.read(source.file)
  if stored is None:
    return _refusal(source).exists()
  if len(stored.frames) > source.limit:
    return False
  return not stored.limit or source.limit < _BETTER * stored.limit


def _decode_all(
  sources: Mapping[str, _Source], how: Mapping
) -> Generator[int, None, None]:
  """Decodes one after the other, and yields for each of their frames."""
  for name, source in sources.items():
    try:
      told = yield from decode(
        source.path,
        source.file,
        header=source.header,
        limit=source.limit,
        **how,
      )
    except VideoError as error:
      files.write_text(_refusal(source), _reason(error, source.path))
    else:
      if told:
        logging.warning('%s: %s', name, told)


def _refusal(source: _Source) -> pathlib.Path:
  """The file that says why a video was not decoded."""
  return source.file.with_suffix('.refused')


def _reason(error: Exception, path: pathlib.Path) -> str:
  return str(error).removeprefix(f'{path}: ')


def _tell(reasons: Mapping[str, str], count: int) -> None:
  if reasons:
    logging.warning(
      '%d of %d videos are left out: %s',
      len(reasons),
      count,
      describe_reasons(reasons),
    )
