"""The rendered street: repeatable, labelled, with boxes and motion."""

import cv2
import numpy as np
import pytest

from deltax.data.labels import CAR, PERSON, STREET, TRUCK
from deltax.data.street import drive

SIZE = (64, 128)


@pytest.fixture(scope='module')
def world():
  return drive.render_world(11, frames=4, size=SIZE)


def test_the_same_seed_gives_the_same_picture(world):
  again = dict(drive.render_worlds([12, 11], 4, SIZE))[11]
  for name in drive.World._fields:
    np.testing.assert_array_equal(getattr(world, name), getattr(again, name))


def test_another_seed_gives_another_street(world):
  other = drive.render_world(12, frames=4, size=SIZE)
  assert np.mean(world.labels != other.labels) > 0.1


def test_frames_and_labels_have_one_size_and_labels_are_classes(world):
  assert world.frames.shape == (4, *SIZE, 3)
  assert world.frames.dtype == np.uint8
  assert world.labels.shape == (4, *SIZE)
  assert world.labels.max() < len(STREET.classes)
  assert len(np.unique(world.labels)) >= 8  # a street shows most classes


def test_the_street_moves_between_frames(world):
  assert np.mean(world.labels[0] != world.labels[3]) > 0.02


def test_boxes_fit_tightly_around_pixels_of_their_class(world):
  assert len(world.boxes)
  assert set(world.box_classes) <= {CAR, TRUCK, PERSON}
  for box, frame, kind in zip(
    world.boxes, world.box_frames, world.box_classes, strict=True
  ):
    x0, y0, x1, y1 = box
    inside = world.labels[frame, y0:y1, x0:x1] == kind
    assert inside.shape == (y1 - y0, x1 - x0)
    for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
      assert edge.any()


def test_boxes_cover_every_pixel_of_cars_trucks_and_people(world):
  for kind in (CAR, TRUCK, PERSON):
    for frame in range(4):
      covered = np.zeros(SIZE, bool)
      rows = (world.box_frames == frame) & (world.box_classes == kind)
      for x0, y0, x1, y1 in world.boxes[rows]:
        covered[y0:y1, x0:x1] = True
      assert covered[world.labels[frame] == kind].all()


def test_a_track_keeps_its_class_and_has_one_box_a_frame(world):
  for track in np.unique(world.box_tracks):
    rows = world.box_tracks == track
    assert len(set(world.box_classes[rows])) == 1
    assert len(set(world.box_frames[rows])) == rows.sum()


def test_exact_motion_explains_the_pictures(world):
  y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
  assert not world.visible[0].any()
  for t in range(1, 4):
    flow, seen = world.flow[t], world.visible[t]
    assert seen.mean() > 0.4
    moving = seen & (np.hypot(flow[..., 0], flow[..., 1]) > 1)
    now = world.frames[t].astype(float)

    def error(part, flow=flow, moving=moving, now=now, before=t - 1):
      there = (x + part * flow[..., 0], y + part * flow[..., 1])
      moved = cv2.remap(world.frames[before], *there, cv2.INTER_LINEAR)
      return np.abs(moved - now)[moving].mean()

    assert error(1) < min(error(0), error(0.6), error(1.4))


def test_labels_are_sharp_where_the_picture_changes(world):
  """The brightness steps more across label borders than elsewhere."""
  grey = world.frames[0].mean(-1)
  step = np.abs(np.diff(grey, axis=1))
  border = np.diff(world.labels[0].astype(int), axis=1) != 0
  assert step[border].mean() > 2 * step[~border].mean()


def test_impossible_requests_say_what_is_needed():
  with pytest.raises(ValueError, match=r'frames >= 1.*frames 0'):
    drive.render_world(0, frames=0)
  with pytest.raises(ValueError, match=r'seed >= 0.*seed -1'):
    drive.render_world(-1)
