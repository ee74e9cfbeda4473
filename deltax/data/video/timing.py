"""When the frames of a video are shown, and which of them are kept."""

import fractions
import math
import re
from collections.abc import Sequence

_MOST_FPS, _USUAL_FPS = 144, 25  # more is taken for a wrong number
_REAL_FPS = 1000  # of cameras; of more, it is the unit of a clock
_BACK, _FORWARD = 0.5, 10.0  # seconds; a clock that jumps further was set anew
_TICKS = 90_000  # of a second, the unit of times that are written
_EARLY = 1e-3  # seconds; some containers round times to a thousandth


def frame_rate(stream) -> float:
  """Frames per second; 25 where that is unknown or cannot be right."""
  fps = told_rate(stream)
  return fps if 0 < fps <= _MOST_FPS else _USUAL_FPS


def told_rate(stream) -> float:
  """Frames per second as the file tells them, up to 1000; 25 if it does not."""
  fps = float(stream.average_rate or stream.guessed_rate or 0)
  return fps if 0 < fps <= _REAL_FPS else _USUAL_FPS


class Clock:
  """When each frame is shown, and for how long, in seconds of the file's clock.

  Times never go back: where the clock is set anew, as between recordings that
  were joined to one file, what follows is shown after what was before. Frames
  without a time follow each other.
  """

  def __init__(self, container, stream):
    from av.format import Flags

    # Of AVI only the order of decoding is known, which frames that refer to
    # later ones do not follow.
    self._decoding = container.format.name == 'avi'
    self._timed = True
    self._jumps = bool(container.format.flags & Flags.ts_discont.value)
    self._length = 1 / float(
      stream.average_rate or stream.guessed_rate or _USUAL_FPS
    )
    self._shift, self._last, self._end = 0.0, None, None

  def __call__(self, frame) -> tuple[float, float]:
    """The time and the length of the next frame."""
    length = self._length
    if frame.duration and not self._decoding:
      length = float(frame.duration * frame.time_base)
    ticks = frame.dts if self._decoding else frame.pts
    self._timed = ticks is not None
    if self._timed:
      time = self._continued(float(ticks * frame.time_base), length)
    else:
      time = self._end or 0.0
    self._last, self._end = time, time + length
    return time, length

  def lost(self) -> None:
    """A frame could not be decoded; its time passes nevertheless."""
    if not self._timed and self._end is not None:
      self._end += self._length

  def _continued(self, time: float, length: float) -> float:
    if self._last is None:
      return time
    ahead = time + self._shift - self._end
    forward = self._jumps and ahead > max(_FORWARD, 2 * length)
    if forward or time + self._shift < self._last - _BACK:
      self._shift -= ahead
    return max(time + self._shift, self._last)


class Stamps:
  """Tells the frames of a video that is written when they are shown.

  Args:
    container: of PyAV, to write.
    stream: in it, of H.264; nothing is encoded yet.
    rate: frames per second, where the container has no times of its own.
    times: seconds of all frames and of the end; may still grow.
  """

  def __init__(
    self,
    container,
    stream,
    rate: fractions.Fraction,
    times: Sequence[float],
  ):
    from av.format import Flags

    free = container.format.flags & Flags.variable_fps.value
    self._base = fractions.Fraction(1, _TICKS) if free else 1 / rate
    stream.time_base = stream.codec_context.time_base = self._base
    # Frames that refer to later ones would be stored in another order, and the
    # container would take the length of one for another's.
    stream.options = {**stream.options, 'bf': '0'}
    self._times, self._number = times, 0
    self._last, self._lengths, self._waiting = None, {}, []

  def mark(self, frame) -> None:
    """Gives the next frame its time."""
    frame.pts, frame.time_base = self._begin(), self._base

  def ready(self, packets) -> list:
    """These and earlier packets, as far as it is known how long they last."""
    self._waiting += packets
    ready = [k for k in self._waiting if k.pts in self._lengths]
    self._waiting = self._waiting[len(ready) :]
    for packet in ready:
      packet.duration = self._lengths.pop(packet.pts)
    return ready

  def all(self, packets) -> list:
    """All packets that are left, when there are no more frames."""
    self._begin()
    return self.ready(packets)

  def _begin(self) -> int:
    """When the next frame begins and the one before ends, in ticks."""
    time = round((self._times[self._number] - self._times[0]) / self._base)
    if self._last is not None:
      time = max(time, self._last + 1)
      self._lengths[self._last] = time - self._last
    self._last, self._number = time, self._number + 1
    return time


class Sampler:
  """Which frames are kept, of so many a second.

  Frame number c is kept if c mod round(fps / rate) is 0, as published, while
  the number tells the time. Where it does not, as with a variable frame rate or
  after frames that are lost, the next frame is kept when its time has come.

  Args:
    stream: of the frames.
    rate: frames to keep of a second; infinity keeps all.
  """

  def __init__(self, stream, rate: float):
    self._period = max(1, round(frame_rate(stream) / rate))
    self._length = 1 / float(
      stream.average_rate or stream.guessed_rate or _USUAL_FPS
    )
    self._step = 1 / rate
    self._number, self._due, self._steady = 0, 0.0, True

  def __call__(self, time: float) -> bool:
    """Whether to keep the next frame, shown so long after the first."""
    number, self._number = self._number, self._number + 1
    if not self._step:
      return True
    if abs(time - number * self._length) > self._step / 2:
      self._steady = False
    if self._steady:
      kept = number % self._period == 0
      self._due = time + self._step if kept else self._due
      return kept
    late = time - self._due + _EARLY
    if late < 0:
      return False
    self._due += self._step * (math.floor(late / self._step) + 1)
    return True


def announced(container, stream) -> float:
  """The length that the header tells, in seconds; 0 where it tells none."""
  lengths = [0.0]
  if stream.duration:
    lengths.append(float(stream.duration * stream.time_base))
  # Of the frames of an MP4 file, a player shows those that its edit list names.
  if (
    stream.frames and stream.average_rate and 'mp4' not in container.format.name
  ):
    lengths.append(float(stream.frames / stream.average_rate))
  told = stream.metadata.get('DURATION', '')  # Matroska
  if told := re.fullmatch(r'(\d+):(\d+):(\d+\.?\d*)', told):
    hours, minutes, seconds = map(float, told.groups())
    lengths.append(3600 * hours + 60 * minutes + seconds)
  if not container.duration:
    return max(lengths)
  # The container's is that of the longest stream, which may be its sound.
  whole = container.duration / 1e6
  if len(container.streams) == 1:
    lengths.append(whole)
  # Tools that cut Matroska leave the old length of a stream in it.
  is_stale = told and max(lengths) > whole
  return whole if is_stale else max(lengths)
