"""References: what the change of a later frame is measured against.

Source: Habibian et al., ECCV 2022, section 3.1 and figure 2.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from deltax.types import Array


class Reference(Protocol):
  """What `deltax.delta.Spec` takes as a reference.

  What a unit keeps of a frame is `{'x': inputs, 'z': output}`.

  Attributes:
    name: how specs call it.
    absolute: whether students predict the output itself, so that nothing of
      another frame is needed; else its change.
    recurrent: whether every frame is the reference of the next one, so that
      what a student adds adds up.
  """

  name: str
  absolute: bool
  recurrent: bool

  def source(self, time: int, keys: Sequence[int]) -> int | None:
    """The frame that a later frame refers to; None for none.

    Args:
      time: index in the clip of the later frame.
      keys: those of the clip's key frames, ascending.
    """

  def keep(self, inputs: tuple[Array, ...], z: Array) -> dict[str, Any]:
    """What a key frame leaves to the frames that follow."""

  def pass_on(
    self, kept: dict[str, Any], inputs: tuple[Array, ...], z: Array
  ) -> dict[str, Any]:
    """What a later frame leaves to the next one."""

  def exact_change(
    self,
    kept: dict[str, Any],
    teacher: Callable[..., Array],
    inputs: tuple[Array, ...],
  ) -> Array:
    """The teacher's own change, by running it on the later frame."""


@dataclasses.dataclass(frozen=True)
class KeyFrame:
  """The key frame of the stretch, as in the published code."""

  name = 'key'
  absolute = False
  recurrent = False

  def source(self, time, keys) -> int | None:
    return max(key for key in keys if key < time)

  def keep(self, inputs, z) -> dict[str, Any]:
    return {'x': inputs, 'z': z}

  def pass_on(self, kept, inputs, z) -> dict[str, Any]:
    del inputs, z
    return kept

  def exact_change(self, kept, teacher, inputs) -> Array:
    return teacher(*inputs) - kept['z']


@dataclasses.dataclass(frozen=True)
class PreviousFrame(KeyFrame):
  """The frame before: the recurrent form of the paper's figure."""

  name = 'previous'
  absolute = False
  recurrent = True

  def source(self, time, keys) -> int | None:
    del keys
    return time - 1

  def pass_on(self, kept, inputs, z) -> dict[str, Any]:
    del kept
    return {'x': inputs, 'z': z}

  def exact_change(self, kept, teacher, inputs) -> Array:
    # What is kept is a student's output, so the teacher runs on both frames:
    # in one call, since a module may have no second one in a pass.
    pairs = zip(kept['x'], inputs, strict=True)
    past, now = jnp.split(teacher(*map(jnp.concatenate, pairs)), 2)
    return now - past


@dataclasses.dataclass(frozen=True)
class Nothing(KeyFrame):
  """Zero: students predict outputs, not changes; feature distillation."""

  name = 'none'
  absolute = True
  recurrent = False

  def source(self, time, keys) -> int | None:
    del time, keys
    return None

  def keep(self, inputs, z) -> dict[str, Any]:
    return jax.tree.map(jnp.zeros_like, {'x': inputs, 'z': z})


REFERENCES: dict[str, Reference] = {
  reference.name: reference
  for reference in (KeyFrame(), PreviousFrame(), Nothing())
}


class Times(NamedTuple):
  """Which frames of a clip are key frames, and what the others refer to.

  Attributes:
    keys: index in the clip of each key frame.
    others: index in the clip of each of the T' later frames.
    sources: frame against which each later frame's change is measured; None
      where it is against zero.

  """

  keys: list[int]
  others: list[int]
  sources: list[int | None]

  def before(self, x: Array) -> Array:
    """What each later frame refers to, `[B, T', ...]` of `[B, T, ...]`."""
    if set(self.sources) == {None}:
      return jnp.zeros_like(take_frames(x, self.others))
    return take_frames(x, self.sources)

  def assemble(self, z: Array, deltas: Array) -> Array:
    """Outputs of all frames from those of the key frames and the changes.

    Args:
      z: `[B, T'', ...]` outputs on key frames.
      deltas: `[B, T', ...]` changes on the later frames.

    Returns:
      `[B, T, ...]`.
    """
    if self.keys == [0] and set(self.sources) == {0}:
      # One key frame, which every change is added to: a broadcast costs less
      # memory and time than a stack of sums.
      return jnp.concatenate([z, z + deltas], 1)
    frames = {t: z[:, i] for i, t in enumerate(self.keys)}
    for i, (t, source) in enumerate(
      zip(self.others, self.sources, strict=True)
    ):
      start = 0.0 if source is None else frames[source]
      frames[t] = start + deltas[:, i]
    return jnp.stack([frames[t] for t in sorted(frames)], 1)


def times_of(count: int, keys: Sequence[int], reference: Reference) -> Times:
  """Divides the frames of a clip into key frames and later ones.

  Args:
    count: T, frames of the clip.
    keys: index in the clip of each key frame, ascending from 0.
    reference: of the later frames.

  Example:
    >>> times_of(5, [0, 3], KeyFrame())
    Times(keys=[0, 3], others=[1, 2, 4], sources=[0, 0, 3])
  """
  others = [t for t in range(count) if t not in keys]
  return Times(list(keys), others, [reference.source(t, keys) for t in others])


def take_frames(x: Array, frames: Sequence[int]) -> Array:
  """Frames of a `[B, T, ...]` array, along its second axis.

  A run of frames is a slice, whose gradient is cheaper than that of a gather.
  """
  first, count = frames[0], len(frames)
  if list(frames) == list(range(first, first + count)):
    return x[:, first : first + count]
  if set(frames) == {first}:
    return x[:, first : first + 1].repeat(count, 1)
  return jnp.stack([x[:, t] for t in frames], 1)
