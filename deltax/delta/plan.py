"""A plan: the units of a network that have students, on frames of one size."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deltax.delta.adapters import Hooks, Network
from deltax.delta.adapters.network import UnitHook
from deltax.delta.references import Reference
from deltax.delta.spec import Selected, Spec
from deltax.delta.students.layers import is_teacher, is_within
from deltax.delta.survey import Survey, survey
from deltax.delta.units import Unit, path_of
from deltax.types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What a network's passes on frames of one size need to know.

  Attributes:
    network: as its adapter shows it.
    reference: what changes are measured against.
    survey: of the network at that size.
    selected: what has students, and the candidates, by path.
  """

  network: Network
  reference: Reference
  survey: Survey
  selected: Selected

  def unit(self, name: str) -> tuple[Unit, tuple]:
    """A call of what has students by its name, and its candidates."""
    unit, candidates = self.selected[path_of(name)]
    if unit.name != name:
      calls = (*self.survey.layers, *self.survey.blocks)
      unit = next(call for call in calls if call.name == name)
    return unit, candidates

  def run(self, variables: Any, frames: Array, hook: UnitHook) -> Any:
    """The network, with `hook(name, teacher, inputs)` on what has students."""
    return self.network.run(variables, frames, self.hooks(hook))

  def hooks(self, hook: UnitHook) -> Hooks:
    """A hook on what has students."""
    return Hooks(unit=hook, units=[unit for unit, _ in self.selected.values()])

  def is_distilled(self, name: str) -> bool:
    """Whether a call has a student that is held to the teacher's change."""
    _, candidates = self.selected[path_of(name)]
    return not is_within(candidates[0])

  def runs_exactly(self, name: str) -> bool:
    """Whether the teacher itself may have to run on later frames.

    A layer's own change is that of its input put through the same layer; a
    block is not linear, so its change takes the block.
    """
    unit, candidates = self.unit(name)
    return not unit.linear and any(map(is_teacher, candidates))


class Planner:
  """Makes the plan of every frame size once: tracing is slow, sizes are few."""

  def __init__(self, network: Network, spec: Spec):
    self._network, self._spec = network, spec
    self._plans: dict[Any, Plan] = {}

  def __call__(self, variables: Any, shape: Sequence[int]) -> Plan:
    """The plan for frames or clips `[..., H, W, C]` of a shape.

    Args:
      variables: of the network; only shapes matter.
      shape: of the frames.

    Raises:
      ValueError: if layers are hidden or the spec picks none.
    """
    leaves, structure = jax.tree.flatten(variables)
    types = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = structure, types, tuple(shape[-3:])
    if key not in self._plans:
      shapes = [jax.ShapeDtypeStruct(*leaf) for leaf in types]
      frame = jax.ShapeDtypeStruct((1, *shape[-3:]), jnp.float32)
      listed = survey(
        self._network, jax.tree.unflatten(structure, shapes), frame
      )
      self._plans[key] = Plan(
        self._network,
        self._spec.against,
        listed,
        self._spec.select(listed),
      )
    return self._plans[key]
