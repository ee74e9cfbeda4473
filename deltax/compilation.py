"""What is compiled is kept on the disk, for the next program to start sooner.

Programs do this, and say so: `train.py`, `eval.py` and the commands call
`set_up`. Importing the library changes nothing about JAX. So it is with the
memory that compiled programs take, see `keep_memory`.
"""

import contextlib
import ctypes
import logging
import os
import pathlib

import filelock
import jax

from deltax.errors import DeltaxError

VARIABLE = 'DELTAX_CACHE'
OFF = ('', '0', 'off')
_SETTINGS = {
  'jax_compilation_cache_max_size': 2**29,  # bytes; the oldest make room
  # Every entry is looked at when one is written: none that compiles as fast.
  'jax_persistent_cache_min_compile_time_secs': 0.05,
}
# What `mallopt` knows them by, in glibc's malloc.h.
_MOST_MAPPED, _TRIM_THRESHOLD, _MOST_ARENAS = -4, -1, -8
_NEVER = -1


def set_up() -> None:
  """Prepares JAX for a program: to be called before the first compilation.

  Compiled programs are kept in `deltax/compiled` of the user's cache, at most
  half a gigabyte of them. The environment variable DELTAX_CACHE names another
  folder in place of `deltax`, or turns this off: `off`, `0` or nothing. What is
  set for JAX itself, as JAX_COMPILATION_CACHE_DIR, is left as it is.

  Several processes may share the folder. An entry that is damaged is compiled
  again, after a warning.

  Raises:
    DeltaxError: DELTAX_CACHE names a folder that cannot be written.
  """
  logging.getLogger('jax._src.xla_bridge').addFilter(_worth_reading)
  if _is_set('jax_compilation_cache_dir'):
    return
  named = os.environ.get(VARIABLE)
  if named in OFF:
    return
  folder = (pathlib.Path(named) if named else _users()) / 'compiled'
  folder = folder.absolute()
  try:
    folder.mkdir(0o700, parents=True, exist_ok=True)  # it is code that runs
    _drop_unfinished(folder)
  except OSError as error:
    if named:
      raise DeltaxError(f'{VARIABLE}={named}: {error}') from error
    return  # some machines have no home to write to
  jax.config.update('jax_compilation_cache_dir', str(folder))
  for name, value in _SETTINGS.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)


def cache_folder() -> pathlib.Path:
  """The library's folder of what is kept, but not needed: see `set_up`.

  Raises:
    FileNotFoundError: the user has no home.
  """
  named = os.environ.get(VARIABLE)
  return _users() if named is None or named in OFF else pathlib.Path(named)


def keep_memory() -> bool:
  """Keeps what the process frees, for what it computes next.

  A compiled program takes all of its memory at once, and frees it when it is
  done. Large pieces go back to the system, which clears every page before it
  hands it out again: on a CPU a seventh of a convolutional network's time, and
  a third of a later frame's. To be called before JAX makes its first array, by
  programs that compute frame after frame. They hold on to the most that they
  have ever used.

  Only glibc is told. What the environment says of its memory (`MALLOC_...`,
  `GLIBC_TUNABLES`) is left as it is.

  Returns:
    Whether it is kept.
  """
  if any(name.startswith(('MALLOC_', 'GLIBC_')) for name in os.environ):
    return False
  try:
    set_option = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):  # another system's library
    return False
  options = (
    (_MOST_MAPPED, 0),  # no piece is asked of the system by itself
    (_TRIM_THRESHOLD, _NEVER),
    (_MOST_ARENAS, 1),  # a thread's own has no place for more than 64 MiB
  )
  return all(set_option(name, value) for name, value in options)


def _is_set(name: str) -> bool:
  return name.upper() in os.environ or getattr(jax.config, name) is not None


def _users() -> pathlib.Path:
  """The library's part of the user's cache."""
  told = os.environ.get('XDG_CACHE_HOME', '')
  home = told if os.path.isabs(told) else os.path.expanduser('~/.cache')
  if not os.path.isabs(home):
    raise FileNotFoundError('the user has no home')
  return pathlib.Path(home) / 'deltax'


def _drop_unfinished(folder: pathlib.Path) -> None:
  """Removes entries whose process was killed while it wrote them.

  JAX writes when an entry was last read into a file beside it, as the last
  thing. Where that is missing, JAX can make no room for another entry.
  """
  lock = filelock.FileLock(folder / '.lockfile')  # the one of JAX
  with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=10):
    names = {path.name for path in folder.iterdir()}
    for name in names:
      key, dash, kind = name.rpartition('-')
      if dash and kind == 'cache' and f'{key}-atime' not in names:
        (folder / name).unlink(missing_ok=True)


def _worth_reading(record: logging.LogRecord) -> bool:
  """That there is no TPU is no news where its library is not installed."""
  return 'Failed to open libtpu.so' not in record.getMessage()
