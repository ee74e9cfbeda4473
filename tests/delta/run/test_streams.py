"""Streams out of step give what each gives alone, and pay for no more."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Spec
from deltax.delta.run import keyframes, streams
from deltax.delta.students.layers import Skip


def counted(interval, phases):
  """Streams of numbers whose calls are noted: (what, streams of the call)."""
  calls = []

  def keyframe(params, frames):
    calls.append(('key', len(frames)))
    return frames, frames

  def step(params, carry, frames):
    calls.append(('later', len(frames)))
    return carry, carry

  return streams.parallel(keyframe, step, phases, interval), calls


@pytest.mark.parametrize('count', [1, 2, 3, 7, 12])
@pytest.mark.parametrize('interval', [1, 3, 4, 10])
def test_phases_are_spread_evenly(count, interval):
  phases = streams.staggered(count, interval)
  assert len(phases) == count
  assert phases[0] == 0
  sizes = np.bincount(phases, minlength=interval)
  assert len(sizes) == interval
  assert sizes.max() - sizes.min() <= 1
  gaps = np.diff([*phases, interval])
  assert gaps.max() - gaps.min() <= 1


def test_every_stream_gives_what_it_gives_alone(make_case):
  case = make_case()
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  clip = jax.random.normal(jax.random.key(5), (5, 6, 24, 32, 3))
  phases = streams.staggered(5, 3)
  live = streams.parallel(
    jax.jit(frozen.keyframe),
    jax.jit(frozen.step, donate_argnums=1),
    phases,
    3,
  )
  state, outs, is_key = live.start, [], []
  for t in range(clip.shape[1]):
    state, out, keyed = live.tick(frozen.params, state, clip[:, t])
    outs.append(out)
    is_key.append(keyed)
  alone = jax.jit(lambda p, c, phase: frozen.rollout(p, c, 3, phase=phase))
  for i, phase in enumerate(phases):
    expected = alone(frozen.params, clip[i : i + 1], phase)
    expected = jax.tree.map(lambda x: x[0], expected)
    found = jax.tree.map(lambda *x, i=i: jnp.stack([y[i] for y in x]), *outs)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-4), found, expected
    )
    assert [t for t in range(6) if is_key[t][i]] == [
      t for t in range(6) if t == 0 or (t + phase) % 3 == 0
    ]


def test_no_two_groups_have_a_key_frame_in_one_tick():
  live, calls = counted(4, streams.staggered(4, 4))
  state = live.start
  for t in range(9):
    del calls[:]
    state, _, is_key = live.tick(None, state, jnp.ones((4, 1, 1, 1)))
    assert calls.count(('key', 1)) == is_key.sum() == (4 if t == 0 else 1)
    assert calls.count(('later', 1)) == 4 - is_key.sum()


def test_streams_in_step_are_one_call():
  live, calls = counted(3, [0] * 5)
  state = live.start
  for _ in range(7):
    state, *_ = live.tick(None, state, jnp.ones((5, 1, 1, 1)))
  assert [what for what, count in calls] == [
    *('key', 'later', 'later', 'key', 'later', 'later', 'key')
  ]
  assert {count for _, count in calls} == {5}


def flops(function, *args):
  return jax.jit(function).lower(*args).compile().cost_analysis()['flops']


def test_groups_save_the_work_that_a_mapped_choice_does_not(make_case):
  case = make_case(Spec(candidates=(Skip(),)))
  frozen = case.delta.freeze(case.params, case.clip[:, 0])
  count, interval, params = 4, 4, frozen.params
  frames = jnp.ones((count, 24, 32, 3))
  live = keyframes.scheduled(
    frozen.keyframe, frozen.step, keyframes.fixed(interval)
  )
  one = frames[:1]
  state, _ = jax.eval_shape(live.start, params, one)
  each = jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), state)
  mapped = flops(
    jax.vmap(live.advance, in_axes=(None, 0, 0)),
    *(params, each, frames[:, None]),
  )
  key = flops(frozen.keyframe, params, one)
  later = flops(frozen.step, params, state['carry'], one)
  assert later < key / 2
  # Both branches for every stream.
  assert mapped > 0.95 * count * (key + later)

  ran = []

  def costing(function):
    def run(*args):
      ran.append(flops(function, *args))
      return jax.jit(function)(*args)

    return run

  grouped = streams.parallel(
    costing(frozen.keyframe),
    costing(frozen.step),
    streams.staggered(count, interval),
    interval,
  )
  state, *_ = grouped.tick(params, grouped.start, frames)
  np.testing.assert_allclose(sum(ran), count * key, rtol=0.02)
  del ran[:]
  grouped.tick(params, state, frames)
  np.testing.assert_allclose(sum(ran), key + (count - 1) * later, rtol=0.02)


def test_staggered_streams_cut_the_slowest_ticks_of_a_clock(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, 'perf_counter', lambda: now[0])

  def costing(seconds, returned):
    def run(*args):
      now[0] += seconds * len(args[-1])
      return returned(*args)

    return run

  key = costing(0.010, lambda params, frames: (frames, frames))
  step = costing(0.002, lambda params, carry, frames: (carry, carry))
  found = {}
  for name, phases in (('at once', [0] * 5), ('staggered', range(5))):
    times = streams.tick_times(
      streams.parallel(key, step, phases, 5),
      *(None, jnp.ones((5, 1, 1, 1))),
      warm_up=6,
      ticks=100,
    )
    assert times.shape == (100,)
    found[name] = streams.percentiles(times)
    np.testing.assert_allclose(times.mean(), 18.0)
  assert found['at once'] == pytest.approx({'p50': 10, 'p95': 50, 'p99': 50})
  assert found['staggered'] == pytest.approx({'p50': 18, 'p95': 18, 'p99': 18})


@pytest.mark.parametrize('phases', [[], [0, 2, 1], [0, 3], [-1, 0]])
def test_phases_out_of_order_or_range_are_refused(phases):
  with pytest.raises(ValueError, match='ascend from 0 to 2'):
    counted(3, phases)


def test_frames_for_another_number_of_streams_are_refused():
  live, _ = counted(3, [0, 1])
  with pytest.raises(ValueError, match='3 frames for 2 streams'):
    live.tick(None, live.start, jnp.ones((3, 1, 1, 1)))
  with pytest.raises(ValueError, match=r'expected \[B, H, W, C\]'):
    live.tick(None, live.start, jnp.ones((2, 1, 1)))


def test_outputs_may_be_any_tree():
  both = functools.partial(jax.tree.map, lambda x: x)
  live = streams.parallel(
    lambda params, x: (x, both({'a': x, 'b': [x + 1]})),
    lambda params, carry, x: (carry, both({'a': x, 'b': [carry]})),
    [0, 1],
    2,
  )
  frames = jnp.arange(2.0).reshape(2, 1, 1, 1)
  state, outs, _ = live.tick(None, live.start, frames)
  assert outs['b'][0].ravel().tolist() == [1.0, 2.0]
  _, outs, is_key = live.tick(None, state, frames)
  assert is_key.tolist() == [False, True]
  assert outs['b'][0].ravel().tolist() == [0.0, 2.0]
