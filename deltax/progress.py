"""Whether a person watches."""

import os
import sys

VARIABLE = 'DELTAX_PROGRESS'


def wants_bar(progress: bool | None = None) -> bool:
  """Whether to draw progress bars.

  Args:
    progress: the answer, if not None. Then the environment variable
      DELTAX_PROGRESS (0 or 1) decides, then whether stderr is a terminal.
  """
  if progress is not None:
    return progress
  told = os.environ.get(VARIABLE)
  return sys.stderr.isatty() if told is None else told == '1'
