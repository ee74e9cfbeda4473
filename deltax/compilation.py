"""What is compiled is kept on the disk, for the next program to start sooner.

Programs do this, and say so: `train.py`, `eval.py` and the commands call
`set_up`. Importing the library changes nothing about JAX.
"""

import contextlib
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
