"""Indexing as a pipeline of Apache Beam; networks of JAX in `RunInference`.

    from deltax.systems import beam

    beam.index_files('my.index', ['gs://films/'], flags=['--runner=...'])

The package of that name is called `apache_beam`, here and there.
"""

import logging


def _check() -> None:
  """Imports Beam, which tells at the root what parts of it are missing."""
  root, told = logging.getLogger(), 'apitools not found'

  def is_news(record: logging.LogRecord) -> bool:
    return told not in record.getMessage()

  root.addFilter(is_news)
  try:
    import apache_beam  # noqa: F401
  except ImportError as error:
    raise ImportError(
      "indexing by Beam needs it: pip install 'deltax-jax[beam]'"
    ) from error
  finally:
    root.removeFilter(is_news)


_check()

from deltax.systems.beam.handler import JaxModelHandler  # noqa: E402
from deltax.systems.beam.indexing import index_files  # noqa: E402

__all__ = ['JaxModelHandler', 'index_files']
