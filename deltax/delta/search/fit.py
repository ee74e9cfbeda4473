"""Starts fitted to data: students solved for, before any gradient.

A kernel's own decomposition knows nothing of what goes through it. A few clips
tell: layer after layer, in the order in which a network runs them, each student
is solved for by least squares, so that from the change that the students before
it really hand to it, it makes the teacher's own change.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.passes.clip import fold_time, split_time
from deltax.delta.passes.frame import predict
from deltax.delta.plan import Plan, Planner
from deltax.delta.search.solve import Data, energy, errors, solve
from deltax.delta.students.layers import is_teacher
from deltax.delta.transform import Delta
from deltax.delta.units import Unit
from deltax.types import Array, Params

HELD = 4  # one of so many clips is held out
Shares = dict[str, dict[str, float]]


class Fitted(NamedTuple):
  """Students fitted to clips.

  Attributes:
    params: of the delta network.
    before: what each student missed of the teacher's change at the start, by
      path and candidate: squared errors over squares, on the clips that were
      held out. 0 is perfect, 1 as bad as no change. Its input is what the
      fitted students before it make.
    after: the same, fitted.
    channels: `[N]` squares of the errors after it, by path, candidate and
      channel of the output.
  """

  params: Params
  before: Shares
  after: Shares
  channels: dict[str, dict[str, np.ndarray]]


def fit(
  delta: Delta,
  params: Params,
  clips: Sequence[Array],
  *,
  progress: Callable[[int, int], None] | None = None,
) -> Fitted:
  """Solves for the students, layer after layer, in one pass over some clips.

  Students of layers: the last kernel (`linear_in` of a candidate), by ridge
  regression toward what it is; of a low-rank one first the decomposition,
  weighted by the second moments of what comes in (`decompose`). Students of
  blocks: by Gauss-Newton steps. One clip of four is held out, and a student
  changes only where it follows the teacher better there. Where a unit has
  several candidates, all are fitted, and what its gate chooses runs before the
  units behind it. A layer that is called several times is fitted to its first
  call. All clips are in memory at once, with the feature maps of one layer.

  Args:
    delta: the delta network. Changes are those since the key frame, also where
      students refer to the frame before.
    params: of it.
    clips: float32 `[B, T, H, W, C]` each, as the network takes them, all of one
      shape but for B; frame 0 is the key frame. Four clips or more in all.
    progress: told how many units of how many are done.

  Returns:
    The parameters, and the errors.

  Raises:
    ValueError: fewer than four clips, clips without a later frame, or students
      that predict no changes.
  """
  clip = jnp.concatenate(list(clips)) if len(clips) else jnp.zeros((0, 0))
  if len(clip) < HELD or clip.shape[1] < 2:
    raise ValueError(
      f'students are fitted to {HELD} clips or more of two frames or more, got '
      f'clips of the shape {clip.shape}'
    )
  plan = Planner(delta.net, delta.spec)(params['teacher'], clip.shape)
  if plan.reference.absolute:
    raise ValueError(
      'students are fitted to changes, and those of this spec predict outputs'
    )
  run = _Pass(plan, {**params, 'students': dict(params['students'])}, clip)
  frames = jnp.concatenate([fold_time(clip), fold_time(clip[:, 1:])])
  total = sum(plan.is_distilled(unit.name) for unit, _ in _units(plan))

  def hook(name, teacher, inputs):
    z = run.unit(name, teacher, inputs)
    if progress:
      progress(len(run.after), total)
    return z

  plan.run(params['teacher'], frames, hook)
  return Fitted(run.params, run.before, run.after, run.channels)


def _units(plan: Plan):
  return plan.selected.values()


class _Pass:
  """One pass of a network, exactly and by its students, side by side.

  The batch holds all frames of the clips as the teacher has them, and behind
  them the later ones as the students fitted so far make them.
  """

  def __init__(self, plan: Plan, params: Params, clip: Array):
    self.plan, self.params = plan, params
    self.clips, self.length = clip.shape[:2]
    self.before: Shares = {}
    self.after: Shares = {}
    self.channels: dict[str, dict[str, np.ndarray]] = {}

  def unit(
    self, name: str, teacher: Callable[..., Array], inputs: Sequence[Array]
  ) -> Array:
    """A hook on one call: fits its students, and goes on with the chosen."""
    unit, _ = self.plan.unit(name)
    windows = unit.windows
    count = self.clips * self.length * windows

    def by_clip(x):
      return split_time(x, self.clips, windows)

    z, exact = teacher(*(x[:count] for x in inputs)), None
    changes, references = zip(
      *(
        _change(by_clip(x[:count]), by_clip(x[count:]), windows) for x in inputs
      ),
      strict=True,
    )
    keys = _reference(by_clip(z))
    target = fold_time(by_clip(z)[:, 1:] - keys, windows)
    if self.plan.is_distilled(name) and unit.path not in self.after:
      self._fit(name, unit, Data(changes, references, target))
    if self.plan.runs_exactly(name):
      later = by_clip(teacher(*(x[count:] for x in inputs)))
      exact = fold_time(later - keys, windows)
    delta = predict(
      self.plan, self.params, name, None, changes, references, exact, z.dtype
    )
    later = fold_time(keys, windows) + delta
    return jnp.concatenate([z, later])

  def _fit(self, name: str, unit: Unit, data: Data) -> None:
    path, (_, candidates) = unit.path, self.plan.unit(name)
    layer = None
    if unit.linear:
      own = self.plan.network.layer(self.params['teacher'], path)
      layer = unit.weights(own)
    clip = np.arange(len(data.target)) * self.clips // len(data.target)
    seen = data.rows(np.flatnonzero(clip % HELD != HELD - 1))
    held = data.rows(np.flatnonzero(clip % HELD == HELD - 1))
    students = dict(self.params['students'].get(path, {}))
    whole = energy(held.target)
    for found in (self.before, self.after, self.channels):
      found[path] = {}
    for candidate in candidates:
      if is_teacher(candidate):
        continue
      weights = students.get(candidate.name, {})
      missed = errors(unit.form, candidate, weights, held)
      self.before[path][candidate.name] = _share(missed, whole)
      if jax.tree.leaves(weights):
        weights = solve(unit, candidate, weights, layer, seen, held)
        students[candidate.name] = weights
        missed = errors(unit.form, candidate, weights, held)
      self.after[path][candidate.name] = _share(missed, whole)
      self.channels[path][candidate.name] = np.asarray(missed)
    self.params['students'][path] = students


def _reference(frames: Array) -> Array:
  """`[B, T - 1, ...]`, the key frame for each later one."""
  return jnp.broadcast_to(frames[:, :1], frames[:, 1:].shape)


def _change(exact: Array, later: Array, windows: int) -> tuple[Array, Array]:
  """Of an input: change and reference of each later frame, folded."""
  references = _reference(exact)
  return (
    fold_time(later - references, windows),
    fold_time(references, windows),
  )


def _share(missed: Array, whole: Array) -> float:
  """Nothing missed of nothing is perfect."""
  missed, whole = float(missed.sum()), float(whole.sum())
  return missed / whole if whole else float(missed > 0)
