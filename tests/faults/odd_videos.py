"""Small videos with the quirks that people's files have, for tests."""

import fractions
import struct

import av
import numpy as np


def write(path, frames, fps=10, *, times=None, aspect=None, **how):
  """A video by PyAV alone; `how`: codec, form, colorspace, color_range."""
  base = fractions.Fraction(1, 1000)
  with av.open(f'file:{path}', 'w', format=how.get('form')) as file:
    stream = file.add_stream(how.get('codec', 'libx264'), rate=fps)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = 'yuv420p'
    context = stream.codec_context
    context.colorspace = how.get('colorspace', 2)
    context.color_range = how.get('color_range', 0)
    if aspect:
      context.sample_aspect_ratio = fractions.Fraction(*aspect)
    if how.get('form'):  # as cameras stream: frames in their order
      stream.options = {'bf': '0'}
    if times is not None:
      stream.time_base = context.time_base = base
    for number, frame in enumerate(frames):
      picture = av.VideoFrame.from_ndarray(frame, format='rgb24')
      if times is not None:
        picture.pts, picture.time_base = round(1000 * times[number]), base
      file.mux(stream.encode(picture))
    file.mux(stream.encode(None))
  return path


def content_of(data, kinds, start=0, end=None):
  """Where the content of an MP4 box begins, by the path of kinds to it."""
  end = len(data) if end is None else end
  while start + 8 <= end:
    size, kind = struct.unpack_from('>I4s', data, start)
    if kind == kinds[0]:
      if len(kinds) == 1:
        return start + 8
      return content_of(data, kinds[1:], start + 8, start + size)
    start += size
  raise ValueError(f'no box {kinds[0]}')


def trimmed(source, path, start, seconds):
  """A copy of an MP4 whose edit list shows a part of it."""
  data = bytearray(source.read_bytes())
  movie = content_of(data, [b'moov', b'mvhd'])
  track = content_of(data, [b'moov', b'trak', b'tkhd'])
  media = content_of(data, [b'moov', b'trak', b'mdia', b'mdhd'])
  edit = content_of(data, [b'moov', b'trak', b'edts', b'elst']) + 8
  (scale,) = struct.unpack_from('>I', data, movie + 12)
  (ticks,) = struct.unpack_from('>I', data, media + 12)
  (begun,) = struct.unpack_from('>i', data, edit + 4)
  length = round(seconds * scale)
  struct.pack_into('>Ii', data, edit, length, begun + round(start * ticks))
  struct.pack_into('>I', data, movie + 16, length)
  struct.pack_into('>I', data, track + 20, length)
  path.write_bytes(data)
  return path


def turned(source, path, a, b, c, d):
  """A copy of an MP4 whose display matrix is (a, b; c, d)."""
  data = bytearray(source.read_bytes())
  track = content_of(data, [b'moov', b'trak', b'tkhd'])
  one = 1 << 16
  matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
  struct.pack_into('>9i', data, track + 40, *matrix)
  path.write_bytes(data)
  return path


def joined(path, *parts):
  """Streams one after the other, as a camera whose settings change has them."""
  path.write_bytes(b''.join(part.read_bytes() for part in parts))
  return path


def damaged(source, path, start=1 / 3, end=1 / 2):
  """A copy with noise in the middle."""
  data = bytearray(source.read_bytes())
  start, end = int(len(data) * start), int(len(data) * end)
  noise = np.random.default_rng(0).integers(0, 256, end - start)
  data[start:end] = noise.astype(np.uint8).tobytes()
  path.write_bytes(data)
  return path
