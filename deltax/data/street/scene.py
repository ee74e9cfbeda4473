"""One random street, to be drawn at any time: numpy only."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deltax.data.labels import BUILDING, SKY, VEGETATION
from deltax.data.street.world import fixtures, mesh, traffic
from deltax.data.street.world.ground import ground
from deltax.data.street.world.things import Thing, number
from deltax.data.street.world.town import AHEAD, palette, plan


class Look(NamedTuple):
  """How the camera and the weather make a picture of the scene.

  Attributes:
    fog: extinction per metre, and `haze` `[3]` its colour, 0 to 1.
    gain: `[3]` brightness per colour; small at night.
    headlight: brightness of the ego car's light at night, else 0.
    contrast: exponent of the tone curve.
    noise: standard deviation of the sensor noise, of 1.
    vignette: darkening in the corners, of 1.
    shutter: share of the frame interval that the shutter is open.
    drift: relative change of exposure over a second.
    jpeg: quality of the camera's compression.
  """

  fog: float
  haze: np.ndarray
  gain: np.ndarray
  headlight: float
  contrast: float
  noise: float
  vignette: float
  shutter: float
  drift: float
  jpeg: int


class Scene(NamedTuple):
  """A world, to be drawn at any time.

  Attributes:
    things: what is drawn; those with an instance number have a track.
    textures: `{name: uint8 image}`.
    camera: `time -> (x, y, z, heading, pitch, roll)`, metres and degrees.
    fov: horizontal field of view, degrees.
    look: weather and camera.
  """

  things: list[Thing]
  textures: dict[str, np.ndarray]
  camera: Callable[[float], tuple]
  fov: float
  look: Look


def build(seed: int, seconds: float) -> Scene:
  """The world of a seed, long enough to drive through for `seconds`."""
  rng = np.random.default_rng([seed, 0x57])
  speed = rng.uniform(5, 14)
  town = plan(rng, speed * seconds * 1.1 + AHEAD)
  images = palette(town)
  things = [
    *ground(town),
    *fixtures.buildings(town),
    *fixtures.greenery(town),
    *fixtures.furniture(town),
    *traffic.parked(town),
    *traffic.traffic(town, speed, seconds),
    *traffic.people(town, speed * seconds),
  ]
  things = number(things) + _distance(rng)
  camera = _ego(town, speed)
  return Scene(things, images, camera, rng.uniform(58, 82), _look(rng))


def _distance(rng) -> list[Thing]:
  """The sky and the skyline, which move with the camera."""
  turn = np.deg2rad(np.arange(0, 361, 10))
  rim = np.stack([np.cos(turn), np.sin(turn)], 1)

  def ring(radius, low, high, v_low, v_high):
    return mesh.merge(
      *(
        mesh.grid(
          (*a * radius, low),
          (*b * radius, low),
          (*b * radius, high),
          (*a * radius, high),
          uv=((k / 36, v_low), ((k + 1) / 36, v_high)),
        )
        for k, (a, b) in enumerate(itertools.pairwise(rim))
      )
    )

  heaven = mesh.merge(
    ring(330, -40, 0, 0.01, 0.01), ring(330, 0, 260, 0.01, 0.97)
  )
  band = ring(310, -10, rng.uniform(12, 34), 0, 1)
  kind = (
    ('far_trees', VEGETATION)
    if rng.random() < 0.6
    else ('far_houses', BUILDING)
  )
  return [
    Thing(heaven, SKY, 'sky', far=True),
    Thing(band, kind[1], kind[0], far=True),
  ]


def _ego(town, speed):
  rng, path = town.rng, town.path
  height, pitch = rng.uniform(1.15, 2.0), rng.uniform(-7, 1)
  d = -(town.lanes - 0.5) * town.lane + rng.normal(0, 0.2)
  bounce, sway = rng.uniform(0.05, 0.25), rng.uniform(0.1, 0.8)
  phase = rng.uniform(0, 6, 3)
  roll = rng.normal(0, 0.5)

  def pose(time):
    x, y, z = path.at(speed * time, d, height)
    heading = path.heading(speed * time + 3) + sway * np.sin(time + phase[0])
    nod = pitch + bounce * np.sin(9 * time + phase[1])
    return (x, y, z, heading, nod, roll + bounce * np.sin(6 * time + phase[2]))

  return pose


def _look(rng) -> Look:
  kind = rng.choice(
    ['clear', 'dull', 'fog', 'dusk', 'night'], p=[0.4, 0.2, 0.14, 0.14, 0.12]
  )
  gain = {'clear': 1.1, 'dull': 0.85, 'fog': 0.95, 'dusk': 0.55, 'night': 0.32}[
    kind
  ]
  tint = np.ones(3) + rng.normal(0, 0.05, 3)
  if kind == 'dusk':
    tint = tint * np.array([1.15, 0.97, 0.82])
  if kind == 'night':
    tint = tint * np.array([0.85, 0.95, 1.15])
  fog = rng.uniform(0.012, 0.03) if kind == 'fog' else rng.uniform(0, 0.004)
  return Look(
    fog=fog,
    haze=np.ones(3) * rng.uniform(0.6, 0.85) + rng.normal(0, 0.02, 3),
    gain=tint * gain * rng.uniform(0.85, 1.15),
    headlight=rng.uniform(1.2, 2.2) if kind == 'night' else 0.0,
    contrast=rng.uniform(0.85, 1.2),
    noise=rng.uniform(0.004, 0.02) * (2.0 if kind == 'night' else 1.0),
    vignette=rng.uniform(0, 0.3),
    shutter=rng.uniform(0.0, 0.4),
    drift=rng.normal(0, 0.06),
    jpeg=int(rng.integers(70, 96)),
  )
