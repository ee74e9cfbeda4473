"""Clips with boxes: what is done to the pictures is done to the boxes."""

import numpy as np
import pytest

from deltax.data import augment_boxes as augment
from deltax.data import clips

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def painted(size=(60, 100), rows=2):
  """Three rectangles, one colour each, that move from frame to frame."""
  frames = np.zeros((rows, *size, 3), np.uint8)
  boxes, classes = [], []
  for t in range(rows):
    rects = [(10 + t, 8, 40 + t, 30), (50, 20 + t, 90, 55), (0, 40, 20, 60)]
    for (x0, y0, x1, y1), colour in zip(rects, COLOURS, strict=True):
      frames[t, y0:y1, x0:x1] = colour
    boxes.append(rects)
    classes.append([0, 1, 2])
  return augment.make_clip(frames, boxes, classes)


def bounds(frame, colour):
  """The box around the pixels of a colour, or None."""
  y, x = np.nonzero((frame[..., colour] > 140) & (frame.sum(-1) < 300))
  return (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None


def check_boxes_follow_pixels(clip, slack):
  """Every box is where its colour is; every colour of some size has a box."""
  seen = 0
  for t in range(len(clip['frames'])):
    kinds = clip['classes'][t].tolist()
    for colour in range(3):
      found = bounds(clip['frames'][t], colour)
      if colour in kinds:
        box = clip['boxes'][t, kinds.index(colour)]
        np.testing.assert_allclose(box, found, atol=slack)
        seen += 1
  return seen


def test_a_flip_moves_boxes_with_their_pixels():
  before, flipped = painted(), 0
  for seed in range(20):
    after = augment.flip(before, np.random.default_rng(seed))
    assert check_boxes_follow_pixels(after, 0) == 6
    flipped += not np.array_equal(after['frames'], before['frames'])
  assert 4 < flipped < 16


@pytest.mark.parametrize(
  ('size', 'scaled'), [((512, 512), (307, 512)), ((30, 80), (30, 50))]
)
def test_a_letterboxed_picture_is_as_large_as_fits(size, scaled):
  clip = augment.letterbox(painted(), size)
  assert clip['frames'].shape[1:3] == scaled
  np.testing.assert_array_equal(clip['size'], scaled)
  assert check_boxes_follow_pixels(clip, 1) == 6
  (full,) = augment.pad_alike([clip], [size])
  assert full['frames'].shape == (2, *size, 3)
  np.testing.assert_array_equal(
    full['frames'][:, : scaled[0], : scaled[1]], clip['frames']
  )
  filled = np.ones(size, bool)
  filled[: scaled[0], : scaled[1]] = False
  assert (full['frames'][:, filled] == augment.MEAN_COLOUR).all()
  assert filled.any()


@pytest.mark.parametrize(
  ('size', 'scaled', 'frame'),
  [
    ((72, 128), (56, 100), (64, 112)),  # as 720 x 1280 gives 563 x 1000
    ((50, 37), (81, 60), (112, 64)),
    ((40, 40), (60, 60), (64, 112)),
  ],
)
def test_sides_are_resized_as_published(size, scaled, frame):
  clip = painted((60, 100))
  clip = augment.letterbox(clip, size) if size == (72, 128) else clip
  still = augment.make_clip(np.zeros((1, *size, 3), np.uint8), [[]], [[]])
  assert augment.resize_sides(still, (100, 60))['frames'].shape[1:3] == scaled
  (full,) = augment.pad_alike(
    [augment.resize_sides(still, (100, 60))], augment.shapes_of((100, 60))
  )
  assert full['frames'].shape[1:3] == frame
  assert check_boxes_follow_pixels(augment.resize_sides(clip, (90, 40)), 1) == 6


def test_the_published_sides_of_common_videos():
  for size, scaled in [
    ((720, 1280), (563, 1000)),
    ((480, 640), (600, 800)),
    ((500, 375), (800, 600)),
  ]:
    still = augment.make_clip(np.zeros((1, *size, 3), np.uint8), [[]], [[]])
    found = augment.resize_sides(still, (1000, 600))['frames'].shape[1:3]
    assert found == scaled


def test_a_batch_gets_the_smallest_frames_that_hold_all_its_pictures():
  def still(rows, columns):
    return augment.make_clip(
      np.zeros((1, rows, columns, 3), np.uint8), [[]], [[]]
    )

  shapes = augment.shapes_of((100, 60))
  for sizes, shape in [
    ([(60, 100), (60, 60)], (64, 112)),
    ([(100, 60), (60, 60)], (112, 64)),
    ([(100, 60), (60, 100)], (112, 112)),
  ]:
    batch = augment.pad_alike([still(*size) for size in sizes], shapes)
    assert {clip['frames'].shape[1:3] for clip in batch} == {shape}
    for clip, size in zip(batch, sizes, strict=True):
      np.testing.assert_array_equal(clip['size'], size)
  with pytest.raises(ValueError, match=r'120 x 40 pixels fit in no frame'):
    augment.pad_alike([still(120, 40)], shapes)


def test_scaling_and_cropping_moves_boxes_with_their_pixels():
  before, sizes, kept = painted(), set(), 0
  for seed in range(40):
    after = augment.scale_and_crop(
      before, np.random.default_rng(seed), (48, 80), (0.5, 2.0)
    )
    assert after['frames'].shape == (2, 48, 80, 3)
    kept += check_boxes_follow_pixels(after, 1.5)
    rows, columns = after['size'].astype(int)
    sizes.add((rows, columns))
    assert (after['frames'][:, rows:] == augment.MEAN_COLOUR).all()
    assert (after['frames'][:, :, columns:] == augment.MEAN_COLOUR).all()
    present = after['classes'] >= 0
    assert (after['boxes'][present] <= [columns, rows, columns, rows]).all()
    assert (after['boxes'][~present] == 0).all()
  assert (48, 80) in sizes and len(sizes) > 5
  assert 100 < kept < 240


def test_a_box_that_loses_too_much_in_the_crop_is_dropped():
  frames = np.zeros((1, 40, 40, 3), np.uint8)
  clip = augment.make_clip(frames, [[[0, 0, 40, 10]]], [[5]])
  left = set()
  for seed in range(60):
    rng = np.random.default_rng(seed)
    after = augment.scale_and_crop(clip, rng, (35, 40), (1.0, 1.0), least=0.75)
    assert (after['classes'][0, 0] == 5) == after['boxes'].any()
    left.add(int(after['boxes'][0, 0, 3]))
  assert left == {10, 9, 8, 0}  # of 10 rows; the window starts at row 0 to 5


def test_more_boxes_than_rows_keep_the_largest_in_their_order():
  rng = np.random.default_rng(0)
  corner = rng.integers(0, 50, (1, 9, 2))
  boxes = np.concatenate([corner, corner + rng.integers(1, 40, (1, 9, 2))], -1)
  clip = augment.make_clip(
    np.zeros((1, 99, 99, 3), np.uint8), boxes, [np.arange(9)]
  )
  area = (boxes[0, :, 2:] - boxes[0, :, :2]).prod(-1)
  largest = sorted(sorted(range(9), key=lambda k: -area[k])[:4])
  kept = augment.keep_largest(clip, 4)
  assert kept['classes'].tolist() == [largest]
  np.testing.assert_array_equal(kept['boxes'], boxes[:, largest])


def test_fewer_boxes_than_rows_come_first_and_the_rest_is_empty():
  clip = augment.drop(painted(), np.array([[True, False, False]] * 2))
  kept = augment.keep_largest(clip, 5)
  assert kept['classes'].tolist() == [[1, 2, -1, -1, -1]] * 2
  assert kept['boxes'].shape == (2, 5, 4)
  assert not kept['boxes'][:, 2:].any()
  np.testing.assert_array_equal(kept['boxes'][:, :2], clip['boxes'][:, 1:])


def test_small_boxes_are_judged_by_their_shorter_side():
  clip = augment.make_clip(
    np.zeros((1, 50, 50, 3), np.uint8),
    [[[0, 0, 5, 40], [0, 0, 6, 6], [3, 3, 40, 8]]],
    [[0, 1, 2]],
  )
  assert augment.drop_small(clip, 6)['classes'].tolist() == [[-1, 1, -1]]


def test_a_frame_that_fills_up_is_not_real_and_has_no_boxes():
  clip = augment.hide(painted(), np.array([False, True]))
  assert clip['real'].tolist() == [True, False]
  assert clip['classes'].tolist() == [[0, 1, 2], [-1, -1, -1]]
  assert not clip['boxes'][1].any()


def test_rows_without_a_box_stay_empty_through_all_changes():
  clip = painted()
  clip = augment.drop(clip, np.array([[True, False, True], [True] * 3]))
  for seed in range(8):
    rng = np.random.default_rng(seed)
    for after in (
      augment.flip(clip, rng),
      augment.letterbox(clip, (90, 90)),
      augment.scale_and_crop(clip, rng, (60, 100), (1.0, 2.0)),
    ):
      gone = after['classes'] == -1
      assert gone.sum() >= 5
      assert not after['boxes'][gone].any()


def test_a_clip_without_any_box_goes_through_all_changes():
  frames = np.zeros((2, 20, 30, 3), np.uint8)
  clip = augment.make_clip(frames, [[], []], [[], []])
  clip = augment.flip(clip, np.random.default_rng(1))
  clip = augment.letterbox(augment.drop_small(clip, 3), (16, 16))
  clip = augment.keep_largest(clip, 3)
  assert clip['classes'].tolist() == [[-1] * 3] * 2
  assert clip['boxes'].dtype == np.float32


@pytest.mark.parametrize('frames', [1, 2, 9, 15, 16, 47, 300])
def test_middle_frames_are_in_the_middle_of_equal_parts(frames):
  wanted = {int((k + 0.5) * frames / 15) for k in range(15)}
  assert clips.middles(frames) == sorted(wanted)


def test_sorted_pairs_lie_up_to_9_before_and_8_after_in_time():
  rng = np.random.default_rng(0)
  pairs = [clips.partner(rng, 20, 40, 'sorted') for _ in range(400)]
  assert all(20 in pair and pair == sorted(pair) for pair in pairs)
  assert {sum(pair) - 40 for pair in pairs} == set(range(-9, 9))
  ends = [clips.partner(rng, 2, 4, 'sorted') for _ in range(100)]
  assert {k for pair in ends for k in pair} == {0, 1, 2, 3}


def test_pairs_with_the_anchor_first_have_any_other_frame_near():
  rng = np.random.default_rng(0)
  pairs = [clips.partner(rng, 20, 40, 'anchor_first') for _ in range(400)]
  assert all(anchor == 20 for anchor, _ in pairs)
  assert {other - 20 for _, other in pairs} == {*range(-9, 0), *range(1, 10)}
  ends = {clips.partner(rng, 1, 4, 'anchor_first')[1] for _ in range(100)}
  assert ends == {0, 2, 3}
  assert clips.partner(rng, 0, 1, 'anchor_first') == [0, 0]


def test_windows_show_every_frame_once_and_fill_up_with_the_last():
  found = clips.windows(7, 3)
  shown = [k for window, real in found for k in np.array(window)[real]]
  assert shown == list(range(7))
  assert found[-1][0] == [6, 6, 6]
  assert found[-1][1].tolist() == [True, False, False]
  assert len(clips.windows(6, 3)) == 2
