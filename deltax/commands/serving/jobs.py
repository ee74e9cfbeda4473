"""Searches that were asked for: so many at most, done one after the other.

One thread answers them, so that one thread alone uses JAX and the index. All
else here runs on the thread of the server.
"""

import contextlib
import pathlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from absl import logging

from deltax.errors import DeltaxError

COLLECTED = 10.0  # seconds that an answer waits to be fetched when all stops


class Limits(NamedTuple):
  """What a server takes on.

  Attributes:
    places: uploads and searches that are not done, together.
    upload: bytes of a video.
    seconds: that an upload may take.
    kept: answers that wait to be fetched.
    kept_seconds: that an answer waits.
  """

  places: int = 64
  upload: int = 256 * 10**6
  seconds: float = 300.0
  kept: int = 200
  kept_seconds: float = 600.0


class Asked(NamedTuple):
  """What is wanted of a search; see `Searcher.search`."""

  k: int = 20
  least: float = 0.5


class Answer(NamedTuple):
  """What a search found.

  Attributes:
    found: plain values.
    pictures: JPEG files by their names.
  """

  found: Mapping[str, Any]
  pictures: Mapping[str, bytes]


class Failure(NamedTuple):
  """Why there is no answer.

  Attributes:
    reason: a sentence.
    ours: whether the video is not to blame.
  """

  reason: str
  ours: bool


# What is done just now, and the share of it that is done; None if unknown.
Told = Callable[[str, float | None], None]
Search = Callable[[pathlib.Path, Asked, Told], Answer]


class Full(Exception):
  """There is no place for another search."""


class Closing(Exception):
  """No more searches are taken, as the server is about to stop."""


class Job:
  """A search that was asked for.

  Attributes:
    id: which nobody can guess: who knows it may see the answer.
    outcome: a future `Answer` or `Failure`.
    stage: what is done just now.
    share: how much of that is done, 0 to 1; None if unknown.
    dropped: whether nobody wants the answer any more.
    ended: when it was done, by `time.monotonic`.
    collected: whether somebody has seen the outcome.
  """

  outcome: Future

  def __init__(self):
    self.id = secrets.token_urlsafe(16)
    self.stage: str = 'waiting'
    self.share: float | None = None
    self.dropped = self.collected = False
    self.ended = 0.0

  def told(self, stage: str, share: float | None) -> None:
    """Notes how far it is; raises _Dropped where nobody wants to know."""
    if self.dropped:
      raise _Dropped
    self.stage, self.share = stage, share


class _Dropped(Exception):
  """Ends a search that nobody wants any more."""


class Jobs:
  """All searches that a server has taken on.

  Use it in a `with`: at its end searches that wait are forgotten, and the one
  that runs ends when it next tells how far it is.

  Args:
    search: answers one, from a video file; called on one thread.
    folder: for the videos, which are gone as soon as they were searched for.
    limits: of all of them.
  """

  def __init__(self, search: Search, folder: pathlib.Path, limits: Limits):
    self._search, self._folder, self._limits = search, folder, limits
    self._jobs: dict[str, Job] = {}
    self._uploads = 0
    self._pool = ThreadPoolExecutor(1, 'search')
    self.closing = False

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error) -> None:
    for job in self._jobs.values():
      job.dropped = True
    self._pool.shutdown(cancel_futures=True)

  @contextlib.contextmanager
  def place(self) -> Iterator[pathlib.Path]:
    """A place among the searches, and a file for its video.

    The file is gone at the end, but where `submit` has taken it.

    Raises:
      Full: all places are taken.
      Closing: see `close`.
    """
    if self.closing:
      raise Closing
    if self._uploads + self.unfinished() >= self._limits.places:
      raise Full
    self._uploads += 1
    path = self._folder / secrets.token_hex(16)
    try:
      yield path
    finally:
      self._uploads -= 1
      path.unlink(missing_ok=True)

  def submit(self, path: pathlib.Path, asked: Asked) -> Job:
    """Takes a search on.

    Args:
      path: of the video, which is moved away.
      asked: what is wanted.
    """
    job = Job()
    video = path.rename(self._folder / job.id)
    job.outcome = self._pool.submit(self._run, job, video, asked)
    self._jobs[job.id] = job
    return job

  def get(self, name: str) -> Job | None:
    """A search by its id; None if it is not known, or not any more."""
    self._forget()
    return self._jobs.get(name)

  def drop(self, job: Job) -> None:
    """Forgets a search, and ends it if it is not done."""
    self._jobs.pop(job.id, None)
    job.dropped = True
    if job.outcome.cancel():
      (self._folder / job.id).unlink(missing_ok=True)

  def ahead(self, job: Job) -> int:
    """How many searches will be done before another one is begun."""
    ids = list(self._jobs)
    before = ids[: ids.index(job.id)] if job.id in self._jobs else ()
    return sum(not self._jobs[name].outcome.done() for name in before)

  def unfinished(self) -> int:
    """How many searches wait, or are under way."""
    return sum(not job.outcome.done() for job in self._jobs.values())

  def close(self) -> None:
    """Takes no more searches; those that are taken on go on."""
    self.closing = True

  def settled(self) -> bool:
    """Whether it is closed, all is done, and was fetched or waited for it."""
    if not self.closing or self.unfinished():
      return False
    now = time.monotonic()
    return all(
      job.collected or now - job.ended > COLLECTED
      for job in self._jobs.values()
    )

  def _forget(self) -> None:
    """Lets old answers go, and the oldest where there are too many."""
    now, limits = time.monotonic(), self._limits
    done = [job for job in self._jobs.values() if job.outcome.done()]
    many = len(done) - limits.kept
    for place, job in enumerate(done):
      if place < many or now - job.ended > limits.kept_seconds:
        del self._jobs[job.id]

  def _run(self, job: Job, video: pathlib.Path, asked: Asked):
    try:
      job.told('reading', None)
      return self._search(video, asked, job.told)
    except _Dropped:
      return Failure('nobody wanted it any more', ours=False)
    except DeltaxError as error:
      reason = str(error).replace(str(video), 'the video')
      return Failure(reason, ours=False)
    except Exception:
      logging.exception('a search has failed')
      return Failure(
        'the search has failed; the log of the server says why', ours=True
      )
    finally:
      video.unlink(missing_ok=True)
      job.ended = time.monotonic()
