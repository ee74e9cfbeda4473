"""One frame at a time: a key frame, and a later frame by the students.

On a later frame t, a student of unit l predicts the change of the unit's output
from the change of its input since the reference frame, and
`z_t = z_ref + g(x_t - x_ref)`; so does one of a whole block, which sees `x_ref`
too. Whatever lies between runs unchanged on every frame.

Source: Habibian et al., "Delta Distillation for Efficient Video Processing",
ECCV 2022, section 3.1.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta import gates as gating
from deltax.delta.plan import Plan
from deltax.delta.students.layers import is_teacher
from deltax.types import Array, Carry, Params

Gates = dict[str, Array]


class Later(NamedTuple):
  """What a later frame gives.

  Attributes:
    carry: for the next frame.
    outputs: of the network.
    deltas: `[B, H, W, N]` predicted change of every distilled call's output.
  """

  carry: Carry
  outputs: Any
  deltas: dict[str, Array]


def run_keyframe(plan: Plan, params: Params, frame: Array) -> tuple[Carry, Any]:
  """The teacher, and what later frames need of it.

  Args:
    plan: for frames of this size.
    params: of the delta network.
    frame: `[B, H, W, C]`.

  Returns:
    `{name: {'x': inputs, 'z': output}}` of every call with a student, and the
    outputs of the network.
  """
  carry = {}

  def hook(name, teacher, inputs):
    z = teacher(*inputs)
    carry[name] = plan.reference.keep(inputs, z)
    return z

  outputs = plan.run(params['teacher'], frame, hook)
  return carry, outputs


def run_later(
  plan: Plan, params: Params, carry: Carry, frame: Array, gates: Gates | None
) -> Later:
  """A later frame, by the students.

  Args:
    plan: for frames of this size.
    params: of the delta network.
    carry: of the frame before.
    frame: `[B, H, W, C]`.
    gates: `[K]` weights of the candidates by path; None for the hard choice.
  """
  following, deltas = dict(carry), {}

  def hook(name, teacher, inputs):
    kept, exact = carry[name], None
    changes = jax.tree.map(jnp.subtract, inputs, kept['x'])
    if plan.runs_exactly(name):
      exact = plan.reference.exact_change(kept, teacher, inputs)
    z = kept['z']
    delta = predict(
      plan, params, name, gates, changes, kept['x'], exact, z.dtype
    )
    z = z + delta
    if plan.is_distilled(name):
      deltas[name] = delta
    following[name] = plan.reference.pass_on(kept, inputs, z)
    return z

  outputs = plan.run(params['teacher'], frame, hook)
  return Later(following, outputs, deltas)


def predict(
  plan: Plan,
  params: Params,
  name: str,
  gates: Gates | None,
  changes: Sequence[Array],
  references: Sequence[Array],
  exact: Array | None,
  dtype: Any,
) -> Array:
  """The change of a unit's output, from those of its inputs.

  Args:
    plan: for frames of this size.
    params: of the delta network.
    name: of the call.
    gates: `[K]` weights of the candidates by path, whose changes are mixed;
      None runs the one that the logits choose.
    changes: `[B, H, W, C]` of every input.
    references: every input on the reference frame.
    exact: the teacher's own change, where the teacher of a block is a candidate
      (`Plan.runs_exactly`). It is handed over, since a module of the network
      cannot be called inside of a `lax.switch`.
    dtype: of the unit's output, which the change is added to.

  Returns:
    The change, in the shape of the unit's output.
  """
  unit, candidates = plan.unit(name)
  path = unit.path
  students = params['students'].get(path, {})

  def branch(candidate, changes, references):
    if is_teacher(candidate) and not unit.linear:
      return exact
    own_params = students.get(candidate.name, {})
    if is_teacher(candidate):
      # Without its bias, which a change does not see; a student's own stays.
      layer = plan.network.layer(params['teacher'], path)
      own_params = {**unit.weights(layer), 'bias': own_params.get('bias')}
    z = unit.change(candidate, own_params, changes, references)
    return z.astype(dtype)

  branches = [functools.partial(branch, c) for c in candidates]
  if len(branches) == 1:
    return branches[0](changes, references)
  if gates is not None:
    # All run: each has a gradient, and that of its weight.
    weights = gates[path]
    mixed = sum(
      weights[i] * run(changes, references) for i, run in enumerate(branches)
    )
    return mixed.astype(dtype)
  chosen = gating.choose(params['gates'][path])
  return lax.switch(chosen, branches, changes, references)
