"""Finds the videos of an index that a query is in, and where.

    deltax search my.index query.mp4 -k 20 --budget 100 --html found.html
    deltax search my.index s3://films/other.index query.mp4

Several indexes of one model are searched as if they were one; those at an
address are read by fsspec, and what was fetched is kept in the cache.

A coarse score orders all videos; of the best, as many pairs as the budget has
are compared frame by frame, which also tells the matching parts. All scores are
on one scale: 1 says that all of the query is in the video, and of a thousand
videos without a copy about one has 0.5 or more. Where no video has that, the
search says so and ends with status 1. More than half of a first search goes
into compiling; what is compiled is kept for the next, in ~/.cache/deltax or
where DELTAX_CACHE says.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from deltax import systems
from deltax.commands import folders
from deltax.commands.videos import options
from deltax.commands.videos.precise import place_precisely
from deltax.data.video.stream import flaws
from deltax.report.retrieval.search_contents import (
  ShownMatch,
  ShownQuery,
  ShownSegment,
  SideBySide,
  same_moment,
)
from deltax.report.retrieval.search_page import write_search_page
from deltax.retrieval.index.elsewhere.remote import is_address
from deltax.retrieval.index.folder import Index
from deltax.retrieval.search.results import Match, SearchResult
from deltax.retrieval.search.searcher import Budget

SHOWN = 8  # pairs of pictures of a match, at most
LEAST = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    'index',
    type=options.place,
    nargs='+',
    help='folder of the index, or its address; several are searched as one',
  )
  parser.add_argument('query', type=pathlib.Path, help='a video file')
  parser.add_argument(
    '-k', type=int, default=20, help='results; default: %(default)s'
  )
  parser.add_argument(
    '--least',
    type=float,
    metavar='SCORE',
    help='that a result must have; default: 0.5, with --normalise 0',
  )
  budget = parser.add_mutually_exclusive_group()
  budget.add_argument(
    '--budget',
    type=int,
    default=100,
    metavar='PAIRS',
    help='videos that are compared frame by frame; default: %(default)s',
  )
  budget.add_argument(
    '--budget-ms', type=float, metavar='MS', help='or the time for that'
  )
  parser.add_argument(
    '--symmetric',
    action='store_true',
    help='a score of 1 also says that nothing else is in the video',
  )
  parser.add_argument(
    '--normalise',
    action='store_true',
    help="take off what the index's background videos score",
  )
  parser.add_argument(
    '--precise',
    action='store_true',
    help='place the ends of what matches within a frame: reads the files again',
  )
  options.add_told(parser)
  options.add_model(parser, 'the one that the index was built with')


def run(arguments: argparse.Namespace) -> None:
  """Reads the query, searches and tells.

  Raises:
    FileNotFoundError: there is no index, no model or no query.
    ValueError: the query cannot be read, or the model is another.
    SystemExit: with 1, nothing was found.
  """
  _check_options(arguments)
  if arguments.html:
    model = options.folder_of(arguments.model)
    read = [place for place in arguments.index if not is_address(place)]
    folders.check_apart(arguments.html, *read, arguments.query, model)
    folders.check_file(arguments.html)
  searcher = systems.open_searcher(arguments.index, arguments.model)
  index, system = searcher.index, searcher.system
  query = systems.read_query(system, arguments.query)
  least = arguments.least
  if least is None:
    least = 0.0 if arguments.normalise else LEAST
  result = searcher.search(
    query,
    k=arguments.k,
    least=least,
    budget=Budget(arguments.budget, arguments.budget_ms),
    symmetric=arguments.symmetric,
    normalise=arguments.normalise,
  )
  if arguments.precise:
    result = place_precisely(
      system, index, arguments.query, query.regions, result
    )
  if arguments.html:
    write_page(arguments.html, arguments.query.name, query, index, result)
  if arguments.json:
    print(json.dumps(as_json(arguments.query, query, result), indent=2))
  else:
    lines = table(result.matches) if result.matches else nothing(result, least)
    print('\n'.join([*lines, '', *notes(result)]))
    if flawed := flaws(query.damaged, query.resized):
      print(f'{arguments.query}: {flawed}')
  if not result.matches:
    raise SystemExit(1)


def _check_options(arguments: argparse.Namespace) -> None:
  """Raises a ValueError that names the option which is out of range."""
  if arguments.k < 1:
    raise ValueError(f'-k is at least 1, got {arguments.k}')
  for name in ('budget', 'budget_ms'):
    value = getattr(arguments, name)
    if value is not None and not value >= 0:
      option = name.replace('_', '-')
      raise ValueError(f'--{option} is at least 0, got {value}')


def as_json(
  path: pathlib.Path, query: systems.ReadVideo, result: SearchResult
) -> dict:
  """What was found, as plain values; times in seconds."""
  matches = [
    {
      **match._asdict(),
      'where': [where._asdict() for where in match.where],
    }
    for match in result.matches
  ]
  for match in matches:
    del match['row']
  return {
    'query': {
      'path': str(path),
      'duration': query.duration,
      'damaged': query.damaged,
      'resized': query.resized,
    },
    'matches': matches,
    'videos': result.videos,
    'pairs': result.pairs,
    'milliseconds': result.milliseconds,
    'best': result.best,
    'false_alarms': result.false_alarms,
  }


def table(matches: Sequence[Match]) -> list[str]:
  """Lines for the terminal."""
  names = [_named(match) for match in matches]
  width = max(len('video'), *map(len, names))
  lines = [f'{"":>4} {"score":>6} {"coarse":>6}  {"video":{width}}  where']
  for rank, (match, name) in enumerate(zip(matches, names, strict=True), 1):
    where = options.places(match.where) if match.where else '-'
    if not match.reranked:
      where = '(by the coarse score alone)'
    lines.append(
      f'{rank:4} {match.score:6.3f} {match.coarse:6.3f}  {name:{width}}  '
      f'{where}'
    )
  return lines


def _named(match: Match) -> str:
  return f'{match.name} ({match.state})' if match.state else match.name


def nothing(result: SearchResult, least: float) -> list[str]:
  """A line that says that no video has the least score."""
  best = ''
  if result.best is not None:
    best = f': the best score is {result.best:.3f}; a lower --least gives it'
  return [f'nothing was found with a score of at least {least:g}{best}']


def notes(result: SearchResult) -> list[str]:
  """Sentences on how the search was done."""
  spent = result.milliseconds
  how = [
    f'{result.videos:,} videos by their coarse scores, {result.pairs:,} of '
    'them frame by frame: '
    + ', '.join(f'{name} {ms:,.1f} ms' for name, ms in spent.items())
  ]
  if result.false_alarms is not None:
    how.append(
      f'Of 1,000 videos without a copy about {result.false_alarms:g} would '
      f'have a score of {LEAST} or more'
    )
  return how


def write_page(
  path: pathlib.Path,
  name: str,
  query: systems.ReadVideo,
  index: Index,
  result: SearchResult,
) -> None:
  """Writes the page of a query."""
  shown = _spread(range(len(query.pictures)), SHOWN)
  write_search_page(
    path,
    query=ShownQuery(
      name,
      query.duration,
      {query.times[n]: query.pictures[n] for n in shown},
    ),
    matches=[_shown(query, index, match) for match in result.matches],
    notes=notes(result),
  )


def _shown(query: systems.ReadVideo, index: Index, match: Match) -> ShownMatch:
  return ShownMatch(
    name=match.name,
    path=f'{match.path} ({match.state})' if match.state else match.path,
    score=match.score,
    coarse=match.coarse,
    reranked=match.reranked,
    duration=match.duration,
    segments=[ShownSegment(*where) for where in match.where],
    pairs=side_by_side(query, match, dated(index, match.row)),
  )


def dated(index: Index, row: int) -> dict[float, bytes]:
  """Pictures that an index has of a video, by second."""
  times = index.times(row)
  return {float(times[n]): x for n, x in index.pictures(row).items()}


def side_by_side(
  query: systems.ReadVideo, match: Match, pictures: dict[float, bytes]
) -> list[SideBySide]:
  """Pictures of a match, and of the query where the same should be seen.

  Args:
    query: with a picture of each frame.
    match: its parts say what belongs together; without any, the first picture
      is beside the first and so on.
    pictures: of the match, by second.
  """
  placed = []
  for place, where in enumerate(match.where):
    inside = [t for t in pictures if where.target[0] <= t < where.target[1]]
    placed += [(place, t, same_moment(where, t)) for t in inside]
  if not match.where:
    rate = query.duration / max(match.duration, 1e-9)
    placed = [(None, t, rate * t) for t in pictures]
  pairs = []
  for place, second, asked in _spread(placed, SHOWN):
    n = int(np.abs(query.times - asked).argmin())
    pairs.append(
      SideBySide(
        query=(float(query.times[n]), query.pictures[n]),
        target=(second, pictures[second]),
        segment=place,
      )
    )
  return pairs


def _spread(items: Sequence, count: int) -> list:
  """At most so many, evenly."""
  kept = min(len(items), count)
  return [items[n * len(items) // kept] for n in range(kept)]
