"""CPU seconds of one query against many videos, on one core.

    python benchmarks/retrieval.py --videos 1000 --frames 60

Every row is one way to compare: its CPU time (median of the repeats, of the
whole process, pinned to one core where the system can) and the largest
difference of its scores from the plain network's on the first pairs. Where
PyTorch is installed, the published way takes its turn in every repeat, pair by
pair (`torch_retrieval.py`), on some of the videos; ratios are to it. Videos are
random regions, every tenth a noisy copy of a part of the query; weights are
random, scaled so that the scores spread over [-1, 1].
"""

import argparse
import os
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from deltax import retrieval
from deltax.retrieval.compare import bits, many, products

try:
  import torch
  import torch_retrieval
except ImportError:
  torch_retrieval = None

PUBLISHED = 'published'
REGIONS, SIZE, COARSE = 9, 512, 1024


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--videos', type=int, default=1000)
  parser.add_argument('--frames', type=int, default=60)
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--checked', type=int, default=64, help='pairs')
  parser.add_argument(
    '--published', type=int, default=200, help='of the videos'
  )
  parser.add_argument('--core', type=int, default=1, help='pinned to; -1: none')
  options = parser.parse_args()
  if options.core >= 0 and hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, {options.core})
  if torch_retrieval:
    torch.set_num_threads(1)
  print(f'{processor()}, jax {jax.__version__}, {jax.default_backend()}')
  print(
    f'one query against {options.videos} videos of {options.frames} frames '
    f'({REGIONS} x {SIZE})\n'
  )
  print(
    f'{"":24}{"CPU s/query":>12}{"ms/pair":>9}{"ratio":>8}'
    f'{"largest difference":>20}'
  )
  query, targets = made_up(options.videos, options.frames)
  for name in ('attention', 'binary'):
    fine_rows(options, name, query, targets)
  coarse_row(options)


def fine_rows(options, name, query, targets):
  """Measures and prints the rows of one student."""
  length = many.bucket_length(options.frames)
  mask = padded(np.ones(options.frames, np.float32), length)
  masks = np.tile(mask[None], (len(targets), 1))
  net = retrieval.create(f'fine_{name}')
  variables = spread(net, query, targets[:10])
  codes = encoded(net, variables, [query, *targets], length)
  expected = plain_scores(net, variables, codes, mask, options.checked)
  calls = {}
  if torch_retrieval and length == options.frames:
    scale = 1 / SIZE if name == 'binary' else 1
    pairs = torch_retrieval.make_compare(variables['params']['head'], scale)
    some, share = published(codes, options)
    calls[PUBLISHED] = share, lambda: pairs(codes[0], some)
  packed = codes
  if name == 'binary':
    packed = np.stack([np.asarray(bits.pack(x)) for x in codes])
  best = 'bits' if name == 'binary' else products.best_form(SIZE)
  others = () if name == 'binary' else set(products.FORMS) - {best}
  for form in (None, *sorted(others)):
    compare = many.make_compare(net, variables, products=form)
    calls[form or f'{best} *'] = (
      1,
      lambda compare=compare: compare(packed[0], mask, packed[1:], masks).score,
    )
  found = in_turns(calls, options.repeats)
  first = found.get(PUBLISHED, (None,))[0]
  for label, (seconds, scores) in found.items():
    count = min(len(scores), len(expected))
    difference = np.abs(scores[:count] - expected[:count]).max()
    report(options, f'{name}, {label}', seconds, first, difference)


def published(codes, options):
  """The videos that the published way compares, and all videos by theirs."""
  count = min(options.published, options.videos)
  return codes[1 : 1 + count], options.videos / count


def coarse_row(options):
  rng = np.random.default_rng(0)
  vectors = rng.standard_normal((options.videos + 1, COARSE), np.float32)
  query, targets = jnp.asarray(vectors[0]), jnp.asarray(vectors[1:])
  product = jax.jit(lambda query, targets: targets @ query)
  # One product is shorter than the clock's step.
  count = 100
  calls = {
    'coarse, one product': (
      1 / count,
      lambda: [np.asarray(product(query, targets)) for _ in range(count)][-1],
    )
  }
  for label, (seconds, found) in in_turns(calls, options.repeats).items():
    difference = np.abs(found - vectors[1:] @ vectors[0]).max()
    report(options, label, seconds, None, difference)


def made_up(videos, frames):
  """Query `[T, R, D]` and targets `[N, T, R, D]`, unit regions."""
  rng = np.random.default_rng(0)
  shape = frames, REGIONS, SIZE
  query = rng.standard_normal(shape, np.float32)
  targets = np.empty((videos, *shape), np.float32)
  for i, target in enumerate(targets):
    target[:] = rng.standard_normal(shape, np.float32)
    if i % 10 == 0:
      copied = rng.integers(frames // 4, frames + 1)
      target[-copied:] = query[:copied] + 0.5 * target[-copied:]
    target /= np.linalg.norm(target, axis=-1, keepdims=True)
  return query / np.linalg.norm(query, axis=-1, keepdims=True), targets


def spread(net, query, targets):
  """Random weights, under which raw similarities spread by 0.5 around 0."""
  variables = jax.jit(net.init)(jax.random.key(0), query[None], targets[:1])
  compare = jax.jit(lambda v, *pair: net.apply(v, *pair).raw)
  queries = np.tile(query[None], (len(targets), 1, 1, 1))
  raw = np.asarray(compare(variables, queries, targets))
  last = variables['params']['head']['fconv']
  last['kernel'] = last['kernel'] * (0.5 / raw.std())
  last['bias'] = last['bias'] - raw.mean() * (0.5 / raw.std())
  return variables


def encoded(net, variables, videos, length):
  """Codes `[N, L, R, D]` of videos, zeros after their frames."""
  encode = jax.jit(lambda x: net.apply(variables, x, method='encode'))
  return np.stack([padded(np.asarray(encode(x)), length) for x in videos])


def padded(x, length):
  return np.pad(x, ((0, length - len(x)), *((0, 0),) * (x.ndim - 1)))


def plain_scores(net, variables, codes, mask, count):
  """Scores of the plain network, pair by pair, in float32."""
  compare = jax.jit(
    lambda *args: net.apply(variables, *args, method='compare').score[0]
  )
  pairs = (
    compare(codes[:1], target[None], mask[None], mask[None])
    for target in codes[1 : 1 + count]
  )
  return np.array(list(pairs))


def in_turns(calls, repeats):
  """`{label: (median CPU seconds, last result)}` of `{label: (share, call)}`.

  A call's seconds are multiplied by its share.
  """
  results = {label: call() for label, (_, call) in calls.items()}  # compiles
  seconds = {label: [] for label in calls}
  for _ in range(repeats):
    for label, (share, call) in calls.items():
      start = time.process_time()
      results[label] = call()
      seconds[label].append(share * (time.process_time() - start))
  return {x: (float(np.median(seconds[x])), results[x]) for x in calls}


def report(options, label, seconds, published, difference):
  ratio = f'{published / seconds:.1f}x' if published else ''
  print(
    f'{label:24}{seconds:12.5f}{1000 * seconds / options.videos:9.4f}'
    f'{ratio:>8}{difference:20.1e}',
    flush=True,
  )


def processor():
  """The CPU's name, where Linux tells it."""
  try:
    with open('/proc/cpuinfo') as lines:
      names = [line.split(':')[1] for line in lines if 'model name' in line]
    return names[0].strip()
  except (OSError, IndexError):
    return platform.processor() or platform.machine()


if __name__ == '__main__':
  main()
