"""The engines of coarse search: time to fill, to open and to search.

    python benchmarks/coarse.py --videos 10000 100000

Vectors lie in groups of 300, one a video. 'fill' is the first opening of an
index, which makes what the engine keeps, 'open' a later one, 'new' the one
after a video was added. Found is the share of the 100 nearest that are among
the 100 that an engine gives. Milvus is in a file, or at an address.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np

from deltax.retrieval.index.folder import Index
from deltax.retrieval.index.shard import IndexedVideo
from deltax.retrieval.search.coarse_search import KINDS, open_coarse

GROUP, SIZE, NEAREST = 300, 512, 100


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--videos', type=int, nargs='+', default=[10_000])
  parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
  parser.add_argument('--milvus', help='address of a server')
  parser.add_argument('--queries', type=int, default=30)
  options = parser.parse_args()
  print(
    f'{"":11} {"videos":>8} {"fill s":>7} {"open s":>7} {"new s":>7} '
    f'{"first ms":>8} {"ms":>7} {"bytes":>6} {"found":>6}'
  )
  for count in options.videos:
    vectors = grouped(count + 1)
    queries = vectors[:: -(-count // options.queries)]
    nearest = np.argsort(-(queries @ vectors[:count].T))[:, :NEAREST]
    for kind in options.kinds:
      with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder, 'index')
        told = measured(folder, kind, options.milvus, vectors, queries, nearest)
      fill, opened, new, first, warm, size, found = told
      print(
        f'{kind:11} {count:8,} {fill:7.1f} {opened:7.2f} {new:7.2f} '
        f'{1000 * first:8.1f} {1000 * warm:7.2f} {size / count:6.0f} '
        f'{found:6.3f}'
      )


def grouped(count: int) -> np.ndarray:
  """float32 `[N, SIZE]`, of length 1."""
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((-(-count // GROUP), SIZE), np.float32)
  vectors = rng.standard_normal((count, SIZE), np.float32)
  vectors += centres[np.arange(count) % len(centres)]
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measured(folder, kind, address, vectors, queries, nearest) -> list[float]:
  """Seconds of each step, bytes kept, and the share found."""
  index = Index.create(
    folder,
    fingerprint='drawn',
    description={},
    coarse_search=kind,
    coarse_address=address if kind == 'milvus' else None,
  )
  index.add(map(video, range(len(vectors) - 1), vectors[:-1]))
  search, fill = timed(opened, index)
  del search  # lets go of a file that one process may have
  search, again = timed(opened, index)
  _, first = timed(search.query, queries[:1], NEAREST)
  each = [timed(search.query, query[None], NEAREST) for query in queries]
  found = [
    np.isin(expected, ids[0]).mean()
    for expected, ((ids, _), _) in zip(nearest, each, strict=True)
  ]
  kept = [path for path in folder.glob('*.faiss')]
  kept += [p for p in folder.glob('milvus.db/**/*') if p.is_file()]
  size = sum(path.stat().st_size for path in kept)
  del search
  index.add([video(len(vectors) - 1, vectors[-1])])
  _, new = timed(opened, index)
  warm = np.median([seconds for _, seconds in each])
  return [fill, again, new, first, warm, size, np.mean(found)]


def video(number: int, vector: np.ndarray) -> IndexedVideo:
  codes = np.zeros((1, 1, 1), np.uint32)
  return IndexedVideo(str(number), '', vector, codes, np.zeros(1))


def opened(index: Index):
  return open_coarse(index, np.arange(len(index)))


def timed(call, *arguments):
  start = time.perf_counter()
  result = call(*arguments)
  return result, time.perf_counter() - start


if __name__ == '__main__':
  main()
