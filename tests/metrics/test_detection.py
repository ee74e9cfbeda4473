"""Average precision against its definition and the reference code."""

import contextlib
import io
import logging
import sys

import numpy as np
import pytest

from deltax.metrics.detection import average_precision

CLASSES = 4


def draw(seed, *, images=20, places=30, truths=6, levels=None, spread=3.0):
  """Detections scattered around the truths, some of the wrong class."""
  rng = np.random.default_rng(seed)

  def boxes(count):
    corner = rng.uniform(0, 80, (images, count, 2))
    return np.concatenate(
      [corner, corner + rng.uniform(4, 40, corner.shape)], -1
    )

  truth = {
    'boxes': boxes(truths).astype(np.float32),
    'classes': rng.integers(-1, CLASSES, (images, truths)).astype(np.int32),
  }
  near = rng.integers(0, truths, (images, places))
  corners = np.take_along_axis(truth['boxes'], near[..., None], 1)
  corners = corners + rng.normal(0, spread, corners.shape)
  corners[..., 2:] = np.maximum(corners[..., 2:], corners[..., :2] + 1)
  scores = rng.uniform(size=near.shape)
  if levels:
    scores = np.ceil(scores * levels) / levels
  classes = np.take_along_axis(truth['classes'], near, 1)
  other = rng.uniform(size=near.shape) < 0.3
  classes = np.where(other, rng.integers(-1, CLASSES, near.shape), classes)
  found = {
    'boxes': corners.astype(np.float32),
    'scores': scores.astype(np.float32),
    'classes': classes.astype(np.int32),
  }
  return found, truth


def reference(found, truth, classes=CLASSES):
  """AP, AP50 and AP50 of each class as pycocotools gives them; -1 is none."""
  pytest.importorskip('pycocotools', reason='the reference code')
  from pycocotools.coco import COCO
  from pycocotools.cocoeval import COCOeval

  def rows(given):
    kept = []
    for image, place in np.argwhere(given['classes'] >= 0):
      x0, y0, x1, y1 = given['boxes'][image, place].astype(float)
      row = {
        'id': len(kept) + 1,
        'image_id': int(image),
        'category_id': int(given['classes'][image, place]) + 1,
        'bbox': [x0, y0, x1 - x0, y1 - y0],
        'area': (x1 - x0) * (y1 - y0),
        'iscrowd': 0,
      }
      if 'scores' in given:
        row['score'] = float(given['scores'][image, place])
      kept.append(row)
    return kept

  def dataset(annotations):
    made = COCO()
    made.dataset = {
      'images': [{'id': n} for n in range(len(truth['classes']))],
      'categories': [{'id': k + 1, 'name': str(k)} for k in range(classes)],
      'annotations': annotations,
    }
    made.createIndex()
    return made

  with contextlib.redirect_stdout(io.StringIO()):
    judge = COCOeval(dataset(rows(truth)), dataset(rows(found)), 'bbox')
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
  by_class = judge.eval['precision'][0, :, :, 0, -1].mean(0)
  return judge.stats[0], judge.stats[1], by_class


def assert_agrees(found, truth, classes=CLASSES):
  own = average_precision(found, truth, classes)
  ap, ap50, by_class = reference(found, truth, classes)
  assert own['ap'] == pytest.approx(ap, abs=1e-6)
  assert own['ap50'] == pytest.approx(ap50, abs=1e-6)
  np.testing.assert_allclose(
    np.nan_to_num(own['by_class'], nan=-1), by_class, atol=1e-6
  )
  return own


@pytest.mark.parametrize('seed', range(3))
def test_random_boxes_score_as_in_the_reference_code(seed):
  own = assert_agrees(*draw(seed))
  assert 0.05 < own['ap'] < own['ap50'] < 0.95


@pytest.mark.parametrize('levels', [1, 3])
def test_equal_scores_rank_as_in_the_reference_code(levels):
  assert_agrees(*draw(5, levels=levels))


def test_of_many_detections_the_best_hundred_of_a_class_count():
  found, truth = draw(6, images=3, places=700)
  assert ((found['classes'] == 0).sum(1) > 100).all()
  own = assert_agrees(found, truth)
  # Without the limit, the objects that only lesser boxes hit would count too.
  rest = {**found, 'scores': np.where(found['scores'] > 0.5, 0, 1)}
  assert own['ap'] != average_precision(rest, truth, CLASSES)['ap']


def test_boxes_at_the_very_threshold_are_hits():
  box = np.array([[[0, 0, 4, 4], [10, 10, 14, 14.0]]])
  half = np.array([[[0, 0, 4, 2], [10, 10, 14, 11.9]]])  # IoU 0.5 and below
  classes = np.zeros((1, 2), int)
  found = {'boxes': half, 'classes': classes, 'scores': np.array([[0.9, 0.8]])}
  own = assert_agrees(found, {'boxes': box, 'classes': classes}, 1)
  assert own['ap50'] == pytest.approx(51 / 101)


def test_a_truth_is_hit_once():
  box = np.array([[[0, 0, 4, 4.0]] * 2])
  classes = np.zeros((1, 2), int)
  truth = {'boxes': box, 'classes': np.array([[0, -1]])}
  found = {'boxes': box, 'classes': classes, 'scores': np.array([[0.9, 0.8]])}
  assert assert_agrees(found, truth, 1)['ap'] == 1  # found before it is wrong
  two = {'boxes': box + [[[0] * 4, [20] * 4]], 'classes': classes}
  assert assert_agrees(found, two, 1)['ap50'] == pytest.approx(51 / 101)


def test_without_any_detection_the_score_is_zero():
  found, truth = draw(7)
  none = {**found, 'classes': np.full_like(found['classes'], -1)}
  own = assert_agrees(none, truth)
  assert own == {'ap': 0, 'ap50': 0, 'by_class': [0] * CLASSES}
  nowhere = {key: value[:, :0] for key, value in found.items()}
  assert average_precision(nowhere, truth, CLASSES) == own


def test_a_class_without_truth_is_left_out_of_the_mean():
  found, truth = draw(8)
  truth['classes'][truth['classes'] == 2] = -1
  assert (found['classes'] == 2).any()
  own = assert_agrees(found, truth)
  rest = [own['by_class'][k] for k in (0, 1, 3)]
  assert np.isnan(own['by_class'][2]) and own['ap50'] == np.mean(rest)


def test_without_any_truth_there_is_no_score():
  found, truth = draw(9)
  truth['classes'][:] = -1
  own = average_precision(found, truth, CLASSES)
  assert np.isnan([own['ap'], own['ap50'], *own['by_class']]).all()


def test_images_without_truth_or_without_detections_count():
  found, truth = draw(10)
  before = average_precision(found, truth, CLASSES)
  truth['classes'][:5] = -1  # all detections there are wrong
  more = assert_agrees(found, truth)
  found['classes'][10:] = -1  # all objects there are missed
  less = assert_agrees(found, truth)
  assert less['ap50'] < more['ap50'] < before['ap50']


def test_images_that_are_not_real_never_count():
  found, truth = draw(11)
  real = np.arange(20) % 3 != 1
  expected = average_precision(
    {key: value[real] for key, value in found.items()},
    {key: value[real] for key, value in truth.items()},
    CLASSES,
  )
  assert expected != average_precision(found, truth, CLASSES)
  found['scores'][~real], found['boxes'][~real] = np.nan, np.nan
  truth['classes'][~real] = 99
  assert average_precision(found, truth, CLASSES, real=real) == expected


def test_what_lies_in_empty_places_is_not_read():
  found, truth = draw(12)
  expected = average_precision(found, truth, CLASSES)
  empty = found['classes'] == -1
  found['scores'][empty], found['boxes'][empty] = 2.0, np.nan
  assert average_precision(found, truth, CLASSES) == expected


def test_a_box_that_ends_before_it_begins_is_a_false_one():
  box = np.array([[[0, 0, 4, 4.0]] * 2])
  turned = np.array([[[4, 0, 0, 4.0], [0, 0, 4, 4]]])
  truth = {'boxes': box, 'classes': np.array([[0, -1]])}
  found = {
    'boxes': turned,
    'classes': np.zeros((1, 2), int),
    'scores': np.array([[0.9, 0.8]]),
  }
  assert average_precision(found, truth, 1)['ap50'] == pytest.approx(0.5)


def definition(found, truth, threshold, label):
  """AP of one class at one IoU: hits by score, then 101 recalls."""
  ranked = sorted(
    (-found['scores'][image, place], image, place)
    for image, place in np.argwhere(found['classes'] == label)
  )
  left = {tuple(where) for where in np.argwhere(truth['classes'] == label)}
  total, hits = len(left), []

  def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = np.prod(np.maximum(high - low, 0))
    sizes = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])
    return inside / (sizes - inside)

  for _, image, place in ranked:
    box = found['boxes'][image, place].astype(float)
    mates = [
      (overlap(box, truth['boxes'][where].astype(float)), where)
      for where in left
      if where[0] == image
    ]
    best, where = max(mates, default=(0, None))
    hits.append(best >= threshold)
    if hits[-1]:
      left.remove(where)
  right = np.cumsum(hits)
  precision = right / np.arange(1, len(hits) + 1)
  recall = right / total
  return np.mean(
    [
      max(precision[recall >= r - 1e-12], default=0)
      for r in np.linspace(0, 1, 101)
    ]
  )


def test_scores_are_those_of_the_definition():
  found, truth = draw(13, images=8, places=12)
  own = average_precision(found, truth, CLASSES)
  table = [
    [definition(found, truth, t / 100, k) for k in range(CLASSES)]
    for t in range(50, 100, 5)
  ]
  np.testing.assert_allclose(own['by_class'], table[0], atol=1e-9)
  assert own['ap'] == pytest.approx(np.mean(table))


@pytest.mark.parametrize('key', ['boxes', 'scores'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_is_named(key, value):
  found, truth = draw(14)
  found['classes'][3, 2] = 1
  found[key][3, 2] = value
  with pytest.raises(ValueError, match=f'{key} of the detect.* in image 3'):
    average_precision(found, truth, CLASSES)


def test_what_does_not_fit_is_named():
  found, truth = draw(15)
  with pytest.raises(ValueError, match=r'real of shape \(3,\): expected \[20'):
    average_precision(found, truth, CLASSES, real=np.ones(3, bool))
  fewer = {key: value[:4] for key, value in found.items()}
  with pytest.raises(ValueError, match=r'boxes of the detections .*\(4, 30'):
    average_precision(fewer, truth, CLASSES)
  with pytest.raises(ValueError, match=r'scores of the detections .*\(20, 29'):
    average_precision(
      {**found, 'scores': found['scores'][:, 1:]}, truth, CLASSES
    )
  truth['classes'][0, 0] = 7
  with pytest.raises(ValueError, match='class 7 of the truths is none of 0'):
    average_precision(found, truth, CLASSES)


def test_nothing_is_printed_or_logged(capfd, caplog):
  with caplog.at_level(logging.DEBUG):
    average_precision(*draw(16), CLASSES)
  assert capfd.readouterr() == ('', '') and not caplog.records


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
  with pytest.raises(ImportError, match='pip install faster-coco-eval'):
    average_precision(*draw(17), CLASSES)
