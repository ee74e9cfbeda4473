"""What is wrong with something that a user gave, in one sentence."""

import contextlib
import os
import sys
from collections.abc import Iterator

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


def _end(program: str, message: object, status: int) -> None:
  print(f'{program}: {message}', file=sys.stderr)
  sys.exit(status)
