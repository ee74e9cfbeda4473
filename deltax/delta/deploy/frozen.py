"""What runs of a delta network when it is deployed.

A layer's student is linear, so against a fixed reference `z_0 + g(x_t - x_0)`
equals `g(x_t) + k` with `k = z_0 - g(x_0)`: the key frame leaves one array a
layer instead of two, and later frames subtract nothing. The same k serves both
references, since the recurrent sum telescopes. A block's student is not linear;
what it computes of the key frame alone is kept beside. Where the choice is the
teacher's own layer, nothing is kept.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deltax.delta.adapters import Hooks, Network
from deltax.delta.deploy.rewrite import rewritten
from deltax.delta.plan import Plan
from deltax.delta.references import Reference
from deltax.delta.schedule import check_frames, roll_fixed
from deltax.delta.students.layers import is_within
from deltax.delta.units import Unit, add_bias, path_of
from deltax.types import Array, Carry, Params


class Frozen(NamedTuple):
  """A deployed delta network: parameters, and pure functions of them.

  Attributes:
    params: `{'convs': {path: kernel, bias, and on CPU the kernel of some for
      Winograd's form}, 'students': {path: ...},
      'variables': what else the network holds}`.
    keyframe: `(params, frame) -> (carry, out)`; carry is `{name: [B, H', W',
      N]}`, of a nonlinear block `{'z': the same, ...}`. Costs the teacher and
      one pass of the students.
    step: `(params, carry, frame) -> (carry, out)`.
    rollout: `(params, clip, interval, *, phase=0) -> outs [B, T, ...]`.
  """

  params: Params
  keyframe: Callable[[Params, Array], tuple[Carry, Any]]
  step: Callable[[Params, Carry, Array], tuple[Carry, Any]]
  rollout: Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Runner:
  """Runs a deployed network; its methods are those of `Frozen`.

  Attributes:
    network: as its adapter shows it.
    reference: what changes are measured against.
    plan_of: the plan of frames of a shape.
    chosen: units that have a student other than the teacher, and that student,
      by path.
    choices: index of the chosen candidate, by path.
    folded: paths of the norms that are part of their layers by now.
  """

  network: Network
  reference: Reference
  plan_of: Callable[[Sequence[int]], Plan]
  chosen: Mapping[str, tuple[Unit, Any]]
  choices: Mapping[str, int]
  folded: frozenset[str]

  def keyframe(self, params: Params, frame: Array) -> tuple[Carry, Any]:
    check_frames(frame, 4)
    carry = {}

    def hook(name, teacher, inputs):
      z = teacher(*inputs)
      if self.is_kept(name):
        carry[name] = self.keep(params, name, frame, inputs, z)
      return z

    outputs = self.run(params, frame, hook)
    return carry, outputs

  def step(
    self, params: Params, carry: Carry, frame: Array
  ) -> tuple[Carry, Any]:
    check_frames(frame, 4)
    following = dict(carry)

    def hook(name, teacher, inputs):
      del teacher
      unit, student = self.student(name, frame)
      weights = params['students'].get(unit.path, {})
      if not self.is_kept(name):
        prepared = self.prepare(unit, student, weights, inputs)
        delta = unit.follow(student, weights, prepared, inputs)
        return add_bias(delta, weights.get('bias'))
      constant, prepared = carry[name], {}
      if isinstance(constant, dict):
        prepared, constant = constant, constant['z']
      elif self.reference.recurrent and 'bias' in weights:
        # The recurrent form adds a student's bias anew on every frame.
        following[name] = add_bias(constant, weights['bias'])
      return unit.follow(student, weights, prepared, inputs) + constant

    outputs = self.run(params, frame, hook)
    return following, outputs

  def rollout(
    self, params: Params, clip: Array, interval: Any, *, phase: Any = 0
  ) -> Any:
    return roll_fixed(
      functools.partial(rewritten(self.keyframe), params),
      functools.partial(rewritten(self.step), params),
      clip,
      interval,
      phase,
    )

  def run(self, params: Params, frame: Array, hook) -> Any:
    """The network with folded layers, and `hook` on what has a student."""

    def layer(layer, teacher, x):
      del teacher
      return layer.apply(params['convs'][layer.path], x)

    def norm(path, epsilon, teacher, x):
      del epsilon
      return x if path in self.folded else teacher(x)

    hooks = Hooks(
      unit=hook,
      units=[unit for unit, _ in self.chosen.values()],
      layer=layer,
      norm=norm,
    )
    return self.network.run(params['variables'], frame, hooks)

  def student(self, name: str, frame: Array) -> tuple[Unit, Any]:
    """A unit at the size that it has here, and its student."""
    unit, candidates = self.plan_of(frame.shape).unit(name)
    return unit, candidates[self.choices.get(unit.path, 0)]

  def is_kept(self, name: str) -> bool:
    """Whether later frames need something of the key frame's call."""
    _, student = self.chosen[path_of(name)]
    return not (self.reference.absolute or is_within(student))

  def keep(self, params, name, frame, inputs, z) -> Any:
    """What later frames need: the constant k, bare where it is all."""
    unit, student = self.student(name, frame)
    weights = params['students'].get(unit.path, {})
    prepared = self.prepare(unit, student, weights, inputs)
    constant = z - unit.follow(student, weights, prepared, inputs)
    constant = add_bias(constant, weights.get('bias'))
    return {**prepared, 'z': constant} if prepared else constant

  def prepare(self, unit, student, weights, inputs) -> dict[str, Array]:
    """What a block's student computes of the reference frame alone."""
    if self.reference.absolute:
      inputs = jax.tree.map(jnp.zeros_like, inputs)
    return unit.prepare(student, weights, inputs)


def in_dtype(frozen: Frozen, dtype: Any) -> Frozen:
  """The same network with weights, activations and carry of another type.

  Args:
    frozen: the network.
    dtype: such as `jnp.bfloat16`, which halves the carry and is fast on
      accelerators; CPUs gain nothing.

  Returns:
    Its functions take frames of any type and give outputs of their own type,
    float32 for float32.
  """

  def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)

  def keyframe(params, frame):
    carry, out = frozen.keyframe(params, frame.astype(dtype))
    return carry, cast(out, frame.dtype)

  def step(params, carry, frame):
    carry, out = frozen.step(params, carry, frame.astype(dtype))
    return carry, cast(out, frame.dtype)

  def rollout(params, clip, interval, *, phase=0):
    out = frozen.rollout(params, clip.astype(dtype), interval, phase=phase)
    return cast(out, clip.dtype)

  return Frozen(cast(frozen.params, dtype), keyframe, step, rollout)
