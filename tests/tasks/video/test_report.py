"""The pages of both tasks: every figure from the evaluation it names."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models, report, tasks, training
from deltax.boxes import Detections
from deltax.delta.search import latency
from deltax.delta.search.latency import Entry, Latencies
from deltax.layers import BatchNorm, conv2d
from deltax.metrics.detection import average_precision
from deltax.tasks.detection import report as detection_report
from deltax.tasks.detection import task as detection
from deltax.tasks.detection.detectors import Detector
from deltax.tasks.segmentation import report as segmentation_report

SIZE, FRAMES, CLIPS = 32, 5, 5
CLASSES = {'street': 11, 'street_boxes': 3}


class Small(nn.Module):
  """Three convolutions, quick to compile."""

  num_classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, train=False):
    for i in range(2):
      x = conv2d(8, stride=2, name=f'conv{i}')(x)
      x = nn.relu(BatchNorm(use_running_average=not train)(x))
    return conv2d(self.num_classes, 1, bias=True, name='head')(x)


def make_detector(model, *, num_classes, size, axis_name=None):
  """Finds the place of the highest value of every class of a map."""
  del model, axis_name

  def detect(variables, outs, size):
    del variables, size
    flat = outs.reshape(len(outs), -1, outs.shape[-1])
    rows, columns = jnp.divmod(flat.argmax(1), outs.shape[2])
    corner = 4.0 * jnp.stack([columns, rows], -1)
    classes = jnp.broadcast_to(jnp.arange(num_classes), corner.shape[:2])
    boxes = jnp.concatenate([corner, corner + 4], -1)
    return Detections(boxes, nn.sigmoid(flat.max(1)), classes)

  net = Small(num_classes)
  return Detector(net, net, None, detect, None)


@pytest.fixture(scope='module', autouse=True)
def small_networks():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(models.MODELS, 'small_for_reports', Small)
    for module in (detection, detection_report):
      patch.setattr(module, 'make_detector', make_detector)
    yield


def truth_of(frames, data_name):
  draw = np.random.default_rng(3)
  shape = frames.shape[:2]
  if data_name == 'street':
    return {'labels': draw.integers(0, 11, frames.shape[:4]).astype(np.uint8)}
  corner = 4 * draw.integers(0, 7, (*shape, 4, 2))
  real = np.ones(shape, bool)
  real[:, -1] = False
  classes = draw.integers(-1, 3, (*shape, 4))
  classes[0, 0] = -1  # the first clip begins without an object
  return {
    'boxes': np.concatenate([corner, corner + 4], -1).astype(np.float32),
    'classes': classes.astype(np.int32),
    'size': np.full((len(frames), 2), SIZE, np.float32),
    'real': real,
  }


@functools.cache
def dataset(data_name, labelled='all'):
  """Five clips in batches of two; the last example is padding."""
  draw = np.random.default_rng(0)
  shape = (CLIPS + 1, FRAMES, SIZE, SIZE, 3)
  frames = draw.integers(0, 256, shape).astype(np.uint8)
  arrays = {'frames': frames, **truth_of(frames, data_name)}
  arrays['mask'] = np.float32([1] * CLIPS + [0])
  if labelled == 'last':
    arrays['labels'][:, :-1] = 255
  return [
    {name: x[start : start + 2] for name, x in arrays.items()}
    for start in range(0, CLIPS + 1, 2)
  ]


def make(data_name, delta):
  """A task, its options and where it starts."""
  options = {'model': 'small_for_reports', 'num_classes': CLASSES[data_name]}
  if data_name == 'street_boxes':
    options['size'] = (SIZE, SIZE)
  module = tasks.segmentation if data_name == 'street' else detection
  plain = module.make_task(**options)
  batch = dataset(data_name)[0]
  params, state = plain.init(jax.random.key(1), batch)
  if delta is None:
    return plain, options, (params, state)
  teacher = {
    'params': jax.tree.map(lambda x: 1.5 * x, params['teacher']),
    'batch_stats': state['batch_stats'],
  }
  options |= {'delta': delta, 'teacher': teacher}
  task = module.make_task(**options)
  params, state = task.init(jax.random.key(2), batch)
  # The run has moved away from the teacher that it started from.
  params['teacher'] = jax.tree.map(lambda x: x / 1.5, params['teacher'])
  return task, options, (params, state)


def page_of(data_name, delta=None, labelled='all', metrics=(), file=''):
  task, options, start = make(data_name, delta)
  module = segmentation_report
  if data_name == 'street_boxes':
    module = detection_report
  data = dataset(data_name, labelled)
  if file:
    options['delta'] = {**options['delta'], 'latency': file}
  page = module.make_report(
    *start,
    title='a run',
    options=options,
    task=task,
    evaluate=training.evaluate,
    dataset=data,
    data_name=data_name,
    metrics=metrics,
  )
  scores, arrays = training.evaluate(task, *start, data)
  return page, scores, arrays


@functools.cache
def detected():
  return page_of('street_boxes', {'intervals': (2, 7)})


def test_a_delta_detector_has_the_scores_of_its_evaluation():
  page, scores, arrays = detected()
  short, long = page.results.delta
  assert (short.interval, long.interval) == (2, 7)
  for row in (short, long):
    name = f'delta_{row.interval}'
    assert row.score == scores[f'{name}/ap50']
    assert row.others == {'AP': scores[f'{name}/ap']}
    assert 0 < row.share < 1
  own = average_precision(
    *(
      {
        key: np.concatenate(arrays[f'{prefix}/{key}'][:, :4])
        for key in ('boxes', 'classes', 'scores')
        if f'{prefix}/{key}' in arrays
      }
      for prefix in ('delta_2', 'truth')
    ),
    3,
  )
  assert short.by_class == own['by_class'] and short.score == own['ap50']
  assert short.score > 0
  # Clips of five frames, the last of which is not real: nothing lies beyond.
  known = [np.isfinite(x) for x in long.per_distance]
  assert known == [True] * 4 + [False] * 3
  assert short.per_distance == [scores[f'delta_2/ap50_{d}'] for d in (0, 1)]


def test_the_teacher_beside_it_is_the_one_it_started_from():
  page, _, _ = detected()
  teacher = page.results.teacher
  plain, _, (params, state) = make('street_boxes', None)
  started = {'teacher': jax.tree.map(lambda x: 1.5 * x, params['teacher'])}
  data = dataset('street_boxes')
  scores, _ = training.evaluate(plain, started, state, data)
  own, _ = training.evaluate(plain, params, state, data)
  assert teacher.score == scores['teacher/ap50'] != own['teacher/ap50']
  for row in page.results.delta:
    assert row.teacher_score == teacher.score
  assert np.isfinite(page.results.delta[0].teacher_per_distance).all()


def test_the_film_shows_real_frames_with_objects_and_their_boxes():
  page, _, arrays = detected()
  film = page.film
  assert [shot.caption for shot in film] == [
    'clip 1, frame 0: key frame',
    'clip 1, frame 1: 1 after the key frame',
    'clip 1, frame 2: 2 after the key frame',
    'clip 4, frame 0: key frame',
    'clip 4, frame 1: 1 after the key frame',
    'clip 4, frame 2: 2 after the key frame',
  ]
  batches = dataset('street_boxes')
  for shot, (clip, t) in zip(
    film, [(n, t) for n in (1, 4) for t in (0, 1, 2)], strict=True
  ):
    batch, row = batches[clip // 2], clip % 2
    np.testing.assert_array_equal(shot.frame, batch['frames'][row, t])
    np.testing.assert_array_equal(shot.truth.boxes, batch['boxes'][row, t])
    own = arrays['delta_7/scores'][clip, t]
    np.testing.assert_allclose(shot.delta.scores, own, atol=1e-4)
    np.testing.assert_array_equal(
      shot.delta.boxes, arrays['delta_7/boxes'][clip, t]
    )


def test_the_page_of_a_detector_is_written(tmp_path):
  page, _, _ = detected()
  report.write(tmp_path / 'page.html', page)
  text = (tmp_path / 'page.html').read_text()
  assert 'where copying the key frame' in text
  assert text.count('<img') == 18 and 'class="scroll"' in text
  assert 'AP50 at distance' in report.details(page.results)


@pytest.mark.parametrize('data_name', list(CLASSES))
def test_a_teacher_alone_has_a_page(data_name, tmp_path):
  page, scores, _ = page_of(
    data_name,
    metrics=[
      {'split': 'train', 'step': 1, 'task': 0.5, 'learning_rate': 0.1},
      {'split': 'evaluation', 'step': 1, 'teacher/miou': 0.5},
    ],
  )
  teacher = page.results.teacher
  assert teacher.score in scores.values()
  assert len(teacher.by_class) == CLASSES[data_name]
  assert page.results.delta == []
  assert page.curves == ([1], {'task': [0.5]})
  report.write(tmp_path / 'page.html', page)


@pytest.mark.parametrize('data_name', list(CLASSES))
def test_a_network_without_delta_is_itself_whatever_it_started_from(data_name):
  task, options, (params, state) = make(data_name, None)
  started_from = {
    'params': jax.tree.map(lambda x: -x, params['teacher']),
    'batch_stats': state['batch_stats'],
  }
  module = segmentation_report if data_name == 'street' else detection_report
  data = dataset(data_name)
  page = module.make_report(
    *(params, state),
    title='a run',
    options={**options, 'teacher': started_from},
    task=task,
    evaluate=training.evaluate,
    dataset=data,
    data_name=data_name,
  )
  scores, _ = training.evaluate(task, params, state, data)
  assert page.results.teacher.score in scores.values()


def test_segmentation_is_scored_by_distance_to_the_key_frame():
  page, scores, _ = page_of('street', {'intervals': (2,)})
  (row,) = page.results.delta
  assert row.score == scores['delta_2/miou']
  assert row.per_distance == [scores[f'delta_2/miou_{d}'] for d in (0, 1)]
  assert row.score == pytest.approx(np.mean(row.per_distance))
  same = row.teacher_per_distance
  assert row.teacher_score == pytest.approx(np.mean(same))
  assert page.results.teacher.score != row.teacher_score
  assert row.others == {}  # the motion is not known
  assert [shot.caption[:6] for shot in page.film] == [
    *(['clip 0'] * 2),
    *(['clip 4'] * 2),
  ]


def test_where_only_the_last_frame_has_labels_the_teacher_is_judged_there():
  page, _, _ = page_of(
    'street', {'intervals': (3,), 'judge_last': True}, labelled='last'
  )
  teacher, (row,) = page.results.teacher, page.results.delta
  assert row.teacher_per_distance == [teacher.score] * 3
  assert row.teacher_score == pytest.approx(teacher.score)
  assert np.isfinite(row.per_distance).all()


def measured(path, size=SIZE, names=('full', 'low_rank_4_out')):
  """A file of latencies of the one layer that has students."""
  layers = {
    'conv1': {name: Entry(2.0 + i, 1, 1) for i, name in enumerate(names)}
  }
  found = Latencies(
    *('small', (1, size, size, 3), 'float32', 'cpu', 'a phone', 8, 20.0),
    teacher={'conv1': Entry(5.0, 1, 1)},
    candidates=layers,
  )
  latency.write(path, found)
  return path


def test_a_later_frame_is_timed_and_predicted(tmp_path):
  page, _, _ = page_of(
    'street', {'intervals': (2,)}, file=measured(tmp_path / 'all.json')
  )
  results = page.results
  assert results.data == 'street'
  ms, gmacs = results.ms, results.gmacs
  gap = ms.later / (ms.teacher * gmacs.later / gmacs.key)
  assert results.floor_gap == pytest.approx(gap)
  (layer,) = page.layers
  own = {'full': 2.0, 'low_rank_4_out': 3.0}[layer.chosen]
  assert ms.predicted == 20 - 5 + own
  assert 'on a phone (8 cores)' in results.notes[-1]
  assert results.streams.interval == 2
  report.write(tmp_path / 'page.html', page)
  assert 'later frame, predicted' in (tmp_path / 'page.html').read_text()


def test_latencies_of_other_frames_are_left_out_and_said_to_be(tmp_path):
  file = measured(tmp_path / 'large.json', size=64)
  page, _, _ = page_of('street', {'intervals': (2,)}, file=file)
  assert page.results.ms.predicted is None
  assert page.results.notes[-1] == (
    'No prediction from the latencies of a phone (8 cores): measured for '
    'float32 frames of 1x64x64x3, these are float32 of 1x32x32x3.'
  )
  report.write(tmp_path / 'page.html', page)


def test_no_file_of_latencies_is_said_before_anything_is_evaluated(tmp_path):
  def never(*_):
    raise AssertionError('evaluated')

  task, options, start = make('street', {'intervals': (2,)})
  options['delta'] = {'latency': tmp_path / 'none.json'}
  with pytest.raises(FileNotFoundError, match='no latencies at'):
    segmentation_report.make_report(
      *start,
      title='',
      options=options,
      task=task,
      evaluate=never,
      dataset=dataset('street'),
      data_name='street',
    )
