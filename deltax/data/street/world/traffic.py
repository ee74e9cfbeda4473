"""Who is on the road: parked and moving cars and trucks, and people."""

import numpy as np

from deltax.data.labels import CAR, PERSON, TRUCK
from deltax.data.street.world import actors
from deltax.data.street.world.actors import Thing


def _vehicle(town, heading):
  """A car, or now and then a truck."""
  rng, sun = town.rng, town.local_sun(heading)
  if rng.random() < 0.15:
    return actors.truck(rng, sun, TRUCK)
  return actors.car(rng, sun, CAR)


def parked(town) -> list[Thing]:
  rng, things = town.rng, []
  for side in town.sides:
    if side.kerb - side.lane < 2:
      continue
    density = rng.uniform(0.2, 0.8)
    s = town.path.s[0]
    while s < town.path.s[-1] - 8:
      turn = 0.0 if side.sign < 0 else 180.0
      if rng.random() < density and town.free(s, 4):
        thing = _vehicle(town, town.path.heading(s) + turn)
        d = side.sign * (side.kerb - 1.15)
        pose = town.path.pose(s, d, turn + rng.normal(0, 1.5))
        things.append(thing._replace(pose=actors.still(pose)))
        s += 8.5 if thing.label == TRUCK else 5.6
      s += rng.uniform(0.3, 3)
  return things


def traffic(town, speed: float, seconds: float) -> list[Thing]:
  rng, path, things = town.rng, town.path, []
  lane, lanes = town.lane, town.lanes
  travel = speed * seconds

  def driver(s0, d, v, turn):
    sway, phase = rng.uniform(0, 0.12), rng.uniform(0, 6)

    def pose(time):
      return path.pose(
        s0 + v * time, d + sway * np.sin(0.8 * time + phase), turn
      )

    return pose

  def add(s0, d, v, turn):
    thing = _vehicle(town, path.heading(s0) + turn)
    things.append(thing._replace(pose=driver(s0, d, v, turn)))

  own = -(lanes - 0.5) * lane
  if rng.random() < 0.65:
    add(rng.uniform(11, 26), own, speed, 0)
    if rng.random() < 0.6:
      add(rng.uniform(38, 70), own, speed * rng.uniform(1, 1.15), 0)
  if lanes == 2:
    for s0 in rng.uniform(6, 20, 1).tolist() + [rng.uniform(34, 60)]:
      if rng.random() < 0.6:
        add(s0, -0.5 * lane, speed * rng.uniform(0.95, 1.2), 0)
  s0 = rng.uniform(10, 40)
  while s0 < travel * 2 + 110:
    d = (rng.integers(lanes) + 0.5) * lane
    add(s0, d, -(8.5 + rng.normal(0, 0.2)), 180)
    s0 += rng.uniform(22, 70)
  return things


def people(town, travel) -> list[Thing]:
  rng, path, things = town.rng, town.path, []

  def walker(s0, d, v, turn, across):
    def pose(time):
      if across:
        return path.pose(s0, d + v * time, turn)
      return path.pose(s0 + v * time, d, turn, 0.14)

    return pose

  for side in town.sides:
    count = rng.integers(10, 23)
    for s0 in rng.uniform(3, travel + 75, count):
      v = rng.choice([-1, 1]) * rng.uniform(0.7, 1.7)
      if rng.random() < 0.2:
        v = 0.0
      group = 1 + (rng.random() < 0.4)
      d = side.sign * rng.uniform(side.kerb + 0.35, side.walk - 0.3)
      for k in range(group):
        turn = 0.0 if v > 0 else 180.0
        if v == 0:
          turn = rng.uniform(0, 360)
        figure = actors.person(
          rng, town.local_sun(path.heading(s0) + turn), PERSON, abs(v)
        )
        place = walker(s0 + 0.2 * k, d + side.sign * 0.6 * k, v, turn, False)
        things.append(figure._replace(pose=place))
  for _ in range(int(rng.integers(0, 4))):  # crossing the road, out of reach
    direction = rng.choice([-1, 1])
    turn = 90.0 if direction > 0 else -90.0
    s0 = travel + rng.uniform(9, 30)
    v = direction * rng.uniform(0.9, 1.6)
    figure = actors.person(
      rng, town.local_sun(path.heading(s0) + turn), PERSON, abs(v)
    )
    d = -direction * rng.uniform(0, 5)
    things.append(figure._replace(pose=walker(s0, d, v, turn, True)))
  return things
