"""The detection tasks: losses of clips, scores by distance, their switches."""

import functools

import jax
import numpy as np
import pytest

from deltax import tasks
from deltax.tasks.detection.detectors import make_detector
from deltax.tasks.detection.parts import imitation, scores_of

SIZE, CLASSES = (64, 64), 3
COPY = {'layers': 'detector', 'candidates': (('full',),)}


def make(**options):
  return tasks.make_task(
    'detection',
    model='efficientdet_tiny',
    num_classes=CLASSES,
    size=SIZE,
    **options,
  )


def batch_at(seed, clips=2, time=3):
  draw = np.random.default_rng(seed)
  corner = draw.uniform(0, 30, (clips, time, 4, 2))
  boxes = np.concatenate(
    [corner, corner + draw.uniform(8, 30, corner.shape)], 3
  )
  classes = draw.integers(0, CLASSES, (clips, time, 4))
  classes[:, :, 3] = -1
  boxes[:, :, 3] = 0
  return {
    'frames': draw.integers(0, 256, (clips, time, *SIZE, 3)).astype(np.uint8),
    'boxes': boxes.astype(np.float32),
    'classes': classes.astype(np.int32),
    'size': np.full((clips, 2), 64, np.float32),
    'real': np.ones((clips, time), bool),
    'mask': np.ones(clips, np.float32),
  }


@functools.cache
def teacher():
  return make().init(jax.random.key(0), batch_at(0))


def variables():
  params, state = teacher()
  return {'params': params['teacher'], **state}


def test_a_teachers_losses_are_one_number_a_clip_and_statistics_move():
  params, state = teacher()
  terms, after = jax.jit(make().losses)(
    params, state, batch_at(1), jax.random.key(2)
  )
  assert set(terms) == {'classes', 'boxes'}
  for name, value in terms.items():
    assert value.shape == (2,), name
    assert (np.asarray(value) > 0).all(), name
  moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), after, dict(state))
  assert min(jax.tree.leaves(moved)) > 0


def test_a_teacher_with_running_statistics_leaves_them_alone():
  params, state = teacher()
  _, after = jax.eval_shape(
    make(batch_statistics=False).losses,
    params,
    state,
    batch_at(1),
    jax.random.key(2),
  )
  assert jax.tree.structure(after) == jax.tree.structure(state)


def test_students_that_are_copies_detect_what_the_teacher_does():
  task = make(teacher=variables(), delta={'intervals': (3,), 'spec': COPY})
  params, state = task.init(jax.random.key(0), batch_at(0))
  found = jax.jit(task.evaluate)(params, state, batch_at(3))
  for name in ('boxes', 'scores'):
    np.testing.assert_allclose(
      found[f'delta_3/{name}'], found[f'teacher/{name}'], rtol=1e-3, atol=1e-3
    )
  assert found['teacher/boxes'].shape[:2] == (2, 3)
  np.testing.assert_array_equal(found['truth/boxes'], batch_at(3)['boxes'])


def test_a_delta_network_has_the_detectors_losses_and_its_own():
  task = make(
    teacher=variables(),
    delta={
      'intervals': (3,),
      'spec': {'layers': 'detector', 'candidates': (('low_rank', 4, 'min'),)},
      'imitation_weight': 1.0,
      'distillation_scale': 'layer',
      'distillation_weight': 2.0,
      'batch_statistics': False,
    },
  )
  params, state = task.init(jax.random.key(0), batch_at(0))
  terms, after = jax.jit(task.losses)(
    params, state, batch_at(1), jax.random.key(0)
  )
  own = {'distillation', 'imitation', 'budget'}
  assert set(terms) == {'classes', 'boxes', *own}
  # Every layer's error is divided by what it is in the first batch.
  np.testing.assert_allclose(terms['distillation'].mean(), 2, rtol=1e-4)
  assert after['distillation_scale'].min() > 0


@pytest.mark.parametrize('last', [False, True])
def test_a_layer_of_several_calls_is_distilled_in_each_or_the_last(last):
  task = make(
    teacher=variables(),
    delta={
      'spec': COPY,
      'distillation_scale': 'layer',
      'last_call_only': last,
    },
  )
  _, state = jax.eval_shape(task.init, jax.random.key(0), batch_at(0))
  # 24 layers; three of them, in the heads, are called on three levels.
  assert state['distillation_scale'].shape == (24 if last else 30,)


def arrays(time=4):
  """Detections that are right on every frame."""
  batch = batch_at(5, clips=2, time=time)
  return {
    'truth/boxes': batch['boxes'],
    'truth/classes': batch['classes'],
    'truth/real': batch['real'],
    'delta_2/boxes': batch['boxes'].copy(),
    'delta_2/classes': batch['classes'].copy(),
    'delta_2/scores': np.where(batch['classes'] < 0, 0, 0.9).astype('float32'),
  }


def test_right_detections_score_one_at_every_distance():
  scores = scores_of('delta_2', arrays(), CLASSES, 2)
  assert set(scores) == {
    f'delta_2/{name}' for name in ('ap', 'ap50', 'ap50_0', 'ap50_1')
  }
  assert all(value == pytest.approx(1) for value in scores.values())


def test_frames_are_scored_by_their_distance_to_the_key_frame():
  found = arrays()
  found['delta_2/boxes'][:, 1::2] += 40
  scores = scores_of('delta_2', found, CLASSES, 2)
  assert scores['delta_2/ap50_0'] == pytest.approx(1)
  assert scores['delta_2/ap50_1'] == pytest.approx(0)


def test_a_frame_that_fills_a_clip_never_counts():
  found = arrays()
  found['delta_2/boxes'][0, 3] += 40
  assert scores_of('delta_2', found, CLASSES)['delta_2/ap50'] < 1
  found['truth/real'][0, 3] = False
  scores = scores_of('delta_2', found, CLASSES)
  assert scores['delta_2/ap50'] == pytest.approx(1)


def test_imitation_looks_at_later_frames_only():
  detector = make_detector(
    'ddrnet23_det_tiny', num_classes=CLASSES, size=(64, 64)
  )
  rng = np.random.default_rng(0)
  outs = {
    'classes': rng.normal(size=(2, 3, 5, CLASSES)).astype(np.float32),
    'boxes': rng.normal(size=(2, 3, 5, 4)).astype(np.float32),
  }
  target = {name: x.copy() for name, x in outs.items()}
  target['classes'][1, 0] += 7
  np.testing.assert_allclose(imitation(detector, outs, target), [0, 0])
  target['classes'][1, 2] += 2
  found = imitation(detector, outs, target)
  assert found[0] == 0
  assert found[1] > 0


@pytest.mark.parametrize('size', [3, (64,), ('a', 'b'), (64, 0), (1.5, 64)])
def test_frames_have_rows_and_columns(size):
  with pytest.raises(ValueError, match='a detector cannot have size='):
    make_detector('efficientdet_tiny', num_classes=CLASSES, size=size)


def test_a_task_that_lacks_an_option_names_it():
  with pytest.raises(ValueError, match="'detection' needs the option 'model'"):
    tasks.make_task('detection', num_classes=CLASSES, size=SIZE)


def test_an_option_that_the_loss_has_not_is_named():
  with pytest.raises(ValueError, match="the loss has no option 'nope'; known"):
    tasks.make_task(
      'segmentation', model='ddrnet23_tiny', num_classes=3, loss={'nope': 1}
    )
