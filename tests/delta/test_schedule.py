"""One rule says when a frame is a key frame, to whoever asks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Frozen, Streamer, streams
from deltax.delta.references import KeyFrame, times_of
from deltax.delta.run import keyframes
from deltax.delta.schedule import (
  check_frames,
  fixed,
  key_frames,
  roll,
  roll_fixed,
  when,
)

COUNT = 12


def keyframe(params, frame):
  """A network that tells key frames: 1 on them, 0 on later ones."""
  del params
  return frame[..., :1], jnp.ones((len(frame),))


def step(params, carry, frame):
  del params
  return carry, jnp.zeros((len(frame),))


def expected(interval, phase):
  return [t for t in range(COUNT) if t == 0 or (t + phase) % interval == 0]


def told(outs):
  return np.flatnonzero(np.asarray(outs).ravel()).tolist()


@pytest.mark.parametrize(
  ('interval', 'phase'), [(1, 0), (3, 0), (3, 2), (5, 1), (12, 0), (30, 4)]
)
def test_all_who_ask_get_the_same_answer(interval, phase):
  keys, clip = expected(interval, phase), jnp.ones((1, COUNT, 2, 2, 3))
  schedule = fixed(interval, phase)
  assert key_frames(schedule, COUNT) == keys

  def first(frame):
    return keyframe(None, frame)

  def later(carry, frame):
    return step(None, carry, frame)

  outs, is_key = roll(first, later, schedule, clip)
  assert told(outs) == told(is_key) == keys
  assert told(roll_fixed(first, later, clip, interval, phase)) == keys
  traced = jax.jit(lambda n, p: roll_fixed(first, later, clip, n, p))
  assert told(traced(interval, phase)) == keys
  live = keyframes.scheduled(keyframe, step, schedule)
  assert told(live.rollout(None, clip)[1]) == keys
  streamer = Streamer(Frozen({}, keyframe, step, None), schedule=schedule)
  pushed = [
    (streamer.push(clip[0, t]), streamer.is_key)[1] for t in range(COUNT)
  ]
  assert told(pushed) == keys
  if phase < interval:
    parallel = streams.parallel(keyframe, step, [phase], interval)
    state, answers = parallel.start, []
    for t in range(COUNT):
      state, _, is_key = parallel.tick(None, state, clip[:, t])
      answers.append(is_key[0])
    assert told(answers) == keys


@pytest.mark.parametrize('interval', [2, 5])
def test_a_phase_puts_a_frame_at_a_distance(interval):
  for distance in range(interval):
    phase = keyframes.phase_at(COUNT - 1, distance, interval)
    keys = key_frames(fixed(interval, phase), COUNT)
    assert COUNT - 1 - keys[-1] == distance


def test_a_function_is_a_schedule():
  schedule = when(lambda features, since: since == 4)
  assert key_frames(schedule, COUNT) == [0, 4, 8]


def test_the_frames_of_a_clip_are_divided():
  times = times_of(5, [0, 3], KeyFrame())
  assert times == ([0, 3], [1, 2, 4], [0, 0, 3])
  clip = jnp.arange(5.0)[None, :, None]
  changes = clip[:, jnp.array(times.others)] - times.before(clip)
  whole = times.assemble(clip[:, jnp.array(times.keys)], changes)
  np.testing.assert_array_equal(whole, clip)


def test_what_is_no_interval_or_no_clip_is_refused():
  with pytest.raises(ValueError, match='at least 1, got 0'):
    fixed(0)
  with pytest.raises(ValueError, match=r'expected \[B, T, H, W, C\]'):
    check_frames(jnp.ones((2, 3)), 5)
