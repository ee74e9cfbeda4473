"""Reads damaged files, one after the other, and tells what became of each.

    python tests/fuzz/worker.py TARGET SEED FIRST STOP

reads inputs FIRST to STOP - 1 of a target, tells what was found and leaves the
last input in a folder, which it names. Without arguments such lines are taken
from the standard input: a process that is kept for many of them.
"""

import errno
import json
import os
import pathlib
import random
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings

from mutators import OUTSIDE
from targets import FAULTY, TARGETS, Target

ROOT = pathlib.Path(__file__).parents[2]
TIMES = 4  # of a file's own size, that memory may grow beside the target's base
_LONGEST_MESSAGE = 2000
_NO_MEMORY = re.compile('allocat|out of memory|MemoryError', re.I)
_RUNS = {
  *('os.system', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn'),
  *('os.spawn', 'subprocess.Popen', 'pty.spawn', 'ctypes.dlopen'),
  *('socket.connect', 'socket.getaddrinfo', 'urllib.Request'),
}
_CHANGES = {
  *('os.remove', 'os.rename', 'os.rmdir', 'os.truncate', 'os.link'),
  *('os.symlink', 'os.chmod', 'shutil.rmtree', 'os.mkdir'),
}


class Watch:
  """What the code does beside reading the files that it is given.

  Attributes:
    folder: where it may read and write; None while nothing is watched.
    seen: what it did elsewhere.
  """

  def __init__(self):
    self.folder: str | None = None
    self.seen: list[str] = []
    # Modules are imported late, and devices asked about the machine.
    library = {sys.prefix, sys.base_prefix, str(ROOT), *sys.path}
    self._readable = (*filter(None, library), '/proc/', '/sys/', '/dev/')
    sys.addaudithook(self._hook)

  def _hook(self, event, arguments):
    if self.folder is None:
      return
    if event == 'exec':
      name = os.path.abspath(arguments[0].co_filename)
      if not (name.startswith(self._readable) and os.path.isfile(name)):
        self.seen.append(f'runs {name}')
    elif event in _RUNS:
      self.seen.append(f'{event}{arguments}'[:200])
    elif event == 'open' or event in _CHANGES:
      self._path(event, *arguments[:2])

  def _path(self, event, path, mode=None):
    if isinstance(path, bytes):
      path = os.fsdecode(path)
    if not isinstance(path, str):
      return
    path = os.path.abspath(path)
    reads = event == 'open' and mode in (None, 'r', 'rb')
    if path.startswith((self.folder, *self._readable[: 99 * reads])):
      return
    self.seen.append(f'{event} of {path}, mode {mode}')


def attempt(target: Target, folder: pathlib.Path, watch: Watch) -> str | None:
  """Reads a damaged input.

  Returns:
    'read', 'refused', or what is wrong with how it was read.
  """
  size = sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())
  allowed = target.base + TIMES * size
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # of the highest mark
  before = _memory('VmRSS')
  if target.is_capped:
    limit = _memory('VmData') + 2 * allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
  watch.seen, watch.folder = [], str(folder)
  try:
    target.read(folder)
    wrong, outcome = None, 'read'
  except BaseException as error:
    wrong, outcome = _wrong_error(error, target, folder), 'refused'
  watch.folder = None
  unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
  resource.setrlimit(resource.RLIMIT_DATA, unlimited)
  grown = _memory('VmHWM') - before
  seen = [x for x in watch.seen if target.is_file or not x.startswith('open')]
  if seen:
    return f'it does what it should not: {"; ".join(seen[:3])}'
  if grown > allowed:
    return (
      f'it takes {grown >> 20} MiB, allowed are {allowed >> 20} ({outcome})'
    )
  return wrong or outcome


def _wrong_error(error, target, folder):
  """What is wrong with an error: not documented, or not one clear sentence."""
  told = ''.join(traceback.format_exception(error)[-12:])[-3000:]
  link = error
  while link is not None and target.is_capped:
    if (
      isinstance(link, MemoryError)
      or getattr(link, 'errno', None) == errno.ENOMEM
      or _NO_MEMORY.search(str(link))
    ):
      return f'it asks for more memory than is allowed\n{told}'
    link = link.__cause__ or link.__context__
  if not isinstance(error, target.errors):
    return f'{type(error).__name__} is not documented\n{told}'
  message = str(error)
  if not message or '\n' in message or len(message) > _LONGEST_MESSAGE:
    return f'its message is not one sentence\n{told}'
  if target.is_file and str(folder) not in message:
    return f'its message names no file\n{told}'
  return None


def _memory(name):
  with open('/proc/self/status') as file:
    for line in file:
      if line.startswith(name):
        return int(line.split()[1]) << 10
  raise LookupError(name)


def prepare(target: Target, scratch: pathlib.Path) -> pathlib.Path:
  """Makes the valid files of a target, once, and reads them."""
  valid = scratch / 'valid' / target.name
  if not valid.exists():
    valid.mkdir(parents=True)
    target.make(valid)
    if target.name in TARGETS:
      target.read(valid)  # which imports what it needs
  return valid


def answer(name: str, seed: str, first: int, stop: int, scratch, watch) -> None:
  """Prints a line of JSON before each input, its number, and one behind it."""
  target = {**TARGETS, **FAULTY}[name]
  valid, folder = prepare(target, scratch), scratch / 'inputs' / 'now'
  for number in range(first, stop):
    print(json.dumps([number, None]), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder)
    (folder.parent / OUTSIDE).write_text('{}')
    target.damage(random.Random(f'{name} {seed} {number}'), folder)
    print(json.dumps([number, attempt(target, folder, watch)]), flush=True)


def main() -> None:
  warnings.simplefilter('error')
  warnings.simplefilter('ignore', DeprecationWarning)  # of ml_collections
  asked = [' '.join(sys.argv[1:])] if sys.argv[1:] else sys.stdin
  scratch = pathlib.Path(tempfile.mkdtemp(prefix='deltax-fuzz-')).resolve()
  watch = Watch()
  for line in asked:
    name, seed, first, stop = line.split()
    answer(name, seed, int(first), int(stop), scratch, watch)
  if sys.argv[1:]:
    print(f'the last input is in {scratch / "inputs"}')
  else:
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == '__main__':
  main()
