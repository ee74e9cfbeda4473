"""The ground of a town: road, side street, sidewalks and grass."""

import numpy as np

from deltax.data.labels import ROAD, SIDEWALK, TERRAIN
from deltax.data.street.world import mesh, textures
from deltax.data.street.world.mesh import Mesh
from deltax.data.street.world.things import Thing


def _shadows(rng):
  """Soft patches of shade over the ground: brightness at `(s, d)`."""
  depth = rng.choice([0.0, 0.25, 0.45])
  field = textures.noise(rng, (128, 128), 9, 2)

  def brightness(s, d):
    i = np.mod(s / 1.6, 128).astype(int)
    j = np.mod(d / 1.2 + 40, 128).astype(int)
    return 1 - depth * np.clip((field[i, j] - 0.5) * 5, 0, 1)

  return brightness


class _Ground:
  """Lays strips of ground along a town's road.

  They are cut at the same places, so that no gaps open between two of them,
  and lie in one pattern of shade.
  """

  def __init__(self, town):
    self._path = town.path
    self._brightness = _shadows(town.rng)
    self._light = mesh.shade((0, 0, 1), town.sun)
    self.start, self.end = town.path.s[0], town.path.s[-1] - 1

  def strip(self, stretch, sides, heights, uv_of, cells: int = 3) -> Mesh:
    """A strip along the road.

    Args:
      stretch: arc lengths of its start and end.
      sides: lateral offsets of both of its edges.
      heights: of these edges, metres.
      uv_of: `(s, d) -> (u, v)`, texture coordinates.
      cells: pieces across.
    """
    (s0, s1), (d0, d1), (z0, z1) = stretch, sides, heights
    start = self.start
    cuts = np.arange(np.ceil((s0 - start) / 2 + 1e-6), (s1 - start) / 2) * 2
    cuts = np.concatenate([[s0], start + cuts, [s1]])
    flat = mesh.grid(
      (0, d0, z0), (0, d1, z1), (1, d1, z1), (1, d0, z0), (cells, len(cuts) - 1)
    )
    _, d, z = flat.points.T
    s = np.repeat(cuts, cells + 1)
    light = self._light * self._brightness(s, d)[:, None] * np.ones(3)
    return flat._replace(
      points=self._path.at(s, d, z),
      uv=np.stack(uv_of(s, d), 1),
      colours=light,
    )

  def raised(self, stretch, sides, heights, size: float, cells: int) -> Mesh:
    """A tiled strip with a kerb at both of its ends, to the side street."""
    (d0, d1), (z0, z1) = sides, heights
    pieces = [self.strip(stretch, sides, heights, _tiled(size), cells)]
    for s in stretch:
      kerb = mesh.grid(
        self._path.at(s, d0),
        self._path.at(s, d1),
        self._path.at(s, d1, z1),
        self._path.at(s, d0, z0),
      )
      pieces.append(kerb._replace(colours=kerb.colours * 0.7))
    return mesh.merge(*pieces)


def _tiled(size: float):
  """Texture coordinates that repeat after `size` metres."""
  return lambda s, d: (d / size, s / size)


def _cross_section(side) -> list[tuple]:
  """Label, offsets and heights of the edges, metres a tile, pieces across."""
  kerb_top = side.kerb + 0.01
  strips = [(SIDEWALK, (side.kerb, kerb_top), (0, 0.14), 1.0, 1)]
  if side.inner > side.kerb:
    strips.append((TERRAIN, (kerb_top, side.inner), (0.14, 0.14), 3.0, 2))
  return [
    *strips,
    (SIDEWALK, (side.inner, side.walk), (0.14, 0.14), 2.4, 2),
    (TERRAIN, (side.walk, side.line + 2), (0.14, 0.16), 3.0, 2),
    (TERRAIN, (side.line + 2, 90), (0.16, 0.5), 3.0, 8),
  ]


def ground(town) -> list[Thing]:
  """The road, the side street, sidewalks and grass."""
  left, right = town.sides
  laid = _Ground(town)
  start, end = laid.start, laid.end

  def across(s, d):  # the texture of the road spans its width once
    return (left.kerb - d) / (left.kerb + right.kerb), s / 12

  edges = left.kerb, -right.kerb
  things = [
    Thing(laid.strip((start, end), edges, (0, 0), across, 6), ROAD, 'road')
  ]
  parts, side_street = {SIDEWALK: [], TERRAIN: []}, []
  before = start, min(town.crossing[0], end)
  behind = min(town.crossing[1], end), end
  for side in town.sides:
    for stretch in (before, behind):
      if stretch[1] - stretch[0] < 1:
        continue
      for label, offsets, *shape in _cross_section(side):
        sides = tuple(side.sign * d for d in offsets)
        parts[label].append(laid.raised(stretch, sides, *shape))
    if town.crossing[0] < end:
      sides = side.sign * side.kerb, side.sign * 90
      side_street.append(
        laid.strip(town.crossing, sides, (0, 0), _tiled(4.0), 24)
      )
  if side_street:
    things.append(Thing(mesh.merge(*side_street), ROAD, 'asphalt'))
  things.append(Thing(mesh.merge(*parts[SIDEWALK]), SIDEWALK, 'sidewalk'))
  things.append(Thing(mesh.merge(*parts[TERRAIN]), TERRAIN, 'terrain'))
  return things
