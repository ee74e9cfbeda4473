"""Label maps and their differences as pictures, inline in a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from deltax.report.style import LIGHT

IGNORE = 255
WIDEST = 512  # pixels; wider pictures are thinned out, to keep the page light

# Pixels of an error map, by how many of (teacher, delta) are wrong there.
ERRORS = {
  'both right': '#e4e6e8',
  'only the teacher wrong': LIGHT['teacher'],
  'only delta wrong': LIGHT['delta'],
  'both wrong': '#4d535a',
  'no label': '#000000',
}
CHANGES = {'the same class': '#e4e6e8', 'another class': LIGHT['delta']}


def colourise(
  labels: np.ndarray, palette: Sequence[Sequence[int]] | np.ndarray
) -> np.ndarray:
  """Paints a label map.

  >>> colourise(np.array([[1, 255]]), [[9, 9, 9], [10, 20, 30]]).tolist()
  [[[10, 20, 30], [0, 0, 0]]]

  Args:
    labels: integer `[..., H, W]`, classes 0 to K - 1; 255 (ignored) is black.
    palette: `[K, 3]`, red, green and blue of each class, 0 to 255.

  Returns:
    uint8 `[..., H, W, 3]`.

  Raises:
    ValueError: a label is neither a class nor 255.
  """
  labels = np.asarray(labels)
  colours = np.zeros((IGNORE + 1, 3), np.uint8)
  colours[: len(palette)] = palette
  unknown = np.setdiff1d(labels, [*range(len(palette)), IGNORE])
  if unknown.size:
    raise ValueError(
      f'label {unknown[0]} has no colour: the palette has {len(palette)} '
      f'classes (0 to {len(palette) - 1}), and {IGNORE} is ignored'
    )
  return colours[labels]


def errors(
  label: np.ndarray, teacher: np.ndarray, delta: np.ndarray
) -> np.ndarray:
  """Paints who is wrong where, in the colours of `ERRORS`.

  Args:
    label: integer `[H, W]`; 255 is not judged.
    teacher: integer `[H, W]`, the teacher's classes.
    delta: integer `[H, W]`, the delta network's classes.

  Returns:
    uint8 `[H, W, 3]`.
  """
  wrong = (teacher != label) + 2 * (delta != label)
  return _paint(np.where(label == IGNORE, 4, wrong), ERRORS)


def changes(teacher: np.ndarray, delta: np.ndarray) -> np.ndarray:
  """Paints where two integer `[H, W]` maps differ: uint8 `[H, W, 3]`."""
  return _paint((teacher != delta).astype(int), CHANGES)


def _paint(index: np.ndarray, colours: dict[str, str]) -> np.ndarray:
  table = [list(bytes.fromhex(value[1:])) for value in colours.values()]
  return np.array(table, np.uint8)[index]


def data_uri(picture: np.ndarray) -> str:
  """A uint8 `[H, W, 3]` picture as the address of an inline PNG."""
  stride = -(-picture.shape[1] // WIDEST)
  buffer = io.BytesIO()
  Image.fromarray(picture[::stride, ::stride]).save(
    buffer, 'png', optimize=True
  )
  return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
