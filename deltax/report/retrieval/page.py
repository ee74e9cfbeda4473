"""One self-contained HTML page about a retrieval evaluation."""

import html
import os
from collections.abc import Mapping, Sequence

from deltax.report import document
from deltax.report.document import notes, panels, section, table
from deltax.report.retrieval import plots as retrieval_plots
from deltax.report.retrieval import summary
from deltax.report.retrieval.contents import RetrievalResults
from deltax.report.style import colour
from deltax.report.summary import MISSING, number, points
from deltax.report.tables import legend

WORST = 10  # queries that are listed
LISTED = 50  # names of a kind that are

STYLE = """
.bar { display: inline-block; width: 6rem; height: .55em; margin-left: .6em;
  background: var(--rule); border-radius: 2px; overflow: hidden; }
.bar > span { display: block; height: 100%; background: var(--delta); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  display: grid; gap: 1.25rem; }
.aside { display: grid; gap: 1.25rem 3rem; align-items: start; }
.aside > * { min-width: 0; }
@media (min-width: 60rem) { .aside { grid-template-columns: 3fr 2fr; } }
.aside tbody th, td.left { white-space: normal; overflow-wrap: anywhere; }
.aside tbody th { min-width: 12rem; }
.names { overflow-wrap: anywhere; }
"""


def write_retrieval_page(
  path: str | os.PathLike, results: RetrievalResults
) -> None:
  """Writes the page; what is empty is left out of it.

  Args:
    path: the HTML file, written beside itself and renamed. Missing folders are
      made.
    results: what it shows.

  Raises:
    ValueError: a student, a query or a share lacks the score that is plotted.
    ImportError: matplotlib is not installed.
  """
  _check(results)
  parts = [
    _head(results),
    section('Students', results.students and _students(results)),
    section('What re-ranking costs', _trade_off(results)),
    section('Hardest queries', _queries(results)),
    section('What is missing', _missing(results)),
    section('How it was measured', notes(results.notes)),
  ]
  document.write(path, results.title, parts, style=STYLE)


def _check(results: RetrievalResults) -> None:
  """Raises a ValueError where the score that is plotted is missing."""
  shares = [row for rows in results.trade_off.values() for row in rows]
  scored = [row.scores for row in (*results.students, *shares)]
  for scores in (*scored, *results.by_query.values()):
    if results.metric not in scores:
      raise ValueError(
        f'there is no {results.metric!r} among the scores {list(scores)}'
      )


def _head(results: RetrievalResults) -> str:
  about = (
    f'{results.queries:,} queries, {results.videos:,} videos, {results.device}'
  )
  return (
    f'<header><h1>{html.escape(results.title)}</h1>'
    f'<p class="lead">{html.escape(summary.headline(results))}</p>'
    f'<p class="about">{html.escape(about)}</p></header>'
  )


def _students(results: RetrievalResults) -> str:
  *scores, stored, time = summary.columns(results)
  shown = [f'{name}, %' for name in scores]
  main = scores.index(results.metric)
  rows = []
  for name, cells in summary.rows(results):
    score = cells[main]
    cells = [*cells[:main], _bar(score), *cells[main + 1 :]]
    rows.append([html.escape(name), *cells])
  caption = (
    'Each student alone, comparing every query with every video. Storage is '
    'that of a video in the index, time that of a query against all videos.'
  )
  return table(caption, ['', *shown, stored, time], rows)


def _bar(score: str) -> str:
  """A score in per cent, and as a bar beside it."""
  if score == MISSING:
    return score
  return f'{score}<span class="bar"><span style="width:{score}%"></span></span>'


def _trade_off(results: RetrievalResults) -> str:
  if not results.trade_off:
    return ''
  (head, names), *lines = summary.steps(results)
  paints = retrieval_plots.colours(results)
  names_and_colours = {name: colour(paint) for name, paint in paints.items()}
  plots = [retrieval_plots.by_share(results), retrieval_plots.by_time(results)]
  about = (
    'The selector sends a share of the pairs to the fine student; the others '
    'keep the score of the coarse student. Rings are students alone; dashed, '
    f'{summary.percent(summary.KEPT)} of what re-ranking all pairs reaches.'
  )
  steps = table(
    'Scores in per cent, times of a query.',
    [head, *names],
    [[first, *cells] for first, cells in lines],
  )
  return (
    f'<p class="about">{about}</p>{legend(names_and_colours)}'
    f'{panels(plots, "wide")}<details><summary>All shares as a table</summary>'
    f'{steps}</details>'
  )


def _queries(results: RetrievalResults) -> str:
  worst = summary.worst(results, WORST)
  if not worst:
    return ''
  metric = results.metric
  others = list(
    dict.fromkeys(n for row in results.by_query.values() for n in row)
  )
  others.remove(metric)
  rows = []
  for query, score in worst:
    scores = results.by_query[query]
    cells = [number(points(scores.get(name)), 1) for name in others]
    rows.append([html.escape(query), _bar(number(points(score), 1)), *cells])
  caption = f'The lowest {metric} of {results.judged}.'
  heads = [f'{name}, %' for name in (metric, *others)]
  return (
    f'<div class="aside"><div>{table(caption, ["query", *heads], rows)}</div>'
    f'<figure>{retrieval_plots.by_query(results)}</figure></div>'
  )


def _missing(results: RetrievalResults) -> str:
  """What is absent, by name; that nothing is, in a sentence."""
  failed, parts = results.failed, []
  if failed:
    rows = [
      [html.escape(name), html.escape(reason)]
      for name, reason in list(failed.items())[:LISTED]
    ]
    caption = f'Videos that could not be read: {len(failed):,}.'
    listed = table(caption, ['video', 'reason'], rows, left=2)
    parts.append(listed + _more(failed))
  if results.unscored:
    parts.append(
      '<p class="about">Videos of the database without a score: '
      f'{results.unscored:,}. They count as not found.</p>'
    )
  parts += [
    _names('Queries without scores, which count nowhere', results.missing),
    _names('Queries with nothing to find', results.empty),
  ]
  told = ''.join(parts)
  return told or '<p>Nothing: every video was read, every query scored.</p>'


def _names(about: str, names: Sequence[str]) -> str:
  if not names:
    return ''
  listed = ', '.join(html.escape(name) for name in names[:LISTED])
  return (
    f'<p class="about">{about}: {len(names):,}.</p>'
    f'<p class="names">{listed}</p>{_more(names)}'
  )


def _more(names: Sequence[str] | Mapping) -> str:
  rest = len(names) - LISTED
  return f'<p class="about">And {rest:,} more.</p>' if rest > 0 else ''
