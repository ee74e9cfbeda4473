"""Where two videos show the same, in seconds, from the likeness of frames."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.likeness import Likeness, frame_likeness
from deltax.retrieval.compare.lines import fit_line, shown_together
from deltax.retrieval.compare.paths import Path, find_paths

# Likeness of frames that share nothing, and how much it varies: found on
# training sources, nearly the same for every network.
_USUAL, _SPREAD = 0.42, 0.36
_SHRINK = 8  # frames as many as which `_USUAL` counts in a frame's background
_MAD = 1.4826  # from a median deviation to a standard deviation
_WIDEST = 3  # times `_SPREAD`: a map that varies more is mostly matches
_BEYOND = 1.0  # deviations from which a place is rather a match than not
_LIMITS = -5.0, 9.0  # of what a place gains; on a path it may be more
_GAP, _COST = 2, 0.5
_PATHS = 3.5, 12.0  # totals of paths forward and backward that are looked at
# What a line must exceed so that fewer than one in three hundred pairs of
# unrelated training videos have a part; three times as much in reverse, which
# no copy among them is.
_LEAST, _LEAST_OF_BITS, _BACKWARD = 9.5, 6.0, 3.0
_VIEWED = 2.0  # more for a line in another view of the query: a further chance
_SPED = 0.7  # of a line's total counts where its pace is not 1
_LARGER = 0.5  # more for every e times as many places, above `_FEW`
_FEW = 150
_FEWEST = 2, 4  # places of a path; a thick diagonal has short ones in reverse
_CELLS = 2**23  # pairs of frames that are compared; of more, every nth
_MARGIN = 24  # frames around an end that are compared again


class Frames(NamedTuple):
  """A video, for `locate`.

  Attributes:
    codes: of the fine student, `[T, R, D]` float or `[T, R, W]` uint32.
    times: float64 `[T]`, seconds, increasing.
    start: seconds, where what the frames are of begins.
    end: seconds, where it ends.
  """

  codes: np.ndarray
  times: np.ndarray
  start: float
  end: float


class Part(NamedTuple):
  """A part of the query, and the part of the target that shows the same.

  Attributes:
    query: start and end, seconds.
    target: start and end, seconds.
    score: 0, as alike as any two frames of these videos, to 1, the same.
    backward: whether the target shows it in reverse.
    surety: by how much it exceeds what is usual, and what chance gives.
  """

  query: tuple[float, float]
  target: tuple[float, float]
  score: float
  backward: bool
  surety: float


def locate(
  query: Frames,
  target: Frames,
  *,
  views: Sequence[np.ndarray] = (),
  most: int = 20,
) -> list[Part]:
  """The parts that two videos have in common, the surest first.

  A copy shows as a line in the map of frames: its slope is its pace, half to
  double, forward or backward. Paths that gain more than chance gives are found,
  a line is laid through each at fractions of a frame, and its ends are where
  the likeness along it drops. Of very long videos only every nth frame is
  compared, but all of them around the ends.

  Args:
    query: the one video.
    target: the other.
    views: codes of the query's frames in other views, such as their middle
      enlarged: of them that counts in which most is found, where nothing is in
      the query as it is.
    most: parts at most.

  Returns:
    Parts, none where nothing matches. Ends lie half-way to the next frame that
    does not match, or at an end of a video.
  """
  parts = _all_located(query, target, most, 0.0)
  if parts:
    return parts
  seen = [
    _all_located(query._replace(codes=codes), target, most, _VIEWED)
    for codes in views
  ]
  return max(seen, key=lambda parts: sum(x.surety for x in parts), default=[])


def _all_located(query, target, most, more) -> list[Part]:
  """Parts of two videos of any length that are surer by `more` than usual."""
  pairs = len(query.codes) * len(target.codes)
  step = max(1, math.ceil((pairs / _CELLS) ** 0.5))
  parts = _located(_every(query, step), _every(target, step), most, more=more)
  if step == 1:
    return parts
  films, margin = (query.codes, target.codes), step * _MARGIN
  return [
    sharpen(part, query, target, films, margin, every_frame=False)
    for part in parts
  ]


def sharpen(
  part: Part,
  query: Frames,
  target: Frames,
  films: tuple[np.ndarray, np.ndarray],
  margin: float,
  *,
  every_frame: bool = True,
) -> Part:
  """A part with better ends, from more frames around them.

  Args:
    part: as `locate` found it.
    query: has frames around the ends at least.
    target: the same.
    films: codes of both videos all along, which tell what is usual.
    margin: seconds before and after an end of the part within which frames are
      compared.
    every_frame: whether there are no more frames than these around the ends,
      so that an end is at one of them rather than somewhere between two.

  Returns:
    The part; an end around which nothing is found stays.
  """
  ends = []
  for side in (0, 1):
    centre = part.query[side], part.target[side != part.backward]
    near = [
      _between(video, moment - margin, moment + margin)
      for video, moment in zip((query, target), centre, strict=True)
    ]
    alike = []
    if all(len(video.codes) > 1 for video in near):
      found = _located(*near, 3, films, 1.0 if every_frame else 0.5)
      alike = [x for x in found if x.backward == part.backward]
    if alike:
      best = alike[0]
      centre = best.query[side], best.target[side != part.backward]
    ends.append(centre)
  (first, one), (last, other) = ends
  if first >= last or (one >= other) != part.backward:
    return part
  target_part = (other, one) if part.backward else (one, other)
  return part._replace(query=(first, last), target=target_part)


def _located(
  query: Frames,
  target: Frames,
  most: int,
  films=None,
  change: float = 0.5,
  more: float = 0.0,
) -> list[Part]:
  likeness = frame_likeness(query.codes, target.codes, films)
  # Around an end half of all frames match: they say nothing of what is usual.
  beyond = (
    (likeness.values - _USUAL) / _SPREAD
    if films
    else _deviations(likeness.values)
  )
  chance = _LARGER * max(0.0, math.log(beyond.size / _FEW))
  paths = find_paths(
    np.maximum(beyond - _BEYOND, _LIMITS[0]),
    gap=_GAP,
    cost=_COST,
    least=(_PATHS[0] + chance, _PATHS[1] + chance),
    fewest=_FEWEST,
    most=most,
  )
  binary = query.codes.dtype == np.uint32
  least = chance + more + (_LEAST_OF_BITS if binary else _LEAST)
  parts = [
    _part(likeness, beyond, path, query, target, change) for path in paths
  ]
  parts = [
    part
    for part in parts
    if part and part.surety >= (_BACKWARD if part.backward else 1) * least
  ]
  parts.sort(key=lambda part: -part.surety)
  # Lines reach as far as the likeness along them, and so into one another.
  return [
    part
    for n, part in enumerate(parts)
    if not any(_overlap(part, surer) for surer in parts[:n])
  ]


def _overlap(a: Part, b: Part) -> bool:
  """Whether both share more than a quarter of the shorter one in each video."""
  return all(
    min(x[1], y[1]) - max(x[0], y[0]) > min(x[1] - x[0], y[1] - y[0]) / 4
    for x, y in ((a.query, b.query), (a.target, b.target))
  )


def _part(
  likeness: Likeness, beyond, path: Path, query: Frames, target: Frames, change
) -> Part | None:
  line = fit_line(beyond, path, query.times, target.times)
  if line is None:
    return None
  stretch = shown_together(beyond, path, line, query[1:], target[1:], change)
  if stretch is None:
    return None
  ends = sorted(map(line.at, stretch[:2]))
  rows, columns = stretch.places
  alike = float(likeness.values[rows, columns].mean()) / likeness.same
  gains = [np.clip(x - _BEYOND, *_LIMITS).sum() for x in stretch.beyond]
  share = max(
    len(x) / n for x, n in zip(stretch.beyond, beyond.shape, strict=True)
  )
  # By chance a part of both videos matches rather than all of one, and at some
  # pace rather than at the same.
  surety = sum(gains) / 2 * (0.5 + share)
  return Part(
    (max(query.start, ends[0]), min(query.end, ends[1])),
    (max(target.start, stretch.start), min(target.end, stretch.end)),
    min(1.0, alike),
    path.backward,
    float(surety) * (1.0 if abs(line.pace) == 1 else _SPED),
  )


def _deviations(likeness: np.ndarray) -> np.ndarray:
  """`[T, S]`, by how much two frames exceed their usual likeness.

  A frame that is like many, as a black one, has a higher usual likeness.
  """
  usual = [
    (n * np.median(likeness, axis, keepdims=True) + _SHRINK * _USUAL)
    / (n + _SHRINK)
    for axis, n in enumerate(likeness.shape)
  ]
  beyond = likeness - np.maximum(np.maximum(*usual), _USUAL)
  middle = np.median(likeness)
  spread = _MAD * float(np.median(np.abs(likeness - middle)))
  beyond /= min(max(spread, _SPREAD), _WIDEST * _SPREAD)
  return beyond


def _every(video: Frames, step: int) -> Frames:
  return video._replace(codes=video.codes[::step], times=video.times[::step])


def _between(video: Frames, start: float, end: float) -> Frames:
  first, last = np.searchsorted(video.times, (start, end))
  start, end = max(start, video.start), min(end, video.end)
  return Frames(video.codes[first:last], video.times[first:last], start, end)
