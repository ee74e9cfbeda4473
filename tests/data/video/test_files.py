"""Video files: which frames are kept, how they look, and what is refused."""

import gc
import os
import struct
import wave
import zlib

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from deltax.data.video import files
from deltax.data.video.files import (
  VideoError,
  read_chunks,
  read_video,
  write_video,
)

SIZE = (64, 96)


def noise(count, size=SIZE, seed=0):
  """Frames that differ and that compress to about the same size each."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (count, size[0] // 8, size[1] // 8, 3), np.uint8)
  return small.repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  """Three seconds, ten frames each."""
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  write_video(path, noise(30), 10)
  return path


def by_opencv(path, rate=1.0, short_side=None, crop=None):
  """The published reading, with the published reader."""
  capture = cv2.VideoCapture(str(path))
  fps = capture.get(cv2.CAP_PROP_FPS)
  if fps > 144:
    fps = 25
  kept, number = [], 0
  while True:
    read, frame = capture.read()
    if not read:
      return np.stack(kept)
    if number % round(fps / rate) == 0:
      frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
      if short_side:
        scale = short_side / min(frame.shape[:2])
        frame = cv2.resize(
          frame, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
      if crop:
        top = int((frame.shape[0] - crop) / 2)
        left = int((frame.shape[1] - crop) / 2)
        frame = frame[top : top + crop, left : left + crop]
      kept.append(frame)
    number += 1


def turned(film, path, degrees):
  """A copy whose header says that it is to be shown turned clockwise."""
  one = 1 << 16
  cos, sin = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
  upright = struct.pack('>9i', one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
  matrix = struct.pack('>9i', cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
  data = film.read_bytes()
  track = data.index(b'tkhd')
  place = data.index(upright, track)
  path.write_bytes(data[:place] + matrix + data[place + len(matrix) :])
  return path


@pytest.mark.parametrize('fps', [5, 9.5, 29.97, 200])
@pytest.mark.parametrize('rate', [1.0, 2.5])
def test_the_published_frames_are_kept(tmp_path, fps, rate):
  path = tmp_path / 'film.mp4'
  write_video(path, noise(70), fps)
  video = read_video(path, rate=rate, short_side=None, crop=None)
  np.testing.assert_array_equal(video.frames, by_opencv(path, rate))
  period = round((fps if fps <= 144 else 25) / rate)
  numbers = np.arange(0, 70, period)
  np.testing.assert_allclose(video.times, numbers / fps, atol=1e-3)
  assert video.duration == pytest.approx(70 / fps, abs=0.01)
  assert video.damaged == 0


@pytest.mark.parametrize(('short_side', 'crop'), [(256, 224), (47, 33)])
def test_frames_are_scaled_and_cropped_as_published(film, short_side, crop):
  video = read_video(film, short_side=short_side, crop=crop)
  expected = by_opencv(film, 1.0, short_side, crop)
  np.testing.assert_array_equal(video.frames, expected)
  assert video.frames.shape == (3, crop, crop, 3)
  assert video.frames.dtype == np.uint8


def test_by_default_frames_have_the_published_size(film):
  np.testing.assert_array_equal(
    read_video(film).frames, by_opencv(film, 1.0, 256, 224)
  )


def test_a_picture_smaller_than_the_crop_is_not_padded(film):
  frames = read_video(film, short_side=None, crop=80).frames
  assert frames.shape == (3, 64, 80, 3)


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_a_turned_video_is_shown_upright(film, tmp_path, degrees):
  path = turned(film, tmp_path / 'turned.mp4', degrees)
  video = read_video(path, short_side=None, crop=None)
  np.testing.assert_array_equal(video.frames, by_opencv(path))
  upright = read_video(film, short_side=None, crop=None).frames
  rotated = np.rot90(upright, -degrees // 90, (1, 2))
  np.testing.assert_array_equal(video.frames, rotated)


@pytest.mark.parametrize('ending', ['.mkv', '.mov', '.avi', '.ts'])
def test_other_containers_hold_the_same_video(film, tmp_path, ending):
  path = tmp_path / f'film{ending}'
  write_video(path, noise(30), 10)
  video, expected = read_video(path), read_video(film)
  np.testing.assert_array_equal(video.frames, expected.frames)
  np.testing.assert_allclose(video.times, [0, 1, 2], atol=1e-3)
  assert video.duration == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize('size', [1, 2, 3, 4, 9])
def test_parts_make_the_whole(film, size):
  options = {'rate': 3.0, 'short_side': 32, 'crop': 24}
  whole = read_video(film, **options)
  assert len(whole.frames) == 10
  parts = list(read_chunks(film, size, **options))
  lengths = [len(part.frames) for part in parts]
  assert lengths == [size] * (10 // size) + [10 % size] * (10 % size > 0)
  frames = np.concatenate([part.frames for part in parts])
  np.testing.assert_array_equal(frames, whole.frames)
  times = np.concatenate([part.times for part in parts])
  np.testing.assert_array_equal(times, whole.times)
  assert parts[-1][2:] == whole[2:]


def test_a_part_comes_before_the_rest_is_decoded(film, monkeypatch):
  decode, seen = files.decode, []

  def counted(container, stream):
    for frame in decode(container, stream):
      seen.append(frame)
      yield frame

  monkeypatch.setattr(files, 'decode', counted)
  next(read_chunks(film, 1))
  assert len(seen) == 11


@pytest.mark.skipif(not os.path.isdir('/proc/self/task'), reason='no Linux')
def test_frames_leave_no_threads_behind(tmp_path):
  frames = np.zeros((60, 64, 64, 3), np.uint8)
  write_video(tmp_path / 'film.mp4', frames, 1)
  gc.collect()
  gc.disable()  # frames are in cycles, which may stay for long
  before = len(os.listdir('/proc/self/task'))
  try:
    read_video(tmp_path / 'film.mp4')
    assert len(os.listdir('/proc/self/task')) < before + 60
  finally:
    gc.enable()


@pytest.mark.parametrize('ending', ['.mp4', '.mkv', '.avi'])
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending):
  path = tmp_path / f'film{ending}'
  write_video(path, noise(60), 10)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) * 6 // 10])
  with pytest.raises(VideoError, match=f'film{ending}: ') as error:
    read_video(path)
  reason = {'.mp4': 'no readable video', '.mkv': 'cut off', '.avi': 'cut off'}
  assert reason[ending] in str(error.value)


def test_damaged_frames_are_counted_and_the_rest_is_read(tmp_path):
  path = tmp_path / 'film.mkv'
  write_video(path, noise(300), 10)
  data = bytearray(path.read_bytes())
  for place in range(len(data) // 2, len(data) // 2 + 4000, 97):
    data[place] ^= 0x55
  path.write_bytes(data)
  video = read_video(path)
  assert 0 < video.damaged < 150
  assert len(video.frames) >= 25


@pytest.mark.parametrize('ending', ['.mp4', '.mkv', '.avi', '.ts'])
def test_whatever_is_wrong_with_a_file_is_a_video_error(tmp_path, ending):
  path = tmp_path / f'film{ending}'
  write_video(path, noise(20), 10)
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  refused = 0
  for k in range(20):
    data = bytearray(whole)
    for place in rng.integers(len(data), size=rng.integers(1, 60)):
      data[place] = rng.integers(256)
    path.write_bytes(data[: rng.integers(len(data)) if k % 2 else None])
    try:
      assert read_video(path).frames.shape[1:] == (224, 224, 3)
    except VideoError as error:
      assert str(path) in str(error)
      refused += 1
  assert refused > 0 or ending == '.ts'  # which has no end


def test_names_in_a_header_may_be_of_any_encoding(film, tmp_path):
  path = tmp_path / 'film.mp4'
  header = film.read_bytes()
  assert b'VideoHandler' in header
  path.write_bytes(header.replace(b'VideoHandler', b'Vid\xe9oHandler'))
  np.testing.assert_array_equal(
    read_video(path).frames, read_video(film).frames
  )


@pytest.mark.parametrize('content', [b'not a video at all' * 99, b'\0' * 5000])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
  path = tmp_path / 'junk.mp4'
  path.write_bytes(content)
  with pytest.raises(VideoError, match=r'junk\.mp4: no readable video'):
    read_video(path)


def test_an_empty_file_is_refused(tmp_path):
  path = tmp_path / 'empty.mp4'
  path.touch()
  with pytest.raises(VideoError, match=r'empty\.mp4: the file is empty'):
    read_video(path)


def test_a_file_without_pictures_is_refused(tmp_path):
  path = tmp_path / 'sound.wav'
  with wave.open(str(path), 'wb') as sound:
    sound.setparams((1, 2, 8000, 0, 'NONE', ''))
    sound.writeframes(bytes(16000))
  with pytest.raises(VideoError, match=r'sound\.wav: there are no moving'):
    read_video(path)


def test_the_cover_of_a_song_is_no_video(tmp_path):
  path = tmp_path / 'song.mp3'
  cover = cv2.imencode('.jpg', noise(1)[0])[1].tobytes()
  picture = b'\0image/jpeg\0\x03\0' + cover
  frame = struct.pack('>4sIH', b'APIC', len(picture), 0) + picture
  length = bytes(len(frame) >> 7 * k & 127 for k in (3, 2, 1, 0))
  silence = b'\xff\xfb\x90\xc4' + bytes(413)  # MPEG layer 3, 44.1 kHz
  path.write_bytes(b'ID3\3\0\0' + length + frame + silence * 20)
  with pytest.raises(VideoError, match=r'song\.mp3: there are no moving'):
    read_video(path)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'none\.mp4: no such file'):
    read_video(tmp_path / 'none.mp4')


@pytest.mark.parametrize(
  'options', [{'rate': 0}, {'short_side': 0}, {'crop': -1}]
)
def test_a_size_or_rate_must_be_positive(film, options):
  with pytest.raises(ValueError, match='expected a positive'):
    read_video(film, **options)


def test_a_written_video_looks_like_its_frames(tmp_path):
  ramp = np.linspace(0, 200, SIZE[1])[None, None, :, None]
  later = np.arange(12)[:, None, None, None] * 4
  frames = (ramp + later + np.zeros((*SIZE, 3))[None]).astype(np.uint8)
  differences = {}
  for crf in (10, 51):
    path = tmp_path / f'{crf}.mp4'
    write_video(path, iter(frames), 10, crf=crf)
    video = read_video(path, rate=10, short_side=None, crop=None)
    assert video.frames.shape == frames.shape
    differences[crf] = np.abs(video.frames.astype(float) - frames).mean()
  assert differences[10] < 1 < differences[51]


def test_the_same_frames_give_the_same_file(tmp_path):
  path, contents = tmp_path / 'film.mp4', set()
  for count in range(1, 13):
    ballast = [np.full(1000 * k, k) for k in range(count)]  # other memory
    write_video(path, noise(30), 10)
    contents.add(path.read_bytes())
    del ballast
  assert len(contents) == 1


@pytest.mark.parametrize(
  ('name', 'frames', 'message'),
  [
    ('a.mp4', [], 'at least one frame'),
    ('a.mp4', np.zeros((2, 63, 96, 3), np.uint8), 'even height and width'),
    ('a.mp4', np.zeros((2, 64, 96, 3), np.float32), 'uint8 frames'),
    ('a.mp4', [noise(1)[0], noise(1, (32, 96))[0]], 'differ in shape'),
    ('a.webm', noise(2), r'a\.webm: cannot write'),
    ('a.what', noise(2), r'a\.what: cannot write'),
  ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, name, frames, message):
  with pytest.raises(ValueError, match=message):
    write_video(tmp_path / name, frames, 10)
  assert not list(tmp_path.iterdir())


def test_a_list_of_other_files_is_no_video(film, tmp_path, monkeypatch):
  """FFmpeg would read the files that such a list names."""
  monkeypatch.chdir(tmp_path)
  write_video('other.mp4', noise(12), 12)
  (tmp_path / 'concat.mp4').write_text('ffconcat version 1.0\nfile other.mp4\n')
  (tmp_path / 'list.m3u8').write_text(
    '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n'
  )
  for name in ('concat.mp4', 'list.m3u8'):
    with pytest.raises(VideoError, match='it is a list of other files'):
      read_video(name)


def test_icons_are_no_video(tmp_path):
  """Their decoder harms the memory of the process."""
  picture = Image.fromarray(np.zeros((64, 64, 3), np.uint8))
  picture.save(tmp_path / 'film.mp4', 'ico', sizes=[(16, 16), (32, 32)])
  with pytest.raises(VideoError, match='it is a set of icons'):
    read_video(tmp_path / 'film.mp4')


def test_a_path_is_never_an_address(film, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'concat:a.mp4|b').mkdir()
  for path in ('a.mp4', 'concat:a.mp4|b/c.mp4', '%03d.mp4'):
    (tmp_path / path).write_bytes(film.read_bytes())
  write_video('b/c.mp4', noise(12, (32, 32)), 12)
  expected = read_video(film)
  for path in ('concat:a.mp4|b/c.mp4', '%03d.mp4'):
    np.testing.assert_array_equal(read_video(path).frames, expected.frames)


def chunk(kind, content):
  checksum = zlib.crc32(kind + content)
  return (
    struct.pack('>I', len(content))
    + kind
    + content
    + (struct.pack('>I', checksum))
  )


def film_of_png(path, height, width):
  """A film of one picture, black and tightly packed."""
  header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  packer, packed = zlib.compressobj(9), b''
  for _ in range(height):
    packed += packer.compress(b'\0' * (3 * width + 1))
  picture = b'\x89PNG\r\n\x1a\n' + b''.join(
    chunk(kind, content)
    for kind, content in (
      (b'IHDR', header),
      (b'IDAT', packed + packer.flush()),
      (b'IEND', b''),
    )
  )
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('png', 25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, 'rgb24'
    packet = av.Packet(picture)
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    container.mux(packet)
  return path


def test_a_small_file_of_a_vast_picture_is_not_unpacked(tmp_path):
  small = film_of_png(tmp_path / 'small.avi', 64, 48)
  assert read_video(small, short_side=None, crop=None).frames.any() == 0
  vast = film_of_png(tmp_path / 'vast.avi', 8200, 8200)
  assert vast.stat().st_size < 1 << 20
  with pytest.raises(VideoError, match=r'vast\.avi'):
    read_video(vast)


def test_a_picture_as_thin_as_a_line_is_not_scaled_up(tmp_path):
  thin = film_of_png(tmp_path / 'thin.avi', 2, 16_000)
  with pytest.raises(VideoError, match=r'thin\.avi: a picture of 2x16000'):
    read_video(thin)
  assert read_video(thin, short_side=None, crop=None).frames.shape[1] == 2
