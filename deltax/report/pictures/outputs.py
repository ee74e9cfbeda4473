"""Any output of a network as a picture, and where two of them differ."""

import colorsys
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from deltax.report.pictures import labels

# From nothing to most: dark, violet, orange, light.
_HEAT = np.array(
  [(18, 16, 28), (84, 30, 110), (190, 60, 80), (246, 150, 40), (252, 250, 190)]
)
BINARY = {  # of what is yes for one, the other, both, neither
  'nothing for either': '#15181c',
  'only the network': '#c06a00',
  'only delta, or the copy': '#0b66ad',
  'both': '#e4e6e8',
}


def palette_of(classes: int) -> np.ndarray:
  """uint8 `[K, 3]`, colours of classes that have none of their own.

  Neighbours lie far apart on the circle of hues.
  """
  turn = (math.sqrt(5) - 1) / 2
  rows = [
    colorsys.hls_to_rgb(k * turn % 1, 0.35 + 0.1 * (k % 4), 0.6)
    for k in range(classes)
  ]
  return np.round(255 * np.reshape(rows, (-1, 3))).astype(np.uint8)


def painter(
  kind: str, target: np.ndarray, size: tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray]:
  """What paints outputs of one kind, on one scale.

  Args:
    kind: one of `deltax.tasks.imitation.kinds.KINDS`.
    target: the network's own output on a frame, without a batch, `[h, w, K]`,
      `[tokens, K]` or `[K]`; it sets the scale.
    size: (H, W) of the pictures.

  Returns:
    `(output) -> uint8 [H, W, 3]`. Scores of classes are coloured by the class,
    probabilities are heat, and so is what else has one channel; features are
    their three main directions as red, green and blue.
  """
  paint = _painter(kind, as_map(target))
  return lambda output: _sized(paint(as_map(output)), size)


def _painter(kind: str, target: np.ndarray) -> Callable:
  if kind in ('classes', 'class_probabilities'):
    table = palette_of(target.shape[-1])
    return lambda x: table[x.argmax(-1)]
  if kind == 'probabilities':
    return lambda x: heat(x.max(-1))
  if kind == 'logits':
    return lambda x: heat(1 / (1 + np.exp(-x.max(-1).clip(-30, 30))))
  if target.shape[-1] == 1:
    low, span = _range(target)
    return lambda x: heat((x[..., 0] - low) / span)
  places = target.reshape(-1, target.shape[-1])
  mean = places.mean(0)
  _, _, directions = np.linalg.svd(places - mean, full_matrices=False)
  main = np.zeros((len(mean), 3))
  main[:, : len(directions[:3])] = directions[:3].T
  low, span = _range((target - mean) @ main)

  def paint(x):
    return _bytes(((x - mean) @ main - low) / span)

  return paint


def difference(
  kind: str, target: np.ndarray, other: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
  """Where an output is not the network's own.

  Args:
    kind: see `painter`.
    target: the network's own, without a batch.
    other: another of the same shape.
    size: (H, W) of the picture.

  Returns:
    uint8 `[H, W, 3]`: of classes, `labels.CHANGES`; of what is yes or no, the
    colours of `BINARY`; of all else heat, from no difference to one as large as
    the output's own spread, or to features at a right angle.
  """
  target, other = as_map(target), as_map(other)
  if kind in ('classes', 'class_probabilities'):
    picture = labels.changes(target.argmax(-1), other.argmax(-1))
  elif kind in ('logits', 'probabilities'):
    least = 0.0 if kind == 'logits' else 0.5
    yes, also = target.max(-1) > least, other.max(-1) > least
    picture = _binary(yes + 2 * also)
  elif kind == 'features':
    sizes = np.linalg.norm(target, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = (target * other).sum(-1) / np.maximum(sizes, 1e-12)
    picture = heat(np.where(sizes > 0, 1 - cosine, 0))
  else:
    off = np.linalg.norm(target - other, axis=-1)
    spread = np.linalg.norm(target.std((0, 1)))
    picture = heat(off / (spread or 1))
  return _sized(picture, size)


def keys_of(kind: str) -> dict[str, str]:
  """Names of the colours of `difference`; none for heat."""
  if kind in ('classes', 'class_probabilities'):
    return dict(labels.CHANGES)
  return dict(BINARY) if kind in ('logits', 'probabilities') else {}


def prepared(frame: np.ndarray) -> np.ndarray:
  """What a network takes, `[h, w, C]`, stretched to uint8 `[h, w, 3]`.

  The first three channels, in their order: blue in the place of red is seen.
  """
  frame = np.asarray(frame, np.float64)
  low, span = frame.min(), np.ptp(frame) or 1.0
  channels = frame[..., :3] if frame.shape[-1] >= 3 else frame[..., :1]
  picture = np.broadcast_to(channels, (*frame.shape[:-1], 3))
  return _bytes((picture - low) / span)


def as_map(output: np.ndarray) -> np.ndarray:
  """`[h, w, K]` float64 of an output without a batch.

  Tokens lie in a square where they fill one, else in a column; a vector is a
  row of values.
  """
  output = np.asarray(output, np.float64)
  if output.ndim == 1:
    return output[None, :, None]
  if output.ndim == 2:
    side = math.isqrt(len(output))
    rows = side if side * side == len(output) else len(output)
    return output.reshape(rows, -1, output.shape[-1])
  return output.reshape(*output.shape[:2], -1)


def heat(values: np.ndarray) -> np.ndarray:
  """`[..., ]` 0 to 1 as colours, uint8 `[..., 3]`; NaN is black."""
  place = np.nan_to_num(values, nan=-1).clip(-1, 1) * (len(_HEAT) - 1)
  channels = [
    np.interp(place, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)
  ]
  picture = np.stack(channels, -1)
  return np.round(np.where(place[..., None] < 0, 0, picture)).astype(np.uint8)


def _range(x: np.ndarray) -> tuple[float, float]:
  """The least, and how far the rest goes; a few outliers are left out."""
  low, high = np.percentile(x, (1, 99))
  return low, (high - low) or 1.0


def _bytes(x: np.ndarray) -> np.ndarray:
  return np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


def _binary(index: np.ndarray) -> np.ndarray:
  table = [list(bytes.fromhex(value[1:])) for value in BINARY.values()]
  return np.array(table, np.uint8)[index]


def _sized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A picture of small maps has visible pixels, so that they are seen."""
  resized = Image.fromarray(picture).resize(
    (size[1], size[0]), Image.Resampling.NEAREST
  )
  return np.asarray(resized)
