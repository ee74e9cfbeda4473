"""Writes which videos are copies of which, and pairs of them to train on."""

import pathlib
from typing import Any

from deltax import files, plain
from deltax.data.copies.plan import Original
from deltax.data.features.similarities import labelled, write_similarities

_NEGATIVES = 16  # of an anchor, half of them hard, to train a teacher on
_UNSORTED = 64  # drawn from all, to train a selector on


def about(original: Original, source: str, edits: list[str]) -> dict[str, Any]:
  """What `annotations.json` says of a video.

  Args:
    original: the video, or what it is a copy of.
    source: name of the video that its picture comes from.
    edits: names of what was done to it.
  """
  return {
    'source': source,
    'edits': edits,
    'split': original.split,
    'group': original.group,
    'host': None,
    'segments': [],
  }


def write_annotations(folder: pathlib.Path, listed: list[Original]) -> None:
  """Writes the JSON files that `make_copies` describes.

  Args:
    folder: has `parts/NAME.json`, what is to be told of the copies of a source.
    listed: all videos that are no edited copies.
  """
  videos = {}
  for original in listed:
    if original.role == 'host':
      continue
    source = original.copy_of or original.name
    edits = ['found'] if original.copy_of else []
    videos[original.name] = about(original, source, edits)
    part = folder / 'parts' / f'{original.name}.json'
    if part.exists():
      videos |= plain.read_json(part, plain.DICT)
  queries = [x.name for x in listed if x.role == 'source' and not x.copy_of]
  for split in ('train', 'test'):
    of_split = {
      n: video for n, video in videos.items() if video['split'] == split
    }
    relevant = {
      query: [
        name
        for name, video in of_split.items()
        if video['source'] == query != name
      ]
      for query in queries
      if query in of_split
    }
    annotation = {'relevant': relevant, 'database': list(of_split)}
    files.write_json(folder / f'{split}.json', annotation)
    if split == 'train':
      _write_pairs(folder, of_split)
  # Whoever finds this file takes the whole data set for made.
  files.write_json(
    folder / 'annotations.json', {'videos': videos, 'queries': queries}
  )


def _write_pairs(folder: pathlib.Path, videos: dict[str, dict]) -> None:
  """Pairs to train on: with hard negatives, and with any."""
  contents = {
    name: [video['source'], *filter(None, [video['host']])]
    for name, video in videos.items()
  }
  near = {name: video['group'] for name, video in videos.items()}
  hard = labelled(contents, negatives=_NEGATIVES, near=near)
  write_similarities(folder / 'train_pairs.json', hard)
  mixed = labelled(contents, negatives=_UNSORTED)
  write_similarities(folder / 'selector_pairs.json', mixed)
