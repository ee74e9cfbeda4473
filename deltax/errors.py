"""What is wrong with something that a user gave, in one sentence."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

STOPPED = 130  # the exit status of a program that Ctrl-C ended
TERMINATED = 143  # of one that SIGTERM ended, after it had saved its work
BROKEN_PIPE = 141  # and of one whose reader has gone

# The last is that of a loss that is not finite.
_TOLD = (ValueError, OSError, ImportError, FloatingPointError)


class DeltaxError(ValueError):
  """Something given is not what was expected; the message says what."""


@contextlib.contextmanager
def told_in_one_sentence(program: str) -> Iterator[None]:
  """Ends a program with a message in place of a traceback.

  Around all that a program does. What is wrong with its input, its files or
  the packages installed is told in a sentence; a fault of the code keeps its
  traceback. With DELTAX_TRACEBACK set, all of them do.

  Args:
    program: what the message begins with.

  Raises:
    SystemExit: with 1 after an error, 130 after Ctrl-C, and 141, silently,
      when nobody reads the output any more, as in `deltax info x | head`.
  """
  try:
    with contextlib.ExitStack() as stack:
      # What is left is written here, where a closed pipe is still dealt with.
      stack.callback(sys.stdout.flush)
      yield
  except BrokenPipeError:
    # Python flushes once more when it ends, and would complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)
  except KeyboardInterrupt:
    _end(program, 'stopped', STOPPED)
  except _TOLD as error:
    if os.environ.get('DELTAX_TRACEBACK'):
      raise
    _end(program, error, 1)


@contextlib.contextmanager
def stopped_at_once(program: str) -> Iterator[None]:
  """Ends a program by Ctrl-C with one line, while nothing is begun yet.

  For the import of other libraries, some of which catch the exception that
  Ctrl-C raises, and go on or tell something else.

  Args:
    program: what the message begins with.
  """

  def stop(*signal):
    print(f'{program}: stopped', file=sys.stderr, flush=True)
    os._exit(STOPPED)

  # Only the main thread may, and it alone is interrupted.
  is_main = threading.current_thread() is threading.main_thread()
  before = signal.signal(signal.SIGINT, stop) if is_main else None
  try:
    yield
  finally:
    if is_main:
      signal.signal(signal.SIGINT, before)


def parse_flags(arguments: Sequence[str], known: Any = None) -> list[str]:
  """The `flags_parser` of a program whose flag `config` overrides a config.

  Args:
    arguments: of the process, its name first.
    known: flags of absl; None for those of the process.

  Returns:
    What is no flag.

  Raises:
    SystemExit: with 1 after a message, for a flag that is unknown, of another
      type, or of a name that the config has not.
  """
  from absl import flags

  with told_in_one_sentence(os.path.basename(arguments[0])):
    try:
      known = flags.FLAGS if known is None else known
      rest = known(arguments)
      known.config.to_dict()  # only now is a missing file told
    except Exception as error:
      frames = traceback.extract_tb(error.__traceback__)
      if any(frame.name == 'get_config' for frame in frames):
        raise  # a fault of the config's own code
      raise DeltaxError(_flag_problem(error, arguments)) from error
    return rest


def _flag_problem(error: Exception, arguments: Sequence[str]) -> str:
  """What is wrong with flags, as a sentence."""
  from absl import flags

  told, *more = _lines(error)
  cause = error
  while cause.__cause__ or cause.__context__:
    cause = cause.__cause__ or cause.__context__
  if more:  # the libraries put tracebacks into their messages
    told = f'{told} {_lines(cause)[0]}'
  given = [
    _shortened(text) for text in arguments if text.startswith('--config')
  ]
  if isinstance(error, flags.Error):
    return told
  if isinstance(error, OSError):
    return f'{given[0]} is no config that can be read'
  # They do not say which of the overrides the config cannot take.
  kind = type(error).__name__
  return f'the config cannot take {", ".join(given[1:])} ({kind}: {told})'


def _lines(error: BaseException) -> list[str]:
  return list(map(_shortened, str(error).splitlines() or ['']))


def _shortened(text: str) -> str:
  text = text if len(text) < 200 else f'{text[:200]}...'
  return text if text.isprintable() else repr(text)


def _end(program: str, message: object, status: int) -> None:
  print(f'{program}: {message}', file=sys.stderr)
  sys.exit(status)
