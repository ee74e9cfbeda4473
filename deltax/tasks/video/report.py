"""What the reports of all tasks share: costs, times, gates, curves, film."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deltax import delta as delta_wing
from deltax.data import describe
from deltax.delta import Streamer
from deltax.delta.search import latency
from deltax.models.inputs import normalise
from deltax.report.summary import floor_gap
from deltax.task import Task
from deltax.tasks.parts import delta_params, teacher_beside, variables_of
from deltax.tasks.video import deployed
from deltax.types import Array, Batch, ModelState, Params

FILM_DISTANCES = (0, 1, 2, 5, 9)
NO_KEY = 10**9  # an interval in which only the first frame is a key frame


class Kind(NamedTuple):
  """What the report of one kind of task adds.

  Attributes:
    metric: texts about the score, as `deltax.report.write` takes them.
    score: its name among the scores, such as 'miou'.
    others: `{text: (name, note)}` of scores shown beside it, where they are
      measured, and how.
    notes: on how all else is measured.
    scores: `(name, counts, interval) -> {'<name>/<score>': float}`, and
      '<name>/<score>_<d>' at distance d to the key frame.
    by_class: `(name, counts) -> [K]` scores.
    clips: `(counts, dataset) -> numbers` of the clips to show.
    shot: `(batch, row, t, teacher, delta) -> shot`, a frame of the film without
      'frame' and 'caption', from the outputs of both networks on it (batch 1);
      None for a frame that does not count.
  """

  metric: Mapping[str, str]
  score: str
  others: Mapping[str, tuple[str, str]]
  notes: Sequence[str]
  scores: Callable[[str, Mapping, int], dict[str, float]]
  by_class: Callable[[str, Mapping], Sequence[float]]
  clips: Callable[[Mapping, Sequence[Batch]], Sequence[int]]
  shot: Callable[[Batch, int, int, Any, Any], dict[str, Any] | None]


def gather(
  params: Params,
  model_state: ModelState,
  *,
  kind: Kind,
  net: nn.Module,
  baseline: Task,
  title: str,
  options: Mapping[str, Any],
  task: Task,
  evaluate: Callable[..., tuple[dict, dict]],
  dataset: Sequence[Batch],
  data_name: str,
  metrics: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
  """Evaluates a run, and gathers what `deltax.report.write` takes.

  The teacher beside a delta network is the one it started from, where there is
  one.

  Args:
    params: of the run.
    model_state: of the run.
    kind: of its task.
    net: the network.
    baseline: the task of the network without its delta.
    title: of the page.
    options: keyword arguments of the task's `make_task`; the `latency` of its
      `delta` may name a file of the network's latencies.
    task: built from them.
    evaluate: `(task, params, model_state, dataset) -> (scores, counts)`, as
      `deltax.training.evaluate`.
    dataset: evaluation batches.
    data_name: of the data set, for classes and colours.
    metrics: lines of the run's metrics.

  Returns:
    Keyword arguments of `deltax.report.write`.

  Raises:
    FileNotFoundError: there is no such file of latencies.
    ValueError: it holds something else.
  """
  info = describe(data_name)
  file = (options.get('delta') or {}).get('latency')
  latencies = latency.read(file) if file else None
  own = variables_of(params, model_state)
  started_from = teacher_beside(options)
  teacher = own if started_from is None else started_from
  frame = normalise(jnp.asarray(dataset[0]['frames'][:1, 0]))
  scores, counts = evaluate(task, params, model_state, dataset)
  if started_from is not None:
    # The network itself, as it was before its deltas were distilled.
    before = evaluate(
      baseline,
      {'teacher': teacher['params']},
      {'batch_stats': teacher['batch_stats']},
      dataset,
    )
    scores, counts = scores | before[0], counts | before[1]

  alone = Streamer(deployed.freeze_teacher(net, teacher, frame), interval=1)
  row = {
    'name': options['model'],
    'params': sum(x.size for x in jax.tree.leaves(teacher['params'])),
    **_scores_row('teacher', kind, scores, counts),
  }
  results = {
    'title': title,
    'data': data_name,
    'metric': dict(kind.metric),
    'classes': list(info.classes),
    'palette': np.asarray(info.palette).tolist(),
    'size': list(frame.shape[1:3]),
    'device': _device(),
    'teacher': row,
    'delta': [],
    'gmacs': {'key': None, 'later': None},
    'ms': {},
    'notes': [
      *kind.notes,
      *(kind.others[text][1] for text in row['others']),
      'MACs: convolutions and fully connected layers, padding included, as '
      'published; a key frame is counted as the teacher.',
      'ms: medians of single frames, batch 1, float32, compiled; teacher and '
      'delta as deployed: frozen, batch norm folded, what a frame hands to the '
      'next given away. A key frame also runs the students once.',
    ],
  }
  page = {'results': results, 'curves': _curves(metrics)}
  if options.get('delta') is None:
    results['ms'] = deployed.measure(alone, frame)
    macs = delta_wing.count(net, own, frame)
    row |= {'gmacs': macs.key / 1e9, 'ms': results['ms']['teacher']}
    return page

  spec = delta_wing.make_spec(**(options['delta'].get('spec') or {}))
  delta = delta_wing.distill(net, spec)
  whole = delta_params(params, model_state)
  macs = delta.macs(whole, frame)
  frozen = delta.freeze(whole, frame)
  stream = Streamer(frozen, interval=NO_KEY)
  results['ms'] = ms = deployed.measure(alone, frame, stream)
  results['gmacs'] = {'key': macs.key / 1e9, 'later': macs.later / 1e9}
  row |= {'gmacs': macs.key / 1e9, 'ms': ms['teacher']}
  intervals = _intervals(counts)
  results['delta'] = [
    {
      'interval': n,
      **_scores_row(f'delta_{n}', kind, scores, counts),
      **_distances(n, kind, scores, counts),
      'gmacs': macs.amortised(n) / 1e9,
      'share': macs.amortised(n) / macs.key,
      'ms': (ms['key'] + (n - 1) * ms['later']) / n,
    }
    for n in intervals
  ]
  results['floor_gap'] = floor_gap(results)
  middle = intervals[len(intervals) // 2]
  results['streams'] = deployed.measure_streams(frozen, frame, middle)
  if latencies is not None:
    ms['predicted'], note = _predicted(
      latencies, delta.choose(whole), macs, frame.shape
    )
    results['notes'].append(note)

  def run_clip(frames):
    """Outputs of the teacher and of delta, frame by frame."""
    stream.reset()
    for x in frames:
      x = normalise(jnp.asarray(x[None]))
      yield alone.push(x), stream.push(x)

  clips = kind.clips(counts, dataset)
  return page | {
    'layers': _layers(macs, whole),
    'gates': _gates(metrics, [layer.path for layer in macs.rows]),
    'film': _film(run_clip, kind, clips, dataset, max(intervals)),
  }


def _predicted(latencies, choices, macs, shape) -> tuple[float | None, str]:
  """Milliseconds of a later frame, if they can be told, and how or why not."""
  where = f'{latencies.device} ({latencies.cores} cores)'
  try:
    ms = deployed.predict(latencies, choices, macs, shape)
  except ValueError as error:
    return None, f'No prediction from the latencies of {where}: {error}.'
  return ms, (
    'Predicted: the chosen candidates, each measured alone, and the rest of '
    f"the teacher's frame, on {where}."
  )


def _device() -> str:
  device = jax.devices()[0]
  if device.platform != 'cpu':
    return device.device_kind
  return f'{platform.machine()} CPU'


def _scores_row(name, kind, scores, counts) -> dict[str, Any]:
  return {
    'score': scores[f'{name}/{kind.score}'],
    'by_class': [float(x) for x in kind.by_class(name, counts)],
    'others': {
      text: scores[f'{name}/{other}']
      for text, (other, _) in kind.others.items()
      if f'{name}/{other}' in scores
    },
  }


def _distances(interval, kind, scores, counts) -> dict[str, Any]:
  """Scores at every distance to the key frame, NaN where clips are shorter."""
  teacher = kind.scores('teacher', counts, interval)

  def at(name, scores):
    names = [f'{name}/{kind.score}_{d}' for d in range(interval)]
    return [scores.get(name, math.nan) for name in names]

  return {
    'teacher_score': teacher[f'teacher/{kind.score}'],
    'per_distance': at(f'delta_{interval}', scores),
    'teacher_per_distance': at('teacher', teacher),
  }


def _intervals(counts) -> list[int]:
  """Key-frame intervals that a task's counts were made at, smallest first."""
  names = {name.split('/')[0] for name in counts}
  return sorted(
    int(name.removeprefix('delta_'))
    for name in names
    if name.startswith('delta_')
  )


def _layers(macs, params) -> list[dict[str, Any]]:
  layers = []
  for row in macs.rows:
    if not row.candidates:
      continue
    chances = [1.0]
    if row.path in params.get('gates', {}):
      logits = params['gates'][row.path]
      chances = delta_wing.gates.probabilities(logits).tolist()
    layers.append(
      {
        'path': row.name,
        'teacher': row.key,
        'candidates': row.candidates,
        'chosen': row.candidate,
        'probability': dict(zip(row.candidates, chances, strict=True)),
      }
    )
  return layers


def _curves(metrics) -> dict[str, list]:
  """The losses over training."""
  rows = [row for row in metrics if row['split'] == 'train']
  others = ('learning_rate', 'gradient_norm', 'steps_per_second')
  names = sorted(
    {name for row in rows for name in row if not name.startswith(others)}
    - {'step', 'split'}
  )
  curves = {name: [row.get(name) for row in rows] for name in names}
  return {'steps': [row['step'] for row in rows], **curves}


def _gates(metrics, paths) -> dict[str, Any]:
  """The history of the gates that there are, in order of depth."""
  rows = [row for row in metrics if row['split'] == 'watch']
  logged = [path for path in paths if rows and f'gate/{path}' in rows[0]]
  return {
    'steps': [row['step'] for row in rows],
    'probability': {
      path: [row[f'gate/{path}'] for row in rows] for path in logged
    },
  }


def _film(
  run_clip: Callable[[Sequence[Array]], Any],
  kind: Kind,
  clips: Sequence[int],
  dataset: Sequence[Batch],
  interval: int,
) -> list[dict[str, Any]]:
  """Some frames of some clips through the frozen network."""
  size = len(dataset[0]['mask'])
  shots = []
  for clip in clips:
    batch, row = dataset[clip // size], clip % size
    frames = batch['frames'][row][:interval]
    for t, outs in enumerate(run_clip(frames)):
      if t not in FILM_DISTANCES:
        continue
      shot = kind.shot(batch, row, t, *outs)
      if shot is not None:
        caption = f'{t} after the key frame' if t else 'key frame'
        shots.append(
          {
            **shot,
            'frame': frames[t],
            'caption': f'clip {clip}, frame {t}: {caption}',
          }
        )
  return shots
