"""A self-contained HTML page, and the parts that every page has."""

import html
import os
from collections.abc import Iterable, Sequence

from deltax import files
from deltax.report.style import SHEET
from deltax.report.summary import MISSING


def write(
  path: str | os.PathLike, title: str, parts: Iterable[str], *, style: str = ''
) -> None:
  """Writes a page beside itself and renames it; missing folders are made.

  Args:
    path: the HTML file.
    title: text.
    parts: HTML.
    style: rules beside those of every page.
  """
  files.write_text(path, whole(title, parts, style=style))


def whole(title: str, parts: Iterable[str], *, style: str = '') -> str:
  """The HTML of a page; see `write`."""
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}</title><style>{SHEET}{style}</style>'
    f'</head><body><main>{"".join(parts)}</main></body></html>\n'
  )


def section(title: str, body: str | None) -> str:
  """A titled section, nothing if it has no body."""
  return f'<section><h2>{title}</h2>{body}</section>' if body else ''


def panels(plots: Iterable[str], kind: str = '') -> str:
  """Plots side by side as far as there is room."""
  figures = ''.join(f'<div>{plot}</div>' for plot in plots)
  return figures and f'<figure class="panels {kind}">{figures}</figure>'


def notes(texts: Iterable[str]) -> str:
  """A list of remarks; text."""
  items = ''.join(f'<li>{html.escape(text)}</li>' for text in texts)
  return items and f'<ul class="notes">{items}</ul>'


def table(
  caption: str,
  names: Sequence[str],
  rows: Iterable[Sequence[str]],
  *,
  left: int = 1,
) -> str:
  """A table whose first column names the rows.

  Args:
    caption: text.
    names: of the columns, text.
    rows: HTML for each column; '-' is shown as a dash.
    left: how many columns are text, and begin at the left.
  """
  sides = ['left' if place < left else 'right' for place in range(len(names))]
  head = ''.join(
    f'<th scope="col" class="{side}">{html.escape(name)}</th>'
    for side, name in zip(sides, names, strict=True)
  )
  body = ''.join(
    f'<tr><th scope="row">{first}</th>'
    + ''.join(
      f'<td class="{side}">{"&ndash;" if cell == MISSING else cell}</td>'
      for side, cell in zip(sides[1:], rest, strict=True)
    )
    + '</tr>'
    for first, *rest in rows
  )
  return (
    f'<p class="about">{html.escape(caption)}</p><div class="scroll"><table>'
    f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
  )
