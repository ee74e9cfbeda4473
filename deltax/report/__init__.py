"""What a run won: a table for the terminal and one self-contained page."""

from deltax.report.page import write
from deltax.report.pictures import colourise
from deltax.report.summary import headline, table

__all__ = ['colourise', 'headline', 'table', 'write']
