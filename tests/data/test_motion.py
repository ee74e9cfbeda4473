"""Optical flow for temporal consistency."""

import cv2
import numpy as np
import pytest

from deltax.data import motion
from deltax.data.street import drive


def picture(size=(96, 128)):
  rng = np.random.default_rng(0)
  return cv2.resize(rng.integers(0, 255, (24, 32, 3), np.uint8), size[::-1])


def test_a_shift_is_found_and_points_back_to_the_previous_frame():
  large = picture((96, 140))
  previous, current = large[:, 6:134], large[:, 3:131]  # moved right by 3
  flow, valid = motion.dis_flow(previous, current)
  inner = np.zeros_like(valid)
  inner[8:-8, 8:-8] = True
  assert valid[inner].mean() > 0.95
  np.testing.assert_allclose(np.median(flow[inner], 0), [-3, 0], atol=0.2)
  assert not valid[:, :2].any()  # came in from outside


def test_a_still_picture_does_not_move():
  frame = picture()
  flow, valid = motion.dis_flow(frame, frame)
  assert valid.mean() > 0.99
  assert np.abs(flow).max() < 0.1


def test_flow_agrees_with_the_exact_motion_of_the_street():
  world = drive.render_world(5, frames=2, size=(128, 256))
  flow, valid = motion.dis_flow(*world.frames)
  both = valid & world.visible[1]
  assert both.mean() > 0.4
  miss = np.linalg.norm(flow - world.flow[1], axis=-1)[both]
  travel = np.linalg.norm(world.flow[1], axis=-1)[both]
  assert np.median(miss) < 0.5 * np.median(travel)


def test_what_is_not_two_frames_of_one_shape_is_refused():
  frame = picture()
  with pytest.raises(ValueError, match='one shape'):
    motion.dis_flow(frame, frame[:-1])
  with pytest.raises(ValueError, match=r'expected uint8 \[H, W, 3\]'):
    motion.dis_flow(frame / 255, frame)


def test_following_a_clip_is_the_flow_of_each_pair():
  rng = np.random.default_rng(5)
  still = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (128, 96))
  frames = np.stack([np.roll(still, 2 * t, axis=1) for t in range(3)])
  clip = motion.follow(frames)
  assert clip['flow'].shape == (3, 96, 128, 2)
  assert not clip['visible'][0].any()
  assert not clip['flow'][0].any()
  flow, valid = motion.dis_flow(frames[1], frames[2])
  np.testing.assert_array_equal(clip['flow'][2], flow)
  np.testing.assert_array_equal(clip['visible'][2], valid)
  assert abs(np.median(flow[valid][:, 0]) + 2) < 0.5
