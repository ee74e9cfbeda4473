"""Triangle meshes of street furniture, cars and people: numpy only.

Metres, x right, y forward, z up. Light is baked into the vertex colours, so a
mesh is drawn without lights: `shade` is the one lighting rule.
"""

from typing import NamedTuple

import numpy as np


class Mesh(NamedTuple):
  """A triangle mesh.

  Attributes:
    points: `[N, 3]` float, metres.
    uv: `[N, 2]` float, texture coordinates (1 is one repetition).
    colours: `[N, 3]` float, 0 to 1; multiplied with the texture.
    triangles: `[M, 3]` int, rows of three indices into the points.
  """

  points: np.ndarray
  uv: np.ndarray
  colours: np.ndarray
  triangles: np.ndarray


def merge(*meshes: Mesh) -> Mesh:
  """One mesh with the triangles of all."""
  starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
  return Mesh(
    np.concatenate([mesh.points for mesh in meshes]),
    np.concatenate([mesh.uv for mesh in meshes]),
    np.concatenate([mesh.colours for mesh in meshes]),
    np.concatenate(
      [m.triangles + a for m, a in zip(meshes, starts, strict=True)]
    ),
  )


def place(mesh: Mesh, position, heading: float = 0.0, scale=1.0) -> Mesh:
  """The mesh scaled, turned left by `heading` (degrees) and moved."""
  angle = np.deg2rad(heading)
  cos, sin = np.cos(angle), np.sin(angle)
  x, y, z = (mesh.points * scale).T
  points = np.stack([cos * x - sin * y, sin * x + cos * y, z], 1)
  return mesh._replace(points=points + np.asarray(position, float))


def shade(normal, sun) -> float:
  """Brightness of a surface under a sun (unit vector) and a bright sky."""
  normal = np.asarray(normal, float)
  normal = normal / max(np.linalg.norm(normal), 1e-9)
  return 0.6 + 0.1 * normal[2] + 0.32 * max(0.0, float(normal @ sun))


def grid(a, b, c, d, cells=(1, 1), uv=((0, 0), (1, 1)), colour=(1, 1, 1)):
  """The quad a, b, c, d cut into `cells` (along ab, along ad).

  Perspective is exact at vertices only, so long quads must be cut. `uv` are the
  texture coordinates of corner a and corner c.
  """
  m, n = cells
  u, v = np.meshgrid(np.linspace(0, 1, m + 1), np.linspace(0, 1, n + 1))
  u, v = u.reshape(-1, 1), v.reshape(-1, 1)
  a, b, c, d = (np.asarray(corner, float) for corner in (a, b, c, d))
  points = (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d
  low, high = np.asarray(uv, float)
  coordinates = low + np.concatenate([u, v], 1) * (high - low)
  i, j = np.meshgrid(np.arange(m), np.arange(n))
  first = (j * (m + 1) + i).reshape(-1)
  above = first + m + 1
  triangles = np.concatenate(
    [
      np.stack([first, first + 1, above + 1], 1),
      np.stack([first, above + 1, above], 1),
    ]
  )
  colours = np.tile(np.asarray(colour, float), (len(points), 1))
  return Mesh(points, coordinates, colours, triangles)


def box(size, colour, sun, *, cell=1e9, repeat=None, roof=None) -> Mesh:
  """A box standing on the ground, centred in x and y.

  Args:
    size: width, length, height in metres.
    colour: of the walls (multiplied with the texture).
    sun: unit vector to the sun, in the box's own axes.
    cell: walls are cut into pieces of about this many metres.
    repeat: metres of wall per repetition of the texture; None: one repetition.
    roof: colour of the top; None for the wall's.
  """
  w, l, h = np.asarray(size, float) / (2, 2, 1)
  corners = [(-w, -l), (w, -l), (w, l), (-w, l)]
  faces = []
  for k in range(4):
    (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 4]
    length = np.hypot(x1 - x0, y1 - y0)
    light = shade((y1 - y0, x0 - x1, 0), sun)
    cells = [max(1, int(np.ceil(extent / cell))) for extent in (length, h)]
    end = (1, 1) if repeat is None else (length / repeat, h / repeat)
    faces.append(
      grid(
        (x0, y0, 0),
        (x1, y1, 0),
        (x1, y1, h),
        (x0, y0, h),
        cells,
        ((0, 0), end),
        np.asarray(colour) * light,
      )
    )
  top = [(x, y, h) for x, y in corners]
  light = shade((0, 0, 1), sun)
  top_colour = np.asarray(colour if roof is None else roof) * light
  faces.append(grid(*top, uv=((0, 0), (0, 0)), colour=top_colour))
  return merge(*faces)


def prism(profile, width: float, colours, sun, *, narrow=None) -> Mesh:
  """A side profile drawn out sideways: car bodies and cabins.

  Args:
    profile: corners `(y, z)`, convex, counter-clockwise seen from the right.
    width: metres.
    colours: one per edge (edge k joins corner k and k + 1), then the sides'.
    sun: unit vector, own axes.
    narrow: half widths per corner instead of `width / 2` everywhere.
  """
  profile = np.asarray(profile, float)
  half = np.full(len(profile), width / 2) if narrow is None else narrow
  left = np.column_stack([-np.asarray(half), profile])
  right = np.column_stack([half, profile])
  faces = []
  for k in range(len(profile)):
    n = (k + 1) % len(profile)
    y, z = profile[n] - profile[k]
    tone = np.asarray(colours[k]) * shade((0, z, -y), sun)
    faces.append(grid(left[k], right[k], right[n], left[n], colour=tone))
  fan = [(0, k, k + 1) for k in range(1, len(profile) - 1)]
  for side, sign in ((left, -1), (right, 1)):
    tone = np.asarray(colours[-1]) * shade((sign, 0, 0), sun)
    faces.append(
      Mesh(
        side,
        np.zeros((len(side), 2)),
        np.tile(tone, (len(side), 1)),
        np.asarray(fan),
      )
    )
  return merge(*faces)


def cylinder(radius, height, colour, sun, *, sides=7, top=None) -> Mesh:
  """An upright cylinder or cone stump with a cap; `top` is the upper radius."""
  turn = np.linspace(0, 2 * np.pi, sides + 1)
  rim = np.stack([np.cos(turn), np.sin(turn)], 1)
  low = np.column_stack([rim * radius, np.zeros(sides + 1)])
  upper = radius if top is None else top
  high = np.column_stack([rim * upper, np.full(sides + 1, height)])
  faces = [
    grid(
      low[k],
      low[k + 1],
      high[k + 1],
      high[k],
      uv=((k / sides, 0), ((k + 1) / sides, 1)),
      colour=np.asarray(colour) * shade([*(rim[k] + rim[k + 1]), 0], sun),
    )
    for k in range(sides)
  ]
  cap = np.asarray(colour) * shade((0, 0, 1), sun)
  fan = np.asarray([(0, k, k + 1) for k in range(1, sides - 1)])
  faces.append(
    Mesh(high, np.zeros((sides + 1, 2)), np.tile(cap, (sides + 1, 1)), fan)
  )
  return merge(*faces)


def crossed(width, height, colour, *, cards=3, lift=0.0) -> Mesh:
  """Upright cards that cross in the middle: foliage, with an alpha texture."""
  faces = []
  for k in range(cards):
    turn = np.pi * k / cards
    x, y = np.cos(turn) * width / 2, np.sin(turn) * width / 2
    tone = np.asarray(colour) * (0.82 + 0.36 * k / max(cards - 1, 1))
    faces.append(
      grid(
        (-x, -y, lift),
        (x, y, lift),
        (x, y, lift + height),
        (-x, -y, lift + height),
        (2, 2),
        colour=tone,
      )
    )
  return merge(*faces)
