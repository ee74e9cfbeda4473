"""The paper's headline in one run: as good as the teacher, faster and smaller.

    python benchmarks/headline.py --runs runs/demo_retrieval --sizes 1000 10000

RUNS is what `make demo-retrieval` made. The queries and copies of its test set
are looked for among themselves, and among so many videos: the others are made
up of the training videos' features, two of them mixed frame by frame, with
noise. Rows are the teacher and the fine students on all pairs, the coarse
student, and the coarse one with the selector and a fine one for a share of the
pairs, chosen from an index as `deltax search` does: mAP (copies that are not
among the best thousand are lost), seconds of the process a query (median),
bytes a video, and both as ratios to the teacher. Where all pairs would take
longer than `--patience` seconds a query, so many pairs are timed as fit, and
the figure is marked with a star and has no mAP.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from copies import read_asked

from deltax import compilation, retrieval, systems
from deltax.data.features.store import FeatureStore
from deltax.metrics.retrieval import average_precision
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.system import encode_fine
from deltax.systems import runs
from deltax.systems.reading import encode_video

FRAMES = 10  # of a video that is made up
DEEPEST = 1000  # places that are looked at
TOGETHER = 1000  # videos added to an index at once
FINE = ('teacher', 'attention', 'binary')
SHARES = (0.05, 0.2, 1.0)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--sizes', type=int, nargs='*', default=[1000, 10000])
  parser.add_argument('--patience', type=float, default=60.0)
  parser.add_argument(
    '--fine', nargs='+', choices=FINE, default=FINE, help='networks of pairs'
  )
  options = parser.parse_args()
  compilation.set_up()
  asked = read_asked(options.runs / 'copies', 'test')
  store = FeatureStore(options.runs / 'features')
  training = read_asked(options.runs / 'copies', 'train').videos
  sources = [np.asarray(store[name], np.float32) for name in training]
  parts = {
    name: runs.read_part(options.runs / name)
    for name in FINE
    if name in options.fine
  }
  shared = {
    role: runs.read_part(options.runs / role) for role in ('coarse', 'selector')
  }
  made = {
    name: systems.make_system(None, {**shared, 'fine': part})
    for name, part in parts.items()
  }
  print(
    '| videos | | mAP | CPU seconds a query | times as fast | bytes a video '
    '| times smaller |\n|' + 7 * '---|'
  )
  for size in (len(asked.videos), *options.sizes):
    own = {name: np.asarray(store[name], np.float32) for name in asked.videos}

    def features(number, own=own):
      if number < len(own):
        return own[asked.videos[number]]
      return mixed(sources, number)

    print_rows(rows(asked, features, size, made, options.patience), size)


def mixed(sources, number):
  """Regions `[FRAMES, R, D]` of a video that nobody has seen."""
  draw = np.random.default_rng(number)
  first, second = (
    source[draw.integers(len(source), size=FRAMES)]
    for source in (sources[n] for n in draw.integers(len(sources), size=2))
  )
  share = draw.uniform(0.3, 0.7)
  noise = draw.standard_normal(first.shape).astype(np.float32)
  noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
  x = share * first + (1 - share) * second + 0.3 * noise
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def rows(asked, features, size, made, patience):
  """Name, mAP or None, seconds and bytes of every way to search."""
  for name, system in made.items():
    yield (name, *all_pairs(asked, features, size, system, patience))
  students = [name for name in reversed(made) if name != 'teacher']
  for name in students:
    system = made[name]
    with tempfile.TemporaryDirectory() as folder:
      index, stored = indexed(f'{folder}/index', system, features, size)
      searcher = retrieval.Searcher(index, system)
      if name == students[0]:
        own = searched(asked, features, searcher, 0)
        yield 'coarse', *own, stored['coarse']
      for share in SHARES:
        own = searched(asked, features, searcher, round(share * size))
        about = f'coarse, selector, {name} for {100 * share:g}%'
        yield about, *own, sum(stored.values())


def all_pairs(asked, features, size, system, patience):
  """mAP, seconds and bytes of the fine network on every pair."""
  fine, kept = FineSearch(system.fine), {}

  def codes(number):
    if number not in kept:
      kept[number] = encode_fine(system.fine, features(number))
    return kept[number]

  def compared(number, count):
    """Scores of a query and so many videos, and the seconds."""
    lengths = {n: len(codes(n)) for n in range(count)}
    start = time.process_time()
    pairs = fine.compare(codes(number), lengths, codes)
    return [pairs[n].score for n in lengths], time.process_time() - start

  few = min(size, 200)
  compared(0, few)  # compiles
  count = min(size, int(few * patience / compared(0, few)[1]))
  whole = count == size
  count = min(count, 10_000)
  numbers = [asked.videos.index(query) for query in asked.queries]
  found = [compared(n, count) for n in (numbers if whole else numbers[:3])]
  seconds = float(np.median([took for _, took in found])) * size / count
  stored = float(np.mean([x.nbytes for x in kept.values()]))
  if not whole or count < size:
    return None, seconds, stored
  ranked = [np.argsort(-np.array(scores), kind='stable') for scores, _ in found]
  return mean_precision(asked, ranked), seconds, stored


def indexed(folder, system, features, size):
  """An index of so many videos, and the bytes a video of its parts."""
  index = Index.create(
    folder,
    fingerprint=system.fingerprint,
    description=system.description,
    model=None,
    coarse_search='exact',
  )
  fine, stored = FineSearch(system.fine), {'coarse': 0, 'fine': 0}
  for start in range(0, size, TOGETHER):
    videos = []
    for number in range(start, min(size, start + TOGETHER)):
      regions = features(number)
      seconds = np.arange(len(regions), dtype=float)
      read = systems.ReadVideo(regions, [], seconds, float(len(regions)), 0)
      codes = encode_video(system, fine, [read]).video
      videos.append(codes._replace(name=str(number)))
      stored['coarse'] += (codes.coarse.nbytes + codes.clips.nbytes // 2) / size
      stored['fine'] += codes.fine.nbytes / size
    index.add(videos)
  return index, stored


def searched(asked, features, searcher, pairs):
  """mAP and the median of seconds of searches with a budget of pairs."""
  ranked, seconds = [], []
  for n, query in enumerate([asked.queries[0], *asked.queries]):
    start = time.process_time()
    found = searcher.search(
      features(asked.videos.index(query)),
      k=DEEPEST,
      budget=retrieval.Budget(pairs),
      locate=False,
    )
    if n:  # the first compiles
      seconds.append(time.process_time() - start)
      ranked.append(np.array([int(match.name) for match in found.matches]))
  return mean_precision(asked, ranked), float(np.median(seconds))


def mean_precision(asked, ranked) -> float:
  """mAP in percent; videos that are neither copy nor other do not count."""
  found = []
  for order, here, others in zip(
    ranked, asked.relevant, asked.others, strict=True
  ):
    if here.any():
      known = order < len(here)
      counts = ~known
      counts[known] = (here | others)[order[known]]
      order = order[counts]
      right = order < len(here)
      right[right] = here[order[right]]
      ranks = np.flatnonzero(right[:DEEPEST])
      found.append(average_precision(ranks, int(here.sum())))
  return 100 * float(np.mean(found))


def print_rows(rows, size):
  teacher = None
  for name, precision, seconds, stored in rows:
    teacher = teacher or (seconds, stored)
    star = '' if precision is not None else '*'
    figure = '' if precision is None else f'{precision:.1f}'
    print(
      f'| {size:,} | {name} | {figure} | {seconds:.3f}{star} '
      f'| {teacher[0] / seconds:.1f} | {stored:,.0f} '
      f'| {teacher[1] / stored:.1f} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
