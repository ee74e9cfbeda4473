"""Milliseconds of a transformer with an output for every place, on one core.

    python benchmarks/transformer.py
    python benchmarks/transformer.py --size 64x64 --repeats 1

The network has the sizes of SegFormer-B0, random weights, and the outputs of
19 classes at a quarter of the resolution. 'layers' are the students of
`distill(net)` as it stands, where every gate chooses the low-rank pair. Of
'blocks', every encoder layer has one student of its own (`Residual(4)`), and
the layers outside of them have theirs. All take turns in one process; figures
are medians of the CPU time.

Source of the sizes: Xie et al., "SegFormer: Simple and Efficient Design for
Semantic Segmentation with Transformers", NeurIPS 2021, table 6.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from delta import KEEP, pinned, size_of
from delta_measure import compiled, drawn, student, timed
from retrieval import processor

from deltax import delta, files
from deltax.layers.resize import resize_bilinear
from deltax.types import Array


class Stage(NamedTuple):
  """One stage of the encoder.

  Attributes:
    width: channels.
    heads: of the attention.
    reduction: rows and columns of places that one key stands for.
    patch: kernel of the convolution that begins it.
    stride: of the same.
  """

  width: int
  heads: int
  reduction: int
  patch: int
  stride: int


STAGES = (
  Stage(32, 1, 8, 7, 4),
  Stage(64, 2, 4, 3, 2),
  Stage(160, 5, 2, 3, 2),
  Stage(256, 8, 1, 3, 2),
)
DEPTH, DECODER, CLASSES = 2, 256, 19


class EncoderLayer(nn.Module):
  """Attention to fewer places, and an MLP with a depthwise convolution."""

  stage: Stage
  shape: tuple[int, int]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = x + self.attend(nn.LayerNorm(name='norm')(x))
    wide = 4 * self.stage.width
    y = nn.Dense(wide, name='widen')(nn.LayerNorm(name='mlp_norm')(x))
    depth = nn.Conv(wide, (3, 3), feature_group_count=wide, name='depth')
    y = nn.gelu(depth(self.as_image(y))).reshape(y.shape)
    return x + nn.Dense(self.stage.width, name='narrow')(y)

  def as_image(self, x: Array) -> Array:
    return x.reshape(len(x), *self.shape, x.shape[-1])

  def attend(self, x: Array) -> Array:
    width, heads, reduction, *_ = self.stage
    seen = x
    if reduction > 1:
      size = (reduction, reduction)
      fewer = nn.Conv(width, size, strides=size, name='reduce')
      seen = fewer(self.as_image(x)).reshape(len(x), -1, width)
      seen = nn.LayerNorm(name='reduced_norm')(seen)

    def projected(x, name):
      x = nn.Dense(width, name=name)(x)
      return x.reshape(*x.shape[:2], heads, -1)

    y = nn.dot_product_attention(
      projected(x, 'query'), projected(seen, 'key'), projected(seen, 'value')
    )
    return nn.Dense(width, name='out')(y.reshape(x.shape))


class Transformer(nn.Module):
  """`[B, H, W, 3]` to `[B, H / 4, W / 4, CLASSES]`."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    maps = []
    for i, stage in enumerate(STAGES):
      patch, stride = (stage.patch, stage.patch), (stage.stride, stage.stride)
      x = nn.Conv(stage.width, patch, strides=stride, name=f'patches_{i}')(x)
      shape = x.shape[1:3]
      x = x.reshape(len(x), -1, stage.width)
      x = nn.LayerNorm(name=f'patches_norm_{i}')(x)
      for j in range(DEPTH):
        x = EncoderLayer(stage, shape, name=f'layer_{i}_{j}')(x)
      x = nn.LayerNorm(name=f'norm_{i}')(x)
      x = x.reshape(len(x), *shape, stage.width)
      maps.append(x)
    size = maps[0].shape[1:3]
    same = []
    for i, x in enumerate(maps):
      x = nn.Dense(DECODER, name=f'decode_{i}')(x)
      same.append(resize_bilinear(x, size))
    x = jnp.concatenate(same[::-1], -1)
    x = nn.relu(nn.Dense(DECODER, name='fuse')(x))
    return nn.Dense(CLASSES, name='head')(x)


SPECS = {
  'teacher': delta.Spec(candidates=(delta.Teacher(),)),
  'layers': delta.Spec(),
  'blocks': delta.Spec(
    blocks=lambda blocks: [b for b in blocks if b.kind == 'EncoderLayer'],
    block_candidates=(delta.Residual(4),),
  ),
}


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--size', default='256x512', help='of a frame')
  parser.add_argument('--repeats', type=int, default=9)
  parser.add_argument('--out', help='a JSON file to write')
  parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.here:
    print(json.dumps(measured(size_of(options.size), options.repeats)))
    return
  # Thread pools start with the cores of their process.
  with pinned(1):
    done = subprocess.run(
      [sys.executable, pathlib.Path(__file__), '--here', *sys.argv[1:]],
      env={**KEEP, **os.environ},
      stdout=subprocess.PIPE,
      text=True,
    )
  if done.returncode:
    sys.exit('the measurement failed, see above')
  result = json.loads(done.stdout.splitlines()[-1])
  print(f'{processor()}, jax {jax.__version__}, {options.size}, one core')
  whole = result['teacher']['later_macs']
  print(f'{"":20}{"CPU ms":>8}{"GMAC":>8}{"share":>8}')
  for name, ms in result['ms'].items():
    kind, _, part = name.partition(' ')
    later = part == 'later'
    macs = result[kind]['later_macs'] if later else whole
    print(
      f'{name + " frame" if part else name:20}{ms["cpu"]:8.1f}'
      f'{macs / 1e9:8.2f}{macs / whole:8.2f}'
    )
  if options.out:
    files.write_json(options.out, {'processor': processor(), **result})


def measured(size, repeats):
  """Milliseconds by function, and the costs of teacher and students."""
  net = Transformer()
  frame = jax.random.normal(jax.random.key(0), (1, *size, 3))
  variables = drawn(jax.eval_shape(net.init, jax.random.key(0), frame))
  result, functions = {}, {}
  for name, spec in SPECS.items():
    video = delta.distill(net, spec)
    start = functools.partial(video.init, jax.random.key(0))
    shapes = jax.eval_shape(start, variables, frame)
    params = {
      'teacher': variables,
      'students': drawn(shapes['students']),
      'gates': jax.tree.map(
        lambda logits: jnp.full(logits.shape, -1.0), shapes['gates']
      ),
    }
    frozen, macs = video.freeze(params, frame), video.macs(params, frame)
    result[name] = {'key_macs': macs.key, 'later_macs': macs.later}
    if name == 'teacher':
      # The folded network without students: each layer's is the layer itself.
      step, _ = compiled(frozen.step, frozen.params, {}, frame)
      functions[name] = functools.partial(step, frozen.params, {}, frame)
    else:
      own, _, carry = student(frozen, frozen.params, frame, 1)
      functions |= {f'{name} {part}': own[part] for part in ('key', 'later')}
      result[name]['carry_bytes'] = carry
  return {**result, 'ms': timed(functions, repeats)}


if __name__ == '__main__':
  main()
