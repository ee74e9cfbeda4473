"""Figures of matplotlib as inline SVG.

Text stays text, colours follow the style sheet, ids are those of one plot.
"""

import html
import io
import re
from collections.abc import Callable

from deltax.report.style import LIGHT, colour

SETTINGS = {
  'svg.fonttype': 'none',
  'figure.constrained_layout.use': True,
  'font.size': 11,
  'axes.titlesize': 12,
  'axes.titlelocation': 'left',
  'axes.titlecolor': LIGHT['ink'],
  'axes.edgecolor': LIGHT['muted'],
  'axes.labelcolor': LIGHT['muted'],
  'axes.linewidth': 0.8,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.spines.left': False,
  'axes.grid': True,
  'axes.grid.axis': 'y',
  'axes.axisbelow': True,
  'grid.color': LIGHT['rule'],
  'grid.linewidth': 0.8,
  'text.color': LIGHT['ink'],
  'xtick.color': LIGHT['muted'],
  'ytick.color': LIGHT['muted'],
  'xtick.major.size': 3,
  'ytick.major.size': 0,
  'lines.linewidth': 2,
  'lines.markersize': 5,
}


def _matplotlib():
  try:
    import matplotlib
    import matplotlib.figure
  except ImportError as error:
    raise ImportError(
      "the report's plots need matplotlib: pip install 'deltax-jax[report]'"
    ) from error
  return matplotlib


def plot(
  draw: Callable,
  *,
  name: str,
  label: str,
  size: tuple[float, float],
  least: float = 0,
) -> str:
  """Draws an inline `<svg>`.

  Args:
    draw: `(figure) -> {gid: text}`, the text shown when hovering over artists.
    name: prefix of all ids, so that two plots of a page never share one.
    label: what the plot shows, for those who cannot see it.
    size: width and height in CSS pixels at full size.
    least: the width in CSS pixels below which it scrolls and shrinks no more.
  """
  matplotlib = _matplotlib()
  buffer = io.StringIO()
  nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  with matplotlib.rc_context({**SETTINGS, 'svg.hashsalt': name}):
    # A point of matplotlib's, 1/72 inch, is one unit of the view box.
    figure = matplotlib.figure.Figure((size[0] / 72, size[1] / 72))
    titles = draw(figure)
    figure.savefig(buffer, format='svg', transparent=True, metadata=nothing)
  body = buffer.getvalue().partition('<svg')[2].partition('>')[2]
  for gid, title in titles.items():
    group = f'<g id="{gid}">'
    body = body.replace(group, f'{group}<title>{html.escape(title)}</title>')
  body = re.sub(r'\bid="', f'id="{name}-', body)
  body = re.sub(r'(url\(|href=")#', rf'\1#{name}-', body)
  for key, value in LIGHT.items():
    body = body.replace(value, colour(key))
  return (
    f'<div class="scroll"><svg class="plot" role="img" '
    f'viewBox="0 0 {size[0]:g} {size[1]:g}" aria-label="{html.escape(label)}" '
    f'style="min-width:{least:g}px;max-width:{1.15 * size[0]:g}px">{body}</div>'
  )
