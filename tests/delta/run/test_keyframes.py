"""Schedules choose key frames by their rule, and change nothing else."""

import argparse
import functools
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import models
from deltax.delta import Spec, distill
from deltax.delta.run import keyframes
from deltax.delta.run.keyframes import (
  adaptive,
  calibrate,
  fixed,
  keys,
  travelled,
)
from deltax.delta.students.layers import Skip
from deltax.layers import forms

NUMBERS = np.random.default_rng(0).uniform(0.5, 1.5, (30, 3)).astype(np.float32)


def slow_keys(rule, features):
  """Key frames one by one; `rule(features since and with the key frame)`."""
  found, last = [True], 0
  for t in range(1, len(features)):
    found.append(bool(rule(features[last : t + 1])))
    last = t if found[-1] else last
  return found


@pytest.mark.parametrize(
  ('schedule', 'rule'),
  [
    (fixed(4), lambda x: len(x) > 4),
    (fixed(1), lambda x: True),
    (
      adaptive(0.4, 5),
      lambda x: (
        np.abs(x[-1] - x[0]).mean() / np.abs(x[0]).mean() > 0.4 or len(x) > 5
      ),
    ),
    (adaptive(100.0, 3), lambda x: len(x) > 3),
  ],
)
def test_a_schedule_is_its_rule_frame_by_frame(schedule, rule):
  found = jax.jit(functools.partial(keys, schedule))(NUMBERS)
  assert found.tolist() == slow_keys(rule, NUMBERS)
  assert 1 < sum(found.tolist())


def test_travelled_adds_up_what_follows_the_key_frame_and_not_its_own():
  numbers = NUMBERS[:, 0]
  found = keys(travelled(3.0, 4), numbers).tolist()
  assert found == slow_keys(lambda x: x[1:].sum() > 3.0 or len(x) > 4, numbers)
  # Both reasons occur: the sum, and the longest interval.
  assert {3, 4} <= set(np.diff(np.flatnonzero(found)).tolist())


def test_a_still_scene_waits_and_a_cut_does_not():
  still = np.ones((10, 4, 4, 2), np.float32)
  cut = np.concatenate([still[:6], 5 * still[:4]])
  assert np.flatnonzero(keys(adaptive(0.1, 100), still)).tolist() == [0]
  assert np.flatnonzero(keys(adaptive(0.1, 100), cut)).tolist() == [0, 6]


def test_black_frames_are_no_change_and_light_after_them_is_one():
  dark = np.zeros((6, 3), np.float32)
  dark[4:] = 0.01
  assert np.flatnonzero(keys(adaptive(10.0, 100), dark)).tolist() == [0, 4]


def test_a_feature_that_is_no_number_makes_a_key_frame_at_once():
  broken = np.ones((8, 3), np.float32)
  broken[3, 0] = np.nan
  # The frame after it has nothing to be compared with.
  assert np.flatnonzero(keys(adaptive(0.5, 9), broken)).tolist() == [0, 3, 4]
  assert np.flatnonzero(keys(travelled(99.0, 9), broken[:, 0])).tolist() == [
    *(0, 3)
  ]


def test_every_array_of_the_features_counts_the_same():
  held = {'large': jnp.full((50,), 100.0), 'small': jnp.ones((2, 1))}
  now = {'large': jnp.full((50,), 110.0), 'small': jnp.full((2, 1), 1.3)}
  change = keyframes.relative_change(now, held)
  np.testing.assert_allclose(change, (0.1 + 0.3) / 2, rtol=1e-6)


@pytest.mark.parametrize('wrong', [fixed, lambda n: adaptive(0.1, n)])
def test_an_interval_below_one_frame_is_refused(wrong):
  with pytest.raises(ValueError, match='at least 1, got 0'):
    wrong(0)


@pytest.mark.parametrize('make', [adaptive, travelled])
def test_a_negative_threshold_is_refused(make):
  with pytest.raises(ValueError, match=r'threshold of at least 0, got -0\.1'):
    make(-0.1, 5)


@pytest.mark.parametrize('share', [0.6, 0.3, 0.15])
def test_a_calibrated_threshold_gives_the_share_and_a_smaller_one_more(share):
  clips = [NUMBERS[:20], NUMBERS[20:]]

  def found(threshold):
    every = [keys(adaptive(threshold, 15), clip) for clip in clips]
    return np.concatenate(every).mean()

  threshold = calibrate(lambda x: adaptive(x, 15), clips, share)
  assert found(threshold) <= share < found(threshold * 0.999)


def test_a_threshold_above_one_is_found_too():
  threshold = calibrate(lambda x: travelled(x, 50), [NUMBERS[:, 0]], 0.1)
  assert 8 < threshold < 18


def test_an_infinite_step_is_a_key_frame_under_any_threshold():
  cut = np.where(np.arange(12) == 7, np.inf, 1.0).astype(np.float32)
  assert np.flatnonzero(keys(travelled(1e30, 99), cut)).tolist() == [0, 7]
  assert calibrate(lambda x: travelled(x, 99), [cut], 2 / 12) < 10
  with pytest.raises(ValueError, match=r'only 8.3% .* cuts'):
    calibrate(lambda x: travelled(x, 99), [cut], 1 / 12)


def test_a_share_that_no_threshold_reaches_is_refused():
  with pytest.raises(ValueError, match=r'only 10.0% of these frames'):
    calibrate(lambda x: adaptive(x, 5), [NUMBERS], 0.1)


def test_a_fixed_schedule_is_the_rollout_with_that_interval(case):
  live = keyframes.scheduled(case.delta.keyframe, case.delta.step, fixed(3))
  outs, is_key = jax.jit(live.rollout)(case.params, case.clip)
  expected = jax.jit(lambda p, c: case.delta.rollout(p, c, 3))(
    case.params, case.clip
  )
  assert np.flatnonzero(is_key).tolist() == [0, 3, 6]
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-5), outs, expected
  )


def test_an_adaptive_network_advances_as_its_rollout_does(make_case):
  case = make_case()
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  look = keyframes.early_layers(case.net, ['stem'], 2)
  features = [
    look(case.params['teacher'], frame)
    for frame in jnp.moveaxis(case.clip, 1, 0)
  ]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *features)
  schedule = adaptive(
    calibrate(lambda x: adaptive(x, 100), [stacked], 3.5 / 7), 100
  )
  live = keyframes.scheduled(frozen.keyframe, frozen.step, schedule)
  start, advance = jax.jit(live.start), jax.jit(live.advance)
  state, out = start(frozen.params, case.clip[:, 0], features[0])
  outs, found = [out], [True]
  for t in range(1, 7):
    state, out, is_key = advance(
      frozen.params, state, case.clip[:, t], features[t]
    )
    outs.append(out)
    found.append(bool(is_key))
  rolled, is_key = jax.jit(live.rollout)(frozen.params, case.clip, stacked)
  assert found == is_key.tolist() == keys(schedule, stacked).tolist()
  assert 1 < sum(found) < 7
  for t, out in enumerate(outs):
    jax.tree.map(
      lambda a, b, t=t: np.testing.assert_allclose(a, b[:, t], atol=1e-4),
      out,
      rolled,
    )


def test_early_layers_are_those_of_the_network_on_the_smaller_picture(
  make_case,
):
  case = make_case()
  frame = case.clip[:, 0, :, :31]  # columns that fill no square
  small = frame[:, :, :30].reshape(2, 8, 3, 10, 3, 3).mean((2, 4))
  look = keyframes.early_layers(case.net, ['down', 'stem', 'shared:1'], 3)
  found = look(case.params['teacher'], frame)
  _, kept = case.net.apply(
    case.params['teacher'],
    small,
    capture_intermediates=lambda module, _: (
      module.name in ('stem', 'down', 'shared')
    ),
  )
  outs = {name: own['__call__'] for name, own in kept['intermediates'].items()}
  for name, call in (('stem', 0), ('down', 0), ('shared', 1)):
    np.testing.assert_allclose(
      found[f'{name}:1' if call else name], outs[name][call], atol=1e-5
    )
  assert len(found) == 3


@pytest.fixture(scope='module')
def tiny():
  """A network, and the shapes of its variables and of a frame."""
  net = models.create('ddrnet23_tiny', num_classes=5)
  frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  return net, jax.eval_shape(net.init, jax.random.key(1), frame), frame


def test_early_layers_cost_nothing_of_the_network_behind_them(tiny):
  net, variables, frame = tiny

  def flops(function):
    with forms.forms_for(forms.PLAIN):  # others multiply more, to be faster
      compiled = jax.jit(function).lower(variables, frame).compile()
    return compiled.cost_analysis()['flops']

  first = flops(keyframes.early_layers(net, ['conv1_0'], 1))
  small = flops(keyframes.early_layers(net, ['conv1_0'], 4))
  both = flops(keyframes.early_layers(net, ['conv1_0', 'conv1_3'], 1))
  sizes = [
    variables['params'][name]['kernel'].size for name in ('conv1_0', 'conv1_3')
  ]
  # A multiplication and an addition a weight and pixel, less at the border.
  np.testing.assert_allclose(first, 2 * 32 * 32 * sizes[0], rtol=0.1)
  np.testing.assert_allclose(both - first, 2 * 16 * 16 * sizes[1], rtol=0.2)
  assert small < first / 5


def test_features_may_be_of_any_size_that_the_network_takes(tiny):
  net, variables, frame = tiny
  look = keyframes.early_layers(net, ['conv1_0'], 8)
  found = jax.eval_shape(look, variables, frame)
  assert found['conv1_0'].shape[:3] == (1, 4, 4)
  with pytest.raises(ValueError, match='64 x 64 pixels cannot be averaged'):
    jax.eval_shape(
      keyframes.early_layers(net, ['conv1_0'], 65), variables, frame
    )


def test_an_unknown_layer_is_named_with_those_there_are(tiny):
  net, variables, frame = tiny
  look = keyframes.early_layers(net, ['conv1_0', 'conv9'], 1)
  with pytest.raises(ValueError, match="'conv9'; known: conv1_0, conv1_3"):
    jax.eval_shape(look, variables, frame)
  with pytest.raises(ValueError, match='at least one convolution'):
    keyframes.early_layers(net, [], 1)


def test_the_network_is_whole_after_a_look_that_ended_early(tiny):
  net, variables, frame = tiny
  before = jax.eval_shape(net.apply, variables, frame)
  jax.eval_shape(
    keyframes.early_layers(net, ['layer1_0/conv1'], 1), variables, frame
  )
  assert jax.eval_shape(net.apply, variables, frame) == before


@pytest.fixture(scope='module')
def benchmark_of_schedules():
  root = pathlib.Path(__file__).parents[3]
  return runpy.run_path(str(root / 'benchmarks' / 'schedules.py'))


def test_the_benchmark_compares_schedules_at_equal_cost(
  benchmark_of_schedules, tiny
):
  net, shapes, frame = tiny
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.uniform(0.01, 0.1, x.shape).astype(x.dtype), shapes
  )
  delta = distill(net, Spec(candidates=(Skip(),)))
  params = delta.init(jax.random.key(2), variables, frame)
  network = benchmark_of_schedules['Network'](
    *(net, variables, delta.freeze(params, frame), delta, params, 'abcde')
  )
  # The first clip moves more and more, the second hardly.
  picture = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
  frames = np.stack(
    [
      [np.roll(picture, t * t // slow, 1) for t in range(10)]
      for slow in (4, 20)
    ]
  )
  labels = rng.integers(0, 5, (2, 10, 64, 64), np.uint8)
  clips = [
    {'frames': frames, 'labels': labels}
    for frames, labels in zip(frames, labels, strict=True)
  ]
  options = argparse.Namespace(
    layers=['conv1_0'], scale=4, intervals=[2], longest=10
  )
  alone, fixed, layers, motion = benchmark_of_schedules['compare'](
    network, clips, options
  )
  macs = delta.macs(params, frame)
  assert alone['agreement'] == alone['key_share'] == 1
  assert alone['gmacs'] == macs.key / 1e9
  assert fixed['key_share'] == 0.5
  assert fixed['gmacs'] == pytest.approx((macs.key + macs.later) / 2e9)
  for row in (layers, motion):
    assert 0.1 < row['key_share'] <= 0.5
    assert 0 <= row['miou'] <= 1

  def cost(row):
    share = row['key_share']
    return (share * macs.key + (1 - share) * macs.later) / 1e9

  assert motion['gmacs'] == pytest.approx(cost(motion))
  # Looking at a sixteenth of the pixels costs something, and not much.
  assert cost(layers) < layers['gmacs'] < 1.05 * cost(layers)


def test_a_clip_that_stops_and_goes_shows_every_frame_and_rests(
  benchmark_of_schedules,
):
  frames = np.full((7, 2, 2, 3), 100, np.uint8)
  frames += 10 * np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
  labels = np.arange(7, dtype=np.uint8)
  (found,) = benchmark_of_schedules['stop_and_go'](
    [{'frames': frames, 'labels': labels}]
  )
  shown = [0, 1, 2, *[3] * 8, 4, 5, 6]
  assert found['labels'].tolist() == shown
  assert np.abs(found['frames'] - frames[shown].astype(int)).max() < 10
