"""Procedural textures of the street, from a numpy generator; no files.

Each is uint8 `[H, W, 3]` (or `[H, W, 4]` with alpha 0 or 255), row 0 on top.
"""

import cv2
import numpy as np


def noise(rng, size, cells, octaves=4) -> np.ndarray:
  """Smooth tileable noise `[H, W]` in 0..1; `cells` bumps across at first."""
  height, width = size
  total = np.zeros(size, np.float32)
  for octave in range(octaves):
    count = cells * 2**octave
    values = rng.random((count, count), np.float32)
    values = np.pad(values, 2, mode='wrap')
    scale_y, scale_x = height / count, width / count
    big = cv2.resize(
      values,
      (round(values.shape[1] * scale_x), round(values.shape[0] * scale_y)),
      interpolation=cv2.INTER_CUBIC,
    )
    y, x = round(2 * scale_y), round(2 * scale_x)
    total += big[y : y + height, x : x + width] / 2**octave
  low, high = total.min(), total.max()
  return (total - low) / max(high - low, 1e-6)


def _uint8(image) -> np.ndarray:
  return np.clip(image * 255, 0, 255).astype(np.uint8)


def mottled(rng, colour, *, contrast=0.25, cells=6, grain=0.05, size=128):
  """A surface of one colour with stains and grain: asphalt, grass, plaster."""
  stains = noise(rng, (size, size), cells)[..., None] - 0.5
  grains = rng.normal(0, grain, (size, size, 1))
  return _uint8(np.asarray(colour) * (1 + contrast * stains + grains))


def road(rng, colour, lines, *, contrast=0.3) -> np.ndarray:
  """Asphalt across the whole road with lane markings, 12 m along.

  Args:
    colour: of the asphalt.
    lines: rows `(position, width, dashed)`; position and width are shares of
      the road's width.
  """
  height, width = 256, 256
  image = np.ones((height, width, 3)) * np.asarray(colour)
  image *= 1 + contrast * (noise(rng, (height, width), 5)[..., None] - 0.5)
  image *= 1 + rng.normal(0, 0.06, (height, width, 1))
  for _ in range(rng.integers(0, 5)):  # patches where the road was mended
    y, x = rng.integers(0, height - 40), rng.integers(0, width - 60)
    h, w = rng.integers(15, 40), rng.integers(15, 60)
    image[y : y + h, x : x + w] *= rng.uniform(0.75, 1.2)
  for position, share, dashed in lines:
    half = max(1, round(share * width / 2))
    middle = round(position * (width - 1))
    rows = slice(0, height // 3) if dashed else slice(None)
    paint = rng.uniform(0.7, 0.9) * (0.8 + 0.2 * rng.random((height, 1, 1)))
    image[rows, max(0, middle - half) : middle + half] = paint[rows]
  return _uint8(image)


def paving(rng, colour, *, tiles=4, size=128) -> np.ndarray:
  """Slabs with dark joints."""
  image = mottled(rng, colour, contrast=0.2, size=size) / 255.0
  shades = rng.uniform(0.92, 1.08, (tiles, tiles))
  image *= np.kron(shades, np.ones((size // tiles,) * 2))[..., None]
  image[:: size // tiles] *= 0.75
  image[:, :: size // tiles] *= 0.75
  return _uint8(image)


def facade(rng, wall, glass, *, size=128) -> np.ndarray:
  """Two by two windows (one repetition is two storeys) on brick or plaster."""
  image = mottled(rng, wall, contrast=0.2, grain=0.03, size=size) / 255.0
  if rng.random() < 0.5:  # bricks
    image[::6] *= 0.85
    image[:, ::16] *= 0.92
  across, up = int(rng.integers(2, 4)), 2
  cell_x, cell_y = size // across, size // up
  wide, high = rng.uniform(0.4, 0.75), rng.uniform(0.45, 0.7)
  frame = np.clip(np.asarray(wall) * rng.uniform(0.5, 1.6), 0, 1)
  for i in range(across):
    for j in range(up):
      w, h = int(cell_x * wide), int(cell_y * high)
      x = i * cell_x + (cell_x - w) // 2
      y = j * cell_y + (cell_y - h) // 2
      image[y - 2 : y + h + 2, x - 2 : x + w + 2] = frame
      pane = np.asarray(glass) * rng.uniform(0.6, 1.5)
      slope = np.linspace(1.3, 0.8, h)[:, None, None]
      image[y : y + h, x : x + w] = pane * slope
      image[y : y + h, x + w // 2] = frame
  return _uint8(image)


def leaves(rng, colour, *, size=128, round_crown=True) -> np.ndarray:
  """Foliage with alpha: clumps of leaves, ragged at the rim."""
  tone = noise(rng, (size, size), 8)[..., None]
  speckle = rng.normal(0, 0.12, (size, size, 1))
  image = np.asarray(colour) * (0.45 + 0.9 * tone + speckle)
  y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
  holes = noise(rng, (size, size), 7)
  if round_crown:
    solid = np.hypot(x, y) + 0.55 * (holes - 0.5) < 0.86
  else:
    solid = (np.abs(x) < 1.1) & (y + 0.6 * (holes - 0.5) > -0.75)
  solid &= noise(rng, (size, size), 16, 2) > 0.22
  return np.concatenate([_uint8(image), _uint8(solid[..., None] * 1.0)], -1)


def sky(rng, zenith, horizon, clouds) -> np.ndarray:
  """A panorama: row 0 at the zenith, last row at the horizon."""
  height, width = 128, 512
  up = np.linspace(1, 0, height)[:, None, None] ** 0.8
  image = up * np.asarray(zenith) + (1 - up) * np.asarray(horizon)
  puffs = noise(rng, (height, width), 4, 5)[..., None]
  cover = np.clip((puffs - (1 - clouds)) * 3, 0, 1)
  white = np.ones(3) * (0.75 + 0.25 * np.mean(horizon)) * (0.8 + 0.2 * puffs)
  return _uint8(image * (1 - cover) + white * cover)


def skyline(rng, colour, kind) -> np.ndarray:
  """A far band with alpha: 'trees' or 'houses', 512 columns around."""
  height, width = 64, 512
  if kind == 'trees':
    edge = 0.2 + 0.5 * noise(rng, (1, width), 10, 5)[0]
  else:
    edge = np.repeat(rng.uniform(0.2, 0.9, width // 8), 8)
  rows = 1 - np.arange(height)[:, None] / height
  solid = rows < edge
  grains = rng.normal(1, 0.08, (height, width, 1))
  image = np.ones((height, width, 3)) * np.asarray(colour) * grains
  return np.concatenate([_uint8(image), _uint8(solid[..., None] * 1.0)], -1)


def sign(rng, kind) -> np.ndarray:
  """A sign's face with alpha: 'round', 'triangle', 'square' or 'board'."""
  size = 64
  image = np.zeros((size, size, 4), np.uint8)
  centre = size // 2
  red, blue, white = (190, 25, 30, 255), (25, 70, 160, 255), (235,) * 3 + (255,)
  yellow, green, dark = (
    (235, 190, 30, 255),
    (20, 110, 60, 255),
    (25,) * 3 + (255,),
  )
  if kind == 'round':
    rim, face = [(red, white), (blue, blue), (red, red)][rng.integers(3)]
    cv2.circle(image, (centre, centre), centre - 1, rim, -1)
    cv2.circle(image, (centre, centre), centre - 10, face, -1)
    ink = dark if face == white else white
    cv2.rectangle(image, (18, 28), (46, 36), ink, -1)
  elif kind == 'triangle':
    outer = np.array([[centre, 1], [size - 2, size - 4], [1, size - 4]])
    inner = (outer - outer.mean(0)) * 0.6 + outer.mean(0)
    if rng.random() < 0.4:  # give way
      outer[:, 1], inner[:, 1] = size - 1 - outer[:, 1], size - 1 - inner[:, 1]
    cv2.fillPoly(image, [outer.astype(np.int32)], red)
    cv2.fillPoly(image, [inner.astype(np.int32)], white)
    cv2.circle(image, (centre, centre + 4), 4, dark, -1)
  else:
    face = [blue, yellow, green, white][rng.integers(4)]
    ink = dark if face in (yellow, white) else white
    image[:] = ink
    image[3:-3, 3:-3] = face
    for k in range(rng.integers(1, 4)):
      y = 12 + 16 * k
      cv2.rectangle(image, (10, y), (int(rng.integers(30, 56)), y + 6), ink, -1)
  return image
