"""Average precision of boxes, as COCO defines it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

MOST = 100  # detections of one class that count in an image


class _Boxes(NamedTuple):
  """R boxes of any images.

  Attributes:
    images: int `[R]`.
    classes: int `[R]`.
    boxes: float64 `[R, 4]`, (x0, y0, width, height).
    scores: float64 `[R]`; 1 for truths.
  """

  images: np.ndarray
  classes: np.ndarray
  boxes: np.ndarray
  scores: np.ndarray

  def of(self, label: int) -> '_Boxes':
    here = self.classes == label
    return _Boxes(*(x[here] for x in self))


def average_precision(
  detections: Mapping[str, np.ndarray],
  truths: Mapping[str, np.ndarray],
  num_classes: int,
  *,
  real: np.ndarray | None = None,
) -> dict[str, Any]:
  """COCO's average precision at all areas, 100 detections a class and image.

  Every real image counts, also one in which nothing was detected: its objects
  are missed. (The published figures leave such images out, which can only raise
  the score.)

  >>> boxes, classes = np.float32([[[0, 0, 4, 4]]]), np.array([[0]])
  >>> truth = {'boxes': boxes, 'classes': classes}
  >>> found = {**truth, 'scores': np.array([[0.5]])}
  >>> average_precision(found, truth, num_classes=2)['by_class']
  [1.0, nan]

  Args:
    detections: 'boxes' `[N, D, 4]`, 'scores' `[N, D]` and integer 'classes'
      `[N, D]`, -1 for an empty place; D at most of N images. Equal scores rank
      by their place.
    truths: 'boxes' `[N, M, 4]` and integer 'classes' `[N, M]`, -1 for none. A
      box is (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
    num_classes: K.
    real: bool `[N]`, which images count; all by default. What the others hold
      is not read.

  Returns:
    'ap', the mean over IoU thresholds from 0.5 to 0.95 and over the classes
    that have a truth; 'ap50', at IoU 0.5; 'by_class', K floats at IoU 0.5. All
    are 0 to 1, and NaN where there is no truth.

  Raises:
    ValueError: shapes that do not fit each other, a box or score that is not
      finite, a class that there is not.
    ImportError: faster-coco-eval is not installed.
  """
  count = len(truths['classes'])
  real = np.ones(count, bool) if real is None else np.asarray(real, bool)
  if real.shape != (count,):
    raise ValueError(f'real of shape {real.shape}: expected [{count}]')
  found = _flat('detections', detections, real, num_classes)
  truth = _flat('truths', truths, real, num_classes)
  # Classes do not meet in this score: one at a time, little is held at once.
  precision = np.array(
    [_precision(found.of(k), truth.of(k)) for k in range(num_classes)]
  )
  known = precision[~np.isnan(precision[:, 0])]
  return {
    'ap': float(known.mean()) if len(known) else np.nan,
    'ap50': float(known[:, 0].mean()) if len(known) else np.nan,
    'by_class': precision[:, 0].tolist(),
  }


def _flat(
  name: str, given: Mapping[str, np.ndarray], real: np.ndarray, classes: int
) -> _Boxes:
  """The boxes there are in real images, by image and place; or an error."""
  arrays = {key: np.asarray(value) for key, value in given.items()}
  arrays.setdefault('scores', np.ones(arrays['classes'].shape))
  labels = arrays['classes']
  lead = (len(real), *labels.shape[1:2])
  for key, shape in (
    ('boxes', (*lead, 4)),
    ('scores', lead),
    ('classes', lead),
  ):
    if arrays[key].shape != shape or len(lead) != 2:
      raise ValueError(
        f'{key} of the {name} have shape {arrays[key].shape}; expected '
        f'{shape} for {len(real)} images'
      )
  here = (labels != -1) & real[:, None]
  images, _ = np.nonzero(here)
  labels = labels[here]
  corners, scores = (
    arrays[key][here].astype(np.float64) for key in ('boxes', 'scores')
  )
  for key, values in (('boxes', corners), ('scores', scores[:, None])):
    wrong = ~np.isfinite(values).all(1)
    if wrong.any():
      raise ValueError(
        f'{key} of the {name} must be finite, got {values[wrong][0]} in image '
        f'{images[wrong][0]}'
      )
  unknown = labels[(labels < 0) | (labels >= classes)]
  if unknown.size:
    raise ValueError(
      f'class {unknown[0]} of the {name} is none of 0 to {classes - 1}, nor -1 '
      'for no box'
    )
  sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
  boxes = np.concatenate([corners[:, :2], sides], 1)
  return _Boxes(images, labels, boxes, scores)


def _precision(found: _Boxes, truth: _Boxes) -> np.ndarray:
  """`[10]` average precisions of one class, at IoU 0.5 to 0.95; or NaN."""
  if not len(truth.images):
    return np.full(10, np.nan)
  try:
    from faster_coco_eval import COCO, COCOeval_faster
  except ImportError as error:
    raise ImportError(
      'average precision needs faster-coco-eval: pip install faster-coco-eval'
    ) from error

  images = np.union1d(found.images, truth.images).tolist()

  def dataset(rows: _Boxes) -> COCO:
    columns = (rows.images, rows.boxes, rows.boxes[:, 2:].prod(1), rows.scores)
    made = COCO(print_function=_quiet)
    made.dataset = {
      'images': [{'id': image} for image in images],
      'categories': [{'id': 1}],
      'annotations': [
        {
          'id': place,  # from 1: the library takes 0 for "no match"
          'image_id': image,
          'category_id': 1,
          'bbox': box,
          'area': area,
          'score': score,
          'iscrowd': 0,
        }
        for place, (image, box, area, score) in enumerate(
          zip(*(x.tolist() for x in columns), strict=True), 1
        )
      ],
    }
    made.createIndex()
    return made

  judge = COCOeval_faster(
    dataset(truth), dataset(found), 'bbox', print_function=_quiet
  )
  judge.params.maxDets = [MOST]
  judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ['all']
  judge.evaluate()
  judge.accumulate()
  return judge.eval['precision'].mean(axis=(1, 2, 3, 4))


def _quiet(*_) -> None:
  """Takes the place of the library's printing."""
