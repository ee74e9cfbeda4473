"""Searches that were asked for: places, turns, and what is kept."""

import threading
import time

import pytest
from served import Gate, wait_until

from deltax.commands.serving.jobs import (
  Answer,
  Asked,
  Closing,
  Failure,
  Full,
  Jobs,
  Limits,
)
from deltax.data.video.stream import VideoError

ASKED = Asked()


@pytest.fixture
def gate():
  return Gate()


@pytest.fixture
def jobs(gate, tmp_path):
  with Jobs(gate, tmp_path, Limits(places=3, kept=2)) as jobs:
    yield jobs


def submit(jobs, content=b'video'):
  with jobs.place() as path:
    path.write_bytes(content)
    return jobs.submit(path, ASKED)


def test_searches_are_done_one_after_the_other_and_their_videos_go(
  jobs, gate, tmp_path
):
  first, second, third = (submit(jobs, b'x' * n) for n in (1, 2, 3))
  wait_until(lambda: first.share == 1)
  assert gate.begun == 1 and first.stage == 'reading'
  assert [jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
  assert len(list(tmp_path.iterdir())) == 3
  gate.open.set()
  found = [job.outcome.result(20) for job in (first, second, third)]
  assert [answer.found['bytes'] for answer in found] == [1, 2, 3]
  assert not list(tmp_path.iterdir())


def test_a_place_is_taken_by_an_upload_until_its_search_is_done(
  jobs, gate, tmp_path
):
  with jobs.place() as path:
    path.write_bytes(b'half')
    submit(jobs)
    submit(jobs)
    with pytest.raises(Full), jobs.place():
      pass
  assert not path.exists()  # it was given up
  last = submit(jobs)
  with pytest.raises(Full), jobs.place():
    pass
  gate.open.set()
  last.outcome.result(20)
  with jobs.place():
    pass


def test_what_is_wrong_with_a_video_is_told_without_its_path(tmp_path):
  def search(path, asked, told):
    raise VideoError(f'{path}: the file is cut off')

  with Jobs(search, tmp_path, Limits()) as jobs:
    failure = submit(jobs).outcome.result(20)
  assert failure == Failure('the video: the file is cut off', ours=False)


def test_a_fault_of_the_code_is_no_fault_of_the_video_and_the_next_is_done(
  tmp_path,
):
  faults = [KeyError('secret'), MemoryError()]

  def search(path, asked, told):
    if faults:
      raise faults.pop()
    return Answer({}, {})

  with Jobs(search, tmp_path, Limits()) as jobs:
    failures = [submit(jobs).outcome.result(20) for _ in range(2)]
    assert isinstance(submit(jobs).outcome.result(20), Answer)
  for failure in failures:
    assert failure.ours and 'secret' not in failure.reason


def test_one_that_is_dropped_is_not_begun_or_ends_soon(jobs, gate, tmp_path):
  running, waiting = submit(jobs), submit(jobs)
  wait_until(lambda: gate.begun)
  jobs.drop(waiting)
  jobs.drop(running)
  assert jobs.get(waiting.id) is None and jobs.unfinished() == 0
  assert isinstance(running.outcome.result(20), Failure)
  wait_until(lambda: not list(tmp_path.iterdir()))
  assert gate.begun == 1


def test_the_oldest_answers_make_room_and_all_go_in_time(
  jobs, gate, monkeypatch
):
  gate.open.set()
  done = [submit(jobs) for _ in range(3)]
  done[-1].outcome.result(20)
  kept = [jobs.get(job.id) for job in done]
  assert kept == [None, *done[1:]]
  now = time.monotonic()
  monkeypatch.setattr(time, 'monotonic', lambda: now + 599)
  assert jobs.get(done[-1].id) is done[-1]
  monkeypatch.setattr(time, 'monotonic', lambda: now + 700)
  assert jobs.get(done[-1].id) is None


def test_after_it_is_closed_what_was_taken_on_is_done_and_then_it_is_settled(
  jobs, gate, monkeypatch
):
  job = submit(jobs)
  jobs.close()
  with pytest.raises(Closing), jobs.place():
    pass
  assert not jobs.settled()
  gate.open.set()
  job.outcome.result(20)
  assert not jobs.settled()  # nobody has fetched it yet
  now = time.monotonic()
  monkeypatch.setattr(time, 'monotonic', lambda: now + 11)
  assert jobs.settled()
  monkeypatch.undo()
  assert not jobs.settled()
  job.collected = True
  assert jobs.settled()


def test_the_end_waits_for_no_search(gate, tmp_path):
  with Jobs(gate, tmp_path, Limits()) as jobs:
    for _ in range(3):
      submit(jobs)
  assert gate.begun <= 1
  assert not [t for t in threading.enumerate() if t.name.startswith('search')]
