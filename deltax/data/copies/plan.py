"""Which videos a data set of copies has: decided before any is made."""

import zlib
from typing import NamedTuple

import numpy as np

from deltax.data.copies.edits import EDITS, HOSTED
from deltax.data.video.packaged import PackagedClip

FIRST_WORLD = 2_000_000  # seeds of streets that no other data set has
DRIVE = 44.0  # seconds, in which three stretches are filmed
LONGEST = 20.0  # seconds used of a clip that was found
_STARTS, _LENGTHS = (0.0, 15.0, 30.0), (8.0, 13.0)
TEST = 0.4  # of the groups
# edits of three kinds; a copy with two has them from different ones
_KINDS = (
  ('speed', 'trim', 'splice'),
  ('flip', 'crop', 'rotation', 'picture_in_picture'),
  ('tone', 'caption', 'low_resolution'),
)


class Original(NamedTuple):
  """A video that is no edited copy.

  Attributes:
    name: of the video.
    group: one for those of a drive; a group is in one split.
    split: 'train' or 'test'.
    role: 'source'; 'distractor' has no copies; 'host' is only seen inside of
      copies of others.
    path: of a clip that was found; '' for a street.
    stretch: start and end in seconds, of the clip or of the drive.
    world: seed of a street.
    copy_of: name of the source that a clip that was found is a copy of.
  """

  name: str
  group: str
  split: str
  role: str
  path: str
  stretch: tuple[float, float]
  world: int = 0
  copy_of: str = ''


def originals(
  packaged: list[PackagedClip], worlds: int, seed: int, test: float = TEST
) -> list[Original]:
  """Sources, distractors and hosts of both splits.

  A street gives two sources and, by turns, a host and a distractor: other
  stretches of the same drive, which look alike and are no copies. Of the clips
  that were found the share `test` is in test, and a single one is in train:
  test has streets only then.
  """
  rng = np.random.default_rng([seed, 0xC0])
  groups = [clip.name for clip in packaged if not clip.copy_of]
  split = _split(groups, rng, test)
  listed = [
    Original(
      *(clip.name, clip.copy_of or clip.name, split[clip.copy_of or clip.name]),
      *('source', clip.path, (0.0, LONGEST)),
      copy_of=clip.copy_of,
    )
    for clip in packaged
  ]
  drives = [f'street_{number:03d}' for number in range(worlds)]
  split = _split(drives, rng, test)
  turn = {'train': 0, 'test': 0}
  for number, group in enumerate(drives):
    turn[split[group]] += 1
    roles = ('source', 'source', ('distractor', 'host')[turn[split[group]] % 2])
    world = FIRST_WORLD + 1000 * seed + number
    for letter, role, start in zip('abc', roles, _STARTS, strict=True):
      stretch = (start, start + round(float(rng.uniform(*_LENGTHS)), 1))
      name = f'{group}_{letter}'
      listed.append(
        Original(name, group, split[group], role, '', stretch, world)
      )
  return listed


def edits(source: str, copies: int, seed: int) -> list[list[str]]:
  """Edits of each copy of a source: at first single ones, then two at once.

  >>> [len(names) for names in edits('a', 7, 0)]
  [1, 1, 1, 1, 2, 2, 2]
  """
  rng = generator(source, seed)
  single = rng.permutation(list(EDITS)).tolist()[: (copies + 1) // 2]
  several = [
    [str(rng.choice(_KINDS[k])) for k in rng.permutation(len(_KINDS))[:2]]
    for _ in range(copies - len(single))
  ]
  return [[name] for name in single] + several


def copy_name(source: str, number: int) -> str:
  """The name of a copy of a source."""
  return f'{source}-{number}'


def check_names(listed: list[Original], copies: int) -> None:
  """Raises ValueError if two videos, or copies of them, would have one name."""
  taken = {}
  for original in listed:
    names = [copy_name(original.name, number) for number in range(copies)]
    copied = original.role == 'source' and not original.copy_of
    for name in [original.name, *(names if copied else ())]:
      if name in taken:
        two = [x.path or 'a street' for x in (taken[name], original)]
        raise ValueError(
          f'two videos would be named {name!r}: of {two[0]} and of {two[1]}; '
          'rename one'
        )
      taken[name] = original


def needs_host(names: list[str]) -> bool:
  """Whether a copy with these edits shows another video too."""
  return bool(HOSTED & set(names))


def generator(name: str, seed: int) -> np.random.Generator:
  """The random generator of one video: of its name and the seed alone."""
  return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _split(groups: list[str], rng, test: float) -> dict[str, str]:
  order = rng.permutation(len(groups))
  tested = set(order[: round(test * len(groups))].tolist())
  return {
    group: 'test' if place in tested else 'train'
    for place, group in enumerate(groups)
  }
