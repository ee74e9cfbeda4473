"""A stream gives what a loop over the pure functions gives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.delta import Frozen, LowRank, Spec, distill
from deltax.delta.run.keyframes import when
from deltax.delta.run.streamer import Streamer

FRAMES = np.random.default_rng(0).standard_normal((7, 2, 16, 24, 3))
FRAMES = FRAMES.astype(np.float32)


class Small(nn.Module):
  """Two outputs, one without rows and columns."""

  @nn.compact
  def __call__(self, x, train=False):
    for _ in range(3):
      x = nn.relu(nn.Conv(8, (3, 3))(x))
    return {'map': nn.Conv(4, (1, 1))(x), 'mean': x.mean((1, 2))}


def frozen_of(reference):
  net, frame = Small(), FRAMES[0]
  delta = distill(net, Spec(candidates=(LowRank(2),), reference=reference))
  teacher = net.init(jax.random.key(0), frame)
  params = delta.init(jax.random.key(1), teacher, frame)
  return delta.freeze(params, frame)


@pytest.fixture(scope='module')
def frozen():
  return frozen_of('key')


def loop(frozen, frames, keys):
  keyframe, step = jax.jit(frozen.keyframe), jax.jit(frozen.step)
  carry, outs = None, []
  for t, frame in enumerate(frames):
    if t in keys:
      carry, out = keyframe(frozen.params, frame)
    else:
      carry, out = step(frozen.params, carry, frame)
    outs.append(out)
  return outs


def close(found, expected):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), found, expected
  )


def counted(frozen):
  """The network, and how often each of its functions was traced."""
  traced = []

  def keyframe(*given):
    traced.append('key')
    return frozen.keyframe(*given)

  def step(*given):
    traced.append('step')
    return frozen.step(*given)

  return frozen._replace(keyframe=keyframe, step=step), traced


@pytest.mark.parametrize('reference', ['key', 'previous', 'none'])
def test_a_stream_equals_a_loop_over_keyframe_and_step(reference):
  frozen = frozen_of(reference)
  streamer = Streamer(frozen, interval=3)
  assert not streamer.is_key
  found, keys = [], []
  for t, frame in enumerate(FRAMES):
    found.append(streamer.push(frame))
    if streamer.is_key:
      keys.append(t)
  assert keys == [0, 3, 6]
  close(found, loop(frozen, FRAMES, keys))


def test_a_frame_without_a_batch_axis_gives_outputs_without_one(frozen):
  streamer = Streamer(frozen, interval=3)
  found = [streamer.push(frame[0]) for frame in FRAMES]
  assert found[0]['map'].shape == (16, 24, 4)
  expected = loop(frozen, FRAMES[:, :1], {0, 3, 6})
  close(found, jax.tree.map(lambda x: x[0], expected))


def test_both_programs_are_compiled_once_and_before_the_first_frame(frozen):
  network, traced = counted(frozen)
  streamer = Streamer(network, interval=2)
  streamer.warm_up(FRAMES[0].shape)
  before = list(traced)
  assert set(before) == {'key', 'step'}
  for frame in FRAMES:
    streamer.push(frame)
  streamer.reset()
  streamer.push(FRAMES[0])
  assert traced == before


def test_after_a_reset_comes_a_key_frame(frozen):
  streamer = Streamer(frozen, interval=5)
  first = streamer.push(FRAMES[0])
  streamer.push(FRAMES[1])
  assert not streamer.is_key
  streamer.reset()
  close(streamer.push(FRAMES[0]), first)
  assert streamer.is_key
  keys = []
  for frame in FRAMES[1:6]:
    streamer.push(frame)
    keys.append(streamer.is_key)
  assert keys == [False] * 4 + [True]


def test_a_schedule_decides_in_place_of_the_interval(frozen):
  asked = []

  def schedule(frame, since):
    asked.append((frame[0, 0, 0, 0], since))
    return jnp.asarray(since == 3 or frame[0, 0, 0, 0] > 1)

  first = [0, 0, 2, 0, 0, 0, 0]
  frames = [np.full(FRAMES.shape[1:], x, np.float32) for x in first]
  streamer = Streamer(frozen, interval=1, schedule=when(schedule))
  keys = []
  for frame in frames:
    streamer.push(frame)
    keys.append(streamer.is_key)
  assert keys == [True, False, True, False, False, True, False]
  assert asked == list(zip(first[1:], [1, 2, 1, 2, 3, 1], strict=True))


def test_the_frames_and_outputs_of_others_are_not_given_away(frozen):
  """What is given away is the carry alone, also where a frame is all of it."""
  kept = Frozen({}, lambda p, x: ({'x': x}, x), lambda p, c, x: (c, x), None)
  for network in (frozen, kept):
    streamer = Streamer(network, interval=3)
    frames = [jnp.asarray(frame) for frame in FRAMES]
    outs = [streamer.push(frame) for frame in frames]
    np.testing.assert_array_equal(np.stack(frames), FRAMES)
    assert all(not x.is_deleted() for x in jax.tree.leaves(outs))
  np.testing.assert_array_equal(np.stack(outs), FRAMES)


def test_the_carry_stays_where_it_is(frozen):
  """A step writes where the last carry lay: nothing is copied."""
  streamer = Streamer(frozen, interval=5)

  def places():
    leaves = jax.tree.leaves(streamer._carry)
    return {x.unsafe_buffer_pointer() for x in leaves}

  streamer.push(FRAMES[0])
  start = places()
  assert start
  for frame in FRAMES[1:5]:
    streamer.push(frame)
    assert places() == start


@pytest.mark.parametrize(
  ('frame', 'told'),
  [
    (FRAMES[0, :, :8], r'float32 \[2, 8, 24, 3\]'),
    (FRAMES[0, 0], r'float32 \[16, 24, 3\]'),
    (FRAMES[0].astype(np.uint8), r'uint8 \[2, 16, 24, 3\]'),
  ],
)
def test_other_frames_than_before_are_refused_and_the_stream_goes_on(
  frame, told, frozen
):
  streamer = Streamer(frozen)
  streamer.push(FRAMES[0])
  expected = rf'frames of float32 \[2, 16, 24, 3\], got {told}'
  with pytest.raises(ValueError, match=expected):
    streamer.push(frame)
  streamer.push(FRAMES[1])
  assert not streamer.is_key


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
def test_a_frame_with_nan_is_refused_and_the_stream_goes_on(frozen, wrong):
  streamer, expected = (Streamer(frozen) for _ in range(2))
  bad = FRAMES[1].copy()
  bad[1, 3, 5, 2] = wrong
  bad[0, 0, 0, 0] = -wrong
  streamer.push(FRAMES[0])
  expected.push(FRAMES[0])
  with pytest.raises(ValueError, match='a frame has NaN or infinite values'):
    streamer.push(bad)
  close(streamer.push(FRAMES[1]), expected.push(FRAMES[1]))
  assert not streamer.is_key


def test_what_is_no_frame_is_refused(frozen):
  with pytest.raises(ValueError, match=r'\[B, H, W, C\], got \[7, 2, 16, 24'):
    Streamer(frozen).push(FRAMES)
  with pytest.raises(ValueError, match='at least 1, got 0'):
    Streamer(frozen, interval=0)
