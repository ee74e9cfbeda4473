"""Freezing: the weights of the deployed form, from those of training.

The teacher's layers take in the batch norm behind them, and so must their
students, whose change is normalised with the same factors: a norm is affine,
`s z + t`, so a change of z is multiplied by s, and t concerns the output alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta.deploy.frozen import Frozen, Runner
from deltax.delta.deploy.rewrite import rewritten
from deltax.delta.plan import Plan
from deltax.delta.students.layers import is_teacher
from deltax.delta.survey import Norm
from deltax.delta.units import Unit, modules
from deltax.types import Array, Params


def freeze(
  params: Params,
  plan_of: Callable[[Sequence[int]], Plan],
  shape: Sequence[int],
  choices: Mapping[str, int],
) -> Frozen:
  """Builds the deployed form.

  A batch norm is folded into a layer when it alone reads the layer's output,
  and each is called once a pass; not out of a block that has a student, whose
  output would be another.

  Args:
    params: of the delta network.
    plan_of: the plan of frames of a shape.
    shape: of a frame; functions of the result take frames of any.
    choices: index of the chosen candidate, by path.

  Raises:
    ValueError: for students of blocks whose reference is the frame before: they
      are not linear, so that no constant stands for the past.
  """
  plan = plan_of(shape)
  chosen = {
    path: (unit, candidates[choices.get(path, 0)])
    for path, (unit, candidates) in plan.selected.items()
    if not is_teacher(candidates[choices.get(path, 0)])
  }
  blocks = [unit for unit, _ in chosen.values() if not unit.linear]
  if plan.reference.recurrent and blocks:
    raise ValueError(
      f'students of blocks ({blocks[0].path!r}) are deployed against the key '
      "frame; train them with reference 'key'"
    )
  norms = {
    path: norm
    for path, norm in plan.survey.norms.items()
    if not _is_outside(path, norm.path, blocks)
  }
  students = {
    path: dict(params['students'].get(path, {}).get(student.name, {}))
    for path, (_, student) in chosen.items()
  }
  layers = {}
  for layer in modules(plan.survey.layers):
    path = layer.path
    weights = layer.weights(plan.network.layer(params['teacher'], path))
    features = weights['kernel'].shape[-1]
    scale, shift = _affine(plan, params['teacher'], norms.get(path), features)
    layers[path] = layer.fold(weights, scale, shift)
    if path in chosen:
      absolute_shift = shift if plan.reference.absolute else None
      _, student = chosen[path]
      students[path] = _scaled(student, students[path], scale, absolute_shift)
  folded = frozenset(norm.path for norm in norms.values())
  rest = plan.network.without(
    params['teacher'],
    [*layers, *folded],
    jax.ShapeDtypeStruct((1, *shape[-3:]), jnp.float32),
  )
  runner = Runner(
    plan.network, plan.reference, plan_of, chosen, dict(choices), folded
  )
  return Frozen(
    {'convs': layers, 'students': students, 'variables': rest},
    rewritten(runner.keyframe),
    rewritten(runner.step),
    runner.rollout,
  )


def _is_outside(layer: str, norm: str, blocks: Collection[Unit]) -> bool:
  """Whether a layer is in a block and its batch norm outside."""
  for block in blocks:
    if block.ends is not None:
      if layer == block.ends[1]:
        return True
    elif layer.startswith(block.path + '/'):
      if not norm.startswith(block.path + '/'):
        return True
  return False


def _affine(
  plan: Plan, variables: Any, norm: Norm | None, features: int
) -> tuple[Array, Array | None]:
  """Scale and shift that a batch norm applies behind a layer."""
  if norm is None:
    return jnp.ones(features), None
  weights = {
    name: array.astype(jnp.float32)  # a norm computes its factors in no less
    for name, array in plan.network.norm(variables, norm.path).items()
  }
  scale = lax.rsqrt(weights['var'] + norm.epsilon)
  scale = weights.get('scale', 1.0) * scale
  shift = weights.get('bias', 0.0) - weights['mean'] * scale
  return scale, shift.astype(norm.dtype)


def _scaled(
  student: Any, weights: dict[str, Any], scale: Array, shift: Array | None
) -> dict[str, Any]:
  """A student behind whose layer a batch norm stood.

  Its own bias is scaled like the rest; the norm's shift belongs to students
  that predict the output itself, not its change.
  """
  scaled = {
    name: leaf.astype(weights[name].dtype)
    for name, leaf in student.scale(weights, scale).items()
  }
  if 'bias' in weights:
    scaled['bias'] = weights['bias'] * scale
  if shift is not None:
    scaled['bias'] = scaled.get('bias', 0.0) + shift
  return scaled
