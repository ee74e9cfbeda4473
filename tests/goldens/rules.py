"""The rules that make weights, clips, labels and noise of the references.

Every array has a generator of its own, seeded by the checksum of its name.
"""

import zlib

import numpy as np


def generator(name: str) -> np.random.Generator:
  return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def weight(key: str, shape, gate='mixed') -> np.ndarray:
  """One state-dict entry; `gate` is a number, 'mixed' or 'spread'."""
  for leaf in ('.weight', '.bias'):
    # A delta layer's teacher has the weights of the plain network.
    if key.endswith('.W' + leaf):
      key = key.removesuffix('.W' + leaf) + leaf
  draw, leaf, shape = generator(key), key.split('.')[-1], tuple(shape)
  if leaf == 'num_batches_tracked':
    return np.zeros(shape, np.int64)
  if key.endswith('g_gate.bias'):
    if gate == 'mixed':
      gate = 1.0 if zlib.crc32(key.encode()) % 2 == 0 else -1.0
    elif gate == 'spread':
      gate = 2 * draw.random() - 1
    return np.full(shape, gate, np.float32)
  if leaf in ('bias', 'running_mean'):
    value = 0.1 * draw.standard_normal(shape)
  elif leaf in ('running_var', 'edge_weights'):
    value = draw.uniform(0.5, 1.5, shape)
  elif len(shape) == 1:
    value = draw.uniform(0.4, 0.9, shape)
  else:
    gain = 1.0 if '.g_W' in key else 2.0
    spread = np.sqrt(gain / np.prod(shape[1:]))
    value = spread * draw.standard_normal(shape)
  return value.astype(np.float32)


def clip(height: int, width: int, frames: int = 4, name='clip') -> np.ndarray:
  """`[T, H, W, 3]` frames, drifting from the first."""
  draw = generator(f'{name}/{height}x{width}')
  base = draw.standard_normal((3, height, width))
  noise = draw.standard_normal((frames, 3, height, width))
  times = np.arange(frames).reshape(-1, 1, 1, 1)
  return (base + 0.25 * times * noise).astype(np.float32).transpose(0, 2, 3, 1)


def labels(count: int, height: int, width: int, classes: int = 19):
  """`[count, H, W]` classes in blocks of 16; 255 on a twentieth of them."""
  draw = generator(f'labels/{count}x{height}x{width}')
  blocks = draw.integers(0, classes, (count, height // 16, width // 16))
  values = blocks.repeat(16, 1).repeat(16, 2)
  values[draw.random(values.shape) < 0.05] = 255
  return values


def gumbel(layer: str) -> np.ndarray:
  """`[2]` noise of a layer's gate: of the full copy, of the low-rank pair."""
  uniform = generator('gumbel/' + layer).random(2).astype(np.float32)
  tiny = np.float32(1e-10)
  return -np.log(tiny - np.log(uniform + tiny))


def boxes(count: int = 4):
  """`[count, 100, 4]` (y0, x0, y1, x1) and `[count, 100]` classes from 1.

  Frame i has i + 2 boxes; the rest are zeros, of class 0.
  """
  draw = generator('boxes')
  corners = np.zeros((count, 100, 4), np.float32)
  classes = np.zeros((count, 100), np.float32)
  for i in range(count):
    first = draw.uniform(0, 80, (i + 2, 2))
    corners[i, : i + 2, :2] = first
    corners[i, : i + 2, 2:] = first + draw.uniform(16, 48, (i + 2, 2))
    classes[i, : i + 2] = draw.integers(1, 31, i + 2)
  return corners, classes
