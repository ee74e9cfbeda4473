"""Faster R-CNN and its delta network against the published code's numbers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
import rules

from deltax import convert, models
from deltax.boxes.roi_align import roi_align
from deltax.delta import distill, make_spec

NAME = 'faster_rcnn_r101_dc5'
PREFIX = 'detector.'
NET = models.create(NAME, num_classes=30)
SPEC = make_spec(**convert.published_spec(NAME))
DELTA = distill(NET, SPEC)
GATES = {'Wb': -1.0, 'Wa': 1.0, 'mixed': None}


@pytest.fixture(scope='module')
def params():
  """Every weight from the rule, of teacher and students; mixed gates."""
  keys = published.load(NAME, 'delta_keys.json')
  state = {
    key.removeprefix(PREFIX): array
    for key, array in published.rule_state(keys).items()
  }
  return convert.delta_from_state_dict(NAME, SPEC, state)


@pytest.fixture(scope='module')
def initial(params):
  """Students as the published start has them: with the teacher's biases."""
  teacher = params['teacher']
  frame = jnp.zeros((1, 64, 64, 3))
  start = jax.jit(DELTA.init)(jax.random.key(0), teacher, frame)
  students = dict(start['students'])
  for path, own in students.items():
    layer = functools.reduce(dict.get, path.split('/'), teacher['params'])
    if 'bias' in layer:
      students[path] = {
        name: {**arrays, 'bias': layer['bias']} for name, arrays in own.items()
      }
  return {**params, 'students': students}


def with_heads(variables, run):
  """What the references hold, from `run() -> outputs` of the dense part."""
  rois = jnp.asarray(published.load(NAME, 'teacher.npz')['rois'])
  boxes = rois[:, 1:].reshape(4, 4, 4)
  stages = []

  def watch(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if context.module.name == 'backbone':
      stages.append(out)
    return out

  with nn.intercept_methods(watch):
    outs = run()
  regions = roi_align(outs['features'], boxes, stride=16)
  scores, codes = NET.apply(variables, outs['features'], boxes, method='heads')
  return {
    'c5': stages[-1][-1][:, ::2, ::2, ::32],
    'neck': outs['features'][:, ::2, ::2, ::8],
    'rpn_cls': outs['objectness'],
    'rpn_box': outs['codes'][:, ::2, ::2],
    'roi_feat': regions.reshape(-1, *regions.shape[2:])[..., ::64],
    'cls_score': scores.reshape(-1, scores.shape[-1]),
    'bbox_pred': codes.reshape(-1, codes.shape[-1]),
  }


@jax.jit
def apply_teacher(variables, frames):
  return with_heads(variables, lambda: NET.apply(variables, frames))


@jax.jit
def apply_delta(params, clip):
  def run():
    return jax.tree.map(lambda x: x[0], DELTA.clip(params, clip[None])[0])

  return with_heads(params['teacher'], run)


def check(outs, expected):
  assert set(outs) == set(expected) - {'rois'}
  for name, array in outs.items():
    array = published.nchw(array) if array.ndim == 4 else array
    # Of delta networks, maps of the key frame are not stored: the teacher's.
    array = array[-len(expected[name]) :]
    np.testing.assert_allclose(
      array, expected[name], rtol=0, atol=1e-3, err_msg=name
    )


def test_the_teacher_is_the_published_network(params):
  outs = apply_teacher(params['teacher'], rules.clip(128, 192))
  check(outs, published.load(NAME, 'teacher.npz'))


def gated(params, gate):
  if gate is None:
    return params
  fill = functools.partial(jnp.full_like, fill_value=gate)
  return {**params, 'gates': jax.tree.map(fill, params['gates'])}


def expected_of(variant, tag):
  arrays = published.load(NAME, f'delta_{variant}.npz')
  return {
    name.removeprefix(f'{tag}/'): array
    for name, array in arrays.items()
    if name.startswith(f'{tag}/')
  }


@pytest.mark.slow  # the first compiles the pass
@pytest.mark.parametrize('tag', GATES)
def test_later_frames_are_the_published_ones(params, tag):
  outs = apply_delta(gated(params, GATES[tag]), rules.clip(128, 192))
  check(outs, expected_of('rule', tag))


@pytest.mark.slow  # the first decomposes all kernels
@pytest.mark.parametrize('tag', GATES)
def test_the_published_start_gives_the_published_frames(initial, tag):
  outs = apply_delta(gated(initial, GATES[tag]), rules.clip(128, 192))
  check(outs, expected_of('init', tag))


def test_the_published_convolutions_have_students():
  shapes = jax.eval_shape(
    NET.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )
  init = functools.partial(DELTA.init, jax.random.key(0))
  params = jax.eval_shape(init, shapes, jnp.zeros((1, 64, 64, 3)))
  keys = [key for key, *_ in published.load(NAME, 'delta_keys.json')]
  layers = [
    key.removeprefix(PREFIX).removesuffix('.g_gate.bias')
    for key in keys
    if key.endswith('.g_gate.bias')
  ]
  assert len(layers) == 105
  assert set(params['students']) == {published.flax_path(l) for l in layers}
