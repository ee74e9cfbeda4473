"""What a segmentation run won: scores, costs, times and pictures for a page."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax import delta as delta_wing
from deltax import models
from deltax.data import describe
from deltax.metrics.segmentation import iou, mean_iou
from deltax.report.timing import milliseconds
from deltax.task import Task
from deltax.tasks import segmentation
from deltax.tasks import segmentation_parts as parts
from deltax.types import Batch, ModelState, Params

FILM_DISTANCES = (0, 1, 2, 5, 9)


def make_report(
  params: Params,
  model_state: ModelState,
  *,
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
    title: of the page.
    options: keyword arguments of `segmentation.make_task`.
    task: built from them.
    evaluate: `(task, params, model_state, dataset) -> (scores, counts)`, as
      `deltax.training.evaluate`.
    dataset: evaluation batches.
    data_name: of the data set, for classes and colours.
    metrics: lines of the run's metrics.

  Returns:
    Keyword arguments of `deltax.report.write`.
  """
  info = describe(data_name)
  own = parts.variables_of(params, model_state)
  teacher = options.get('teacher') or own
  net = models.create(options['model'], num_classes=options['num_classes'])
  frame = _frame(dataset)
  _, counts = evaluate(task, params, model_state, dataset)
  if options.get('teacher') is not None:
    # The network itself, as it was before its deltas were distilled.
    baseline = segmentation.make_task(
      model=options['model'], num_classes=options['num_classes']
    )
    _, before = evaluate(
      baseline,
      {'teacher': teacher['params']},
      {'batch_stats': teacher['batch_stats']},
      dataset,
    )
    counts |= before

  run_teacher = jax.jit(net.apply)
  timed = {'teacher': lambda: run_teacher(teacher, frame)}
  results = {
    'title': title,
    'classes': list(info.classes),
    'palette': info.palette.tolist(),
    'size': list(frame.shape[1:3]),
    'device': _device(),
    'delta': [],
    'gmacs': {'key': None, 'later': None},
    'ms': {'key': None, 'later': None},
    'notes': [
      'mIoU: mean over the distances to the key frame of the mean IoU at that '
      'distance, on the same frames for teacher and delta.',
      'MACs: convolutions and fully connected layers, padding included, as '
      'published; a key frame is counted as the teacher.',
      'ms: medians of single frames, batch 1, float32, compiled; delta in its '
      'frozen form, whose key frame also runs the students once.',
    ],
  }
  if any(name.endswith('/moved') for name in counts):
    results['notes'].append(
      'Consistency: share of pixels whose class persists along the motion.'
    )
  page = {'results': results, 'curves': _curves(metrics)}
  if options.get('delta') is None:
    results['ms'] |= milliseconds(timed)
    macs = delta_wing.count(net, own, frame).key
    results['teacher'] = _teacher_row(
      options, teacher, counts, macs / 1e9, results
    )
    return page

  delta = delta_wing.distill(
    net, delta_wing.make_spec(**(options['delta'].get('spec') or {}))
  )
  whole = {**params, 'teacher': own}
  macs = delta.macs(whole, frame)
  frozen = delta.freeze(whole, frame)
  key, later = jax.jit(frozen.keyframe), jax.jit(frozen.step)
  carry, _ = key(frozen.params, frame)
  timed['key'] = lambda: key(frozen.params, frame)
  timed['later'] = lambda: later(frozen.params, carry, frame)
  results['ms'] = milliseconds(timed)
  results['gmacs'] = {'key': macs.key / 1e9, 'later': macs.later / 1e9}
  results['teacher'] = _teacher_row(
    options, teacher, counts, macs.key / 1e9, results
  )
  intervals = parts.intervals_of(counts)
  results['delta'] = [_delta_row(n, counts, macs, results) for n in intervals]
  return page | {
    'layers': _layers(macs, whole),
    'gates': _gates(metrics, [row.path for row in macs.rows]),
    'film': _film(
      key, later, frozen, run_teacher, teacher, dataset, max(intervals)
    ),
  }


def _frame(dataset) -> jax.Array:
  return parts.normalise(jnp.asarray(dataset[0]['frames'][:1, 0]))


def _device() -> str:
  device = jax.devices()[0]
  if device.platform != 'cpu':
    return device.device_kind
  return f'{platform.machine()} CPU'


def _teacher_row(options, variables, counts, gmacs, results) -> dict[str, Any]:
  confusion = counts['teacher/confusion'].sum(0)
  return {
    'name': options['model'],
    'params': sum(x.size for x in jax.tree.leaves(variables['params'])),
    'gmacs': gmacs,
    'ms': results['ms']['teacher'],
    'miou': float(mean_iou(confusion)),
    'iou': iou(confusion).tolist(),
    'consistency': _consistency('teacher', counts),
  }


def _delta_row(interval, counts, macs, results) -> dict[str, Any]:
  name, ms = f'delta_{interval}', results['ms']

  def by_distance(name):
    confusion = counts[f'{name}/confusion']
    return [
      float(mean_iou(part))
      for part in parts.by_distance_of(confusion, interval)
    ]

  distances = by_distance(name)
  return {
    'interval': interval,
    'miou': float(np.mean(distances)),
    'iou': iou(counts[f'{name}/confusion'].sum(0)).tolist(),
    'gmacs': macs.amortised(interval) / 1e9,
    'share': macs.amortised(interval) / macs.key,
    'ms': (ms['key'] + (interval - 1) * ms['later']) / interval,
    'per_distance': distances,
    'teacher_per_distance': by_distance('teacher'),
    'consistency': _consistency(name, counts),
  }


def _consistency(name, counts) -> float:
  if f'{name}/moved' not in counts:
    return math.nan
  return float(counts[f'{name}/kept'] / max(counts[f'{name}/moved'], 1))


def _layers(macs, params) -> list[dict[str, Any]]:
  layers = []
  for row in macs.rows:
    if not row.candidates:
      continue
    chances = [1.0]
    if row.path in params['gates']:
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


def _film(key, later, frozen, run_teacher, teacher, dataset, interval):
  """The first and the last clip through the frozen network, some frames."""
  shots = []
  for index in sorted({0, len(dataset) - 1}):
    batch = dataset[index]
    frames, labels = batch['frames'][0], batch['labels'][0]
    carry = None
    for t in range(min(interval, len(frames))):
      frame, label = frames[t], labels[t]
      x = parts.normalise(jnp.asarray(frame[None]))
      if carry is None:
        carry, out = key(frozen.params, x)
      else:
        carry, out = later(frozen.params, carry, x)
      if t not in FILM_DISTANCES:
        continue
      own, alone = (
        np.asarray(parts.predict(y[None], label.shape)[0, 0], np.uint8)
        for y in (out, run_teacher(teacher, x))
      )
      shots.append(
        {
          'frame': frame,
          'label': label,
          'teacher': alone,
          'delta': own,
          'caption': f'clip {index}, frame {t}: '
          + (f'{t} after the key frame' if t else 'key frame'),
        }
      )
  return shots
