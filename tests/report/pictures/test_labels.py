"""Label maps and boxes as pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from deltax import report
from deltax.report.pictures import labels as pictures

PALETTE = [[10, 20, 30], [40, 50, 60]]


def test_colourise_paints_classes_and_leaves_the_ignored_black():
  labels = np.array([[0, 1, 255]])
  painted = report.colourise(labels, PALETTE)
  assert painted.dtype == np.uint8
  assert painted.tolist() == [[*PALETTE, [0, 0, 0]]]


@pytest.mark.parametrize('label', [2, -1, 300])
def test_a_label_without_a_colour_is_named(label):
  with pytest.raises(ValueError, match=f'label {label} has no colour'):
    report.colourise(np.array([[0, label]]), PALETTE)


def test_errors_tell_who_is_wrong_where():
  label = np.array([[0, 0, 0, 0, 255]])
  teacher = np.array([[0, 1, 0, 1, 1]])
  delta = np.array([[0, 0, 1, 1, 0]])
  painted = pictures.errors(label, teacher, delta)[0]
  names = list(pictures.ERRORS)
  assert names[0] == 'both right' and names[-1] == 'no label'
  expected = [bytes.fromhex(c[1:]) for c in pictures.ERRORS.values()]
  assert [bytes(pixel) for pixel in painted] == expected


def test_changes_are_where_the_two_differ():
  painted = pictures.changes(np.array([[0, 1]]), np.array([[0, 0]]))[0]
  same, other = (bytes.fromhex(c[1:]) for c in pictures.CHANGES.values())
  assert [bytes(pixel) for pixel in painted] == [same, other]


@pytest.mark.parametrize(
  ('size', 'shown'),
  [((4, 6), (4, 6)), ((30, 512), (30, 512)), ((40, 2048), (10, 512))],
)
def test_a_picture_survives_and_a_wide_one_is_thinned_out(size, shown):
  picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  thinned = pictures.thin(picture)
  head, _, body = pictures.data_uri(thinned).partition(',')
  assert head == 'data:image/png;base64'
  back = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
  assert back.shape == (*shown, 3)
  stride = size[0] // shown[0]
  np.testing.assert_array_equal(back, picture[::stride, ::stride])


NAMES = ['car', 'bus']
LOUD = [[250, 0, 10], [0, 240, 30]]


def draw(boxes, classes, scores=None, frame=None):
  frame = np.full((64, 128, 3), 100, np.uint8) if frame is None else frame
  return pictures.draw_boxes(
    frame,
    np.array(boxes, np.float32).reshape(-1, 4),
    np.array(classes, int),
    scores if scores is None else np.array(scores, np.float32),
    palette=LOUD,
    names=NAMES,
  )


def coloured(picture, colour):
  return (picture == np.array(colour, np.uint8)).all(-1)


@pytest.mark.parametrize(
  ('size', 'scale'), [((64, 128), 6), ((8, 256), 3), ((9, 900), 1)]
)
def test_without_boxes_the_frame_is_only_enlarged(size, scale):
  frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  drawn = draw([], [], frame=frame)
  np.testing.assert_array_equal(drawn[::scale, ::scale], frame)
  np.testing.assert_array_equal(drawn, np.kron(frame, _block(scale)))


def _block(scale):
  return np.ones((scale, scale, 1), np.uint8)


def test_a_box_is_drawn_where_it_is():
  red = coloured(draw([[20, 30, 60, 50]], [0]), LOUD[0])
  rows, columns = np.nonzero(red)
  # The lower right corner is exclusive; above the box stands its name.
  assert (columns.min(), columns.max(), rows.max()) == (120, 359, 299)
  assert red[180, 120:360].all() and red[180:300, 120].all()
  assert not red[190:290, 130:350].any()
  assert red[150:180, 120:150].any() and not red[:140].any()


def test_the_colour_tells_the_class_and_absent_boxes_are_not_drawn():
  drawn = draw([[20, 30, 60, 50], [70, 30, 90, 50], [0, 0, 9, 9]], [1, -1, -1])
  assert coloured(drawn, LOUD[1]).any() and not coloured(drawn, LOUD[0]).any()
  assert (drawn[:130] == 100).all() and (drawn[:, 400:] == 100).all()


def test_unlikely_boxes_are_left_out_and_likely_ones_lie_above():
  boxes = [[20, 30, 60, 50], [20, 30, 60, 50], [70, 30, 90, 50]]
  drawn = draw(boxes, [0, 1, 0], [0.9, 0.5, pictures.SHOWN - 0.01])
  np.testing.assert_array_equal(drawn, draw(boxes[:2], [1, 0], [0.5, 0.9]))
  assert coloured(drawn, LOUD[0])[180, 120:360].all()


def test_the_score_is_written_beside_the_name():
  box = [[20, 30, 60, 50]]
  plain, low, high = (draw(box, [0], s) for s in (None, [0.51], [0.87]))
  assert (low != high).any()
  widths = [coloured(x, LOUD[0])[155].sum() for x in (plain, high)]
  assert 0 < widths[0] < widths[1]


def test_a_box_beyond_the_frame_keeps_its_name_inside():
  inside = coloured(draw([[-9, -9, 140, 80]], [0], [0.9]), LOUD[0])
  assert inside[2:15, 2:10].any()
  right = coloured(draw([[125, 30, 140, 50]], [0], [0.9]), LOUD[0])
  assert right[150:180, 650:700].any()


def test_names_are_dark_on_bright_colours_and_bright_on_dark_ones():
  assert pictures._ink((255, 255, 0)) == (0, 0, 0)
  assert pictures._ink((0, 0, 142)) == (255, 255, 255)
