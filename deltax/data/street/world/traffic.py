"""Who is on the road: parked and moving cars and trucks, and people."""

import numpy as np

from deltax.data.labels import CAR, PERSON, TRUCK
from deltax.data.street.world import actors
from deltax.data.street.world.things import Thing, still


def _vehicle(town, heading):
  """A car, or now and then a truck."""
  rng, sun = town.rng, town.local_sun(heading)
  if rng.random() < 0.15:
    return actors.truck(rng, sun, TRUCK)
  return actors.car(rng, sun, CAR)


def parked(town) -> list[Thing]:
  """Vehicles at those kerbs that leave room beside the driven lanes."""
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
        things.append(thing._replace(pose=still(pose)))
        s += 8.5 if thing.label == TRUCK else 5.6
      s += rng.uniform(0.3, 3)
  return things


def traffic(town, speed: float, seconds: float) -> list[Thing]:
  """Moving vehicles: ahead in the camera's lane, beside it, and oncoming.

  Args:
    town: the plan.
    speed: of the camera, metres per second.
    seconds: of the drive.
  """
  rng, things = town.rng, []
  lane, lanes = town.lane, town.lanes
  travel = speed * seconds

  def add(s0, d, v, turn):
    thing = _vehicle(town, town.path.heading(s0) + turn)
    things.append(thing._replace(pose=_drive(town, s0, d, v, turn)))

  ego_lane = -(lanes - 0.5) * lane
  if rng.random() < 0.65:
    add(rng.uniform(11, 26), ego_lane, speed, 0)
    if rng.random() < 0.6:
      add(rng.uniform(38, 70), ego_lane, speed * rng.uniform(1, 1.15), 0)
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


def _drive(town, s0: float, d: float, v: float, turn: float):
  """Along the road at speed v, swaying a little in its lane."""
  sway, phase = town.rng.uniform(0, 0.12), town.rng.uniform(0, 6)

  def pose(time):
    return town.path.pose(
      s0 + v * time, d + sway * np.sin(0.8 * time + phase), turn
    )

  return pose


def people(town, travel: float) -> list[Thing]:
  """People on the sidewalks, alone or in pairs, and some who cross the road.

  Args:
    town: the plan.
    travel: metres that the camera drives.
  """
  rng, path, things = town.rng, town.path, []
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
        pose = _walk(town, s0 + 0.2 * k, d + side.sign * 0.6 * k, v, turn)
        things.append(figure._replace(pose=pose))
  for _ in range(int(rng.integers(0, 4))):  # crossing the road, out of reach
    direction = rng.choice([-1, 1])
    turn = 90.0 if direction > 0 else -90.0
    s0 = travel + rng.uniform(9, 30)
    v = direction * rng.uniform(0.9, 1.6)
    figure = actors.person(
      rng, town.local_sun(path.heading(s0) + turn), PERSON, abs(v)
    )
    d = -direction * rng.uniform(0, 5)
    things.append(figure._replace(pose=_cross(town, s0, d, v, turn)))
  return things


def _walk(town, s0: float, d: float, v: float, turn: float):
  """Along the sidewalk, which is 14 cm above the road."""
  return lambda time: town.path.pose(s0 + v * time, d, turn, 0.14)


def _cross(town, s0: float, d: float, v: float, turn: float):
  return lambda time: town.path.pose(s0, d + v * time, turn)
