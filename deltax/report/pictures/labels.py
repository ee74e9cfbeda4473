"""Label maps, their differences, and boxes as pictures, inline in a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deltax.report.style import LIGHT
from deltax.types import IGNORE

WIDEST = 512  # pixels; wider pictures are thinned out, to keep the page light
DRAWN = 768  # pixels; about so wide are pictures with boxes
SHOWN = 0.3  # the lowest score of a box that is drawn

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


def thin(picture: np.ndarray) -> np.ndarray:
  """Every n-th pixel of a `[H, W, 3]` picture that is wider than `WIDEST`."""
  stride = -(-picture.shape[1] // WIDEST)
  return picture[::stride, ::stride]


def draw_boxes(
  frame: np.ndarray,
  boxes: np.ndarray,
  classes: np.ndarray,
  scores: np.ndarray | None = None,
  *,
  palette: Sequence[Sequence[int]] | np.ndarray,
  names: Sequence[str],
) -> np.ndarray:
  """Draws boxes and their names over an enlarged frame.

  Args:
    frame: uint8 `[H, W, 3]`.
    boxes: `[N, 4]`, (x0, y0, x1, y1) in pixels of the frame.
    classes: integer `[N]`, -1 for no box.
    scores: `[N]`, 0 to 1, written beside the names; the lowest lie undermost,
      and those below `SHOWN` are left out.
    palette: `[K, 3]`, red, green and blue of each class, 0 to 255.
    names: of the K classes.

  Returns:
    uint8 `[s H, s W, 3]`, s the whole number that makes small frames about
    `DRAWN` pixels wide, where lines and letters are sharp.
  """
  scale = max(1, round(DRAWN / frame.shape[1]))
  canvas = Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1))
  letter, line = max(10, canvas.width // 34), max(2, canvas.width // 256)
  boxes = scale * np.asarray(boxes, float)
  looks = {'palette': palette, 'names': names, 'letter': letter, 'line': line}
  paint_boxes(canvas, boxes, classes, scores, **looks)
  return np.asarray(canvas)


def paint_boxes(
  canvas: Image.Image,
  boxes: np.ndarray,
  classes: np.ndarray,
  scores: np.ndarray | None,
  *,
  palette: Sequence[Sequence[int]] | np.ndarray,
  names: Sequence[str],
  letter: int,
  line: int,
) -> None:
  """Paints boxes and their names into a picture.

  Args:
    canvas: RGB.
    boxes: `[N, 4]`, (x0, y0, x1, y1) in pixels of the canvas.
    classes: see `draw_boxes`, as `scores`, `palette` and `names`.
    scores: `[N]`.
    palette: `[K, 3]`.
    names: of the K classes.
    letter: size of the letters, pixels.
    line: width of the lines, pixels.
  """
  draw = ImageDraw.Draw(canvas)
  font = ImageFont.load_default(letter)
  classes = np.asarray(classes)
  shown = classes >= 0
  order = np.arange(len(classes))
  if scores is not None:
    shown &= np.asarray(scores) >= SHOWN
    order = np.argsort(scores, kind='stable')
  for n in order[shown[order]]:
    colour = tuple(int(level) for level in palette[classes[n]])
    text = names[classes[n]] + ('' if scores is None else f' {scores[n]:.2f}')
    x0, y0, x1, y1 = (round(float(x)) for x in boxes[n])
    x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)  # exclusive
    ink = _ink(colour)
    draw.rectangle(
      (x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=ink, width=line + 2
    )
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    width, height = int(draw.textlength(text, font)) + 4, int(1.15 * letter)
    left = min(max(x0, 0), max(canvas.width - width, 0))
    top = y0 - height if y0 >= height else max(y0, 0)
    draw.rectangle((left, top, left + width, top + height), fill=colour)
    draw.text((left + 2, top + height / 2), text, ink, font, anchor='lm')


def _ink(colour: Sequence[int]) -> tuple[int, int, int]:
  """Black or white, whichever is easier to read on a colour."""
  red, green, blue = colour
  bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
  return (0, 0, 0) if bright else (255, 255, 255)


def data_uri(picture: np.ndarray) -> str:
  """A uint8 `[H, W, 3]` picture as the address of an inline PNG."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, 'png', optimize=True)
  return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
