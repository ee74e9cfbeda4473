"""Cars, trucks and people, each with a shape of its own."""

from collections.abc import Callable

import numpy as np

from deltax.data.street.world import mesh
from deltax.data.street.world.mesh import Mesh
from deltax.data.street.world.things import Pose, Thing


def _paint(rng) -> np.ndarray:
  colours = [
    (0.85, 0.85, 0.86),
    (0.12, 0.12, 0.13),
    (0.45, 0.46, 0.48),
    (0.25, 0.27, 0.3),
    (0.5, 0.08, 0.08),
    (0.1, 0.18, 0.42),
    (0.2, 0.32, 0.24),
    (0.65, 0.55, 0.35),
  ]
  paint = np.array(colours[rng.integers(len(colours))])
  return np.clip(paint + rng.normal(0, 0.04, 3), 0.03, 1)


def _wheels(half, places, radius, sun) -> Mesh:
  """Wheels at both sides, at the given places along the vehicle."""
  turn = np.linspace(0, 2 * np.pi, 9)[:-1]
  ring = np.stack([np.cos(turn), np.sin(turn)], 1) * radius
  tyre = mesh.prism(ring, 0.22, [(0.07,) * 3] * 8 + [(0.13,) * 3], sun)
  hub = mesh.prism(ring * 0.5, 0.24, [(0.3,) * 3] * 8 + [(0.45,) * 3], sun)
  wheel = mesh.merge(tyre, hub)
  return mesh.merge(
    *(
      mesh.place(wheel, (side * (half - 0.1), y, radius))
      for y in places
      for side in (-1, 1)
    )
  )


def _lights(half, front, rear, z) -> Mesh:
  """White in front, red behind."""

  def lamp(x, y, colour):
    return mesh.grid(
      (x - 0.16, y, z),
      (x + 0.16, y, z),
      (x + 0.16, y, z + 0.14),
      (x - 0.16, y, z + 0.14),
      colour=colour,
    )

  return mesh.merge(
    *(lamp(x * (half - 0.2), front, (1, 1, 0.9)) for x in (-1, 1)),
    *(lamp(x * (half - 0.2), rear, (0.7, 0.05, 0.05)) for x in (-1, 1)),
  )


def car(rng, sun, label: int) -> Thing:
  """A hatchback, saloon or van of 3.8 to 4.8 m."""
  length, width = rng.uniform(3.8, 4.8), rng.uniform(1.68, 1.9)
  back, front = -length / 2, length / 2
  belt, roof = rng.uniform(0.82, 0.98), rng.uniform(1.38, 1.75)
  paint, glass = _paint(rng), np.array([0.1, 0.12, 0.15])
  body = mesh.prism(
    [
      (back, 0.28),
      (front, 0.28),
      (front, 0.62),
      (front - 0.15, belt - 0.12),
      (0.25 * length, belt),
      (back, belt + 0.04),
    ],
    width,
    [(0.05,) * 3, paint * 0.9, paint, paint, paint, paint, paint],
    sun,
  )
  tail = back + (0.08 if rng.random() < 0.6 else 0.6)  # hatchback or saloon
  cabin = mesh.prism(
    [
      (tail, belt),
      (0.26 * length, belt),
      (0.08 * length, roof),
      (tail + 0.35, roof),
    ],
    width,
    [paint, glass * 1.5, paint, glass, glass],
    sun,
    narrow=np.array([0.49, 0.49, 0.41, 0.41]) * width,
  )
  pillar = mesh.prism(
    [
      (-0.08, belt),
      (0.04, belt),
      (0.04, roof - 0.02),
      (-0.08, roof - 0.02),
    ],
    width,
    [paint] * 5,
    sun,
    narrow=np.array([0.497, 0.497, 0.42, 0.42]) * width,
  )
  wheels = _wheels(width / 2, (back + 0.75, front - 0.8), 0.32, sun)
  lights = _lights(width / 2, front + 0.02, back - 0.02, 0.64)
  parts = body, cabin, pillar, _number_plate(back - 0.02), wheels, lights
  return Thing(mesh.merge(*parts), label)


def _number_plate(rear: float) -> Mesh:
  return mesh.grid(
    (-0.26, rear, 0.55),
    (0.26, rear, 0.55),
    (0.26, rear, 0.67),
    (-0.26, rear, 0.67),
    colour=(0.85, 0.85, 0.7),
  )


def truck(rng, sun, label: int) -> Thing:
  """A lorry with a box or a tipper of 6 to 9 m."""
  length, width = rng.uniform(6, 9), rng.uniform(2.1, 2.45)
  height = rng.uniform(2.7, 3.5)
  cab_length = 1.9
  front = length / 2
  paint, load = _paint(rng), np.clip(_paint(rng) * 1.2, 0, 1)
  if rng.random() < 0.5:
    load = np.ones(3) * rng.uniform(0.7, 0.95)
  glass = (0.1, 0.12, 0.15)
  cab_top = min(height, rng.uniform(2.3, 2.8))
  start = front - cab_length
  cab = mesh.prism(
    [
      (start, 0.45),
      (front, 0.45),
      (front, 1.35),
      (front - 0.25, cab_top),
      (start, cab_top),
    ],
    width,
    [(0.1,) * 3, paint, glass, paint, paint, paint],
    sun,
  )
  window = mesh.prism(
    [
      (front - 1.1, 1.4),
      (front - 0.2, 1.4),
      (front - 0.35, cab_top - 0.3),
      (front - 1.1, cab_top - 0.3),
    ],
    width + 0.03,
    [glass] * 5,
    sun,
  )
  cargo_length = length - cab_length - 0.2
  cargo = mesh.box((width, cargo_length, height - 0.95), load, sun, cell=2)
  cargo = mesh.place(cargo, (0, start - 0.2 - cargo_length / 2, 0.95))
  stripe = mesh.box(
    (width + 0.04, cargo_length * 0.8, 0.5), _paint(rng), sun, cell=2
  )
  stripe = mesh.place(
    stripe, (0, start - 0.2 - cargo_length / 2, 0.95 + (height - 0.95) * 0.5)
  )
  frame = mesh.box((width * 0.8, length, 0.5), (0.12,) * 3, sun, cell=2)
  frame = mesh.place(frame, (0, 0, 0.45))
  places = (front - 1.1, -front + 1.0, -front + 2.1)
  half = width / 2
  return Thing(
    mesh.merge(
      cab,
      window,
      cargo,
      stripe,
      frame,
      _wheels(half, places, 0.45, sun),
      _lights(half, front + 0.02, -front - 0.02, 0.75),
    ),
    label,
  )


def person(rng, sun, label: int, speed: float) -> Thing:
  """A walking figure of 1.2 to 1.95 m; limbs swing with the speed (m/s)."""
  height = rng.uniform(1.55, 1.95) if rng.random() < 0.85 else 1.2
  k = height / 1.75
  coat, trousers = _paint(rng), _paint(rng) * 0.8
  if rng.random() < 0.4:
    coat = np.clip(rng.uniform(0, 0.9, 3), 0.05, 1)
  skin = np.array([0.85, 0.65, 0.52]) * rng.uniform(0.4, 1.05)
  hair = np.array([0.25, 0.17, 0.1]) * rng.uniform(0.3, 2.5)
  stout = rng.uniform(0.9, 1.25)

  def squash(model):
    return model._replace(points=model.points * np.array([1, 0.65, 1]))

  torso = squash(
    mesh.cylinder(0.2 * k * stout, 0.62 * k, coat, sun, top=0.24 * k * stout)
  )
  head = mesh.cylinder(0.1 * k, 0.2 * k, skin, sun, top=0.1 * k)
  cap = mesh.cylinder(0.115 * k, 0.09 * k, hair, sun, top=0.07 * k)
  trunk = mesh.merge(
    mesh.place(torso, (0, 0, 0.82 * k)),
    mesh.place(head, (0, 0, 1.47 * k)),
    mesh.place(cap, (0, 0, 1.64 * k)),
  )
  if rng.random() < 0.3:  # a bag or a rucksack
    bag = mesh.box((0.3 * k, 0.18 * k, 0.4 * k), _paint(rng), sun)
    trunk = mesh.merge(trunk, mesh.place(bag, (0, -0.2 * k, 0.95 * k)))

  def limb(x, z, length, radius, colour, phase):
    bone = mesh.cylinder(
      radius * 0.75, length, colour, sun, sides=5, top=radius
    )
    bone = mesh.place(bone, (0, 0, -length))
    start = rng.uniform(0, 0.3) + beat
    return Thing(bone, label, pose=_swing(x, z, speed, start, phase))

  beat = rng.uniform(0, 2 * np.pi)
  hip, shoulder = 0.86 * k, 1.42 * k
  parts = (
    limb(-0.1 * k, hip, 0.86 * k, 0.095 * k, trousers, 0),
    limb(0.1 * k, hip, 0.86 * k, 0.095 * k, trousers, np.pi),
    limb(-0.27 * k * stout, shoulder, 0.62 * k, 0.06 * k, coat * 0.9, np.pi),
    limb(0.27 * k * stout, shoulder, 0.62 * k, 0.06 * k, coat * 0.9, 0),
  )
  return Thing(trunk, label, parts=parts)


def _swing(x, z, speed: float, start, phase) -> Callable[[float], Pose]:
  """A limb that hangs from (x, 0, z): the faster the walk, the wider."""
  rate = 2 * np.pi * (0.55 + 0.35 * speed)
  widest = 26.0 * min(speed, 1.4) / 1.4

  def pose(time):
    return (x, 0, z, 0, widest * np.sin(rate * time + start + phase), 0)

  return pose
