"""The rules that make weights and inputs of the retrieval references.

Every array has a generator of its own, seeded by the checksum of its name.
"""

import json
import pathlib

import numpy as np
from rules import generator

FOLDER = pathlib.Path(__file__).parent / 'dns'
_GIVEN = {
  'normalizer.scale': [255.0],
  'normalizer.mean': [0.485, 0.456, 0.406],
  'normalizer.std': [0.229, 0.224, 0.225],
}


def load(name):
  """A reference: a dict of arrays for '.npz', else what the JSON holds."""
  path = FOLDER / name
  if path.suffix == '.json':
    return json.loads(path.read_text())
  with np.load(path) as arrays:
    return dict(arrays)


def weight(key, shape, gain=1.0):
  """One entry of a published state dict."""
  shape, leaf = tuple(shape), key.split('.')[-1]
  if key in _GIVEN:
    return np.array(_GIVEN[key], np.float32)
  if leaf == 'num_batches_tracked':
    return np.zeros(shape, np.int64)
  draw = generator(key)
  if leaf == 'running_var':
    return (0.5 + draw.random(shape)).astype(np.float32)
  value = draw.standard_normal(shape)
  if leaf == 'running_mean':
    value = 0.1 * value
  elif key == 'pca.mean':
    value = 0.01 * value
  elif leaf in ('bias', 'in_proj_bias'):
    value = 0.05 * value
  elif len(shape) == 1:
    value = 1.0 + 0.1 * value
  else:
    # What is applied as `x @ W` is stored inputs first.
    inputs = shape[0] if leaf in ('W', 'DVt') else np.prod(shape[1:])
    value = gain * value / np.sqrt(inputs)
  return value.astype(np.float32)


def weights(name, **gains):
  """The state dict that `name` lists, e.g. 'statedict_fg_att.json'.

  `gains` replaces the gains of keys, with '__' for their dots.
  """
  listed = load(name)
  own = {**listed['gain_overrides']}
  own |= {key.replace('__', '.'): gain for key, gain in gains.items()}
  return {
    key: weight(key, shape, own.get(key, listed['gain']))
    for key, shape in listed['entries']
  }


def video(name, frames, size=512, copied=None, regions=9):
  """`[frames, regions, size]` unit vectors.

  With `copied` = (name, its frames, at, start, count), frames at.. are near
  copies of the frames start.. of another video.
  """

  def raw(name, frames):
    common = generator('input/common').standard_normal((1, regions, size))
    own = generator('input/' + name)
    return 0.5 * common + own.standard_normal((frames, regions, size))

  x = raw(name, frames)
  if copied:
    source, length, at, start, count = copied
    y = raw(source, length)[start : start + count]
    x[at : at + count] = 0.8 * y + 0.6 * x[at : at + count]
  x = x / np.sqrt((x * x).sum(-1, keepdims=True))
  return x.astype(np.float32)


def padded(videos, length=None):
  """Videos of one batch, with zero frames behind them, and their mask."""
  length = length or max(map(len, videos))
  batch = np.zeros((len(videos), length, *videos[0].shape[1:]), np.float32)
  mask = np.zeros((len(videos), length), np.float32)
  for row, video in enumerate(videos):
    batch[row, : len(video)] = video
    mask[row, : len(video)] = 1
  return batch, mask


def inputs(size=512):
  """Three queries and four targets, of which the first three copy a query."""
  queries = [video('q0', 12, size), video('q1', 7, size), video('q2', 4, size)]
  targets = [
    video('t0', 20, size, ('q0', 12, 4, 0, 12)),
    video('t1', 13, size, ('q1', 7, 3, 0, 7)),
    video('t2', 5, size, ('q2', 4, 1, 0, 4)),
    video('t3', 2, size),
  ]
  return queries, targets


def triplets(size=512):
  """Two anchors, two positives, two negatives, and the teacher's scores."""
  videos = [
    video('a0', 12, size),
    video('a1', 9, size),
    video('p0', 16, size, ('a0', 12, 2, 0, 12)),
    video('p1', 6, size, ('a1', 9, 0, 2, 6)),
    video('n0', 14, size),
    video('n1', 8, size),
  ]
  # Rows are triplets; columns the positive and the negative.
  return videos, np.array([[0.62, -0.71], [0.35, -0.83]], np.float32)


def frames(name, count, height, width):
  """`[count, height, width, 3]` uint8 frames of 16 x 16 noisy blocks."""
  draw = generator('frames/' + name)
  blocks = draw.integers(0, 256, (count, 16, 16, 3)).astype(np.float64)
  rows = np.arange(height) * 16 // height
  columns = np.arange(width) * 16 // width
  x = blocks[:, rows][:, :, columns]
  x = x + 20.0 * draw.standard_normal(x.shape)
  return np.clip(np.rint(x), 0, 255).astype(np.uint8)
