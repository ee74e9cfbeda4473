"""Pictures read and changed fast: the same bytes as by plain indexing."""

import cv2
import numpy as np
import pytest

from deltax.data import augment, augment_boxes, images


def drawn(*shape, dtype=np.uint8):
  draw = np.random.default_rng(0)
  return draw.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_a_picture_is_decoded_to_red_green_blue_side_by_side(channels, dtype):
  stored = drawn(9, 11, channels, dtype=dtype)
  data = cv2.imencode('.png', stored)[1].tobytes()
  found = images.decode_png(data, 'picture')
  expected = stored[..., 0] if channels == 1 else stored[..., 2::-1]
  assert found.dtype == dtype and found.flags.c_contiguous
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('shape', [(2, 5, 7, 3), (3, 16, 33), (1, 1, 1, 3)])
def test_a_mirrored_clip_is_a_clip_read_backwards(shape):
  clip = drawn(*shape)
  np.testing.assert_array_equal(augment.mirror(clip), clip[:, :, ::-1])
  window = clip[:, : shape[1] // 2 + 1, shape[2] // 3 :]  # of a larger clip
  found = augment.mirror(window)
  np.testing.assert_array_equal(found, window[:, :, ::-1])
  assert found.flags.c_contiguous


def test_flips_of_both_kinds_of_clips_mirror_frames_alike():
  frames = drawn(2, 6, 10, 3)
  labelled = {'frames': frames, 'labels': frames[..., 0]}
  boxed = augment_boxes.make_clip(frames, [[]] * 2, [[]] * 2)
  turned = set()
  for seed in range(8):
    one, other = (
      flip(clip, np.random.default_rng(seed))['frames']
      for flip, clip in (
        (augment.flip, labelled),
        (augment_boxes.flip, boxed),
      )
    )
    np.testing.assert_array_equal(one, other)
    turned.add(bool((one == frames[:, :, ::-1]).all()))
  assert turned == {False, True}


def test_jitter_changes_every_channel_by_its_own_curve():
  ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  frames = np.repeat(ramp, 3, -1)
  found = augment.jitter({'frames': frames}, np.random.default_rng(1), 0.4)
  draw = np.random.default_rng(1).uniform
  contrast = 1 + 0.4 * draw(-1, 1)
  gain = contrast * (1 + 0.2 * draw(-1, 1, 3))
  offset = 128 * (1 - contrast) + 51.2 * draw(-1, 1)
  expected = np.clip(np.rint(frames * gain + offset), 0, 255)
  np.testing.assert_array_equal(found['frames'], expected)
  assert found['frames'].dtype == np.uint8
