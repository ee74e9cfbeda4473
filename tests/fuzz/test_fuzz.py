"""Damaged files are read or refused in a sentence: 500 of each kind, every day.

The seed is the day's date, in UTC, unless DELTAX_FUZZ_SEED gives another;
DELTAX_FUZZ_COUNT gives the number of inputs of each kind, 10000 for the long
form. What is found is replayed by

    python tests/fuzz/worker.py TARGET SEED NUMBER NUMBER+1

with the folders `.`, `tests/fuzz` and `tests/goldens` in PYTHONPATH.
"""

import datetime
import os
import random
import re

import pytest
from runner import Runner
from targets import FAULTY, TARGETS

COUNT = int(os.environ.get('DELTAX_FUZZ_COUNT', 500))
SEED = os.environ.get(
  'DELTAX_FUZZ_SEED', datetime.datetime.now(datetime.UTC).date().isoformat()
)


@pytest.fixture(scope='module')
def runner():
  runner = Runner()
  yield runner
  runner.close()


@pytest.mark.parametrize('name', TARGETS)
def test_damaged_inputs_are_read_or_refused_in_a_sentence(name, runner):
  counts, findings = runner.run(name, SEED, COUNT)
  told = '\n\n'.join(
    f'python tests/fuzz/worker.py {name} {SEED} {number} {number + 1}\n{wrong}'
    for number, wrong in findings.items()
  )
  print(f'{name}, seed {SEED}: {counts}, {len(findings)} badly read')
  assert not findings, f'\n{told}'
  assert sum(counts.values()) == COUNT
  # Neither is everything refused, nor are files hardly damaged.
  assert min(counts.values()) > COUNT / 100


@pytest.mark.parametrize(
  ('name', 'told'),
  [
    ('dies', 'SIGABRT'),
    ('exits', 'SystemExit is not documented'),
    ('hangs', 'more than 2 seconds'),
    ('fills', 'it takes'),
    ('asks', 'more memory than is allowed'),
    ('hides', 'more memory than is allowed'),
    ('fails', 'KeyError is not documented'),
    ('babbles', 'its message is not one sentence'),
    ('withholds', 'its message names no file'),
    ('peeks', 'open of'),
    ('deletes', 'os.remove of'),
    ('runs', "runs .*'?<string>"),
    ('starts', 'subprocess.Popen'),
  ],
)
def test_every_fault_of_a_reader_is_found(name, told, faulty):
  counts, findings = faulty.run(name, '0', 3)
  assert counts == {'read': 0, 'refused': 0} and set(findings) == {0, 1, 2}
  for wrong in findings.values():
    assert re.search(told, wrong), wrong


@pytest.fixture(scope='module')
def faulty():
  runner = Runner(seconds=2)
  yield runner
  runner.close()


def test_a_reader_without_a_fault_is_left_alone(faulty):
  assert faulty.run('reads', '0', 3) == ({'read': 3, 'refused': 0}, {})
  assert faulty.run('refuses', '0', 3) == ({'read': 0, 'refused': 3}, {})


def test_the_same_seed_damages_the_same_way(tmp_path):
  made = []
  for place in ('a', 'b'):
    (tmp_path / place).mkdir()
    TARGETS['store'].make(tmp_path / place)
    TARGETS['store'].damage(random.Random('store 1 1'), tmp_path / place)
    made.append({p.name: p.read_bytes() for p in (tmp_path / place).iterdir()})
  assert made[0] == made[1]


def test_every_fault_has_a_test():
  assert len(FAULTY) == 15
