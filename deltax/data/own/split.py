"""Which videos are held out: whole ones, never frames of one."""

import fnmatch
from collections.abc import Mapping, Sequence

from deltax.data.own.prepare import Footage


def split_videos(
  videos: Mapping[str, Footage], held_out: str | Sequence[str], share: float
) -> dict[str, dict[str, Footage]]:
  """Videos to train on, and those held out.

  Args:
    videos: by name.
    held_out: names or patterns, see `make_own_videos`; empty to choose.
    share: of the videos to hold out, if they are chosen.

  Returns:
    'train' and 'validation'.

  Raises:
    ValueError: there is one video only, a pattern fits none or all videos, or
      the share is not between 0 and 1.
  """
  if len(videos) < 2:
    raise ValueError(
      f'only one video can be read, {", ".join(videos)}; name another or more, '
      'as at least one whole video is held out to evaluate on'
    )
  if held_out:
    patterns = [held_out] if isinstance(held_out, str) else list(held_out)
    chosen = _named(videos, patterns)
  else:
    chosen = _by_content(videos, share)
  if len(chosen) == len(videos):
    raise ValueError(
      f'held_out names all {len(videos)} videos; none is left to train on'
    )
  parts = {'train': {}, 'validation': {}}
  for name, video in videos.items():
    parts['validation' if name in chosen else 'train'][name] = video
  return parts


def _named(videos: Mapping[str, Footage], patterns: Sequence[str]) -> set[str]:
  chosen = set()
  for pattern in patterns:
    fitting = {
      name
      for name, video in videos.items()
      for called in (name, video.path.name, str(video.path))
      if called == pattern or fnmatch.fnmatchcase(called, pattern)
    }
    if not fitting:
      known = ', '.join(list(videos)[:10])
      more = f' and {len(videos) - 10} more' if len(videos) > 10 else ''
      raise ValueError(
        f'held_out={pattern!r} is no readable video; there are {known}{more}'
      )
    chosen |= fitting
  return chosen


def _by_content(videos: Mapping[str, Footage], share: float) -> set[str]:
  if not 0 < share < 1:
    raise ValueError(f'expected a held_out_share in (0, 1), got {share}')
  # What a file is tells where it belongs, whatever other files there are.
  draws = {
    name: int(video.content[:8], 16) / 16**8 for name, video in videos.items()
  }
  order = sorted(draws, key=draws.get)
  count = sum(draw < share for draw in draws.values())
  return set(order[: min(max(1, count), len(order) - 1)])
