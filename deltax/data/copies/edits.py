"""Edits that people make to videos that they copy.

Every edit is `(clip, host, rng) -> clip` of `Footage`; all that it draws comes
from the generator. The host shows something else, to put the clip into.
"""

import string
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np


class Footage(NamedTuple):
  """Frames of a copy, and when its source shows them.

  Attributes:
    frames: uint8 `[T, H, W, 3]` RGB.
    rate: frames per second.
    times: float64 `[T]`, seconds of the source; NaN for a frame of something
      else.
  """

  frames: np.ndarray
  rate: float
  times: np.ndarray


# Where the letters of a caption are drawn, black at first and coloured last:
# thicker strokes would not have the coloured ones in their middle.
_AROUND = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y] + [(0, 0)]

Edit = Callable[[Footage, Footage, np.random.Generator], Footage]


def whole(frames: np.ndarray, rate: float) -> Footage:
  """A source as footage of itself."""
  return Footage(frames, rate, np.arange(len(frames)) / rate)


def segments(clip: Footage) -> list[list[float]]:
  """Where a copy shows its source.

  Returns:
    `[copy start, copy end, source start, source end]` in seconds for each
    stretch of the copy.

  >>> times = np.array([np.nan, 1, 2, np.nan])
  >>> clip = Footage(np.zeros((4, 2, 2, 3)), 2.0, times)
  >>> segments(clip)
  [[0.5, 1.5, 1.0, 3.0]]
  """
  shown = np.flatnonzero(np.isfinite(clip.times))
  stretches = []
  for run in np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1):
    if len(run):
      first, last = clip.times[run[0]], clip.times[run[-1]]
      # The last frame is shown for as long as the others on average.
      pace = (last - first) / max(len(run) - 1, 1) or 1 / clip.rate
      bounds = run[0] / clip.rate, (run[-1] + 1) / clip.rate, first, last + pace
      stretches.append([round(float(bound), 3) for bound in bounds])
  return stretches


def speed(clip: Footage, host: Footage, rng) -> Footage:
  """Plays it at half to twice the speed: frames are repeated or left out."""
  pace = 2 ** (rng.choice([-1, 1]) * rng.uniform(0.35, 1))
  count = len(clip.frames)
  shown = (np.arange(max(1, int(count / pace))) * pace).astype(int)
  return _pick(clip, np.minimum(shown, count - 1))


def trim(clip: Footage, host: Footage, rng) -> Footage:
  """Keeps a stretch of 40 to 75% of its frames."""
  count = len(clip.frames)
  kept = max(1, round(rng.uniform(0.4, 0.75) * count))
  start = int(rng.integers(count - kept + 1))
  return _pick(clip, np.arange(start, start + kept))


def flip(clip: Footage, host: Footage, rng) -> Footage:
  """Mirrors left and right."""
  return clip._replace(frames=clip.frames[:, :, ::-1])


def crop(clip: Footage, host: Footage, rng) -> Footage:
  """Cuts out 55 to 85% of the sides, and enlarges that to the old size."""
  height, width = clip.frames.shape[1:3]
  share = rng.uniform(0.55, 0.85)
  h, w = int(share * height), int(share * width)
  y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
  return _change_frames(
    clip, lambda f: _resize(f[y : y + h, x : x + w], height, width)
  )


def rotation(clip: Footage, host: Footage, rng) -> Footage:
  """Turns it by 3 to 12 degrees; the corners are black."""
  height, width = clip.frames.shape[1:3]
  angle = rng.choice([-1, 1]) * rng.uniform(3, 12)
  turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
  return _change_frames(
    clip, lambda f: cv2.warpAffine(f, turn, (width, height))
  )


def tone(clip: Footage, host: Footage, rng) -> Footage:
  """Changes brightness, contrast and colours; makes one of three grey."""
  gamma, contrast = rng.uniform(0.6, 1.6), rng.uniform(0.7, 1.3)
  tint = rng.uniform(0.8, 1.2, 3)
  saturation = 0.0 if rng.random() < 1 / 3 else rng.uniform(0.5, 1.6)

  def change(frame):
    image = (frame / np.float32(255)) ** np.float32(gamma)
    grey = image.mean(-1, keepdims=True)
    image = (grey + saturation * (image - grey)) * (tint if saturation else 1)
    image = 0.5 + contrast * (image - 0.5)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)

  return _change_frames(clip, change)


def picture_in_picture(clip: Footage, host: Footage, rng) -> Footage:
  """Shows it at 55 to 80% of its size within another video."""
  height, width = clip.frames.shape[1:3]
  share = rng.uniform(0.55, 0.8)
  h, w = int(share * height), int(share * width)
  y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
  around = _of_host(host, clip, len(clip.frames), rng)
  for under, frame in zip(around, clip.frames, strict=True):
    under[y : y + h, x : x + w] = _resize(frame, h, w)
  return clip._replace(frames=around)


def splice(clip: Footage, host: Footage, rng) -> Footage:
  """Puts 30 to 60% of it between two pieces of another video.

  These have together 1 to 1.5 times as many frames as what is kept.
  """
  count = len(clip.frames)
  kept = max(1, round(rng.uniform(0.3, 0.6) * count))
  start = int(rng.integers(count - kept + 1))
  inner = _pick(clip, np.arange(start, start + kept))
  outer = _of_host(host, clip, round(rng.uniform(1, 1.5) * kept), rng)
  cut = int(rng.integers(1, max(2, len(outer))))
  gaps = np.full(cut, np.nan), np.full(len(outer) - cut, np.nan)
  return Footage(
    np.concatenate([outer[:cut], inner.frames, outer[cut:]]),
    clip.rate,
    np.concatenate([gaps[0], inner.times, gaps[1]]),
  )


def caption(clip: Footage, host: Footage, rng) -> Footage:
  """Writes a line of text above or below, on a dark band or not."""
  height, width = clip.frames.shape[1:3]
  letters = rng.choice(
    list(string.ascii_letters + '     '), rng.integers(8, 22)
  )
  text = ''.join(letters)
  font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
  (long, high), _ = cv2.getTextSize(text, font, 1.0, 2)
  scale = rng.uniform(0.6, 0.95) * width / long
  scale = min(scale, 0.14 * height / high)
  long, high = int(long * scale), int(high * scale)
  base = int(rng.choice([1.6 * high, height - 0.8 * high]))
  place = int(rng.integers(max(1, width - long))), base
  colour = rng.integers(120, 256, 3).tolist()
  band = rng.random() < 0.5

  def write(frame):
    frame = frame.copy()
    if band:
      frame[max(0, base - int(1.5 * high)) : base + int(0.7 * high)] //= 4
    for x, y in _AROUND:
      cv2.putText(
        *(frame, text, (place[0] + x, place[1] + y), font, scale),
        *(colour if x == y == 0 else (0, 0, 0), 1, cv2.LINE_AA),
      )
    return frame

  return _change_frames(clip, write)


def low_resolution(clip: Footage, host: Footage, rng) -> Footage:
  """Shrinks it to 50 to 75%, codes it as poor JPEG, and enlarges it again."""
  height, width = clip.frames.shape[1:3]
  share, quality = rng.uniform(0.5, 0.75), int(rng.integers(15, 45))
  coding = [cv2.IMWRITE_JPEG_QUALITY, quality]

  def spoil(frame):
    small = _resize(frame, int(share * height), int(share * width))
    _, data = cv2.imencode('.jpg', small[..., ::-1], coding)
    small = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    return _resize(small, height, width)

  return _change_frames(clip, spoil)


# in the order in which several are made
EDITS: dict[str, Edit] = {
  edit.__name__: edit
  for edit in (
    *(speed, trim, flip, crop, rotation, tone),
    *(picture_in_picture, splice, caption, low_resolution),
  )
}
HOSTED = frozenset(['picture_in_picture', 'splice'])  # show another video too


def apply(names, clip: Footage, host: Footage, rng) -> Footage:
  """Makes the edits of these names, in the order of `EDITS`.

  Raises:
    ValueError: there is no such edit.
  """
  unknown = set(names) - EDITS.keys()
  if unknown:
    known = ', '.join(EDITS)
    raise ValueError(f'unknown edit {min(unknown)!r}, known: {known}')
  for name, edit in EDITS.items():
    if name in names:
      clip = edit(clip, host, rng)
  return clip


def _change_frames(
  clip: Footage, change: Callable[[np.ndarray], np.ndarray]
) -> Footage:
  return clip._replace(frames=np.stack([change(f) for f in clip.frames]))


def _pick(clip: Footage, places: np.ndarray) -> Footage:
  return clip._replace(frames=clip.frames[places], times=clip.times[places])


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
  smaller = height < frame.shape[0]
  how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
  return cv2.resize(
    np.ascontiguousarray(frame), (width, height), None, 0, 0, how
  )


def _of_host(host: Footage, clip: Footage, count: int, rng) -> np.ndarray:
  """`count` frames of the host from anywhere, as large and fast as the clip."""
  height, width = clip.frames.shape[1:3]
  start = rng.integers(len(host.frames))
  places = start + (np.arange(count) * host.rate / clip.rate).astype(int)
  frames = host.frames[places % len(host.frames)]
  return np.stack([_resize(frame, height, width) for frame in frames])
