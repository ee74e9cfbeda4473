"""Label maps as pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from deltax import report
from deltax.report import pictures

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
  head, _, body = pictures.data_uri(picture).partition(',')
  assert head == 'data:image/png;base64'
  back = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
  assert back.shape == (*shown, 3)
  stride = size[0] // shown[0]
  np.testing.assert_array_equal(back, picture[::stride, ::stride])
