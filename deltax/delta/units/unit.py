"""What every unit has, and what is known of units of any kind."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from deltax.types import Array, Key


class NoStart(ValueError):
  """A candidate cannot stand in for a unit; the message says why."""


class Unit(Protocol):
  """One call of what can have a student.

  Attributes:
    path: module path, joined by '/'.
    call: 0 for the first call of the module in a pass, 1 for the next, ...
    shapes: of the inputs, on one frame.
    outputs: shape of the output, on one frame.
    linear: whether the change of the output depends on the change of the inputs
      alone, so that nothing of the reference frame is needed to predict it.
    bias: whether the teacher adds a bias to what a student predicts.
    ends: names of the first and the last layer of what is no module of its own;
      else None.
    windows: rows of the batch that one frame takes; more than one where a
      network folds parts of a frame into the batch.
  """

  path: str
  call: int
  shapes: tuple[tuple[int, ...], ...]
  outputs: tuple[int, ...]
  linear: bool
  bias: bool
  ends: tuple[str, str] | None
  windows: int

  @property
  def name(self) -> str:
    """The path, with ':call' from the second call on."""

  @property
  def calls(self) -> tuple[str, ...]:
    """Names of the layer calls that it covers."""

  @property
  def form(self) -> Any:
    """What it is wherever it stands: equal for units that cost the same."""

  @property
  def description(self) -> str:
    """What it is and the shapes that it takes and gives, for a table."""

  def weights(self, teacher: Mapping[str, Array]) -> dict[str, Array]:
    """The teacher's own parameters, in the layout that students start from."""

  def student_macs(self, candidate: Any) -> int:
    """Multiply-accumulates of a student on one frame."""

  def refuses(self, candidate: Any) -> str:
    """Why a candidate cannot stand in for it; empty if it can."""

  def start(
    self, key: Key, teacher: Mapping[str, Array] | None, candidates: Sequence
  ) -> dict[str, Any]:
    """Parameters of its candidates, by name.

    Args:
      key: for candidates that draw.
      teacher: the layer's own parameters, as `weights` gives them; None for
        what has several.
      candidates: of the unit.

    Raises:
      NoStart: a candidate cannot stand in for the unit.
    """

  def change(
    self,
    candidate: Any,
    params: Any,
    changes: Sequence[Array],
    references: Sequence[Array],
  ) -> Array:
    """`[B, *outputs]` change of the output that a student predicts.

    Args:
      candidate: the student.
      params: of the student.
      changes: of every input.
      references: every input on the reference frame.
    """

  def prepare(
    self, candidate: Any, params: Any, references: Sequence[Array]
  ) -> dict[str, Array]:
    """What the student needs of the reference frame on every later one."""

  def follow(
    self,
    candidate: Any,
    params: Any,
    prepared: Mapping[str, Array],
    inputs: Sequence[Array],
  ) -> Array:
    """`change` up to a constant, from the inputs themselves."""


Called = TypeVar('Called', bound=Unit)


def modules(calls: Iterable[Called]) -> tuple[Called, ...]:
  """The first call of every module, in order."""
  return tuple(unit for unit in calls if unit.call == 0)


def numbered(path: str, call: int) -> str:
  """Name of a call: the path, with ':call' from the second call on."""
  return f'{path}:{call}' if call else path


def path_of(name: str) -> str:
  """Module path of a call's name.

  >>> path_of('head/conv:2')
  'head/conv'
  """
  return name.partition(':')[0]


def add_bias(z: Array, bias: Array | None) -> Array:
  """`[..., N]` plus `[N]`, where there is one."""
  if bias is None:
    return z
  return z + jnp.expand_dims(bias, tuple(range(z.ndim - 1)))


def in_type(dtype: Any, *trees: Any) -> tuple[Any, ...]:
  """Arrays in the type that a module computes in.

  Args:
    dtype: of the module; None for what its arrays amount to.
    *trees: of arrays.

  Returns:
    The trees, all in that type.
  """
  dtype = dtype or jnp.result_type(*jax.tree.leaves(trees))
  return jax.tree.map(lambda x: x.astype(dtype), trees)


def by(shape: Sequence[int]) -> str:
  """A shape as text.

  >>> by((8, 8, 32))
  '8x8x32'
  """
  return 'x'.join(map(str, shape))
