"""EfficientDet-D0: the published numbers, as `test_published.py` has DDRNet's.

Gradients are compared in float64: batch norm over the four values of the
coarsest level multiplies rounding errors.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
import rules

from deltax import convert, models
from deltax.boxes import pyramid_anchors
from deltax.convert.state_dict import module_path
from deltax.delta import distill, losses, make_spec
from deltax.delta import gates as gating
from deltax.tasks.detection.detectors import make_detector
from deltax.tasks.detection.efficientdet import anchor_targets
from deltax.tasks.parts import fold

NAME, CLASSES, SIZE = 'efficientdet_d0', 30, (128, 128)
LOW_RANK = 'low_rank_16_min'
SPEC = make_spec(**convert.published_spec(NAME))
NET = models.create(NAME, num_classes=CLASSES)
DELTA = distill(NET, SPEC)
DETECTOR = make_detector(
  NAME, num_classes=CLASSES, size=SIZE, published_padding=True
)
ANCHORS = pyramid_anchors(SIZE)
KEYS = published.load(NAME, 'delta_keys.json')
NAMES = [
  key.removesuffix('.g_gate.bias')
  for key, _, _ in KEYS
  if key.endswith('.g_gate.bias')
]
LAYERS = [published.flax_path(name) for name in NAMES]
NOISE = {published.flax_path(name): rules.gumbel(name) for name in NAMES}
# The stored maps leave out rows and columns, and two classes of three.
STEPS = {'cls_P3': 8, 'cls_P4': 4, 'cls_P5': 2, 'box_P3': 4, 'box_P4': 2}


def by_level(array):
  """`[B, A, ...]` over all anchors as `[B, H, W, 9, ...]` by level."""
  found, start = {}, 0
  for level in range(3, 8):
    side = SIZE[0] >> level
    end = start + side * side * 9
    shape = (len(array), side, side, 9, *array.shape[2:])
    found[f'P{level}'] = np.asarray(array[:, start:end]).reshape(shape)
    start = end
  assert start == array.shape[1]
  return found


def stored(outs):
  """Outputs of N frames in the layout of the references."""
  found = {}
  for name, whole in (
    ('cls', outs['classes'][..., ::3]),
    ('box', outs['boxes']),
  ):
    for level, values in by_level(whole).items():
      maps = published.nchw(values.reshape(*values.shape[:3], -1))
      step = STEPS.get(f'{name}_{level}', 1)
      found[f'{name}_{level}'] = maps[..., ::step, ::step]
  return found


def assert_published(outs, expected, prefix=''):
  own = stored(outs)
  assert len(own) == 10
  for name, values in own.items():
    reference = expected[prefix + name]
    np.testing.assert_allclose(values, reference, atol=1e-4, err_msg=name)


@pytest.fixture(scope='module')
def teacher():
  return convert.from_state_dict(NAME, published.plain_state(KEYS))


@pytest.fixture(scope='module')
def students(teacher):
  """Our own start of every student, without biases."""
  frame = jnp.zeros((1, *SIZE, 3))
  return jax.jit(DELTA.init)(jax.random.key(0), teacher, frame)


@pytest.fixture(scope='module')
def make_params(students):
  @functools.cache
  def make(variant, gate):
    if variant == 'rule':
      state = published.rule_state(KEYS, gate)
    else:
      state = published.init_state(KEYS, students, gate, low_rank=LOW_RANK)
    return convert.delta_from_state_dict(NAME, SPEC, state)

  return make


@pytest.fixture(scope='module')
def outs_of(make_params):
  """Outputs on two clips: frames 0 to 3, and frames 2, 3, 2, 3."""
  clip = rules.clip(*SIZE)
  clips = np.stack([clip, clip[[2, 3, 2, 3]]])
  apply = jax.jit(lambda params: DELTA.clip(params, clips)[0])
  return functools.cache(lambda *choice: apply(make_params(*choice)))


def test_the_teacher_is_the_published_network(teacher):
  outs = jax.jit(NET.apply)(teacher, rules.clip(*SIZE))
  assert_published(outs, published.load(NAME, 'teacher.npz'))


both = pytest.mark.parametrize('variant', ['rule', 'init'])


@both
@pytest.mark.parametrize(
  ('tag', 'gate'), [('Wb', -1.0), ('Wa', 1.0), ('mixed', 'mixed')]
)
def test_later_frames_are_the_published_ones(outs_of, variant, tag, gate):
  later = jax.tree.map(lambda x: x[0, 1:], outs_of(variant, gate))
  expected = published.load(NAME, f'delta_{variant}.npz')
  assert_published(later, expected, f'{tag}/')


@both
def test_clips_of_a_batch_are_the_published_ones(outs_of, variant):
  second = jax.tree.map(lambda x: x[:, 1], outs_of(variant, 'mixed'))
  expected = published.load(NAME, f'delta_{variant}.npz')
  assert_published(second, expected, 'mixed_N2_T2/')


def test_detections_are_the_published_ones(outs_of):
  outs = jax.tree.map(lambda x: x[0], outs_of('rule', 'mixed'))
  expected = published.load(NAME, 'detections_rule_mixed.npz')
  scale, reference = expected['img_scale'], expected['detections']
  # The published code takes (columns, rows) of the picture before it was scaled
  # into the frame, and gives (x, y, width, height) there, and classes from 1.
  size = (expected['img_size'] / scale[:, None])[:, ::-1]
  found = jax.jit(DETECTOR.detect)(None, outs, size)
  boxes = np.asarray(found.boxes) * scale[:, None, None]
  boxes[..., 2:] -= boxes[..., :2]
  np.testing.assert_allclose(boxes, reference[..., :4], atol=1e-4)
  np.testing.assert_allclose(found.scores, reference[..., 4], atol=1e-4)
  np.testing.assert_array_equal(found.classes + 1, reference[..., 5])
  anchors = expected['anchors'][:, [1, 0, 3, 2]]
  np.testing.assert_allclose(ANCHORS, anchors, atol=1e-4)


def true_boxes():
  """Boxes and classes of the training batch, in our form."""
  boxes, classes = rules.boxes(4)
  return boxes[..., [1, 0, 3, 2]], classes.astype(np.int32) - 1


def test_the_targets_of_anchors_are_the_published_ones():
  expected = published.load(NAME, 'train.npz')
  classes, codes, positives = anchor_targets(
    ANCHORS, *true_boxes(), published_padding=True
  )
  np.testing.assert_array_equal(positives, expected['num_positives'])
  for level, own in by_level(classes).items():
    np.testing.assert_array_equal(own, expected[f'cls_target_{level}'])
  for level, own in by_level(codes).items():
    reference = expected[f'box_target_{level}']
    np.testing.assert_allclose(own.reshape(reference.shape), reference, 1e-5)


def test_absent_boxes_change_no_target_by_default():
  boxes, classes = true_boxes()
  padded = anchor_targets(ANCHORS, boxes, classes, published_padding=False)
  for i in range(4):
    alone = anchor_targets(
      ANCHORS,
      boxes[i : i + 1, : i + 2],
      classes[i : i + 1, : i + 2],
      published_padding=False,
    )
    for mine, other in zip(padded, alone, strict=True):
      np.testing.assert_allclose(mine[i], other[0], atol=1e-6)


def prices(teacher):
  """Cost of the layers at the published frame size."""
  frame = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
  return DELTA.costs({'teacher': teacher}, frame)[1]


def test_layers_cost_the_published_share(teacher):
  macs = prices(teacher)
  assert sorted(macs) == sorted(LAYERS) and len(macs) == 68
  shares = np.array([macs[path] for path in LAYERS])
  expected = published.load(NAME, 'train.npz')['macs_share']
  np.testing.assert_allclose(shares / shares.sum(), expected, rtol=1e-5)


def objective(params, batch_stats, clips, frames, macs):
  """The published objective: its value, its parts, and the statistics."""
  teacher = {'params': params['teacher'], 'batch_stats': batch_stats}
  params = {**params, 'teacher': teacher}
  gates = {
    path: gating.relax(params['gates'][path], noise, SPEC.temperature)
    for path, noise in NOISE.items()
  }
  outs, aux = DELTA.clip(params, clips, train=True, gates=gates)
  errors = losses.last_calls(
    losses.distillation(aux.deltas, DELTA.reference(params, clips)[1])
  )
  errors = jnp.stack([errors[path].mean() for path in LAYERS])
  task = DETECTOR.losses(None, jax.tree.map(fold, outs), frames, None)
  # As published, only the full copy has a price: its teacher's.
  budgets = {
    name: losses.budget(gates, {k: (v, 0.0) for k, v in cost.items()}, cost)
    for name, cost in (
      ('cost_share', macs),
      ('cost_uniform', dict.fromkeys(macs, 1.0)),
    )
  }
  values = {
    'class_loss': task['classes'].mean(),
    'box_loss': task['boxes'].mean() / 50,
    'task': sum(loss.mean() for loss in task.values()),
    'dist_per_layer': errors,
    'dist_mean_raw': errors.mean(),
    'gates': jnp.stack([gates[path][0] for path in LAYERS]),
    **budgets,
  }
  distillation = (errors / jax.lax.stop_gradient(errors)).mean()
  values['total'] = (
    values['task'] + 100 * distillation + 10 * values['cost_share']
  )
  return values['total'], (values, aux.batch_stats)


@pytest.fixture(scope='module')
def run(teacher, make_params):
  """Parts, statistics and gradient of the published training step."""
  clips = np.stack(
    [rules.clip(*SIZE, 2, name) for name in ('trainA', 'trainB')]
  )
  boxes, classes = true_boxes()
  frames = {'boxes': boxes, 'classes': classes}
  # It runs twice, and would take minutes to optimise.
  gradient_of = jax.jit(
    jax.grad(objective, has_aux=True),
    compiler_options={'xla_backend_optimization_level': 0},
  )

  def double(x):
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype == np.float32 else x

  macs = prices(teacher)

  @functools.cache
  def step(variant):
    params = make_params(variant, 'spread')
    stats = params['teacher']['batch_stats']
    params = {**params, 'teacher': params['teacher']['params']}
    arguments = params, stats, clips, frames
    with jax.enable_x64(True):
      gradient, (values, stats) = gradient_of(
        *jax.tree.map(double, arguments), macs
      )
    return (
      values,
      stats,
      {**gradient, 'teacher': {'params': gradient['teacher']}},
    )

  return step


# The first of these compiles the step, which takes most of the file's time.
variants = pytest.mark.parametrize(
  'variant', [pytest.param('rule', marks=pytest.mark.slow), 'init']
)


@variants
def test_the_losses_of_a_step_are_the_published_ones(run, variant):
  expected, (values, _, _) = published.load(NAME, 'train.npz'), run(variant)
  assert len(values) == 9
  for name, value in values.items():
    reference = expected[f'{variant}_{name}']
    # Some layers of 'init' err by 1e-11 only.
    np.testing.assert_allclose(value, reference, 1e-4, 1e-12, err_msg=name)


@variants
def test_the_gradients_of_a_step_are_the_published_ones(run, variant):
  expected, (_, _, gradient) = published.load(NAME, 'train.npz'), run(variant)
  buffers = ('running_mean', 'running_var', 'num_batches_tracked')
  keys = [key for key, _, _ in KEYS if not key.endswith(buffers)]
  own = np.array(
    [
      np.linalg.norm(published.leaf_of(gradient, key, low_rank=LOW_RANK))
      for key in keys
    ]
  )
  reference = expected[f'{variant}_grad_norm']
  # Ours are exact here, so what is left is the rounding of the references: all
  # that they have where there is no gradient, in biases before a batch norm. It
  # is larger in 'init', where a layer's error of 1e-11 is divided by itself.
  rounding = reference[own < 1e-9].max()
  assert rounding < 5e-3
  # The weights of a fusion have small differences of large sums, of which
  # float32 gets three digits.
  digits = [2e-3 if key.endswith('edge_weights') else 1e-3 for key in keys]
  bound = np.array(digits) * reference + rounding
  wrong = np.abs(own - reference) > bound
  assert not wrong.any(), np.array(keys)[wrong]
  total = expected[f'{variant}_grad_norm_total_before_clip']
  np.testing.assert_allclose(np.linalg.norm(own), total, 1e-4)
  gates = np.array([gradient['gates'][path][0] for path in LAYERS])
  reference = expected[f'{variant}_gate_bias_grad']
  error = np.linalg.norm(gates - reference) / np.linalg.norm(reference)
  assert error < (1e-4 if variant == 'rule' else 1e-3)


@variants
def test_the_statistics_of_a_step_are_the_published_ones(run, variant):
  expected, (_, stats, _) = published.load(NAME, 'train.npz'), run(variant)
  keys = [key for key, _, _ in KEYS if key.endswith('.running_mean')]
  for leaf in ('mean', 'var'):
    own = []
    for key in keys:
      node = stats
      for part in module_path(key.removesuffix('.running_mean')):
        node = node[part]
      own.append(np.asarray(node[leaf]).sum())
    reference = expected[f'{variant}_bn_running_{leaf}_sum']
    np.testing.assert_allclose(own, reference, rtol=1e-4, atol=1e-4)
