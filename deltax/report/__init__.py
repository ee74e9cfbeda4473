"""What a run won: a table for the terminal and one self-contained page."""

from deltax.report.page import write
from deltax.report.pictures import colourise
from deltax.report.summary import details, headline, table

__all__ = ['colourise', 'details', 'headline', 'table', 'write']
