"""Programs that keep their memory find it again."""

import os
import platform
import subprocess
import sys

import pytest

# Large pieces, taken and freed by a thread as compiled programs do. The first
# line is whether memory is kept, the second how often the system gave a page.
PROGRAM = """
import concurrent.futures, resource, sys
from deltax import compilation

if 'keep' in sys.argv:
  print(compilation.keep_memory())

def work():
  b'1' * 200_000_000

with concurrent.futures.ThreadPoolExecutor(1) as pool:
  pool.submit(work).result()
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  pool.submit(work).result()
  print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def told(*arguments, **environment):
  """Lines that the program prints, in an environment without its settings."""
  free = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(('MALLOC_', 'GLIBC_'))
  }
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, *arguments],
    env={**free, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='for glibc')
def test_what_was_freed_is_found_again():
  kept, faults = told('keep')
  assert kept == 'True'
  assert int(faults) < 100
  # Else every page comes from the system anew.
  (faults,) = told()
  assert int(faults) > 1000


def test_what_the_environment_says_stays():
  kept, _ = told('keep', MALLOC_ARENA_MAX='2')
  assert kept == 'False'
