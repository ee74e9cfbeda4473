"""Frames of a video file as PyAV gives them, and what its header tells."""

import re

from deltax.errors import DeltaxError

# Of a picture; of more, a small file could fill the memory. 8K has 35 million.
MOST_PIXELS = 1 << 26
# Formats of FFmpeg that name other files, which would be read.
_LISTS = {'concat', 'dash', 'hls', 'imf', 'webm_dash_manifest'}
_NOTHING_ELSE = {'protocol_whitelist': 'file'}
_MOST_FPS, _USUAL_FPS = 144, 25  # more is taken for a wrong number


class VideoError(DeltaxError):
  """A file that is no whole video; the message names it."""


def open_video(source):
  """A container of PyAV, whatever letters the titles in it are written in.

  Args:
    source: the path of a file, or a file.

  Raises:
    VideoError: it is a list of other files, which are not opened.
    av.error.FFmpegError: it is no video.
  """
  import av

  name = source
  if isinstance(source, str):
    source = f'file:{source}'  # else it might be taken for an address
  options = {'options': {'max_pixels': str(MOST_PIXELS), **_NOTHING_ELSE}}
  if int(av.__version__.partition('.')[0]) < 19:  # later ones take any bytes
    options['metadata_errors'] = 'replace'
  container = av.open(source, **options)
  if container.format.name in _LISTS:
    container.close()
    raise VideoError(f'{name}: it is a list of other files, not a video')
  return container


def find_stream(container, path, **options):
  """The video stream of a file; the cover picture of a song is none.

  Args:
    container: what `open_video` gives.
    path: of the file, for messages.
    **options: of the decoder.

  Raises:
    VideoError: there is none, or no decoder for it.
  """
  from av.stream import Disposition

  stream = container.streams.best('video')
  if stream is None or stream.disposition & Disposition.attached_pic:
    raise VideoError(f'{path}: there are no moving pictures in it')
  if stream.codec_context is None:
    raise VideoError(f'{path}: its codec is unknown')
  width, height = stream.codec_context.width, stream.codec_context.height
  if width * height > MOST_PIXELS:
    raise VideoError(
      f'{path}: its pictures of {height}x{width} pixels are too large; at most '
      f'{MOST_PIXELS} pixels are read'
    )
  stream.codec_context.options = {'max_pixels': str(MOST_PIXELS), **options}
  return stream


def decode(container, stream):
  """All frames in order, and None for data that cannot be decoded."""
  import av

  packets = container.demux(stream)
  while True:
    try:
      packet = next(packets, None)
    except av.error.FFmpegError:  # the rest cannot be reached
      yield None
      return
    if packet is None:
      return
    try:
      yield from packet.decode()
    except av.error.FFmpegError:
      yield None


def frame_rate(stream) -> float:
  """Frames per second; 25 where that is unknown or cannot be right."""
  fps = float(stream.average_rate or stream.guessed_rate or 0)
  return fps if 0 < fps <= _MOST_FPS else _USUAL_FPS


def clock(container, stream):
  """When a frame is shown, and for how long: a function of it and its number.

  Both are seconds, of the file's clock. AVI files have none: their frames are
  equally far apart.
  """
  length = 1 / float(stream.average_rate or stream.guessed_rate or _USUAL_FPS)
  timed = container.format.name != 'avi'

  def timing(frame, number: int) -> tuple[float, float]:
    if not timed or frame.time is None:
      return number * length, length
    told = float(frame.duration * frame.time_base) if frame.duration else length
    return frame.time, told

  return timing


def announced(container, stream) -> float:
  """The length that the header tells, in seconds; 0 where it tells none."""
  # Headers tell it in up to four places, each missing in some containers.
  lengths = [0.0]
  if stream.duration:
    lengths.append(float(stream.duration * stream.time_base))
  if stream.frames and stream.average_rate:
    lengths.append(float(stream.frames / stream.average_rate))
  # The container's is that of the longest stream, which may be its sound.
  if container.duration and len(container.streams) == 1:
    lengths.append(container.duration / 1e6)
  told = stream.metadata.get('DURATION', '')  # Matroska
  if told := re.fullmatch(r'(\d+):(\d+):(\d+\.?\d*)', told):
    hours, minutes, seconds = map(float, told.groups())
    lengths.append(3600 * hours + 60 * minutes + seconds)
  return max(lengths)
