"""Motion as a codec stores it, against pictures that move by known pixels."""

import av
import cv2
import numpy as np
import pytest

from deltax.data.video.codec_motion import measure_motion, read_motion
from deltax.data.video.files import VideoError, write_video

SIZE = (128, 192)


def scene(seed=0, scale=12):
  """A picture larger than the frames, with detail but without hard edges."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (20, 40, 3), np.uint8)
  return cv2.resize(
    small, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
  )


def drive(speeds, seed=0):
  """Frames of a camera that moves right by so many pixels before each."""
  places = np.cumsum(speeds)
  picture = scene(seed)
  return np.stack([picture[:128, x : x + 192] for x in places])


def encode(path, frames, codec='libx264', **options):
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, 15)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    stream.options = options
    for frame in frames:
      picture = av.VideoFrame.from_ndarray(frame, format='rgb24')
      container.mux(stream.encode(picture))
    container.mux(stream.encode(None))
  return path


def test_measured_motion_is_the_speed_of_every_frame():
  speeds = np.array([0, 2, 2, 4, 6, 6, 0, 0, 3])
  motion = measure_motion(drive(speeds))
  assert motion.pixels.dtype == motion.intra.dtype == np.float32
  np.testing.assert_allclose(motion.pixels[1:], speeds[1:], atol=0.75)
  assert motion.pixels[6:8].tolist() == [0, 0]
  assert motion.intra[1:].max() < 0.1


def test_a_frame_that_stands_alone_is_all_new():
  motion = measure_motion(drive([0, 1]))
  assert motion.pixels[0] == np.inf
  assert motion.intra[0] == 1


def test_a_cut_is_another_picture_and_the_frame_after_it_is_not():
  noise = np.random.default_rng(3).integers(0, 256, (1, *SIZE, 3), np.uint8)
  frames = np.concatenate([drive([0, 1, 1]), noise.repeat(2, 0)])
  motion = measure_motion(frames)
  assert motion.intra[3] > 0.5
  assert np.isinf(motion.pixels).tolist() == [True, False, False, True, False]
  assert motion.intra[4] == 0


def test_motion_of_a_part_counts_by_its_share():
  frames = drive([0] * 4)
  moving = drive([0, 4, 4, 4], seed=1)
  frames[:, :, 96:] = moving[:, :, :96]
  motion = measure_motion(frames)
  np.testing.assert_allclose(motion.pixels[1:], 2.0, atol=0.6)


@pytest.mark.parametrize('size', [(50, 70), (16, 24)])
def test_blocks_that_stick_out_of_the_picture_count_where_they_show(size):
  frames = drive([0, 2, 2, 2])[:, : size[0], : size[1]]
  motion = measure_motion(frames)
  np.testing.assert_allclose(motion.pixels[1:], 2.0, atol=1.0)


def test_motion_over_several_frames_is_shared_among_them(tmp_path):
  # x264's own setting: up to three frames between those that refer back.
  path = tmp_path / 'drive.mp4'
  frames = drive([0] + [3] * 15)
  write_video(path, frames, 15)
  with av.open(str(path)) as container:
    kinds = [frame.pict_type for frame in container.decode(video=0)]
  assert kinds.count(av.video.frame.PictureType.B.value) > 4
  motion = read_motion(path)
  assert len(motion.pixels) == len(frames)
  np.testing.assert_allclose(motion.pixels[1:].mean(), 3.0, atol=0.6)
  np.testing.assert_allclose(np.median(motion.pixels[1:]), 3.0, atol=0.6)


def test_what_is_new_here_and_there_counts_as_a_block(tmp_path):
  frames = drive([0] * 3)
  rng = np.random.default_rng(4)
  frames[1:, :64, :96] = rng.integers(0, 256, (64, 96, 3), np.uint8)
  motion = measure_motion(frames)
  # A quarter of the picture, where the encoder may find blocks to copy.
  assert 0.1 < motion.intra[1] <= 0.25
  assert 16 * motion.intra[1] <= motion.pixels[1] < 16
  assert motion.pixels[2] == 0


def test_a_cut_takes_none_of_the_frames_before_it_along(tmp_path):
  path = tmp_path / 'two.mp4'
  write_video(path, np.concatenate([drive([2] * 8), drive([2] * 8, 7)]), 15)
  motion = read_motion(path)
  assert np.flatnonzero(np.isinf(motion.pixels)).tolist() == [0, 8]
  rest = np.delete(motion.pixels, [0, 8])
  np.testing.assert_allclose(rest, 2.0, atol=1.0)


def test_mpeg4_tells_its_motion_too(tmp_path):
  path = encode(tmp_path / 'old.avi', drive([0, 4, 4, 4]), 'mpeg4')
  np.testing.assert_allclose(read_motion(path).pixels[1:], 4.0, atol=1.0)


def test_pictures_without_motion_are_all_new(tmp_path):
  path = encode(tmp_path / 'stills.mp4', drive([0, 4, 4]), **{'g': '1'})
  motion = read_motion(path)
  assert motion.pixels.tolist() == [np.inf] * 3
  assert motion.intra.tolist() == [1] * 3


def test_a_decoder_that_does_not_tell_is_named(tmp_path):
  path = encode(tmp_path / 'vp9.webm', drive([0, 4, 4, 4]), 'libvpx-vp9')
  with pytest.raises(VideoError, match=r'decoder of .*vp9.* exports no motion'):
    read_motion(path)


def test_what_is_no_video_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'none\.mp4: no such file'):
    read_motion(tmp_path / 'none.mp4')
  path = tmp_path / 'text.mp4'
  path.write_text('not a video')
  with pytest.raises(VideoError, match=r'text\.mp4: no readable video'):
    read_motion(path)


@pytest.mark.parametrize(
  'frames',
  [
    np.zeros((2, 63, 64, 3), np.uint8),
    np.zeros((2, 64, 64, 3), np.float32),
    np.zeros((64, 64, 3), np.uint8),
  ],
)
def test_frames_of_another_form_are_refused(frames):
  with pytest.raises(ValueError, match=r'uint8 frames \[T, H, W, 3\]'):
    measure_motion(frames)
