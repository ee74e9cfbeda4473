"""What orbax says and nobody needs is not said."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any


def hide_what_orbax_logs() -> None:
  """It logs some thirty lines a save, and the traceback of what it raises."""
  logging.getLogger('absl').addFilter(_worth_reading)


@contextlib.contextmanager
def without_aftermath() -> Iterator[None]:
  """Hides what follows a failed read or write.

  orbax closes its event loop at the first leaf that fails. Every other one in
  flight then complains about that, from another thread and a little later: so
  after a failure the filter stays.
  """
  shown = sys.unraisablehook

  def hook(event: Any) -> None:
    if 'Event loop is closed' not in str(event.exc_value):
      shown(event)

  sys.unraisablehook = hook
  yield
  sys.unraisablehook = shown


def _worth_reading(record: logging.LogRecord) -> bool:
  told_later = record.levelno <= logging.INFO or record.exc_info
  return not told_later or '/orbax/' not in record.pathname
