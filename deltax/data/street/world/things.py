"""Things to draw: meshes, with poses over time."""

from collections.abc import Callable
from typing import NamedTuple

from deltax.data.street.world.mesh import Mesh

Pose = tuple[float, float, float, float, float, float]
"""x, y, z in metres; heading (left), pitch (up), roll in degrees."""


class Thing(NamedTuple):
  """Something to draw.

  Attributes:
    mesh: in its own axes.
    label: class of its pixels, 0 to 10.
    texture: name in the scene's textures, or None for plain colours.
    pose: `time (s) -> Pose`; None for what never moves.
    parts: things that hang on this one, posed in its axes.
    instance: track number, 1 and up; 0 for what is not counted.
    far: moves with the camera and hides nothing.
  """

  mesh: Mesh
  label: int
  texture: str | None = None
  pose: Callable[[float], Pose] | None = None
  parts: tuple['Thing', ...] = ()
  instance: int = 0
  far: bool = False


def still(pose: Pose) -> Callable[[float], Pose]:
  """A pose that never changes."""
  return lambda time: pose


def number(things: list[Thing]) -> list[Thing]:
  """Gives every posed thing a track number, from 1."""
  posed = 0
  numbered = []
  for thing in things:
    posed += thing.pose is not None
    numbered.append(thing._replace(instance=posed if thing.pose else 0))
  return numbered
