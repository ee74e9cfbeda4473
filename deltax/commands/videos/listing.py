"""What is told of the copies of a collection, beside that they are copies."""

import filecmp
from collections.abc import Mapping, Sequence

from deltax.data.video.facts import Facts, read_facts
from deltax.data.video.stream import VideoError
from deltax.report.retrieval.duplicates_contents import (
  ListedCopies,
  ListedPair,
  ListedVideo,
)
from deltax.report.retrieval.search_contents import ShownSegment
from deltax.retrieval.duplicates.find import Duplicates
from deltax.retrieval.index.folder import Index

_UNKNOWN = Facts(0, 0, 0, 0, '')


def list_copies(
  index: Index, found: Duplicates, same: Mapping[str, str]
) -> ListedCopies:
  """Tells of each copy what its file is, and which one of a group is best.

  Args:
    index: that was looked through.
    found: in it.
    same: names of videos by the path of another file that seems to have the
      same content; it is compared byte by byte.

  Returns:
    Groups, which a video with a file of the same bytes is too, and pairs.
  """
  exact: dict[int, list[str]] = {}
  for path, name in same.items():
    row = index.row(name)
    if _same_bytes(path, index.paths[row]):
      exact.setdefault(row, []).append(path)
  alone = set(exact).difference(*found.groups)
  groups = [*found.groups, *((row,) for row in sorted(alone))]
  rows = {row for pair in found.pairs for row in (pair.first, pair.second)}
  videos = {
    row: _listed(index, row, exact.get(row, ()))
    for row in sorted(rows.union(*groups))
  }
  listed = []
  for group in groups:
    listed.append(praised([videos[row] for row in group]))
    videos |= dict(zip(group, listed[-1], strict=True))
  pairs = [
    ListedPair(
      videos[pair.first],
      videos[pair.second],
      pair.relation,
      pair.score,
      pair.shares,
      [ShownSegment(*where) for where in pair.where],
    )
    for pair in found.pairs
  ]
  return ListedCopies(listed, pairs, notes(found))


def praised(videos: Sequence[ListedVideo]) -> list[ListedVideo]:
  """Videos of a group, told which is the longest, the largest and the best.

  The best has the most pixels, and of as many the most bits a second. Where
  several are equally long or large, the best of them is; where all are, none.
  """

  def best(video):
    return video.width * video.height, video.bits_per_second

  merits = {
    'longest': lambda video: round(video.duration),
    'largest': lambda video: video.bytes,
    'best': best,
  }
  praise = {video.name: [] for video in videos}
  for word, merit in merits.items():
    if len({merit(video) for video in videos}) > 1:
      praise[max(videos, key=lambda v: (merit(v), best(v))).name].append(word)
  return [video._replace(praise=tuple(praise[video.name])) for video in videos]


def notes(found: Duplicates) -> list[str]:
  """Sentences on how the copies were found."""
  told = [
    f'{found.videos:,} videos; {found.compared:,} of their pairs, the most '
    'similar ones, were compared frame by frame',
    'A second that several of the pairs share counts as one over their number',
  ]
  if found.common:
    told.append(
      f'{found.common:,} pairs are left out, as what they share is shared by '
      'many: an opening, a logo, black'
    )
  if found.different:
    told.append(
      f'{found.different:,} pairs were marked as no copies, and not compared'
    )
  return told


def _listed(index: Index, row: int, exact: Sequence[str]) -> ListedVideo:
  name, path = index.names[row], index.paths[row]
  state, facts = index.state(name), _UNKNOWN
  if path and not state:
    try:
      facts = read_facts(path)
    except (OSError, VideoError):
      state = 'missing'
  times = index.times(row)
  return ListedVideo(
    name,
    path,
    state,
    float(index.table['duration'][row]),
    facts.bytes,
    facts.width,
    facts.height,
    facts.bits_per_second,
    tuple(exact),
    (),
    {float(times[n]): jpeg for n, jpeg in index.pictures(row).items()},
  )


def _same_bytes(path: str, other: str) -> bool:
  try:
    return filecmp.cmp(path, other, shallow=False)
  except OSError:
    return False
