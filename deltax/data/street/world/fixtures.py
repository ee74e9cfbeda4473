"""What stands in a town: houses, plants, posts and signs."""

import numpy as np

from deltax.data.labels import BUILDING, POLE, SIGN, VEGETATION
from deltax.data.street.world import mesh
from deltax.data.street.world.things import Thing


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
  """Houses, with hedges where a lot is green."""
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
  """Trees along the road and behind the sidewalk, and bushes."""
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
