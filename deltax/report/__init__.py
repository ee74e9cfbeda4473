"""What a run won: a table for the terminal and one self-contained page."""

from deltax.report.page import write
from deltax.report.pictures.labels import colourise
from deltax.report.retrieval.page import write_retrieval_page
from deltax.report.retrieval.summary import text as retrieval_text
from deltax.report.summary import details, headline, table

__all__ = [
  'colourise',
  'details',
  'headline',
  'retrieval_text',
  'table',
  'write',
  'write_retrieval_page',
]
