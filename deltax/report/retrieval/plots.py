"""The plots of a retrieval evaluation, each as inline SVG."""

from collections.abc import Sequence

import numpy as np

from deltax.report.pictures import svg
from deltax.report.retrieval.contents import RetrievalResults, Share
from deltax.report.retrieval.summary import KEPT, duration, percent
from deltax.report.style import LIGHT
from deltax.report.summary import number, points

STUDENT = LIGHT['muted']
LINES = ('delta', 'candidate0', 'candidate1', 'candidate4')
SHAPES = 'osD^'
SIZE = (520, 330)


def colours(results: RetrievalResults) -> dict[str, str]:
  """The name of a colour for each trade-off."""
  return {
    name: LINES[place % len(LINES)]
    for place, name in enumerate(results.trade_off)
  }


def by_share(results: RetrievalResults) -> str:
  """The score against the share of pairs re-ranked."""

  def draw(figure):
    axes = figure.subplots()
    for place, (name, rows) in enumerate(results.trade_off.items()):
      x = [100 * row.share for row in rows]
      y = _scores(results, rows)
      _line(axes, place, name, x, y, results)
      paint = LIGHT[colours(results)[name]]
      axes.axhline(KEPT * y[-1], color=paint, linewidth=1, ls='--', alpha=0.6)
    axes.set_xlabel('pairs re-ranked, %')
    axes.set_title(f'{results.metric}, %')
    axes.set_xlim(-2, 102)
    return _titles(results)

  return _plot(draw, results, 'share', 'share of pairs re-ranked')


def by_time(results: RetrievalResults) -> str:
  """The score against seconds per query; students alone as rings."""

  def draw(figure):
    axes = figure.subplots()
    _students(axes, results)
    for place, (name, rows) in enumerate(results.trade_off.items()):
      x = [row.seconds for row in rows]
      _line(axes, place, name, x, _scores(results, rows), results)
    axes.set_xlabel('time of a query')
    axes.set_title(f'{results.metric}, %')
    axes.set_xscale('log')
    axes.margins(x=0.14, y=0.12)
    axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.xaxis.set_minor_formatter(lambda *_: '')
    return _titles(results)

  return _plot(draw, results, 'time', 'time of a query')


def by_query(results: RetrievalResults) -> str:
  """The scores of all queries, from the worst to the best."""
  metric = results.metric
  scores = [row[metric] for row in results.by_query.values()]
  values = np.sort(100 * np.array(scores, float))
  values = values[np.isfinite(values)]

  def draw(figure):
    axes = figure.subplots()
    paint = LIGHT['delta']
    places = np.arange(1, len(values) + 1)
    axes.fill_between(places, values, color=paint, alpha=0.15, linewidth=0)
    axes.plot(places, values, color=paint)
    axes.axhline(values.mean(), color=LIGHT['muted'], linewidth=1, ls='--')
    axes.set_title(f'{metric}, %')
    axes.set_xlabel('queries, the worst first')
    axes.set_ylim(0, 102)
    axes.set_xlim(1, max(len(values), 2))
    axes.locator_params('x', integer=True)
    return {}

  label = (
    f'{metric} of {len(values)} queries, from {number(values[0], 1)} to '
    f'{number(values[-1], 1)} per cent'
  )
  return svg.plot(draw, name='queries', label=label, size=(370, 260), least=280)


def _plot(draw, results: RetrievalResults, name: str, against: str) -> str:
  ends = '; '.join(
    f'{curve}: from {number(_scores(results, rows)[0], 1)} to '
    f'{number(_scores(results, rows)[-1], 1)}'
    for curve, rows in results.trade_off.items()
  )
  label = f'{results.metric} in per cent against the {against}. {ends}'
  return svg.plot(draw, name=name, label=label, size=SIZE, least=320)


def _scores(results: RetrievalResults, rows: Sequence[Share]) -> list[float]:
  return [points(row.scores[results.metric]) for row in rows]


def _line(axes, place, name, x, y, results) -> None:
  """A curve with a mark, which tells its figures, for each share."""
  paint = LIGHT[colours(results)[name]]
  axes.plot(x, y, color=paint)
  for step, (a, b) in enumerate(zip(x, y, strict=True)):
    (mark,) = axes.plot([a], [b], SHAPES[place % 4], color=paint, markersize=4)
    mark.set_gid(f'mark{place}-{step}')


def _titles(results: RetrievalResults) -> dict[str, str]:
  """What each mark tells."""
  metric = results.metric
  return {
    f'mark{place}-{step}': (
      f'{name}: {percent(row.share)} re-ranked, {metric} '
      f'{number(points(row.scores[metric]), 1)}, '
      f'{duration(row.seconds)} a query'
    )
    for place, (name, rows) in enumerate(results.trade_off.items())
    for step, row in enumerate(rows)
  }


def _students(axes, results: RetrievalResults) -> None:
  """Every student that has been measured, with its name beside it."""
  metric = results.metric
  for student in results.students:
    where = (student.seconds, points(student.scores[metric]))
    if where[0] is None or not np.isfinite(where).all():
      continue
    axes.plot(*where, 'o', color=STUDENT, markerfacecolor='none', markersize=8)
    axes.annotate(
      student.name,
      where,
      xytext=(0, 9),
      textcoords='offset points',
      ha='center',
      fontsize=9,
      color=STUDENT,
      zorder=5,
      bbox={'facecolor': LIGHT['paper'], 'edgecolor': 'none', 'pad': 1},
    )


def _tick(seconds: float) -> str:
  return f'{seconds:g} s' if seconds >= 1 else f'{1000 * seconds:g} ms'
