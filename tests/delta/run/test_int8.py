"""ONNX models of int8 give nearly what those of float32 give."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exported import RUN, frames_of

from deltax.delta import distill, make_spec
from deltax.delta.export import export
from deltax.delta.run.int8 import in_int8

pytest.importorskip('onnxruntime')

SHAPE = (1, 32, 48, 3)


@pytest.fixture(scope='module')
def programs():
  net = nn.Sequential(
    [nn.Conv(16, (3, 3), strides=2), nn.relu, nn.Conv(16, (3, 3)), nn.relu]
    + [nn.Conv(8, (3, 3)), nn.relu, nn.Conv(5, (1, 1))]
  )
  frame = jnp.zeros(SHAPE)
  variables = net.init(jax.random.key(0), frame)
  delta = distill(net, make_spec(candidates=(('low_rank', 2),)))
  params = delta.init(jax.random.key(1), variables, frame)
  return export(delta.freeze(params, frame), SHAPE, form='onnx')


def error(programs, found, frames):
  """Of each frame the root mean square, in units of the outputs' spread."""
  (expected,) = RUN['onnx'](programs, frames)
  (made,) = RUN['onnx'](found, frames)
  spread = expected - expected.mean((0, 1, 2, 3))
  rms = np.sqrt(np.square(made - expected).mean((1, 2, 3, 4)))
  return rms / np.sqrt(np.square(spread).mean())


def test_key_and_later_frames_are_nearly_the_same(programs):
  found = in_int8(programs, [frames_of(SHAPE)])
  for name, program in programs.items():
    assert found[name]._replace(content=b'') == program._replace(content=b'')
  missed = error(programs, found, frames_of(SHAPE))
  assert missed.shape == (3,)
  assert (missed > 0).all() and (missed < 0.1).all()


def test_ranges_are_those_of_the_clips(programs):
  found = in_int8(programs, [0.01 * frames_of(SHAPE)])
  assert (error(programs, found, frames_of(SHAPE)) > 0.5).all()


@pytest.mark.parametrize('clips', [[], [np.zeros((1, *SHAPE), np.float32)]])
def test_clips_without_a_later_frame_are_refused(clips, programs):
  with pytest.raises(ValueError, match='two frames or more'):
    in_int8(programs, clips)
