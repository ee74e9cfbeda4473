"""What stands in a town: ground, houses, plants, posts and signs."""

import numpy as np

from deltax.data.labels import (
  BUILDING,
  POLE,
  ROAD,
  SIDEWALK,
  SIGN,
  TERRAIN,
  VEGETATION,
)
from deltax.data.street.world import mesh, textures
from deltax.data.street.world.actors import Thing


def _shadows(rng):
  """Soft patches of shade over the ground: brightness at `(s, d)`."""
  depth = rng.choice([0.0, 0.25, 0.45])
  field = textures.noise(rng, (128, 128), 9, 2)

  def brightness(s, d):
    i = np.mod(s / 1.6, 128).astype(int)
    j = np.mod(d / 1.2 + 40, 128).astype(int)
    return 1 - depth * np.clip((field[i, j] - 0.5) * 5, 0, 1)

  return brightness


def ground(town) -> list[Thing]:
  path, (left, right) = town.path, town.sides
  brightness = _shadows(town.rng)
  start, end = path.s[0], path.s[-1] - 1
  base = mesh.shade((0, 0, 1), town.sun)

  def strip(s0, s1, d0, d1, z0, z1, uv_scale, cells=3):
    """From offset d0 at height z0 to d1 at z1, cut along the road."""
    cuts = np.arange(np.ceil((s0 - start) / 2 + 1e-6), (s1 - start) / 2) * 2
    cuts = np.concatenate([[s0], start + cuts, [s1]])  # shared by all strips
    flat = mesh.grid(
      (0, d0, z0), (0, d1, z1), (1, d1, z1), (1, d0, z0), (cells, len(cuts) - 1)
    )
    _, d, z = flat.points.T
    s = np.repeat(cuts, cells + 1)
    u, v = uv_scale(s, d)
    light = base * brightness(s, d)[:, None] * np.ones(3)
    return flat._replace(
      points=path.at(s, d, z), uv=np.stack([u, v], 1), colours=light
    )

  def across(s, d):
    return (left.kerb - d) / (left.kerb + right.kerb), s / 12

  def tiled(size):
    return lambda s, d: (d / size, s / size)

  parts = {ROAD: [], SIDEWALK: [], TERRAIN: []}
  road = strip(start, end, left.kerb, -right.kerb, 0, 0, across, 6)
  side_street = []
  for side in town.sides:
    sign = side.sign
    pieces = [
      (start, min(town.crossing[0], end)),
      (min(town.crossing[1], end), end),
    ]
    for s0, s1 in pieces:
      if s1 - s0 < 1:
        continue

      def lay(label, d0, d1, z0, z1, size, cells=2, s0=s0, s1=s1, sign=sign):
        d0, d1 = sign * d0, sign * d1
        parts[label].append(strip(s0, s1, d0, d1, z0, z1, tiled(size), cells))
        for s in (s0, s1):  # kerbs of the side street
          wall = mesh.grid(
            path.at(s, d0),
            path.at(s, d1),
            path.at(s, d1, z1),
            path.at(s, d0, z0),
          )
          parts[label].append(wall._replace(colours=wall.colours * 0.7))

      lay(SIDEWALK, side.kerb, side.kerb + 0.01, 0, 0.14, 1.0, 1)
      if side.inner > side.kerb:
        lay(TERRAIN, side.kerb + 0.01, side.inner, 0.14, 0.14, 3.0)
      lay(SIDEWALK, side.inner, side.walk, 0.14, 0.14, 2.4)
      lay(TERRAIN, side.walk, side.line + 2, 0.14, 0.16, 3.0)
      lay(TERRAIN, side.line + 2, 90, 0.16, 0.5, 3.0, 8)
    if town.crossing[0] < end:
      side_street.append(
        strip(
          town.crossing[0],
          town.crossing[1],
          sign * side.kerb,
          sign * 90,
          0,
          0,
          tiled(4.0),
          24,
        )
      )
  things = [Thing(road, ROAD, 'road')]
  if side_street:
    things.append(Thing(mesh.merge(*side_street), ROAD, 'asphalt'))
  things.append(Thing(mesh.merge(*parts[SIDEWALK]), SIDEWALK, 'sidewalk'))
  things.append(Thing(mesh.merge(*parts[TERRAIN]), TERRAIN, 'terrain'))
  return things


def _lots(town, side, rng):
  """Cuts a side into lots `(start, length, kind)`."""
  s, end = town.path.s[0], town.path.s[-1] - 5
  wooded = rng.uniform(0.1, 0.4)
  while s < end:
    length = rng.uniform(9, 24)
    middle = s + length / 2
    if town.free(s, 1) and town.free(s + length, 1) and town.free(middle, 1):
      kind = 'green' if rng.random() < wooded else 'house'
      yield s, length, kind
      s += length + (rng.uniform(0, 4) if rng.random() < 0.3 else 0)
    else:
      s += 2.0


def buildings(town) -> list[Thing]:
  rng, groups = town.rng, {}
  hedges = []
  for side in town.sides:
    for s, length, kind in _lots(town, side, rng):
      middle = s + length / 2
      sun = town.local_sun(town.path.heading(middle))
      if kind == 'green':
        if rng.random() < 0.7:
          hedge = mesh.box(
            (rng.uniform(0.6, 1.2), length, rng.uniform(0.8, 2.2)),
            (0.9, 0.9, 0.9),
            sun,
            cell=3,
            repeat=2.5,
          )
          hedges.append(town.put(hedge, middle, side.sign * (side.line + 0.8)))
        continue
      depth = rng.uniform(8, 14)
      height = 3 * rng.integers(2, 7) + rng.uniform(0, 1)
      tint = np.ones(3) * rng.uniform(0.8, 1.1)
      house = mesh.box(
        (depth, length, height),
        tint,
        sun,
        cell=4,
        repeat=6,
        roof=(0.3, 0.2, 0.18),
      )
      d = side.sign * (side.line + depth / 2 + rng.uniform(0, 0.6))
      name = f'facade{rng.integers(5)}'
      groups.setdefault(name, []).append(town.put(house, middle, d))
  things = [
    Thing(mesh.merge(*models), BUILDING, name)
    for name, models in groups.items()
  ]
  if hedges:
    things.append(Thing(mesh.merge(*hedges), VEGETATION, 'hedge'))
  return things


def greenery(town) -> list[Thing]:
  rng, trunks, crowns = town.rng, [], {}
  for side in town.sides:
    gap = rng.uniform(8, 26)
    s = town.path.s[0] + rng.uniform(0, gap)
    while s < town.path.s[-1] - 5:
      if rng.random() < 0.55:  # along the kerb
        d = side.sign * (side.kerb + rng.uniform(0.6, 0.9))
      else:
        d = side.sign * rng.uniform(side.walk + 0.6, side.line + 9)
      if town.free(s):
        height = rng.uniform(4, 9)
        stem = height * rng.uniform(0.25, 0.42)
        wide = height * rng.uniform(0.5, 0.8)
        trunk = mesh.cylinder(
          rng.uniform(0.1, 0.2), stem * 1.3, (1, 1, 1), town.sun, sides=5
        )
        trunks.append(town.put(trunk, s, d))
        light = np.ones(3) * rng.uniform(0.75, 1.05)
        crown = mesh.crossed(
          wide, height - stem, light, cards=4, lift=stem * 0.9
        )
        name = f'leaves{rng.integers(3)}'
        crowns.setdefault(name, []).append(
          town.put(crown, s, d, rng.uniform(0, 90))
        )
      s += gap * rng.uniform(0.6, 1.5)
    for _ in range(int(rng.integers(4, 14))):  # bushes
      s = rng.uniform(town.path.s[0], town.path.s[-1] - 5)
      if not town.free(s):
        continue
      size = rng.uniform(0.7, 1.8)
      bush = mesh.crossed(size * 1.3, size, np.ones(3) * 0.9, cards=3)
      d = side.sign * rng.uniform(side.walk + 0.4, side.line + 3)
      crowns.setdefault('leaves0', []).append(town.put(bush, s, d))
  things = [
    Thing(mesh.merge(*models), VEGETATION, name)
    for name, models in crowns.items()
  ]
  if trunks:
    things.append(Thing(mesh.merge(*trunks), VEGETATION, 'bark'))
  return things


def furniture(town) -> list[Thing]:
  """Lamp posts, sign posts and their signs."""
  rng, poles, signs = town.rng, [], {}
  metal = np.ones(3) * rng.uniform(0.22, 0.6)
  for side in town.sides:
    gap = rng.uniform(13, 24)
    s = town.path.s[0] + rng.uniform(0, gap)
    while s < town.path.s[-1] - 5:
      if town.free(s, 1):
        tall = rng.uniform(5, 8)
        post = mesh.cylinder(0.11, tall, metal, town.sun, sides=6, top=0.07)
        arm = mesh.box((1.6, 0.12, 0.12), metal, town.sun)
        lamp = mesh.box((0.7, 0.25, 0.14), metal * 1.3, town.sun)
        lamp_post = mesh.merge(
          post,
          mesh.place(arm, (side.sign * 0.7, 0, tall - 0.1)),
          mesh.place(lamp, (side.sign * 1.4, 0, tall - 0.2)),
        )
        poles.append(town.put(lamp_post, s, side.sign * (side.kerb + 0.35)))
      s += gap * rng.uniform(0.8, 1.2)
    gap = rng.uniform(9, 18)
    s = rng.uniform(2, 12)
    while s < town.path.s[-1] - 5:
      s += gap * rng.uniform(0.6, 1.5)
      if not town.free(s, 1):
        continue
      kind = int(rng.integers(5))
      wide, high = (1.9, 1.2) if kind == 4 else (rng.uniform(0.75, 1.15),) * 2
      bottom = rng.uniform(1.9, 2.6)
      post = mesh.cylinder(0.06, bottom + high * 0.8, metal, town.sun, sides=5)
      if kind == 4:
        post = mesh.merge(
          mesh.place(post, (-0.6, 0.05, 0)), mesh.place(post, (0.6, 0.05, 0))
        )
      face = mesh.grid(
        (-wide / 2, -0.07, bottom),
        (wide / 2, -0.07, bottom),
        (wide / 2, -0.07, bottom + high),
        (-wide / 2, -0.07, bottom + high),
        colour=np.ones(3) * rng.uniform(0.8, 1.0),
      )
      turn = rng.normal(0, 12)
      d = side.sign * (side.kerb + rng.uniform(0.4, 0.9) + 0.5 * (kind == 4))
      poles.append(town.put(post, s, d, turn))
      signs.setdefault(f'sign{kind}', []).append(town.put(face, s, d, turn))
  things = [
    Thing(mesh.merge(*models), SIGN, name) for name, models in signs.items()
  ]
  if poles:
    things.append(Thing(mesh.merge(*poles), POLE))
  return things
