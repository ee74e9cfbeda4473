"""Frames of a video file as PyAV gives them."""

from deltax.errors import DeltaxError

# Of a picture; of more, a small file could fill the memory. 8K has 35 million.
MOST_PIXELS = 1 << 26
# Formats of FFmpeg that name other files, which would be read.
_LISTS = {'concat', 'dash', 'hls', 'imf', 'webm_dash_manifest'}
_ICONS = {'ico'}
_NOTHING_ELSE = {'protocol_whitelist': 'file'}
_OVERHEAD = 512  # bytes that Matroska may have between two blocks
_MOST_LOST = 1 << 20  # frames of one hole; a damaged clock may tell any number


class VideoError(DeltaxError):
  """A file that is no whole video; the message names it."""


def flaws(damaged: int, resized: int) -> str:
  """What is told of a video that was read, '' where all is well.

  >>> flaws(9, 0), flaws(2, 1)
  ('9 damaged frames', '2 damaged frames, its size changes 1 time')
  """
  told = []
  if damaged:
    told.append(f'{damaged:,} damaged frame{"s" * (damaged > 1)}')
  if resized:
    told.append(f'its size changes {resized:,} time{"s" * (resized > 1)}')
  return ', '.join(told)


def open_video(source):
  """A container of PyAV, whatever letters the titles in it are written in.

  Args:
    source: the path of a file, or a file.

  Raises:
    VideoError: it is a list of other files, which are not opened, or a set of
      icons, whose decoder harms the memory of the process (that of PyAV 17).
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
  if container.format.name in _ICONS:
    container.close()
    raise VideoError(f'{name}: it is a set of icons, not a video')
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
  """All frames in order, and None for each that is lost, about."""
  import av

  # Its blocks lie one behind the other, so that a hole between them shows.
  whole = container.format.name.startswith('matroska')
  lost = _lost_before(stream) if whole else lambda packet: 0
  packets = container.demux() if whole else container.demux(stream)
  expected = errors = 0  # frames that are not given yet; packets that failed
  while True:
    try:
      packet = next(packets, None)
    except av.error.FFmpegError:  # the rest cannot be reached
      yield None
      break
    if packet is None:
      break
    for _ in range(lost(packet)):
      yield None
    if packet.stream.index != stream.index:
      continue
    expected += bool(packet.size) and not packet.is_discard
    try:
      for frame in packet.decode():
        expected -= 1
        yield frame
    except av.error.FFmpegError:
      expected, errors = expected - 1, errors + 1
      yield None
  # After errors, decoders leave out more frames without a word.
  for _ in range(expected if errors else 0):
    yield None


def _lost_before(stream):
  """How many frames were skipped before a packet: a function of it.

  A reader of Matroska goes on at the next cluster that it can make out, and
  says nothing. There is a hole where both the file and the time have one: with
  a variable frame rate time has some too, and tags in between take bytes.
  """
  file_end = time_end = None

  def lost(packet) -> int:
    nonlocal file_end, time_end
    skipped = 0
    if packet.pos is None or not packet.size:
      return 0
    beside = sum(data.data_size for data in packet.iter_sidedata())
    length = packet.duration or 0
    if packet.stream.index == stream.index and packet.pts is not None:
      hole = file_end is not None and packet.pos - file_end > _OVERHEAD
      if hole and time_end is not None and length:
        skipped = round((packet.pts - time_end) / length)
      time_end = max(time_end or 0, packet.pts + length)
    file_end = max(file_end or 0, packet.pos + packet.size + beside)
    return min(max(skipped, 0), _MOST_LOST)

  return lost
