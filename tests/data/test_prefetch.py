"""Reading ahead: in order, in threads, and no further than is wanted."""

import os
import threading

import pytest

from deltax.data import prefetch
from deltax.data.prefetch import ahead, map_ahead


def test_prefetch_gives_the_batches_in_order():
  class Squares:
    def __getitem__(self, index):
      return index**2

  assert list(prefetch(Squares(), 3, 40)) == [k**2 for k in range(3, 40)]


def test_prefetch_brings_the_error_of_a_batch_when_its_turn_comes():
  class Broken:
    def __getitem__(self, index):
      if index == 3:
        raise OSError('frame 3 is broken')
      return index

  batches = prefetch(Broken(), 0, 10)
  assert [next(batches) for _ in range(3)] == [0, 1, 2]
  with pytest.raises(OSError, match='frame 3 is broken'):
    next(batches)


def test_prefetch_stops_reading_when_it_is_left():
  read = []

  class Endless:
    def __getitem__(self, index):
      read.append(index)
      return index

  batches = prefetch(Endless(), 0, 10**9, ahead=3)
  next(batches)
  batches.close()
  assert max(read) <= 4


def test_prefetch_reads_with_as_many_threads_as_there_are_cores(monkeypatch):
  class Meeting:
    def __init__(self, count):
      self.barrier = threading.Barrier(count, timeout=30)

    def __getitem__(self, index):
      self.barrier.wait()  # comes back only when all threads have come
      return index

  for cores, threads in ((1, 2), (3, 3), (200, 8)):
    monkeypatch.setattr(
      *(os, 'sched_getaffinity'), lambda _, n=cores: range(n), raising=False
    )
    count = 2 * threads
    assert list(prefetch(Meeting(threads), 0, count)) == list(range(count))
  assert list(prefetch(Meeting(5), 0, 10, threads=5)) == list(range(10))


def test_items_are_made_ahead_by_another_thread_but_not_many():
  made, threads = [], set()

  def items():
    for number in range(50):
      threads.add(threading.get_ident())
      made.append(number)
      yield number

  for number in ahead(items(), 3):
    assert number + 1 <= len(made) <= number + 5
  assert made == list(range(50))
  assert len(threads) == 1 and threading.get_ident() not in threads


def test_an_error_comes_in_its_turn_and_what_is_left_is_not_made():
  made = []

  def items():
    for number in range(50):
      made.append(number)
      if number == 2:
        raise RuntimeError('broken')
      yield number

  taken = ahead(items())
  assert [next(taken), next(taken)] == [0, 1]
  with pytest.raises(RuntimeError, match='broken'):
    next(taken)
  assert made == [0, 1, 2]


def test_who_stops_early_ends_the_thread():
  made = []
  taken = ahead((made.append(n) or n for n in range(50)), 2)
  assert next(taken) == 0
  taken.close()
  count = len(made)
  assert count <= 4
  assert not [t for t in threading.enumerate() if t.name.startswith('prefetch')]


def test_as_many_calls_as_there_are_threads_run_at_once():
  meeting = threading.Barrier(3, timeout=30)

  def meet(number):
    meeting.wait()
    return -number

  results = map_ahead(meet, range(6), threads=3, ahead=3)
  assert list(results) == [0, -1, -2, -3, -4, -5]
