"""Mean average precision by kind of edit: systems, and a plain perceptual hash.

    python benchmarks/copies.py --copies runs/demo_retrieval/copies \\
      --out runs/copies.json

COPIES is what `deltax copies` made; its test sources are asked for, and what is
trained on must not have seen them. Each system is shown at several shares of
the pairs, as `deltax search` would spend them; 'pHash' is a hash of 63 bits of
one frame a second, the best alignment in time. With --unseen further copies are
made, by kinds of edit that no data set has. Scores of 0.5 or more are counted
too: how many of the copies have it, and how many of a thousand other videos.
"""

import argparse
import functools
import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

import copies_unseen as unseen
import cv2
import numpy as np

from deltax import plain, retrieval, systems
from deltax.data.images import views
from deltax.data.video.files import read_video
from deltax.metrics.retrieval import average_precision

SHARES = (0.0, 0.05, 0.1, 0.2, 1.0)


class Asked(NamedTuple):
  """What is searched for, and in which videos.

  Attributes:
    queries: Q names.
    videos: N names.
    relevant: bool `[Q, N]`; the query itself is not.
    others: bool `[Q, N]`, videos that are neither the query nor a copy.
    related: bool `[Q, N]`, those of them that show the same scene at another
      time, such as the same drive, or have such a video in them.
    edits: what was done to each of the N videos.
    paths: of all videos, by name.
  """

  queries: list[str]
  videos: list[str]
  relevant: np.ndarray
  others: np.ndarray
  related: np.ndarray
  edits: list[list[str]]
  paths: dict[str, pathlib.Path]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--copies', required=True, type=pathlib.Path)
  parser.add_argument('--split', default='test', choices=['train', 'test'])
  parser.add_argument(
    '--systems',
    nargs='*',
    default=['binary', 'attention', 'untrained'],
    help='shipped ones by name, or folders; default: %(default)s',
  )
  parser.add_argument(
    '--unseen', type=pathlib.Path, help='folder to make further copies in'
  )
  parser.add_argument('--out', type=pathlib.Path, help='JSON')
  options = parser.parse_args()
  asked = read_asked(options.copies, options.split)
  if options.unseen:
    asked = with_unseen(asked, options.unseen)
  rows = {'pHash': judged(asked, hashed(asked))}
  for name in options.systems:
    rows |= judge_system(asked, name)
  print(table(rows))
  if options.out:
    options.out.write_text(json.dumps(rows, indent=2))


def read_asked(folder: pathlib.Path, split: str) -> Asked:
  """The queries of a data set of copies."""
  about = plain.read_json(folder / 'annotations.json')['videos']
  listed = plain.read_json(folder / f'{split}.json')
  queries = [name for name, found in listed['relevant'].items() if found]
  videos = listed['database']
  return _asked(
    queries,
    videos,
    {name: about[name]['source'] for name in videos},
    {name: scenes(about, name) for name in videos},
    {name: about[name]['edits'] for name in videos},
    {name: folder / f'videos/{name}.mp4' for name in videos},
  )


def scenes(about: Mapping[str, Mapping], name: str) -> set[str]:
  """Groups of originals that a video shows, those inside of it included."""
  shown = {about[name]['group']}
  # The hosts of a drive have its name, and a letter.
  return shown | {(about[name]['host'] or '').rpartition('_')[0]} - {''}


def _asked(queries, videos, source, scenes, edits, paths) -> Asked:
  same = np.array([[a == b for b in videos] for a in queries])
  family = np.array([[source[b] == a for b in videos] for a in queries])
  near = np.array(
    [[bool(scenes[a] & scenes[b]) for b in videos] for a in queries]
  )
  return Asked(
    *(queries, videos, family & ~same, ~family, near & ~family),
    [edits[name] for name in videos],
    paths,
  )


def with_unseen(asked: Asked, folder: pathlib.Path) -> Asked:
  """The originals alone, and copies of them by edits that no data set has."""
  originals = [
    name
    for name, edits in zip(asked.videos, asked.edits, strict=True)
    if not edits
  ]
  source = {name: name for name in originals}
  shown = {name: {name.rpartition('_')[0] or name} for name in originals}
  edits: dict[str, list[str]] = {name: [] for name in originals}
  paths = {name: asked.paths[name] for name in originals}
  for query in asked.queries:
    for edit, path in unseen.make(asked.paths[query], folder).items():
      source[path.stem], edits[path.stem] = query, [edit]
      shown[path.stem] = shown[query]
      paths[path.stem] = path
  return _asked(asked.queries, list(source), source, shown, edits, paths)


def judge_system(asked: Asked, name: str) -> dict[str, dict[str, float]]:
  """The rows of a system, by share of the pairs."""
  system, rows = systems.open_system(name), {}
  features = {
    video: system.extract(frames_of(path))
    for video, path in asked.paths.items()
  }
  shown = {
    query: [system.extract(x) for x in views(frames_of(asked.paths[query]))]
    for query in asked.queries
  }
  with tempfile.TemporaryDirectory() as folder:
    index = systems.index_features(f'{folder}/index', features, system)
    searcher = retrieval.Searcher(index, system)
    for share in SHARES:
      scores = searched(asked, searcher, features, share, shown)
      rows[f'{name}, {100 * share:g}%'] = judged(asked, scores)
  return rows


def searched(asked: Asked, searcher, features, share=1.0, views=None):
  """Scores `[Q, N]` of searches that compare a share of the pairs."""
  scores, views = np.zeros(asked.relevant.shape), views or {}
  for row, query in zip(scores, asked.queries, strict=True):
    found = searcher.search(
      features[query],
      views=views.get(query, ()),
      k=len(asked.videos),
      budget=retrieval.Budget(round(share * len(asked.videos))),
      locate=False,
    )
    by_name = {match.name: match.score for match in found.matches}
    row[:] = [by_name[video] for video in asked.videos]
  return scores


@functools.cache
def frames_of(path: pathlib.Path) -> np.ndarray:
  """uint8 `[T, 224, 224, 3]`, one frame a second, as an index reads them."""
  return read_video(path).frames


def judged(asked: Asked, scores: np.ndarray) -> dict[str, float]:
  """mAP in percent of all copies and by kind; and what has a score of 0.5."""
  kinds = sorted({edit for edits in asked.edits for edit in edits})
  row = {'all': mean_precision(scores, asked.relevant, asked.others)}
  for kind in kinds:
    has = np.array([kind in edits for edits in asked.edits])
    row[kind] = mean_precision(scores, asked.relevant & has, asked.others)
  high = scores >= 0.5
  row['copies above 0.5, %'] = 100 * float(high[asked.relevant].mean())
  for kind, which in (
    ('unrelated', asked.others & ~asked.related),
    ('same scene, other time,', asked.related),
  ):
    share = high[which].mean() if which.any() else np.nan
    row[f'{kind} above 0.5, of 1,000'] = 1000 * float(share)
  return row


def mean_precision(scores, relevant, others) -> float:
  """mAP in percent; videos that are neither do not count."""
  found = []
  for row, here, rest in zip(scores, relevant, others, strict=True):
    if here.any():
      kept = here | rest
      order = np.argsort(-row[kept], kind='stable')
      ranks = np.flatnonzero(here[kept][order])
      found.append(average_precision(ranks, len(ranks)))
  return 100 * float(np.mean(found))


def hashed(asked: Asked) -> np.ndarray:
  """Scores `[Q, N]` of hashes of one frame a second, 0 to 1."""
  bits = {
    name: phash(read_video(path, crop=None, short_side=None).frames)
    for name, path in asked.paths.items()
  }
  return np.array(
    [[aligned(bits[a], bits[b]) for b in asked.videos] for a in asked.queries]
  )


def phash(frames: np.ndarray) -> np.ndarray:
  """bool `[T, 63]`: which of the low frequencies are above their median."""
  rows = []
  for frame in frames:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()[1:]
    rows.append(low > np.median(low))
  return np.stack(rows)


def aligned(query: np.ndarray, target: np.ndarray) -> float:
  """The share of equal bits along the best diagonal, 0 to 1.

  A diagonal must have at least half of the frames of the shorter video.
  """
  equal = (query[:, None] == target[None]).mean(-1)
  least = max(1, min(equal.shape) // 2)
  diagonals = [
    np.diagonal(equal, offset)
    for offset in range(-len(query) + least, len(target) - least + 1)
  ]
  return float(max(diagonal.mean() for diagonal in diagonals))


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
  """Markdown, a column for each row of figures."""
  names = list(rows)
  lines = [f'| | {" | ".join(names)} |', '|---' * (len(names) + 1) + '|']
  for kind in rows[names[0]]:
    figures = ' | '.join(f'{rows[name][kind]:.1f}' for name in names)
    lines.append(f'| {kind.replace("_", " ")} | {figures} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
