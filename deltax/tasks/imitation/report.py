"""What imitation won: agreement, costs, times and pictures for a page."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax.data.labels import DataInfo
from deltax.report.contents import (
  Metric,
  Page,
  PictureShot,
)
from deltax.report.pictures.outputs import (
  difference,
  keys_of,
  painter,
  palette_of,
  prepared,
)
from deltax.tasks.imitation import outputs as outputs_of
from deltax.tasks.imitation.drawing import make_drawing
from deltax.tasks.imitation.kinds import EXTRAS, KINDS, class_scores
from deltax.tasks.imitation.task import kinds_of
from deltax.tasks.network import bring
from deltax.tasks.parts import variables_of
from deltax.tasks.video.evaluated import Kind, Seen
from deltax.tasks.video.report import gather
from deltax.types import IGNORE, Batch, ModelState, Params

FPS = 25.0  # of clips whose rate nobody tells
MOST = 2  # clips in the film


def make_report(
  params: Params,
  model_state: ModelState,
  *,
  options: Mapping[str, Any],
  **others: Any,
) -> Page:
  """Evaluates a run, and gathers its page.

  Args:
    params: of the run.
    model_state: of the run.
    options: keyword arguments of `make_task` of the task.
    **others: see `deltax.tasks.video.report.gather`.
  """
  brought = bring(
    options['model'], options.get('options'), options.get('preparation')
  )
  variables = variables_of(params, model_state)
  size = options['size']
  kinds = kinds_of(brought, options.get('outputs'), size, variables)
  frame = brought.prepare(jnp.zeros((1, *size, 3), jnp.uint8))
  outputs = jax.eval_shape(brought.net.run, variables, frame)
  return gather(
    params,
    model_state,
    kind=_kind(
      kinds,
      outputs_of.named(outputs),
      options.get('draw', ''),
      brought.prepare,
    ),
    net=brought.net,
    baseline=None,
    options=options,
    prepare=brought.prepare,
    **others,
  )


def _kind(
  kinds: Mapping[str, str],
  shapes: Mapping[str, Any],
  draw: str,
  prepare: Callable[[Any], Any],
) -> Kind:
  """How a page reads the scores of outputs of some kinds and shapes."""
  output, name = next(iter(kinds.items()))
  first = KINDS[name]
  short, text = first.metric
  classes = 0
  if name in ('classes', 'class_probabilities'):
    classes = shapes[output].shape[-1]
  metric = Metric(
    name=f'{short} with the network',
    text=f'{text} with the network itself',
    of_class='IoU' if classes else '',
    about=f'Of {output!r}, {first.about}',
    absent='neither' if classes else '',
  )
  notes = [
    f'{short}: {first.about}; of the output {output!r}, on later frames only, '
    'since a key frame is the network itself: the mean over their distances to '
    'the key frame.',
    "copied: the network's output on the key frame, in place of one on each "
    'later frame.',
  ]
  return Kind(
    metric=metric,
    score='score',
    others=_others(kinds),
    notes=notes,
    scores=lambda network, counts, interval: outputs_of.scores_of(
      network, kinds, counts, interval
    ),
    by_class=functools.partial(_by_class, output, classes),
    clips=_clips,
    shot=functools.partial(_shot, prepare, output, name, draw),
    info=DataInfo(
      tuple(f'class {k}' for k in range(classes)),
      palette_of(classes),
      IGNORE,
      FPS,
    ),
  )


def _others(kinds: Mapping[str, str]) -> dict[str, tuple[str, str]]:
  """Scores beside the first output's, by a name to show."""
  found = {
    'consistency': (
      'consistency',
      'Consistency: share of places whose answer persists along the motion.',
    )
  }
  for place, (output, kind) in enumerate(kinds.items()):
    short, _ = KINDS[kind].metric
    of = f' of {output}' if len(kinds) > 1 else ''
    if place:
      found[f'{short}{of}'] = (
        f'{output}:{KINDS[kind].score}',
        f'{short}{of}: {KINDS[kind].about}.',
      )
    for extra, (text, note) in EXTRAS.items():
      found[f'{text}{of}'] = f'{output}:{extra}', note
  return found


def _by_class(output, classes, network, counts) -> Sequence[float]:
  if not classes:
    return ()
  summed = outputs_of.counts_of(network, output, counts)['confusion'].sum(0)
  return class_scores({'confusion': summed})


def _clips(counts: Mapping[str, np.ndarray], dataset: Sequence[Batch]):
  """The first clip, and the last real one: of two videos if there are two."""
  del counts
  masks = np.concatenate([batch['mask'] for batch in dataset])
  real = np.flatnonzero(masks)
  return sorted({int(real[0]), int(real[-1])})[:MOST]


def _shot(
  prepare, output, kind, draw, batch, row, t, caption, seen: Seen
) -> PictureShot:
  frame = batch['frames'][row, t]
  size = frame.shape[:2]
  names = ('network', 'delta', 'copied')
  whole = [jax.tree.map(lambda x: np.asarray(x[0]), outs) for outs in seen]
  target, delta, copied = (outputs_of.named(outs)[output] for outs in whole)
  if draw:
    drawn = make_drawing(draw, {output: kind})
    pictures = [drawn(frame, outs) for outs in whole]
  else:
    paint = painter(kind, target, size)
    pictures = [paint(x) for x in (target, delta, copied)]
  return PictureShot(
    frame,
    caption,
    {
      'as it is prepared': prepared(prepare(jnp.asarray(frame))),
      **dict(zip(names, pictures, strict=True)),
      'delta against network': difference(kind, target, delta, size),
      'copied against network': difference(kind, target, copied, size),
    },
    keys_of(kind),
  )
