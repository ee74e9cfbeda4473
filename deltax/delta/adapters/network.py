"""What the transform asks of a network, whatever library it is written in."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp

from deltax.delta.units import Unit
from deltax.types import Array, Key

LayerHook = Callable[[Unit, Callable[[Array], Array], Array], Array]
UnitHook = Callable[[str, Callable[..., Array], tuple[Array, ...]], Array]
Call = Callable[[Any, Array, bool], Any]
NormHook = Callable[[str, float, Callable[[Array], Array], Array], Array]
SubmoduleHook = Callable[[str, str, Callable[[], Any], tuple[Array, ...]], Any]


class Hooks(NamedTuple):
  """What is called in place of a network's parts while it runs.

  In each `teacher` is the part itself. A part without a hook runs as it is.

  Attributes:
    unit: `(name, teacher, inputs) -> z`, in place of every call of `units`. A
      span is met at its last layer: its inputs are that of the first layer and,
      after it, that of the last, which alone `teacher` reads.
    units: layers, blocks and spans, one call of each.
    layer: `(layer, teacher, x) -> z`, in place of every layer; where that is
      one of `units` too, it is the teacher of its `unit`.
    norm: `(path, epsilon, teacher, x) -> y`, in place of every batch norm over
      the last axis.
    submodule: `(path, class name, teacher, inputs) -> out`, around every other
      submodule; `inputs` are its feature maps.
  """

  unit: UnitHook | None = None
  units: Collection[Unit] = ()
  layer: LayerHook | None = None
  norm: NormHook | None = None
  submodule: SubmoduleHook | None = None


NO_HOOKS = Hooks()


@runtime_checkable
class Network(Protocol):
  """A network as pure functions of its variables, which are a pytree."""

  @property
  def name(self) -> str:
    """What its class is called."""

  def run(self, variables: Any, frames: Array, hooks: Hooks = NO_HOOKS) -> Any:
    """The outputs, with running statistics.

    Args:
      variables: parameters and statistics.
      frames: `[B, H, W, C]`.
      hooks: what is called in place of its parts.
    """

  def train(
    self, variables: Any, frames: Array, hooks: Hooks, key: Key | None
  ) -> tuple[Any, Any]:
    """The outputs and the new statistics, from those of the batch.

    Args:
      variables: parameters and statistics.
      frames: `[B, H, W, C]`.
      hooks: what is called in place of its parts.
      key: for whatever draws in training; None where nothing does.
    """

  def taken(self, variables: Any) -> Any:
    """The variables as parameters hold them, from what the library gives.

    Raises:
      ValueError: some are missing.
    """

  def statistics(self, variables: Any) -> Any:
    """Those of the variables that training tracks and does not learn."""

  def layer(self, variables: Any, path: str) -> dict[str, Array]:
    """Parameters of a layer, by their names."""

  def norm(self, variables: Any, path: str) -> dict[str, Array]:
    """'mean', 'var', and where it has them 'scale' and 'bias' of a norm."""

  def without(self, variables: Any, paths: Sequence[str], frame: Any) -> Any:
    """The variables less those of some layers and norms.

    Args:
      variables: parameters and statistics.
      paths: of all layers, and of norms that hooks replace by what they read.
      frame: `[B, H, W, C]`; only the shape matters.

    Returns:
      Those that the network reads itself all the same are among them.
    """


def feature_maps(leaves: Sequence[Any]) -> Iterator[int]:
  """Places of feature maps, `[B, H, W, C]` or `[B, T, C]`, among arguments."""
  return (
    place
    for place, leaf in enumerate(leaves)
    if getattr(leaf, 'ndim', 0) in (3, 4)
    and jnp.issubdtype(leaf.dtype, jnp.floating)
  )
