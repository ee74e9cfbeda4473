"""What a page about a run on video is made of.

Scores are shares, 0 to 1; a score, time or cost that was not measured is None
or NaN. Costs are a frame's: billions of multiply-accumulates (GMACs) and
milliseconds. K classes, S steps of training.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Measured = float | None


class Metric(NamedTuple):
  """Texts about the score.

  Attributes:
    name: of the score at the head of a column: 'mIoU'.
    text: the same in a sentence: 'mean IoU'.
    of_class: the score of one class: 'IoU'.
    about: what a class's score is: 'Intersection over union'.
    absent: where a class without one is missing: 'no ground truth'.
  """

  name: str
  text: str = ''
  of_class: str = ''
  about: str = ''
  absent: str = ''


class TeacherRow(NamedTuple):
  """The teacher, run on every frame.

  Attributes:
    name: of the network.
    score: of all classes.
    gmacs: of a frame.
    ms: of a frame.
    params: how many numbers it has.
    by_class: K scores.
    others: scores beside the main one, by a name to show.
  """

  name: str
  score: Measured
  gmacs: Measured
  ms: Measured
  params: int | None = None
  by_class: Sequence[Measured] = ()
  others: Mapping[str, Measured] = {}


class DeltaRow(NamedTuple):
  """The delta network at one distance of key frames.

  Attributes:
    interval: frames from one key frame to the next.
    score: of all classes.
    teacher_score: the teacher's on the same frames.
    gmacs: of a frame, the mean over an interval.
    ms: the same.
    share: of the teacher's GMACs, 0 to 1 and perhaps more.
    by_class: K scores.
    others: as the teacher's.
    per_distance: `interval` scores, 0, 1, ... frames after the key frame.
    teacher_per_distance: the teacher's on the same frames.
    copied_score: of the teacher's answer on the key frame, in place of one on
      each later frame, on the same frames.
    copied_per_distance: `interval` scores of the same; None where they were not
      measured.
  """

  interval: int
  score: Measured
  teacher_score: Measured
  gmacs: Measured
  ms: Measured
  share: Measured = None
  by_class: Sequence[Measured] = ()
  others: Mapping[str, Measured] = {}
  per_distance: Sequence[Measured] = ()
  teacher_per_distance: Sequence[Measured] = ()
  copied_score: Measured = None
  copied_per_distance: Sequence[Measured] | None = None


class Smaller(NamedTuple):
  """The teacher on every frame, made smaller before it.

  Attributes:
    size: rows and columns of what it sees.
    score: on all frames.
    gmacs: of a frame.
    ms: of a frame.
  """

  size: Sequence[int]
  score: Measured
  gmacs: Measured
  ms: Measured


class Milliseconds(NamedTuple):
  """Of single frames: the teacher's, a key frame, a later frame.

  `predicted` is that of a later frame, told by the latencies of its layers.
  """

  teacher: Measured
  key: Measured
  later: Measured
  predicted: Measured = None


class Gmacs(NamedTuple):
  """Of single frames: a key frame, a later frame."""

  key: Measured
  later: Measured


class FrameTimes(NamedTuple):
  """Milliseconds of a frame of all streams: percentiles and the mean."""

  p50: float
  p95: float
  p99: float
  mean: float


class StreamTimes(NamedTuple):
  """How long a frame of several streams at once takes.

  Attributes:
    count: of the streams.
    interval: of their key frames.
    at_once: with the key frames of all in the same step.
    staggered: with the key frames spread over the interval.
  """

  count: int
  interval: int
  at_once: FrameTimes
  staggered: FrameTimes


class Results(NamedTuple):
  """What an evaluation measured; `results.json` of a run holds it.

  Attributes:
    title: of the page.
    data: name of the data set.
    metric: texts about the score.
    classes: K names.
    size: height and width of a frame, in pixels.
    device: that the times are from.
    teacher: on every frame.
    delta: a row for each interval, smallest first; empty for a teacher alone.
    ms: of single frames.
    gmacs: of single frames.
    palette: `[K, 3]`, red, green and blue of each class, 0 to 255.
    notes: sentences on how all this was measured.
    floor_gap: how many times longer a later frame takes than its
      multiply-accumulates say; see `deltax.report.summary.floor_gap`.
    streams: times of parallel streams; None where they were not measured.
    smaller: the teacher on smaller frames, the largest first; None where that
      was not measured.
  """

  title: str
  data: str
  metric: Metric
  classes: Sequence[str]
  size: Sequence[int]
  device: str
  teacher: TeacherRow
  delta: Sequence[DeltaRow]
  ms: Milliseconds
  gmacs: Gmacs
  palette: Sequence[Sequence[int]] = ()
  notes: Sequence[str] = ()
  floor_gap: Measured = None
  streams: StreamTimes | None = None
  smaller: Sequence[Smaller] | None = None


class LayerChoice(NamedTuple):
  """A layer or block, and the candidate that it chose.

  Attributes:
    path: its name.
    teacher: multiply-accumulates of the teacher's own.
    candidates: multiply-accumulates of a later frame, by candidate.
    chosen: one of the candidates.
    probability: of each candidate when the gates are sampled, 0 to 1.
  """

  path: str
  teacher: float
  candidates: Mapping[str, float]
  chosen: str
  probability: Mapping[str, float]


class Start(NamedTuple):
  """A student that was solved for before the training.

  Attributes:
    path: of its layer or block.
    candidate: its name.
    before: share of the squares of the teacher's own change that it missed, as
      `deltax.delta.fit` weighs them; 1 is as bad as no change.
    after: the same, solved for.
  """

  path: str
  candidate: str
  before: Measured
  after: Measured


class GateHistory(NamedTuple):
  """The gates over training.

  Attributes:
    steps: S steps.
    probability: by path S probabilities of the first candidate, 0 to 1.
  """

  steps: Sequence[int]
  probability: Mapping[str, Sequence[float]]


class Curves(NamedTuple):
  """What was logged over training.

  Attributes:
    steps: S steps.
    values: by name S values; None where nothing was logged.
  """

  steps: Sequence[int]
  values: Mapping[str, Sequence[Measured]]


class LabelShot(NamedTuple):
  """A frame of the film with classes of its pixels.

  Attributes:
    frame: uint8 `[H, W, 3]`.
    caption: text.
    label: integer `[H, W]`, 0 to K - 1; 255 where there is none.
    teacher: the same, what the teacher sees.
    delta: the same, what the delta network sees.
  """

  frame: np.ndarray
  caption: str
  label: np.ndarray
  teacher: np.ndarray
  delta: np.ndarray


class Boxes(NamedTuple):
  """Boxes in a frame.

  Attributes:
    boxes: `[N, 4]`, x0, y0, x1 and y1 in pixels.
    classes: integer `[N]`, 0 to K - 1; -1 where there is no box.
    scores: `[N]`, 0 to 1; None for the ground truth.
  """

  boxes: np.ndarray
  classes: np.ndarray
  scores: np.ndarray | None = None


class BoxShot(NamedTuple):
  """A frame of the film with boxes.

  Attributes:
    frame: uint8 `[H, W, 3]`.
    caption: text.
    truth: the ground truth.
    teacher: what the teacher sees.
    delta: what the delta network sees.
  """

  frame: np.ndarray
  caption: str
  truth: Boxes
  teacher: Boxes
  delta: Boxes


class PictureShot(NamedTuple):
  """A frame of the film, and pictures of whatever networks make of it.

  Attributes:
    frame: uint8 `[H, W, 3]`.
    caption: text.
    pictures: uint8 `[h, w, 3]` by what they show; all frames have the same.
    colours: what those in the pictures mean, by a name.
  """

  frame: np.ndarray
  caption: str
  pictures: Mapping[str, np.ndarray]
  colours: Mapping[str, str] = {}


Shot = LabelShot | BoxShot | PictureShot
Film = Sequence[Shot]


class Page(NamedTuple):
  """A page about a run; what is empty or None is left out of it.

  Attributes:
    results: scores, costs and times.
    layers: in order of depth.
    gates: over training.
    curves: over training.
    film: frames as both networks see them, all shots of one kind.
    starts: students that were solved for, in order of depth.
  """

  results: Results
  layers: Sequence[LayerChoice] = ()
  gates: GateHistory | None = None
  curves: Curves | None = None
  film: Film = ()
  starts: Sequence[Start] = ()
