"""Frames as networks are shown them, prepared as their users say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deltax.errors import DeltaxError
from deltax.models.inputs import MEAN, STD, make_preparation, normalise

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
FILE = """
import jax.numpy as jnp
import numpy as np
def good(frames):
  return frames[..., ::-1].astype(jnp.float32) - 100
def grey(frames):
  return frames.mean(-1, keepdims=True) / 255
def raw(frames):
  return frames
def small(frames):
  return frames[..., ::2, ::2, :] / 255
def flat(frames):
  return frames.mean(-1)
def two(frames):
  return frames / 255, frames
def numpy(frames):
  return np.asarray(frames) / 255
def batched(frames):
  b, h, w, c = frames.shape
  return frames / 255
"""


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    (
      {'scale': 1 / 255, 'mean': MEAN, 'std': STD},
      lambda x: (x / 255 - np.array(MEAN)) / np.array(STD),
    ),
    (
      {'mean': (104, 117, 123), 'bgr': True},
      lambda x: x[..., ::-1] - np.array([104.0, 117.0, 123.0]),
    ),
    ({'scale': 1 / 127.5, 'mean': 1.0}, lambda x: x / 127.5 - 1),
    ({'std': [2]}, lambda x: x / 2),
    ({'bgr': True}, lambda x: np.asarray(normalise(x))[..., ::-1]),
  ],
)
def test_frames_are_scaled_then_centred_then_divided(options, expected):
  prepare = make_preparation(**options)
  for frames in (FRAMES, FRAMES[0]):
    out = jax.jit(prepare)(frames)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(
      out, expected(frames.astype(np.float32)), rtol=1e-5, atol=1e-5
    )


def test_without_a_word_frames_are_as_for_networks_of_ours():
  assert make_preparation() is normalise


def test_a_preparation_is_a_value():
  one, same = (make_preparation(mean=3, bgr=True) for _ in range(2))
  assert one == same and hash(one) == hash(same)
  assert one != make_preparation(mean=3)


def test_a_function_of_the_users_prepares(tmp_path):
  (tmp_path / 'mine.py').write_text(FILE)
  prepare = make_preparation(function=f'{tmp_path}/mine.py:good')
  np.testing.assert_array_equal(
    prepare(jnp.asarray(FRAMES)), FRAMES[..., ::-1].astype(np.float32) - 100
  )
  grey = make_preparation(function=f'{tmp_path}/mine.py:grey')
  assert grey(jnp.asarray(FRAMES)).shape == (2, 3, 4, 5, 1)


@pytest.mark.parametrize(
  ('options', 'told'),
  [
    ({'std': (1, 0, 1)}, r'std is \(1, 0, 1\), expected no 0'),
    ({'std': 0}, r'std is 0, expected no 0'),
    ({'scale': 0.0}, r'scale is 0.0, expected no 0'),
    ({'mean': (1, 2)}, r'mean has 2 numbers, expected one number or three'),
    ({'scale': (1, 2, 3)}, r'scale has 3 numbers, expected one number'),
    ({'mean': (1, float('nan'), 2)}, r'mean is .* expected finite numbers'),
    ({'std': 'abc'}, r'std is abc, expected finite numbers'),
    ({'function': '@:good', 'std': 2, 'bgr': True}, r'in place of std, bgr'),
    ({'function': '@:raw'}, r'raw makes uint8 \[2, 48, 64, 3\] of uint8 frame'),
    ({'function': '@:small'}, r'makes float32 \[2, 24, 32, 3\] of uint8 fra'),
    ({'function': '@:flat'}, r'makes float32 \[2, 48, 64\] of .* expected flo'),
    ({'function': '@:two'}, r'two makes a tuple of uint8 frames'),
    ({'function': '@:numpy'}, r'cannot prepare uint8 .* under jax: TracerArr'),
    ({'function': '@:batched'}, r'frames \[1, 2, 48, 64, 3\] under jax: Value'),
    ({'function': '@:none'}, r"has no 'none'"),
  ],
)
def test_what_is_wrong_is_told_in_a_sentence(tmp_path, options, told):
  (tmp_path / 'mine.py').write_text(FILE)
  options = {
    key: value.replace('@', f'{tmp_path}/mine.py')
    if key == 'function'
    else value
    for key, value in options.items()
  }
  with pytest.raises(DeltaxError, match=told) as error:
    make_preparation(**options)
  assert '\n' not in str(error.value)
