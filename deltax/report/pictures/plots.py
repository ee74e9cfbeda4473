"""The plots of the page, each as inline SVG."""

from collections.abc import Sequence

import numpy as np

from deltax.report.contents import Curves, GateHistory, LayerChoice, Results
from deltax.report.pictures import svg
from deltax.report.style import LIGHT
from deltax.report.summary import number, sentence
from deltax.report.tables import candidate_colours

SMOOTHED = 50  # points; a curve with more of them is also shown averaged


def per_distance(results: Results) -> list[str]:
  """The score by distance to the key frame: a plot for every interval."""
  metric = sentence(results.metric.text)
  scores = [
    100
    * np.array(
      [
        row.per_distance,
        row.teacher_per_distance,
        row.copied_per_distance or [np.nan] * row.interval,
      ],
      float,
    )
    for row in results.delta
  ]
  seen = np.concatenate([s[np.isfinite(s)] for s in scores] or [np.zeros(0)])
  low, high = (seen.min(), seen.max()) if seen.size else (0, 100)
  margin = max(0.08 * (high - low), 0.5)

  limits = low - margin, high + margin
  return [
    _distance_plot(metric, row.interval, *lines, limits)
    for row, lines in zip(results.delta, scores, strict=True)
  ]


def _distance_plot(metric, interval, delta, teacher, copied, limits) -> str:
  """Scores in per cent, 0, 1, ... frames after a key frame."""

  def draw(figure):
    axes = figure.subplots()
    axes.plot(teacher, 'o--', color=LIGHT['teacher'], markerfacecolor='none')
    axes.plot(delta, 's-', color=LIGHT['delta'])
    axes.plot(copied, '.:', color=LIGHT['muted'])
    axes.set_title(f'interval {interval}')
    axes.set_xlabel('frames after the key frame')
    axes.set_xlim(-0.3, len(delta) - 0.7)
    axes.set_xticks(range(0, len(delta), -(-len(delta) // 10)))
    axes.set_ylim(*limits)
    return {}

  lines = ', '.join(
    f'{t}: teacher {number(a, 1)}, delta {number(b, 1)}'
    + (f', copied {number(c, 1)}' if np.isfinite(c) else '')
    for t, (a, b, c) in enumerate(zip(teacher, delta, copied, strict=True))
  )
  label = f'{metric} in per cent by distance to the key frame. {lines}'
  return svg.plot(
    draw, name=f'distance{interval}', label=label, size=(370, 260), least=280
  )


def depth(layers: Sequence[LayerChoice]) -> str:
  """MACs of the chosen candidate and of the teacher, layer by layer."""
  colours = candidate_colours(layers)
  teacher = np.array([layer.teacher for layer in layers], float)
  chosen = np.array([l.candidates[l.chosen] for l in layers], float)
  share = chosen / np.maximum(teacher, 1)
  paint = [LIGHT[colours[layer.chosen]] for layer in layers]
  places = np.arange(len(layers))

  def draw(figure):
    upper, lower, strip = figure.subplots(
      3, sharex=True, height_ratios=(10, 10, 1)
    )
    upper.bar(places, teacher / 1e6, 0.8, color=LIGHT['rule'])
    bars = [
      upper.bar(places, chosen / 1e6, 0.8, color=paint),
      lower.bar(places, share, 0.8, color=paint),
      strip.bar(places, 1, 0.8, color=paint),  # seen where bars are too low
    ]
    upper.set_title('million multiply-accumulates a later frame')
    lower.set_title('share of the teacher')
    lower.axhline(1, color=LIGHT['muted'], linewidth=1)
    lower.set_ylim(0, 1.05 * max(1.0, share.max()))
    strip.set_xlim(-0.7, len(layers) - 0.3)
    strip.set_yticks([])
    strip.grid(False)
    strip.spines['bottom'].set_visible(False)
    strip.set_xticks(places, [layer.path for layer in layers])
    strip.tick_params('x', length=0, labelsize=9)
    for text in strip.get_xticklabels():
      text.set(rotation=90, rotation_mode='anchor', ha='right', va='center')
    for axes in (upper, lower):
      axes.tick_params('x', length=0)
    titles = {}
    for row, container in enumerate(bars):
      for place, bar in enumerate(container):
        gid = f'bar{row}-{place}'
        bar.set_gid(gid)
        titles[gid] = _bar_title(layers[place], share[place])
    return titles

  width = max(1100, 12 * len(layers) + 60)
  label = (
    f'Bars for {len(layers)} layers from the input to the output: '
    f'{number(chosen.sum() / 1e6, 1)} of {number(teacher.sum() / 1e6, 1)} '
    'million multiply-accumulates are left'
  )
  return svg.plot(
    draw, name='depth', label=label, size=(width, 500), least=0.9 * width
  )


def _bar_title(layer: LayerChoice, share: float) -> str:
  macs = layer.candidates[layer.chosen]
  return (
    f'{layer.path}: {layer.chosen}, {number(macs / 1e6, 2)} of '
    f'{number(layer.teacher / 1e6, 2)} million ({number(share, 2)})'
  )


def gates(history: GateHistory) -> tuple[str, str]:
  """Every layer's probability of its first candidate, and who chooses it."""
  steps = np.asarray(history.steps, float)
  paths = list(history.probability)
  values = np.array([history.probability[path] for path in paths], float)
  every = -(-len(paths) // 75)  # so many layers apart are the names

  def heat(figure):
    axes = figure.subplots()
    grid = np.linspace(steps[0], steps[-1], min(len(steps), 200))
    column = np.searchsorted(steps, grid + 1e-6, side='right') - 1
    extent = (steps[0], max(steps[-1], steps[0] + 1), len(paths) - 0.5, -0.5)
    axes.imshow(
      _opacity(values[:, column]),
      extent=extent,
      aspect='auto',
      interpolation='none',
    )
    axes.grid(False)
    axes.set_xlabel('step')
    axes.set_yticks(range(0, len(paths), every), paths[::every])
    axes.tick_params('y', labelsize=9)
    return {}

  def count(figure):
    axes = figure.subplots()
    full = LIGHT['candidate0']
    axes.plot(steps, (values > 0.5).sum(0), color=full, drawstyle='steps-post')
    axes.plot(steps, values.sum(0), '--', color=full, linewidth=1.2)
    axes.set_title('layers with the first')
    axes.set_xlabel('step')
    axes.set_ylim(0, 1.02 * len(paths))
    return {}

  height = 60 + 11 * min(len(paths), 75)
  last = f'{(values[:, -1] > 0.5).sum()} of {len(paths)} layers'
  return (
    svg.plot(
      heat,
      name='gates',
      label='Probability of the first candidate, every layer over the steps',
      size=(740, height),
      least=600,
    ),
    svg.plot(
      count,
      name='copies',
      label=f'Full copies over the steps: {last} at the end',
      size=(370, 260),
      least=280,
    ),
  )


def _opacity(values: np.ndarray) -> np.ndarray:
  """Values 0 to 1 as opacity of the first colour, uint8 [..., 4]."""
  levels = list(bytes.fromhex(LIGHT['candidate0'][1:]))
  painted = np.empty((*values.shape, 4), np.uint8)
  painted[..., :3] = levels
  painted[..., 3] = np.round(255 * np.clip(np.nan_to_num(values), 0, 1))
  return painted


def curves(history: Curves) -> list[str]:
  """What was logged while training: a small plot for each name."""
  return [
    _curve(place, name, history) for place, name in enumerate(history.values)
  ]


def _curve(place: int, name: str, history: Curves) -> str:
  steps = np.asarray(history.steps, float)
  values = np.array(history.values[name], float)  # None becomes NaN
  here = np.isfinite(values)
  x, y = steps[here], values[here]

  def draw(figure):
    axes = figure.subplots()
    thick = {'color': LIGHT['ink'], 'linewidth': 1.5}
    if len(y) >= SMOOTHED:
      axes.plot(x, y, color=LIGHT['muted'], linewidth=0.7, alpha=0.5)
      axes.plot(x, _smooth(y), **thick)
    else:
      axes.plot(x, y, 'o-' if len(y) < 20 else '-', markersize=3, **thick)
    if len(y) and y.min() > 0 and y.max() > 30 * y.min():
      axes.set_yscale('log')
    axes.set_title(name)
    axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axes.locator_params('x', nbins=4)
    return {}

  end = number(y[-1], 4) if len(y) else 'nothing logged'
  label = f'{name} over the steps, at the end {end}'
  return svg.plot(draw, name=f'curve{place}', label=label, size=(280, 190))


def _smooth(values: np.ndarray) -> np.ndarray:
  """The mean over a moving window of a twentieth of the curve."""
  window = np.ones(len(values) // 20 | 1)
  total = np.convolve(values, window, 'same')
  return total / np.convolve(np.ones_like(values), window, 'same')
