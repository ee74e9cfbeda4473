"""What a network sees, over frames of any size."""

import numpy as np
import pytest

from deltax.data import describe
from deltax.report.pictures import labels, overlay

STREET = describe('street')


def test_classes_of_another_size_take_the_nearest_place():
  rng = np.random.default_rng(0)
  frame = rng.integers(0, 256, (12, 20, 3), np.uint8)
  classes = rng.integers(0, 11, (6, 10))
  blended = overlay.blend(frame, classes, STREET.palette, 0.5)
  colours = STREET.palette[classes].repeat(2, 0).repeat(2, 1).astype(float)
  assert blended.dtype == np.uint8
  assert np.abs(blended - (frame / 2 + colours / 2)).max() <= 1


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_the_ends_are_the_frame_and_the_colours(share):
  frame = np.full((4, 4, 3), 99, np.uint8)
  classes = np.arange(4).reshape(2, 2)
  blended = overlay.blend(frame, classes, STREET.palette, share)
  colours = STREET.palette[classes].repeat(2, 0).repeat(2, 1)
  np.testing.assert_array_equal(blended, colours if share else frame)


@pytest.mark.parametrize('size', [(360, 640), (640, 360), (1080, 1920)])
def test_a_legend_has_every_colour_and_leaves_most_of_the_picture(size):
  for info in (STREET, describe('cityscapes_video')):
    panel = overlay.legend(info.classes, info.palette, size)
    assert panel.width <= size[1] and panel.height <= size[0]
    assert panel.width * panel.height <= overlay.MOST * size[0] * size[1]
    found = {tuple(c[:3]) for c in np.asarray(panel).reshape(-1, 4).tolist()}
    assert {tuple(c) for c in info.palette.tolist()} <= found


def test_a_small_picture_has_no_legend():
  assert overlay.legend(STREET.classes, STREET.palette, (96, 128)) is None


@pytest.mark.parametrize('right', [False, True])
@pytest.mark.parametrize('top', [False, True])
def test_a_panel_lies_in_its_corner(right, top):
  frame = np.full((60, 90, 3), 255, np.uint8)
  panel = overlay.key_mark((60, 90))
  laid = overlay.lay(frame, panel, right=right, top=top)
  rows, columns = np.nonzero((laid != 255).any(-1))
  first = (0 if top else 60 - panel.height, 90 - panel.width if right else 0)
  assert (rows.min(), columns.min()) == first
  assert rows.max() - rows.min() + 1 == panel.height
  assert columns.max() - columns.min() + 1 == panel.width
  assert (frame == 255).all()


def test_boxes_keep_the_size_of_the_frame_and_leave_out_low_scores():
  frame = np.zeros((40, 60, 3), np.uint8)
  low = labels.SHOWN - 0.01
  found = {
    'boxes': np.array([[10, 20, 30, 36], [40, 2, 50, 12], [0, 0, 5, 5]]),
    'scores': np.array([0.9, low, 0.0]),
    'classes': np.array([1, 0, -1]),
  }
  looks = {'palette': [[255, 0, 0], [0, 255, 0]], 'names': ['a', 'b']}
  drawn = overlay.boxes(frame, found, **looks)
  assert drawn.shape == frame.shape
  for x, y in ((10, 30), (29, 30), (20, 35)):
    assert drawn[y, x].tolist() == [0, 255, 0]
  assert not (drawn == [255, 0, 0]).all(-1).any()
  assert not drawn[:, 40:].any()
