"""Results of a run: a table for the terminal and one self-contained page."""

from deltax.report.contents import Page, Results
from deltax.report.page import write
from deltax.report.pictures.labels import colourise
from deltax.report.retrieval.page import write_retrieval_page
from deltax.report.retrieval.summary import text as retrieval_text
from deltax.report.stored import results_from_json, to_json
from deltax.report.summary import details, headline, table

__all__ = [
  'Page',
  'Results',
  'colourise',
  'details',
  'headline',
  'results_from_json',
  'retrieval_text',
  'table',
  'to_json',
  'write',
  'write_retrieval_page',
]
