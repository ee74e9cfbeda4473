"""What the reports of all tasks share: costs, times, gates, curves, film."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax import delta as delta_wing
from deltax.data import describe
from deltax.delta import Streamer
from deltax.delta.cost import Macs
from deltax.delta.search import latency
from deltax.models.inputs import normalise
from deltax.report.contents import (
  DeltaRow,
  Gmacs,
  LayerChoice,
  Milliseconds,
  Page,
  Results,
  Start,
  TeacherRow,
)
from deltax.report.summary import floor_gap
from deltax.task import Task
from deltax.tasks.parts import delta_params, teacher_beside, variables_of
from deltax.tasks.video import deployed, film, history, rivals
from deltax.tasks.video.evaluated import Evaluated, Kind
from deltax.types import Array, Batch, ModelState, Params

Evaluate = Callable[..., tuple[dict[str, float], dict[str, np.ndarray]]]
NO_KEY = 10**9  # an interval in which only the first frame is a key frame


def gather(
  params: Params,
  model_state: ModelState,
  *,
  kind: Kind,
  net: Any,
  baseline: Task | None,
  title: str,
  options: Mapping[str, Any],
  task: Task,
  evaluate: Evaluate,
  dataset: Sequence[Batch],
  data_name: str,
  metrics: history.Metrics = (),
  prepare: Callable[[Array], Array] = normalise,
  fitted: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> Page:
  """Evaluates a run, and gathers its page.

  The teacher beside a delta network is the one it started from, where there is
  one.

  Args:
    params: of the run.
    model_state: of the run.
    kind: of its task.
    net: the network.
    baseline: the task of the network without its delta; None where that is
      evaluated with the task itself.
    title: of the page.
    options: keyword arguments of the task's `make_task`; the `latency` of its
      `delta` may name a file of the network's latencies.
    task: built from them.
    evaluate: `(task, params, model_state, dataset) -> (scores, counts)`, as
      `deltax.training.evaluate`.
    dataset: evaluation batches.
    data_name: of the data set, for classes and colours.
    metrics: lines of the run's metrics.
    prepare: from uint8 frames to what the network takes.
    fitted: errors 'before' and 'after' by path and candidate, where the
      students were solved for.

  Returns:
    The page.

  Raises:
    FileNotFoundError: there is no such file of latencies.
    ValueError: it holds something else.
  """
  file = (options.get('delta') or {}).get('latency')
  latencies = latency.read(file) if file else None
  run = _Run(
    net,
    variables_of(params, model_state),
    teacher_beside(options),
    prepare(jnp.asarray(dataset[0]['frames'][:1, 0])),
  )
  scores, counts = evaluate(task, params, model_state, dataset)
  if run.started_from is not None and baseline is not None:
    # The network itself, as it was before its deltas were distilled.
    before = evaluate(
      baseline,
      {'teacher': run.started_from['params']},
      {'batch_stats': run.started_from['batch_stats']},
      dataset,
    )
    scores, counts = scores | before[0], counts | before[1]
  evaluated = Evaluated(kind, scores, counts)
  alone = Streamer(
    deployed.freeze_teacher(net, run.teacher, run.frame), interval=1
  )
  results = _results(run, evaluated, title, options['model'], data_name)
  page = Page(results, curves=history.curves(metrics))
  if options.get('delta') is None:
    return page._replace(results=_alone(results, run, alone))
  spec = delta_wing.make_spec(**(options['delta'].get('spec') or {}))
  delta = delta_wing.distill(net, spec)
  whole = delta_params(params, model_state)
  macs = delta.macs(whole, run.frame)
  frozen = delta.freeze(whole, run.frame)
  stream = Streamer(frozen, interval=NO_KEY)
  results = _beside(results, run, evaluated, macs, alone, stream)
  scores = scores | _on_smaller(kind, run, evaluate, dataset)
  results = results._replace(
    smaller=rivals.with_smaller(net, prepare, run.teacher, scores, kind.score)
  )
  middle = results.delta[len(results.delta) // 2]
  results = results._replace(
    streams=deployed.measure_streams(
      frozen, run.frame, middle.interval, middle.ms
    )
  )
  if latencies is not None:
    results = _predicted(results, latencies, delta.choose(whole), macs, run)
  return page._replace(
    results=results,
    layers=_layers(macs, whole),
    gates=history.gates(metrics, [layer.path for layer in macs.rows]),
    starts=_starts(macs, fitted),
    film=film.shots(
      kind.shot,
      kind.clips(counts, dataset),
      dataset,
      max(row.interval for row in results.delta),
      (alone, stream),
      prepare,
    ),
  )


def _on_smaller(
  kind: Kind, run: '_Run', evaluate: Evaluate, dataset: Sequence[Batch]
) -> dict[str, float]:
  """Scores of the network on smaller frames, where the task has none yet."""
  scores = {}
  if kind.smaller is not None:
    state = {'batch_stats': run.teacher['batch_stats']}
    for size in rivals.sizes_below(run.frame.shape[1:3]):
      task = kind.smaller(size)
      if task is not None:
        own = {'teacher': run.teacher['params']}
        scores |= evaluate(task, own, state, dataset)[0]
  return scores


class _Run(NamedTuple):
  """A network that was trained, and the frames that it takes.

  Attributes:
    net: the network.
    own: its variables after the training.
    started_from: its variables before, if it is to be shown beside them.
    frame: float32 `[1, H, W, 3]`.
  """

  net: Any
  own: Any
  started_from: Any
  frame: Array

  @property
  def teacher(self) -> Any:
    """The variables that are shown as the teacher's."""
    return self.own if self.started_from is None else self.started_from


def _results(
  run: _Run, evaluated: Evaluated, title: str, model: str, data_name: str
) -> Results:
  """Of the teacher, before anything is timed or counted."""
  kind = evaluated.kind
  info = kind.info or describe(data_name)
  row = evaluated.row('teacher')
  return Results(
    title=title,
    data=data_name,
    metric=kind.metric,
    classes=list(info.classes),
    size=list(run.frame.shape[1:3]),
    device=_device(),
    teacher=TeacherRow(
      name=model,
      gmacs=None,
      ms=None,
      params=sum(x.size for x in jax.tree.leaves(run.teacher['params'])),
      **row,
    ),
    delta=[],
    ms=Milliseconds(None, None, None),
    gmacs=Gmacs(None, None),
    palette=np.asarray(info.palette).tolist(),
    notes=[
      *kind.notes,
      *(kind.others[text][1] for text in row['others']),
      'MACs: convolutions and fully connected layers, padding included, as '
      'published; a key frame is counted as the teacher.',
      'ms: medians of single frames, batch 1, float32, compiled; teacher and '
      'delta as deployed: frozen, batch norm folded, what a frame hands to the '
      'next given away. A key frame also runs the students once.',
    ],
  )


def _alone(results: Results, run: _Run, alone: Streamer) -> Results:
  """With the costs of a teacher alone."""
  ms = Milliseconds(**deployed.measure(alone, run.frame))
  gmacs = delta_wing.count(run.net, run.own, run.frame).key / 1e9
  row = results.teacher._replace(gmacs=gmacs, ms=ms.teacher)
  return results._replace(teacher=row, ms=ms)


def _beside(
  results: Results,
  run: _Run,
  evaluated: Evaluated,
  macs: Macs,
  alone: Streamer,
  stream: Streamer,
) -> Results:
  """With the delta network's scores and costs, a row for every interval."""
  ms = Milliseconds(**deployed.measure(alone, run.frame, stream))
  gmacs = Gmacs(macs.key / 1e9, macs.later / 1e9)
  rows = [
    DeltaRow(
      interval=n,
      **evaluated.row(f'delta_{n}'),
      **evaluated.distances(n),
      gmacs=macs.amortised(n) / 1e9,
      share=macs.amortised(n) / macs.key,
      ms=(ms.key + (n - 1) * ms.later) / n,
    )
    for n in evaluated.intervals
  ]
  return results._replace(
    teacher=results.teacher._replace(gmacs=gmacs.key, ms=ms.teacher),
    delta=rows,
    ms=ms,
    gmacs=gmacs,
    floor_gap=floor_gap(ms, gmacs),
  )


def _predicted(
  results: Results,
  latencies: latency.Latencies,
  choices: dict[str, int],
  macs: Macs,
  run: _Run,
) -> Results:
  """With a later frame's milliseconds, if they can be told, and a note."""
  where = f'{latencies.device} ({latencies.cores} cores)'
  try:
    ms = deployed.predict(latencies, choices, macs, run.frame.shape)
    note = (
      'Predicted: the chosen candidates, each measured alone, and the rest of '
      f"the teacher's frame, on {where}."
    )
  except ValueError as error:
    ms = None
    note = f'No prediction from the latencies of {where}: {error}.'
  return results._replace(
    ms=results.ms._replace(predicted=ms), notes=[*results.notes, note]
  )


def _starts(macs: Macs, fitted: Any) -> list[Start]:
  """What the chosen students missed before they were solved for, and after."""
  before, after = ((fitted or {}).get(when, {}) for when in ('before', 'after'))
  return [
    Start(
      row.path,
      row.candidate,
      before[row.path][row.candidate],
      after[row.path][row.candidate],
    )
    for row in macs.rows
    if row.candidate in after.get(row.path, {})
  ]


def _device() -> str:
  device = jax.devices()[0]
  if device.platform != 'cpu':
    return device.device_kind
  return f'{platform.machine()} CPU'


def _layers(macs: Macs, params: Params) -> list[LayerChoice]:
  layers = []
  for row in macs.rows:
    if not row.candidates:
      continue
    chances = [1.0]
    if row.path in params.get('gates', {}):
      logits = params['gates'][row.path]
      chances = delta_wing.gates.probabilities(logits).tolist()
    layers.append(
      LayerChoice(
        path=row.name,
        teacher=row.key,
        candidates=row.candidates,
        chosen=row.candidate,
        probability=dict(zip(row.candidates, chances, strict=True)),
      )
    )
  return layers
