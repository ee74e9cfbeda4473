"""The plan of a town: where its one road runs, and what lies beside it.

Metres; the road runs along arc length `s`, the lateral offset `d` is positive
to the left. Traffic keeps to the right.
"""

import math
from typing import NamedTuple

import numpy as np

from deltax.data.street.world import mesh, textures

BEHIND, AHEAD = 15.0, 190.0  # metres of street behind and before the camera


class Path(NamedTuple):
  """The middle of the road, sampled every half metre of arc length."""

  s: np.ndarray
  x: np.ndarray
  y: np.ndarray
  angle: np.ndarray  # radians, left of +y

  def heading(self, s) -> float:
    return np.rad2deg(np.interp(s, self.s, self.angle))

  def at(self, s, d, z=0.0) -> np.ndarray:
    """World points of arc lengths `s` and lateral offsets `d`, `[..., 3]`."""
    s, d, z = np.broadcast_arrays(s, d, z)
    angle = np.interp(s, self.s, self.angle)
    x = np.interp(s, self.s, self.x) - d * np.cos(angle)
    y = np.interp(s, self.s, self.y) - d * np.sin(angle)
    return np.stack([x, y, z], -1)

  def pose(self, s: float, d: float, turn=0.0, z=0.0) -> tuple:
    """Where and how something stands beside the road, turned left by `turn`."""
    angle, x, y = (
      np.interp(s, self.s, v) for v in (self.angle, self.x, self.y)
    )
    x, y = x - d * math.cos(angle), y - d * math.sin(angle)
    return (x, y, z, math.degrees(angle) + turn, 0.0, 0.0)


class Side(NamedTuple):
  """Cross-section of one side: lateral distances from the middle, metres."""

  sign: int  # +1 left, -1 right
  lane: float  # edge of the driven lanes
  kerb: float  # end of the road
  inner: float  # end of a strip of grass next to the road
  walk: float  # end of the sidewalk
  line: float  # where buildings stand


class Town(NamedTuple):
  """A plan, and the generator for what is still to be decided.

  Attributes:
    rng: numpy generator.
    path: the middle of the road.
    sun: unit vector towards the sun.
    lane: width of a lane.
    lanes: driven lanes in each direction.
    sides: left and right.
    crossing: start and end of a side street along s.
  """

  rng: np.random.Generator
  path: Path
  sun: np.ndarray
  lane: float
  lanes: int
  sides: list[Side]
  crossing: tuple[float, float]

  def free(self, s, margin=2.0) -> bool:
    """Whether arc length s is outside the side street."""
    return not self.crossing[0] - margin < s < self.crossing[1] + margin

  def local_sun(self, heading):
    """The sun in the axes of something turned left by `heading` degrees."""
    a = np.deg2rad(heading)
    x, y, z = self.sun
    return np.array(
      [np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x, z]
    )

  def put(self, model, s, d, turn=0.0, z=0.0):
    """A mesh made for local axes, set beside the road."""
    position = self.path.at(s, d, z)
    return mesh.place(model, position, self.path.heading(s) + turn)


def plan(rng, length: float) -> Town:
  """A random town whose road is `length` metres long."""
  path = _path(rng, length)
  angle = rng.uniform(0, 2 * np.pi)
  sun = np.array([np.cos(angle), np.sin(angle), rng.uniform(0.35, 1.2)])
  sun /= np.linalg.norm(sun)
  lane = rng.uniform(2.9, 3.6)
  lanes = int(rng.choice([1, 1, 2]))
  sides = [_side(rng, sign, lane * lanes) for sign in (1, -1)]
  return Town(rng, path, sun, lane, lanes, sides, _crossing(rng, path))


def _path(rng, length) -> Path:
  s = np.arange(-BEHIND, length, 0.5)
  bends = sum(
    rng.normal(0, 1 / 130) * np.sin(s / rng.uniform(18, 60) + rng.uniform(0, 6))
    for _ in range(2)
  )
  angle = np.cumsum(np.clip(bends, -1 / 35, 1 / 35)) * 0.5
  angle -= np.interp(0, s, angle)
  x, y = np.cumsum(-np.sin(angle)) * 0.5, np.cumsum(np.cos(angle)) * 0.5
  return Path(s, x - np.interp(0, s, x), y - np.interp(0, s, y), angle)


def _side(rng, sign, lane) -> Side:
  kerb = lane + (rng.uniform(2.1, 2.5) if rng.random() < 0.45 else 0.3)
  inner = kerb + (rng.uniform(0.8, 1.8) if rng.random() < 0.35 else 0.0)
  walk = inner + rng.uniform(2.2, 4.6)
  line = walk + (rng.uniform(1, 7) if rng.random() < 0.55 else 0.2)
  return Side(sign, lane, kerb, inner, walk, line)


def _crossing(rng, path):
  if rng.random() < 0.5:
    return (1e6, 1e6)
  start = rng.uniform(12, 70)
  return (start, start + rng.uniform(6, 10))


def palette(town: Town) -> dict[str, np.ndarray]:
  """The textures of one town; hues near each other are part of the task."""
  rng, lane = town.rng, town.lane
  grey = rng.uniform(0.22, 0.5)
  warm = rng.uniform(-0.04, 0.04)
  asphalt = grey + np.array([warm, 0, -warm])
  left, right = town.sides
  width = left.kerb + right.kerb

  def share(d):
    return (left.kerb - d) / width

  thick = 0.14 / width
  lines = [(share(0), thick, bool(rng.random() < 0.7))]
  if rng.random() < 0.6:
    lines += [
      (share(left.lane), thick, False),
      (share(-right.lane), thick, False),
    ]
  if town.lanes == 2:
    lines += [(share(lane), thick, True), (share(-lane), thick, True)]
  slab = rng.uniform(0.35, 0.68) + rng.normal(0, 0.03, 3)
  grass = np.array([0.3, 0.38, 0.16]) * rng.uniform(0.7, 1.4)
  grass = grass + rng.uniform(0, 0.16) * np.array([1, 0.5, 0.1])
  leaf = np.array([0.2, 0.33, 0.1]) * rng.uniform(0.7, 1.4)
  leaf = leaf + (rng.random() < 0.25) * np.array([0.3, 0.1, 0.0])  # autumn
  walls = [
    (0.55, 0.27, 0.2),
    (0.72, 0.66, 0.52),
    (0.5, 0.5, 0.52),
    (0.8, 0.78, 0.74),
    (0.42, 0.36, 0.3),
    (0.66, 0.5, 0.36),
    (0.35, 0.42, 0.5),
  ]
  glass = np.array([0.2, 0.24, 0.28]) * rng.uniform(0.6, 1.6)
  overcast = rng.random() < 0.4
  zenith = (0.6, 0.63, 0.68) if overcast else (0.25, 0.45, 0.8)
  horizon = (0.75, 0.76, 0.78) if overcast else (0.72, 0.82, 0.92)
  far = rng.uniform(0.3, 0.6) * np.array([0.8, 1.0, 0.85])
  images = {
    'road': textures.road(rng, asphalt, lines),
    'asphalt': textures.mottled(rng, asphalt),
    'sidewalk': textures.paving(rng, slab, tiles=int(rng.choice([2, 4, 8]))),
    'terrain': textures.mottled(rng, grass, contrast=0.5, grain=0.12),
    'bark': textures.mottled(rng, (0.34, 0.27, 0.2), grain=0.1, size=32),
    'hedge': textures.leaves(rng, leaf, round_crown=False),
    'sky': textures.sky(rng, zenith, horizon, rng.uniform(0.2, 0.7)),
    'far_trees': textures.skyline(rng, far, 'trees'),
    'far_houses': textures.skyline(rng, far[[0, 0, 0]], 'houses'),
  }
  for k in range(5):
    wall = np.clip(
      walls[rng.integers(len(walls))] + rng.normal(0, 0.04, 3), 0, 1
    )
    images[f'facade{k}'] = textures.facade(rng, wall, glass)
  for k in range(3):
    tone = np.clip(leaf * rng.uniform(0.75, 1.3, 3), 0, 1)
    images[f'leaves{k}'] = textures.leaves(rng, tone)
  for k, kind in enumerate(['round', 'triangle', 'square', 'round', 'board']):
    images[f'sign{k}'] = textures.sign(rng, kind)
  return images
