"""Whether a file is a video, by what is in it, whatever it is called."""

import codecs
import itertools
import os

from deltax.data.video.stream import VideoError, decode, find_stream, open_video

_HEAD = 512  # bytes; they tell most files that are no videos
_TRIED = 30  # frames, until one can be decoded
_STARTS = {
  'pictures': (
    *(b'\xff\xd8\xff', b'\x89PNG', b'BM', b'II*\0', b'MM\0*', b'<svg'),
    *(b'\0\0\1\0', b'\0\0\2\0'),  # icons and cursors
  ),
  'archives or documents': (
    b'PK\3\4',
    b'%PDF',
    b'\x1f\x8b',
    b'Rar!',
    b'7z\xbc',
  ),
  'sound': (b'ID3', b'fLaC', b'\xff\xfb', b'\xff\xf1'),
}
NO_VIDEO = 'not videos'


def sniff(path: str | os.PathLike) -> str | None:
  """Why a file is no video, in a word or two; None if it is one.

  A file that is not told by its first bytes is opened, and must give a frame.

  Raises:
    OSError: it cannot be read.
  """
  import av

  with open(path, 'rb') as file:
    head = file.read(_HEAD)
  if not head:
    return 'empty'
  for reason, starts in _STARTS.items():
    if head.startswith(starts):
      return reason
  if _is_text(head) and not head.startswith(b'YUV4MPEG'):
    return 'text'
  try:
    with open_video(str(path)) as container:
      names = container.format.name
      if names.endswith('_pipe') or names.startswith('image2'):
        return 'pictures'
      if not container.streams.video:
        return 'sound' if container.streams.audio else NO_VIDEO
      frames = decode(container, find_stream(container, path))
      is_video = any(frame for frame in itertools.islice(frames, _TRIED))
      return None if is_video else NO_VIDEO
  except (av.error.FFmpegError, VideoError):
    return NO_VIDEO


def _is_text(head: bytes) -> bool:
  """Whether the first bytes of a file are those of a text."""
  try:  # the last letter may be cut
    text = codecs.getincrementaldecoder('utf-8')().decode(head)
  except UnicodeDecodeError:
    return False
  return not any(letter < ' ' and letter not in '\t\n\r\f' for letter in text)
