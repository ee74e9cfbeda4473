"""A straight line through a path in a map of frames, finer than frames."""

from typing import NamedTuple

import numpy as np

from deltax.retrieval.compare.paths import Path

_NEAR = 2  # frames beside a path within which the best match is sought
_BEYOND = 1.0  # deviations from which a frame has a match
_OFF = 0.5  # frames beside a line at which a match counts half
_ROUNDS, _LAID = 8, 3  # of weights, and of looking for matches along a line
_PLAIN = 0.06  # a pace that differs less from 1 is 1,
_SURE = 3.0  # or less than so many standard errors
_PACES = 0.4, 2.5  # in frames
_GAP = 3  # frames that do not match within a part
_HALF = 0.45  # of a part's usual likeness, where it ends


class Line(NamedTuple):
  """Which second of the query a target shows.

  Attributes:
    start: second of the query at second 0 of the target.
    pace: seconds of the query in a second of the target; negative backward.
  """

  start: float
  pace: float

  def at(self, target: np.ndarray) -> np.ndarray:
    """Seconds of the query, of those of the target."""
    return self.start + self.pace * target

  def back(self, query: np.ndarray) -> np.ndarray:
    """Seconds of the target, of those of the query."""
    return (query - self.start) / self.pace


class Stretch(NamedTuple):
  """A stretch of a line in which the target shows the query.

  Attributes:
    start: second of the target.
    end: the same.
    places: rows and columns of the map at the target's frames within.
    beyond: by how much the frames of the query within exceed their usual
      likeness to what the line says they match; and those of the target.
  """

  start: float
  end: float
  places: tuple[np.ndarray, np.ndarray]
  beyond: tuple[np.ndarray, np.ndarray]


def fit_line(
  beyond: np.ndarray,
  path: Path,
  query_times: np.ndarray,
  target_times: np.ndarray,
) -> Line | None:
  """The line through the matches of single frames along a path.

  A frame between two of the other video matches both: the middle of its matches
  tells fractions of a frame. Frames of both videos count. What lies far from
  the line counts little, and a pace is 1 unless it surely is not.

  Args:
    beyond: `[T, S]`, by how much two frames exceed their usual likeness.
    path: in it.
    query_times: float64 `[T]`, seconds.
    target_times: float64 `[S]`, seconds.

  Returns:
    The line; None where too few frames match.
  """
  (top, bottom), (left, right) = path.rows, path.columns
  columns, rows = np.arange(left, right), np.arange(top, bottom)
  ends = (bottom - 1, top) if path.backward else (top, bottom - 1)
  across = np.interp(columns, (left, max(right - 1, left + 1e-6)), ends)
  order = (right - 1, left) if path.backward else (left, right - 1)
  along = np.interp(rows, (top, max(bottom - 1, top + 1e-6)), order)
  line = None
  # A path that begins or ends beside its match is crooked, and so is the first
  # line along it.
  for _ in range(_LAID):
    x, i, one = _matches(beyond, columns, across)
    y, j, other = _matches(beyond.T, rows, along)
    weights = np.concatenate([one, other])
    if len(weights) < 2:
      return line
    seconds = (
      _seconds(target_times, np.concatenate([x, j])),
      _seconds(query_times, np.concatenate([i, y])),
    )
    steps = _step(target_times), _step(query_times)
    line = _fitted(*seconds, weights, steps, path.backward)
    across = _places(query_times, line.at(target_times[columns]))
    along = _places(target_times, line.back(query_times[rows]))
  return line


def _fitted(x, y, weights, steps, backward) -> Line:
  """The line through matches, at the same pace unless it surely is another."""
  sign = -1.0 if backward else 1.0
  off = _OFF * max(steps)
  pace, error = _straight(x, y, weights, None, sign, off)[1:]
  plain = abs(pace - sign) < max(_SURE * error, _PLAIN)
  if plain or not _PACES[0] < sign * pace * steps[0] / steps[1] < _PACES[1]:
    pace = sign
  return Line(*_straight(x, y, weights, pace, sign, off)[:2])


def _matches(beyond, columns, rows) -> tuple[np.ndarray, ...]:
  """Columns, the middle of the rows that each matches best, and weights."""
  found = []
  height = len(beyond)
  for column, near in zip(columns.tolist(), rows.tolist(), strict=True):
    first = max(0, round(near) - _NEAR)
    values = beyond[first : round(near) + _NEAR + 1, column]
    if not len(values):
      continue
    row = first + int(values.argmax())
    value = float(beyond[row, column])
    if value <= _BEYOND:
      continue
    # As many on either side, or the middle would lean to the longer one.
    reach = min(_NEAR, row, height - 1 - row)
    around = np.arange(row - reach, row + reach + 1)
    mass = np.maximum(beyond[around, column] - max(0.5, 0.4 * value), 0)
    middle = float((mass * around).sum() / mass.sum())
    found.append((column, middle, value * (1.0 if reach else 0.3)))
  return tuple(np.array(found, float).reshape(-1, 3).T)


def _seconds(times: np.ndarray, places: np.ndarray) -> np.ndarray:
  return np.interp(places, np.arange(len(times)), times)


def _places(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
  return np.interp(seconds, times, np.arange(len(times)))


def _step(times: np.ndarray) -> float:
  return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def _straight(x, y, weights, pace, sign, off) -> tuple[float, float, float]:
  """Start, pace and its standard error, by weighted least squares."""
  given, w = pace, weights
  for _ in range(_ROUNDS):
    share = w / w.sum()
    x_mean, y_mean = (share * x).sum(), (share * y).sum()
    width = (share * (x - x_mean) ** 2).sum()
    if given is None:
      slope = (share * (x - x_mean) * (y - y_mean)).sum()
      pace = slope / width if width > 1e-9 else sign
    start = y_mean - pace * x_mean
    left = y - start - pace * x
    error = np.sqrt((share * left**2).sum())
    w = weights / (1 + (left / off) ** 2)
  many = (w / w.max()).sum()
  uncertain = max(error, off / 5) / np.sqrt(max(many * width, 1e-9))
  return float(start), float(pace), float(uncertain)


def shown_together(
  beyond: np.ndarray,
  path: Path,
  line: Line,
  query: tuple[np.ndarray, float, float],
  target: tuple[np.ndarray, float, float],
  change: float = 0.5,
) -> Stretch | None:
  """From when to when the target shows the query along a line.

  Args:
    beyond: `[T, S]`, by how much two frames exceed their usual likeness.
    path: that the line was laid through.
    line: of it.
    query: seconds of the frames, and where the video starts and ends.
    target: the same.
    change: where between two frames, of which one matches, the end lies: 0.5
      where there are more frames between them, 1 where there are none, as a
      frame is shown until the next one.

  Returns:
    The stretch; None where the line leaves one of the videos.
  """
  inside = target[0][path.columns[0]], target[0][path.columns[1] - 1]
  alike, rows = _profile(beyond, target[0], query[0], line.at)
  bounds = _bounds(alike, rows >= 0, target, inside, change)
  back, columns = _profile(beyond.T, query[0], target[0], line.back)
  others = _bounds(
    back, columns >= 0, query, sorted(map(line.at, inside)), change
  )
  if bounds is None or others is None:
    return None
  # Where the target goes on with something else, its own frames tell, while
  # those of the query still match the last one before. And the other way round.
  others = sorted(map(line.back, others))
  start, end = max(bounds[0], others[0]), min(bounds[1], others[1])
  place = _within(target[0], rows, (start, end))
  other = _within(query[0], columns, sorted(map(line.at, (start, end))))
  if end <= start or not len(place):
    return None
  places = rows[place], place
  return Stretch(float(start), float(end), places, (back[other], alike[place]))


def _within(times, matched, ends) -> np.ndarray:
  """Places of the frames between two ends that have one on the line."""
  start, end = ends
  return np.flatnonzero((times >= start) & (times < end) & (matched >= 0))


def _profile(beyond, times, other_times, at) -> tuple[np.ndarray, np.ndarray]:
  """Likeness of each frame to that on the line, and its number, -1 beyond."""
  asked = at(times)
  places = _places(other_times, asked)
  low = np.floor(places).astype(int)
  high = np.minimum(low + 1, len(other_times) - 1)
  here = np.arange(len(times))
  one, other = beyond[low, here].T, beyond[high, here].T
  share = places - low
  # Near the middle between two frames, either may be the one that is alike.
  first = (share < 0.25) | ((share <= 0.75) & (one >= other))
  step = _step(other_times)
  there = (asked >= other_times[0] - 0.6 * step) & (
    asked <= other_times[-1] + 0.9 * step
  )
  numbers = np.where(there, np.where(first, low, high), -1)
  return np.where(first, one, other), numbers


def _bounds(values, there, video, inside, change) -> tuple[float, float] | None:
  """Where the likeness along a line rises, and where it drops, seconds."""
  times, start, end = video
  places = np.flatnonzero(there)
  if not len(places):
    return None
  values = values[places]
  within = (times[places] >= inside[0]) & (times[places] <= inside[1])
  usual = np.median(values[within] if within.any() else values)
  least = max(0.6 * _BEYOND, _HALF * usual)
  gains = np.minimum(np.maximum(values, -4), max(2 * usual, -4)) - least
  first, last = _best_stretch(gains, within)
  one, other = places[first], places[last]
  left, right = start, end
  if one > 0:
    left = times[one - 1] + change * (times[one] - times[one - 1])
  if other + 1 < len(times):
    right = times[other] + change * (times[other + 1] - times[other])
  # Beyond the other video nothing speaks against it: the line ends it there.
  if first == 0 and one > 0:
    left = times[one - 1]
  if last == len(places) - 1 and other + 1 < len(times):
    right = times[other + 1]
  return float(left), float(right)


def _best_stretch(gains: np.ndarray, within: np.ndarray) -> tuple[int, int]:
  """The first and last place of the stretch that gains most around a path."""
  best = np.where(within, gains, -np.inf) if within.any() else gains
  middle = int(best.argmax())
  # Another match may lie on the same line: a longer gap parts the two.
  missed = np.convolve(gains <= 0, np.ones(_GAP + 1), 'valid') > _GAP
  ends = np.flatnonzero(missed)  # where gaps begin
  before, after = ends[ends + _GAP < middle], ends[ends > middle]
  low = int(before[-1]) + _GAP + 1 if len(before) else 0
  high = int(after[0]) if len(after) else len(gains)
  left, right = gains[low : middle + 1], gains[middle:high]
  first = middle - int(np.cumsum(left[::-1]).argmax())
  return first, middle + int(np.cumsum(right).argmax())
