"""Pictures of outputs: by their kind, or by somebody's own function."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from deltax.errors import DeltaxError
from deltax.models.brought import function
from deltax.report.pictures import overlay
from deltax.report.pictures.outputs import painter, palette_of
from deltax.tasks.imitation.outputs import named

Drawing = Callable[[np.ndarray, Any], np.ndarray]


def make_drawing(name: str, kinds: Mapping[str, str]) -> Drawing:
  """What draws the outputs on a frame.

  Args:
    name: where somebody's own function is, `module:function` or
      `file.py:function`: `(frame uint8 [H, W, 3], outputs without a batch, as
      numpy arrays) -> uint8 [H, W, 3]`, or boxes, which are drawn: 'boxes'
      `[N, 4]`, (x0, y0, x1, y1) in pixels of the frame, 'scores' `[N]` and
      'classes' `[N]`, -1 for no box. '' draws the first output by its kind,
      over the frame.
    kinds: by output, the first of which is drawn.

  Returns:
    `(frame, outputs without a batch) -> uint8 [H, W, 3]`.
  """
  if name:
    return _by(function(name), name)
  output, kind = next(iter(kinds.items()))

  def draw(frame, outputs):
    own = np.asarray(named(outputs)[output])
    painted = painter(kind, own, frame.shape[:2])(own)
    return np.round(0.3 * frame + 0.7 * painted).astype(np.uint8)

  return draw


def _by(own: Callable, name: str) -> Drawing:
  """Somebody's function, its result checked."""

  def draw(frame, outputs):
    drawn = own(frame, jax.tree.map(np.asarray, outputs))
    if isinstance(drawn, Mapping):
      return _boxes(frame, drawn, name)
    drawn = np.asarray(drawn)
    if drawn.dtype != np.uint8 or drawn.shape != frame.shape:
      raise DeltaxError(
        f'{name} gave {drawn.dtype} {list(drawn.shape)}; expected a picture, '
        f'uint8 {list(frame.shape)}, or boxes, scores and classes'
      )
    return drawn

  return draw


def _boxes(
  frame: np.ndarray, drawn: Mapping[str, Any], name: str
) -> np.ndarray:
  needed = ('boxes', 'scores', 'classes')
  missing = [key for key in needed if key not in drawn]
  if missing:
    raise DeltaxError(f'the boxes that {name} gave lack {", ".join(missing)}')
  found = {
    key: np.asarray(drawn[key]) for key in ('boxes', 'scores', 'classes')
  }
  count = 1 + max(0, int(found['classes'].max(initial=0)))
  return overlay.boxes(
    frame,
    found,
    palette=palette_of(count),
    names=[f'class {k}' for k in range(count)],
  )
