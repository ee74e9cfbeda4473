"""What is relevant to what: the annotation files of retrieval benchmarks.

The files are those that were published with the benchmarks or with the
evaluation code of distill-and-select and S2VS. Pickles are read as plain data.
Every annotation names the protocol that scores it, see
`deltax.metrics.protocols`.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from deltax import plain
from deltax.data.features import plain_pickle

FIVR_LABELS = ('ND', 'DS', 'CS', 'IS')  # near-duplicate to same incident


class Fivr(NamedTuple):
  """FIVR-200K or FIVR-5K.

  Attributes:
    queries: names of videos.
    database: names of the videos searched.
    labels: for each query and label of `FIVR_LABELS`, the videos it was given
      to; a label without videos may be absent.
    easy_duplicates: videos that the "hard" scores of S2VS leave out.
  """

  queries: tuple[str, ...]
  database: frozenset[str]
  labels: Mapping[str, Mapping[str, frozenset[str]]]
  easy_duplicates: frozenset[str] = frozenset()

  protocol = 'fivr'


class CcWebVideo(NamedTuple):
  """CC_WEB_VIDEO, whose labels know videos by number.

  Attributes:
    videos: numbers by name.
    queries: a name for each query.
    labels: for each query the letter of every video labelled: E, S, L, M, V for
      a near-duplicate, anything else for another video.
    excluded: for each query the videos that are labelled wrongly.
  """

  videos: Mapping[str, int]
  queries: tuple[str, ...]
  labels: tuple[Mapping[int, str], ...]
  excluded: tuple[frozenset[int], ...]

  protocol = 'cc_web_video'


class Event(NamedTuple):
  """An event of EVVE: its queries, and the searched videos that show it."""

  queries: frozenset[str]
  positives: frozenset[str]


class Evve(NamedTuple):
  """EVVE: events by name, and the names of the videos searched."""

  events: Mapping[str, Event]
  queries: tuple[str, ...]
  database: frozenset[str]

  protocol = 'evve'


class Svd(NamedTuple):
  """SVD: for each query whether a target is a copy (1) or not (0).

  `unlabelled` are videos that are no copy of any query.
  """

  labels: Mapping[str, Mapping[str, int]]
  unlabelled: tuple[str, ...] = ()

  protocol = 'svd'


class Vcdb(NamedTuple):
  """VCDB: every query's copies among the other queries; distractors."""

  queries: tuple[str, ...]
  positives: Mapping[str, frozenset[str]]
  distractors: tuple[str, ...] = ()

  protocol = 'vcdb'


class Copies(NamedTuple):
  """An annotation of your own: the relevant videos of each query.

  `database` are the videos searched; None for all that have a score.
  """

  relevant: Mapping[str, frozenset[str]]
  database: frozenset[str] | None = None

  protocol = 'copies'


def read_fivr(
  path: str | os.PathLike,
  version: str = '200k',
  *,
  easy_duplicates: str | os.PathLike | None = None,
) -> Fivr:
  """Reads `fivr.pickle`.

  The label DA of that file holds no videos and is not read.

  Args:
    path: the pickle.
    version: '200k' or '5k'.
    easy_duplicates: a text file with a name a line, for the hard scores.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not that file, or there is no such version.
  """
  versions = ('200k', '5k')
  if version not in versions:
    known = ', '.join(versions)
    raise ValueError(f'unknown version of FIVR {version!r}, known: {known}')
  data = _load(path, 'annotation', *versions)
  split = _entries(path, data[version], 'queries', 'database')
  queries = _names(path, split['queries'])
  annotation = _entries(path, data['annotation'], *queries)
  labels = {}
  for query in queries:
    given = _entries(path, annotation[query])
    labels[query] = {
      label: frozenset(_names(path, given[label]))
      for label in FIVR_LABELS
      if label in given
    }
  easy = _lines(easy_duplicates) if easy_duplicates else ()
  database = frozenset(_names(path, split['database']))
  return Fivr(queries, database, labels, frozenset(easy))


def read_cc_web_video(path: str | os.PathLike) -> CcWebVideo:
  """Reads `cc_web_video.pickle`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not that file.
  """
  data = _load(path, 'index', 'queries', 'ground_truth', 'excluded')
  queries = _names(path, data['queries'])
  labels = _many(path, data['ground_truth'], dict)
  excluded = _many(path, data['excluded'], object)
  if not len(queries) == len(labels) == len(excluded):
    raise ValueError(
      f'{path} has {len(queries)} queries, labels for {len(labels)} and '
      f'exclusions for {len(excluded)}'
    )
  videos = _entries(path, data['index'])
  _names(path, list(videos))
  _many(path, list(videos.values()), int)
  for given in labels:
    _many(path, list(given), int)
    _many(path, list(given.values()), str)
  return CcWebVideo(
    videos=videos,
    queries=queries,
    labels=labels,
    excluded=tuple(frozenset(_many(path, each, int)) for each in excluded),
  )


def read_evve(path: str | os.PathLike) -> Evve:
  """Reads `evve.pickle`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not that file.
  """
  data = _load(path, 'annotation', 'queries', 'database')
  events = {}
  for name, given in _entries(path, data['annotation']).items():
    sets = _many(path, given, object)
    if len(sets) != 3:
      raise ValueError(
        f'{path}: event {plain.written(name)} has {len(sets)} sets, '
        'expected its queries, positives and null videos'
      )
    own, positives = (frozenset(_names(path, names)) for names in sets[:2])
    events[name] = Event(own, positives)
  queries = _names(path, data['queries'])
  known = frozenset().union(*(event.queries for event in events.values()))
  strangers = sorted(set(queries) - known)
  if strangers:
    raise ValueError(
      f'{path}: query {plain.written(strangers[0])} belongs to no event'
    )
  return Evve(events, queries, frozenset(_names(path, data['database'])))


def read_svd(
  path: str | os.PathLike, unlabelled: str | os.PathLike | None = None
) -> Svd:
  """Reads `test_groundtruth` and perhaps `unlabeled-data-id`.

  Args:
    path: a line for each label: query, target and 1 (a copy) or 0.
    unlabelled: a name a line.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: a line is none of these, or nothing is there.
  """
  labels: dict[str, dict[str, int]] = {}
  for number, line in enumerate(_lines(path), 1):
    parts = line.split()
    if len(parts) != 3 or parts[2] not in ('0', '1'):
      raise ValueError(
        f'{path}, line {number}: expected "query target label" with a label '
        f'of 0 or 1, got {line!r}'
      )
    labels.setdefault(parts[0], {})[parts[1]] = int(parts[2])
  if not labels:
    raise ValueError(f'{path} holds no labels')
  return Svd(labels, tuple(_lines(unlabelled)) if unlabelled else ())


def read_vcdb(path: str | os.PathLike, *, distractors: bool = False) -> Vcdb:
  """Reads `vcdb.pickle` as S2VS has it, with the 100,000 distractors or not.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not that file.
  """
  data = _load(path, 'queries', 'positives', 'dataset')
  queries = _names(path, data['queries'])
  positives = _entries(path, data['positives'], *queries)
  return Vcdb(
    queries,
    {query: frozenset(_names(path, positives[query])) for query in queries},
    _names(path, data['dataset']) if distractors else (),
  )


def read_copies(path: str | os.PathLike) -> Copies:
  """Reads an annotation of your own, a JSON file.

  `{"relevant": {query: [names]}, "database": [names]}`; without a database, all
  videos that have a score are searched.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not such a file.
  """
  data = plain.read_json(path, problem='is no JSON file')
  relevant = _entries(path, data, 'relevant')['relevant']
  for query, names in _entries(path, relevant).items():
    if not isinstance(names, list):
      raise ValueError(
        f'{path}: relevant to {query!r:.80} must be a list of names'
      )
  database = data.get('database')
  return Copies(
    {
      query: frozenset(_names(path, names)) for query, names in relevant.items()
    },
    None if database is None else frozenset(_names(path, database)),
  )


def _load(path: str | os.PathLike, *keys: str) -> Mapping[str, Any]:
  return _entries(path, plain_pickle.load(path), *keys)


def _entries(path: str | os.PathLike, data: Any, *keys: str) -> Mapping:
  """`data`, if it is a dict that has these keys; or an error."""
  if not isinstance(data, dict):
    raise ValueError(f'{path} holds a {type(data).__name__}, expected a dict')
  lacking = [plain.written(key) for key in keys if key not in data]
  if lacking:
    more = f' and {len(lacking) - 5} more' if len(lacking) > 5 else ''
    raise ValueError(f'{path} lacks {", ".join(lacking[:5])}{more}')
  return data


def _names(path: str | os.PathLike, data: Any) -> tuple[str, ...]:
  """Names of videos in any container; or an error."""
  return _many(path, data, str)


def _many(path: str | os.PathLike, data: Any, kind: type) -> tuple:
  """What is in a list, a tuple or a set, all of one type; or an error."""
  what = 'names' if kind is str else f'values of type {kind.__name__}'
  if not isinstance(data, list | tuple | set | frozenset):
    raise ValueError(
      f'{path} holds a {type(data).__name__}, expected a list of {what}'
    )
  for value in data:
    if not isinstance(value, kind):
      raise ValueError(
        f'{path} holds a {type(value).__name__}, expected only {what} there'
      )
  return tuple(data)


def _lines(path: str | os.PathLike) -> list[str]:
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} is no text in UTF-8: {error}') from error
  return [line.strip() for line in text.splitlines() if line.strip()]
