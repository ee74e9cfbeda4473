"""Features of videos brought to one length, so that they stack to batches."""

from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging

_NAMED = 10  # missing videos, in a message


class PaddedVideos:
  """Features by name, cut or filled up with zero frames to one length.

  Args:
    features: float32 `[T, R, D]` by name, such as a feature store.
    frames: T of all, a multiple of 4; longer videos lose their end.

  Raises:
    ValueError: no features, or no such length.
  """

  def __init__(self, features: Mapping[str, np.ndarray], frames: int):
    if frames < 4 or frames % 4:
      raise ValueError(f'frames must be a multiple of 4, got {frames}')
    self._features, self._frames = features, frames
    self.names = tuple(getattr(features, 'names', features))
    if not self.names:
      raise ValueError('there are no features: the store is empty')
    self._places = {name: place for place, name in enumerate(self.names)}
    self._shape = np.shape(features[self.names[0]])[1:]

  def place(self, name: str) -> int:
    """The place of a video among the names."""
    return self._places[name]

  def __contains__(self, name: object) -> bool:
    return name in self._features

  def example(self, role: str, name: str, order=None) -> dict[str, np.ndarray]:
    """A video in one role of an example.

    Args:
      role: such as 'anchor'.
      name: of the video.
      order: `count -> int [S]`, the frames to show of a video of `count`; None
        for all.

    Returns:
      `{role: float32 [frames, R, D], f'{role}_mask': float32 [frames]}`; the
      mask is 1 for a real frame and 0 for a zero frame behind the last.

    Raises:
      ValueError: its regions are not like those of the other videos.
    """
    regions = np.asarray(self._features[name], np.float32)
    if regions.shape[1:] != self._shape:
      expected = ', '.join(map(str, self._shape))
      raise ValueError(
        f'{name!r}: expected regions [T, {expected}] like those of '
        f'{self.names[0]!r}, got {list(regions.shape)}'
      )
    if order is not None:
      regions = regions[order(len(regions))]
    regions = regions[: self._frames]
    video = np.zeros((self._frames, *self._shape), np.float32)
    video[: len(regions)] = regions
    mask = (np.arange(self._frames) < len(regions)).astype(np.float32)
    return {role: video, f'{role}_mask': mask}


def warn_missing(what: str, names: Iterable[str]) -> None:
  """Says which videos have no features, if any."""
  names = list(names)
  if names:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    logging.warning(
      '%s: %d videos have no features and are left out: %s%s',
      *(what, len(names), ', '.join(names[:_NAMED]), more),
    )
