"""How well, and how fast, `where` tells what two videos have in common.

    python benchmarks/where.py --copies runs/demo_retrieval/copies \
      --raw runs/demo_retrieval/raw --model binary
    python benchmarks/where.py --long

The first compares every query of the data set of copies with every video, and
prints, by edit, how far the time that is told and the time that is shared agree
(intersection over union; segment precision, recall and F as in VCSL), and how
many pairs that share nothing are given a part. Thresholds were set on its
training sources; `--split test` is judged, which has other sources. The second
prints seconds and memory for very long films, made up here.
"""

import argparse
import collections
import pathlib
import resource
import time

import numpy as np

from deltax import plain, systems
from deltax.data.features.store import FeatureStore
from deltax.data.video.files import read_chunks
from deltax.retrieval.compare.bits import pack
from deltax.retrieval.compare.locate import Frames, locate
from deltax.retrieval.fitting import Whitening, whiten
from deltax.retrieval.search.fine_search import FineSearch
from deltax.retrieval.search.readable import Scale
from deltax.retrieval.search.searcher import LIKELY
from deltax.retrieval.system import encode_fine

HOUR = 3600
WHOLE = {'flip', 'crop', 'rotation', 'tone', 'caption', 'low_resolution'}


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--copies', type=pathlib.Path)
  parser.add_argument(
    '--raw', type=pathlib.Path, help='features, not whitened, of the copies'
  )
  parser.add_argument(
    '--model', help='a system; default: the one that is shipped'
  )
  parser.add_argument('--split', default='test', choices=('train', 'test'))
  parser.add_argument('--long', action='store_true')
  options = parser.parse_args()
  if options.copies:
    by_edit(options)
  if options.long:
    long_films(options.model)


def by_edit(options):
  """Prints the table of edits and the share of unrelated pairs."""
  videos = plain.read_json(options.copies / 'annotations.json')['videos']
  split = plain.read_json(options.copies / f'{options.split}.json')
  films = read_films(options, split['database'])
  views = likely_views(options, split['relevant'], films)
  rows = collections.defaultdict(list)
  wrong, unrelated, spent = 0, 0, []
  for query, copies in split['relevant'].items():
    for name in split['database']:
      start = time.process_time()
      parts = locate(films[query], films[name], views=views[query, name])
      spent.append(time.process_time() - start)
      if name != query and name not in copies:
        wrong, unrelated = wrong + bool(parts), unrelated + 1
      if name not in copies or not videos[name]['segments']:
        continue
      edits = videos[name]['edits']
      truth = [
        ((c, min(d, films[query].end)), (a, b))
        for a, b, c, d in videos[name]['segments']
      ]
      judged = judge(parts, truth)
      for edit in ('all', *edits):
        rows[edit].append(judged)
      if set(edits) <= WHOLE:
        for edit, film, truth in rearranged(films, query, name, videos):
          parts = locate(films[query], film, views=views[query, name])
          rows[edit].append(judge(parts, truth))
  print(f'{"":28}{"pairs":>6}{"IoU q":>8}{"IoU t":>8}{"P":>7}{"R":>7}{"F":>7}')
  for edit in sorted(rows, key=lambda name: (name != 'all', name)):
    iou_query, iou_target, precision, recall = np.mean(rows[edit], 0)
    f = 2 * precision * recall / max(precision + recall, 1e-9)
    print(
      f'{edit:28}{len(rows[edit]):6}{iou_query:8.3f}{iou_target:8.3f}'
      f'{precision:7.3f}{recall:7.3f}{f:7.3f}'
    )
  print(
    f'unrelated pairs with a part: {wrong} of {unrelated}, '
    f'{100 * wrong / max(unrelated, 1):.2f}%; '
    f'{1000 * np.median(spent):.1f} CPU ms a pair'
  )


def read_films(options, names) -> dict[str, Frames]:
  """Codes of all videos, and the seconds of their frames."""
  store, system = FeatureStore(options.raw), systems.open_system(options.model)
  whitening = system.extract.arrays.get('whitening')
  films = {}
  for name in names:
    regions = store[name]
    if whitening is not None:
      regions = np.asarray(whiten(Whitening(**whitening), regions))
    codes = encode_fine(system.fine, regions)
    path = options.copies / 'videos' / f'{name}.mp4'
    parts = list(read_chunks(path, 64, short_side=32, crop=None))
    times = np.concatenate([part.times for part in parts])
    films[name] = Frames(codes, times, 0.0, float(parts[-1].duration))
  return films


def likely_views(options, queries, films) -> dict:
  """Codes of the other views of queries, by query and film.

  As in a search, there are none where the score says that it is no copy.
  """
  system, views = systems.open_system(options.model), {}
  compare = FineSearch(system.fine)
  lengths = {name: len(film.codes) for name, film in films.items()}
  for query in queries:
    path = options.copies / 'videos' / f'{query}.mp4'
    seen = systems.read_query(system, path).views
    seen = [encode_fine(system.fine, regions) for regions in seen]
    own = films[query].codes
    scale = Scale(system.calibration, compare.with_itself(own), False)
    scored = [
      compare.compare(codes, lengths, lambda name: films[name].codes)
      for codes in (own, *seen)
    ]
    for name in films:
      best = max((pairs[name] for pairs in scored), key=lambda x: x.score)
      score = scale.fine([best], np.zeros(1))[0]
      views[query, name] = seen if score >= LIKELY else ()
  return views


def rearranged(films, query, name, videos):
  """Copies that the data set has not: in reverse, and two parts that swapped.

  Yields:
    What it is, the film, and what is shared: stretches of query and film.
  """
  film = films[name]
  end = min(films[query].end, film.end)
  times = film.end - film.times[::-1]
  yield (
    '(backward)',
    Frames(film.codes[::-1], times, 0.0, film.end),
    [((0.0, end), (film.end - end, film.end))],
  )
  count, hosts = len(film.codes), [x for x in films if x.endswith('_c')]
  if count < 10 or not hosts:
    return
  host = films[hosts[len(name) % len(hosts)]].codes[:4]
  first, second = 2 * count // 5, 3 * count // 5
  pieces = [film.codes[second:], host, film.codes[:first]]
  codes = np.concatenate(pieces)
  after = count - second + len(host)
  yield (
    '(two parts, swapped)',
    Frames(codes, np.arange(len(codes), dtype=float), 0.0, float(len(codes))),
    [
      ((second - 0.5, end), (0.0, count - second - 0.5)),
      ((0.0, first - 0.5), (after - 0.5, after + first - 0.5)),
    ],
  )


def judge(parts, truth) -> tuple[float, float, float, float]:
  """IoU of the query's and of the target's time, precision and recall.

  As in VCSL, precision and recall are shares of covered time, those of both
  videos multiplied.
  """
  shares = []
  for side in (0, 1):
    told = joined([part[side] for part in parts])
    real = joined([part[side] for part in truth])
    both = sum(
      max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in told for b in real
    )
    lengths = [sum(b - a for a, b in x) for x in (told, real)]
    shares.append((both / (sum(lengths) - both), both, *lengths))
  (one, *first), (other, *second) = shares
  precision, recall = (
    first[0] * second[0] / (first[n] * second[n]) if first[n] else 0.0
    for n in (1, 2)
  )
  return one, other, precision, recall


def joined(stretches) -> list[list[float]]:
  """Stretches of time, those that overlap in one."""
  whole: list[list[float]] = []
  for start, end in sorted(stretches):
    if whole and start <= whole[-1][1]:
      whole[-1][1] = max(whole[-1][1], end)
    else:
      whole.append([start, end])
  return whole


def long_films(model):
  """Prints seconds and memory for films of many hours."""
  rng = np.random.default_rng(0)
  query, target = made_up(rng, 2 * HOUR), made_up(rng, 2 * HOUR)
  target[3000:3600] = query[1000:1600]
  target[5000:5030] = query[4000:4030]
  noise = rng.integers(0, 2**32, (2, HOUR, 9, 8), dtype=np.uint32)
  day = np.tile(query, (12, 1, 1))
  tasks = {
    'two hours against two hours': (query, target),
    'an hour of noise against another': noise,
    'a minute against 24 hours': (query[1000:1060], day),
  }
  print(f'{"":36}{"seconds":>9}{"CPU s":>8}{"parts":>7}{"peak, MB":>10}')
  for what, pair in tasks.items():
    films = [
      Frames(x, np.arange(float(len(x))), 0.0, float(len(x))) for x in pair
    ]
    report(what, lambda films=films: len(locate(*films)))
  fine = FineSearch(systems.open_system(model).fine)
  report(
    'two hours and two hours, fine score',
    lambda: fine.compare(query, {0: len(target)}, lambda _: target) and '',
  )
  report('24 hours with itself', lambda: fine.with_itself(day) and '')


def made_up(rng, frames) -> np.ndarray:
  """Bits of a film whose scenes fade into one another every 4 seconds."""
  scenes = rng.normal(size=(frames // 4 + 2, 9, 256)).astype(np.float32)
  place = np.arange(frames) / 4
  share = (place % 1).astype(np.float32)[:, None, None]
  now = place.astype(int)
  parts = []
  for part in np.array_split(np.arange(frames), max(1, frames // 500)):
    at, to = now[part], share[part]
    parts.append(pack((1 - to) * scenes[at] + to * scenes[at + 1]))
  return np.concatenate([np.asarray(part) for part in parts])


def report(what, call):
  """Prints one row."""
  start, used = time.perf_counter(), time.process_time()
  result = call()
  wall, cpu = time.perf_counter() - start, time.process_time() - used
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
  print(f'{what:36}{wall:9.1f}{cpu:8.1f}{result:>7}{peak:10.0f}', flush=True)


if __name__ == '__main__':
  main()
