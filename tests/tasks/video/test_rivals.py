"""Copying, and the network on smaller frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax import tasks
from deltax.delta import schedule
from deltax.delta.run.keyframes import phase_at
from deltax.tasks.video import rivals


@pytest.mark.parametrize(
  ('interval', 'phase'), [(1, 0), (3, 0), (4, 3), (9, 2)]
)
def test_copies_are_of_the_last_key_frame(interval, phase):
  keys = schedule.key_frames(schedule.fixed(interval, phase), 8)
  expected = [max(k for k in keys if k <= t) for t in range(8)]
  assert rivals.copied(jnp.arange(8)[None], interval, phase).tolist() == [
    expected
  ]


def test_the_last_frame_is_copied_from_every_distance():
  frames = jnp.arange(10)[None]
  for distance in range(5):
    phase = phase_at(9, distance, 5)
    assert rivals.copied(frames, 5, phase)[0, -1] == 9 - distance


def test_frames_of_one_colour_keep_it_when_they_are_shrunk():
  frames = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 12, 3), np.uint8)
  small = rivals.shrunk(jnp.asarray(frames), (8, 12))
  np.testing.assert_array_equal(small, frames)
  flat = np.full((1, 16, 32, 3), 77, np.uint8)
  assert np.unique(rivals.shrunk(jnp.asarray(flat), (4, 8))).tolist() == [77]


@pytest.fixture(scope='module')
def evaluated():
  """A delta network of nothing trained, and an evaluation batch."""
  rng = np.random.default_rng(0)
  batch = {
    'frames': rng.integers(0, 256, (1, 6, 32, 64, 3), np.uint8),
    'labels': rng.integers(0, 3, (1, 6, 32, 64)).astype(np.int32),
    'mask': np.ones(1, np.float32),
  }
  task = tasks.make_task(
    name='segmentation',
    model='ddrnet_tiny',
    num_classes=3,
    delta={'intervals': (3,)},
  )
  params, state = task.init(jax.random.key(0), batch)
  return task, params, state, batch


def test_segmentation_is_scored_beside_copies_of_the_key_frame(evaluated):
  task, params, state, batch = evaluated
  counts = task.evaluate(params, state, batch)
  teacher = np.asarray(counts['teacher/confusion'])
  copied = np.asarray(counts['copied_3/confusion'])
  np.testing.assert_array_equal(copied[:, ::3], teacher[:, ::3])
  # What is said of a frame is what was said of the key frame.
  np.testing.assert_array_equal(
    copied.sum(-2)[:, 1:3], np.repeat(teacher.sum(-2)[:, :1], 2, 1)
  )
  scores = task.summarise({k: np.sum(v, 0) for k, v in counts.items()})
  assert {'copied_3/miou', 'copied_3/miou_2'} <= set(scores)
