"""Starts fitted to data: students solved for, layer after layer.

A kernel's own decomposition knows nothing of what goes through it. Here a few
clips tell: the network runs once on all of them, exactly and beside that with
students on the later frames. Where the first unit with students is met, they
are solved for, so that the change that comes out is the teacher's own, given
the change that comes in; what follows sees what they make of the clips.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from deltax.delta import gates as gating
from deltax.delta.passes.clip import divide, fold_time, split_time
from deltax.delta.passes.frame import predict
from deltax.delta.plan import Plan, Planner
from deltax.delta.references import take_frames
from deltax.delta.search.block_starts import solve_block
from deltax.delta.search.importance import Importance, importance
from deltax.delta.search.least_squares import Part, Solved, solve
from deltax.delta.students.layers import is_teacher
from deltax.delta.transform import Delta
from deltax.delta.units import Unit
from deltax.types import Array, Params

_SPREAD = 4.0  # between the logits of the gate that is decided best


class Fitted(NamedTuple):
  """Students fitted to clips.

  Attributes:
    params: of the delta network.
    before: what each student missed of the teacher's change at the start, on
      later frames that are held out, by path and candidate: of the squares,
      weighted by how much the network's outputs mind them, the share. 0 is
      perfect, 1 as bad as no change. Inputs are those that the fitted students
      of the units before give.
    after: the same, fitted. Never more.
    matters: what no change at all of each unit does to the outputs, to first
      order, by path: in squares, relative to the other units.
  """

  params: Params
  before: dict[str, dict[str, float]]
  after: dict[str, dict[str, float]]
  matters: dict[str, float]


def fit(
  delta: Delta,
  params: Params,
  clips: Sequence[Array],
  *,
  progress: Callable[[int, int], None] | None = None,
) -> Fitted:
  """Solves for students, without training.

  Of several candidates all are fitted, and the one that its gate chooses runs
  in front of what follows; where that is as bad as no change, the best one. A
  layer that is called more than once, such as a detector's head on all levels,
  is fitted in a pass of its own, to all its calls, once the others are. All
  clips are in memory at once, at every layer: 16 to 64 later frames of 112 to
  240 pixels are plenty.

  Args:
    delta: the delta network.
    params: of it.
    clips: float32 `[B, T, H, W, C]` each, as the network takes them, all of one
      size; frame 0 is the key frame. Every fourth later frame is held out.
    progress: told how many of how many units are done.

  Returns:
    The parameters, and the errors before and after.

  Raises:
    ValueError: no clips, clips without a later frame or of several sizes, or
      a reference of which students predict no change.
  """
  clip = _joined(clips)
  if delta.spec.against.absolute:
    raise ValueError(
      f'students of the reference {delta.spec.against.name!r} predict no '
      'change, and only changes are fitted'
    )
  plan = Planner(delta.net, delta.spec)(params['teacher'], clip.shape)
  later = fold_time(clip[:, 1:])
  pass_ = _Pass(plan, params, importance(plan, params, later), progress)
  pass_.run(clip)
  if pass_.repeated:
    pass_.gather(clip)
  return pass_.fitted()


def gate_logits(fitted: Fitted) -> dict[str, Array]:
  """Gates that favour what misses least, where outputs mind that most.

  Of two choices the likelier one is that which does less to the outputs, to
  first order: so `deltax.delta.choice.settle` finds a good one within a limit.

  Args:
    fitted: as `fit` gives it.

  Returns:
    `[K - 1]` logits by path of every gate, which differ by at most 4.
  """
  missed = {
    path: np.array([*fitted.after[path].values()]) * fitted.matters[path]
    for path in fitted.params.get('gates', {})
  }
  widest = max((np.ptp(own) for own in missed.values()), default=0.0) or 1.0
  return {
    path: jnp.asarray((own[-1] - own[:-1]) / widest * _SPREAD, jnp.float32)
    for path, own in missed.items()
  }


def _joined(clips: Sequence[Array]) -> Array:
  """All clips as one batch."""
  clips = [jnp.asarray(clip) for clip in clips]
  shapes = {clip.shape[1:] for clip in clips}
  if len(shapes) != 1 or clips[0].ndim != 5 or clips[0].shape[1] < 2:
    raise ValueError(
      'students are fitted to clips [B, T, H, W, C] of one size and of two '
      f'frames or more, got {sorted(shapes)}'
    )
  return jnp.concatenate(clips)


def _places(unit: Unit) -> int:
  """Of a unit's output, of one frame: errors at each of them add up."""
  return unit.windows * math.prod(unit.outputs[:-1])


class _Pass:
  """Passes over the clips, and what they have solved for so far."""

  def __init__(
    self,
    plan: Plan,
    params: Params,
    weights: Importance,
    progress: Callable[[int, int], None] | None,
  ):
    self.plan = plan
    self.weights = weights
    self.progress = progress
    self.students = dict(params['students'])
    self.gates = dict(params.get('gates', {}))
    self.params = {**params, 'students': self.students, 'gates': self.gates}
    self.first = params
    self.solved: dict[str, dict[str, Solved]] = {}
    calls = [unit.path for unit in (*plan.survey.layers, *plan.survey.blocks)]
    self.repeated = {path for path in plan.selected if calls.count(path) > 1}

  def fitted(self) -> Fitted:
    shares = [
      {
        path: {name: float(getattr(own, when)) for name, own in by.items()}
        for path, by in self.solved.items()
      }
      for when in ('before', 'after')
    ]
    matters = {
      path: max(own.energy for own in by.values())
      * self.weights.scale[path]
      * _places(self.plan.selected[path][0])
      for path, by in self.solved.items()
    }
    params = {**self.first, 'students': self.students}
    return Fitted(params, *shares, matters)

  def run(self, clip: Array) -> None:
    """Fits the other units, one after the other."""

    def seen(part, exact):
      if part.unit.path in self.repeated:
        return exact
      self._solve(part.unit.path, [part])
      return None

    self._through(clip, seen)

  def gather(self, clip: Array) -> None:
    """Fits the units of several calls, with the teacher at all of those.

    The others are fitted by then: behind students as they start, changes may be
    of no use.
    """
    parts: dict[str, list[Part]] = {path: [] for path in self.repeated}

    def seen(part, exact):
      path = part.unit.path
      if path in self.repeated:
        parts[path].append(part)
        return exact
      return None

    self._through(clip, seen)
    for path, own in parts.items():
      self._solve(path, own)

  def _through(self, clip, seen) -> None:
    """The network, exactly on all frames and by students on the later ones.

    Args:
      clip: `[B, T, H, W, C]`.
      seen: told the part of every call, and the teacher's change of the input
        that the students before give; what it returns is the change of the
        output, or None for that of the student.
    """
    plan, (batch, length) = self.plan, clip.shape[:2]
    times = divide(plan, clip, length)

    def whole(exactly, students, windows):
      key = split_time(exactly, batch, windows)[:, :1]
      return jnp.concatenate([key, split_time(students, batch, windows)], 1)

    def hook(name, teacher, inputs):
      unit, _ = plan.unit(name)
      windows, number = unit.windows, batch * length * unit.windows
      own_exact = plan.runs_exactly(name) or unit.path in self.repeated
      # One call: some networks have no second one in a pass.
      given = inputs if own_exact else [x[:number] for x in inputs]
      z = teacher(*given)
      z, beside = split_time(z[:number], batch, windows), z[number:]

      maps = [whole(x[:number], x[number:], windows) for x in inputs]
      references = tuple(fold_time(times.before(x), windows) for x in maps)
      changes = tuple(
        fold_time(x[:, 1:], windows) - y
        for x, y in zip(maps, references, strict=True)
      )
      exact = None
      if own_exact:
        mixed = whole(fold_time(z, windows), beside, windows)
        exact = beside - fold_time(times.before(mixed), windows)
      delta = None
      if plan.is_distilled(name):
        places = self.weights.places[name]
        target = take_frames(z, times.others) - times.before(z)
        part = Part(
          unit, changes, references, fold_time(target, windows), places
        )
        delta = seen(part, exact)
      if delta is None:
        delta = predict(
          *(plan, self.params, name, None, changes, references, exact, z.dtype)
        )
      delta = split_time(delta, batch, windows)
      later = times.assemble(z[:, :1], delta)[:, 1:]
      return jnp.concatenate([fold_time(z, windows), fold_time(later, windows)])

    frames = jnp.concatenate([fold_time(clip), fold_time(clip[:, 1:])])
    plan.run(self.params['teacher'], frames, hook)

  def _solve(self, path: str, parts: list[Part]) -> None:
    """Fits the candidates of a unit."""
    unit, candidates = self.plan.selected[path]
    kernel, students, solved = None, dict(self.students.get(path, {})), {}
    if unit.linear:
      layer = self.plan.network.layer(self.params['teacher'], path)
      kernel = unit.weights(layer)['kernel']
    by = self.weights.channels[path]
    for candidate in candidates:
      name, weights = candidate.name, students.get(candidate.name, {})
      if not is_teacher(candidate):
        if unit.linear:
          solved[name] = solve(candidate, weights, kernel, parts, by)
        else:
          solved[name] = solve_block(candidate, weights, parts, by)
        students[name] = solved[name].weights
      elif unit.linear:
        own = {'kernel': kernel}
        solved[name] = solve(candidate, own, kernel, parts, by)
      else:
        solved[name] = Solved({}, 0.0, 0.0, 0.0)
    self.solved[path], self.students[path] = solved, students
    self._open(path)
    if self.progress:
      self.progress(len(self.solved), len(self.weights.channels))

  def _open(self, path: str) -> None:
    """Lets another candidate run where the gate's own is no use behind it.

    Gates start with what is cheapest: a layer that is skipped leaves nothing to
    be fitted to.
    """
    if path not in self.gates:
      return
    missed = [own.after for own in self.solved[path].values()]
    if missed[int(gating.choose(self.gates[path]))] >= 1.0:
      least = np.arange(len(missed) - 1) == np.argmin(missed)
      self.gates[path] = jnp.where(jnp.asarray(least), 1.0, -1.0)
