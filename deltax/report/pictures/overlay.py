"""What a network sees, drawn into the frames of a video."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deltax.report.pictures import labels
from deltax.report.style import DARK

MOST = 0.25  # share of the picture that a legend may cover
_DARK, _WHITE = (20, 22, 25, 190), (255, 255, 255, 255)


def blend(
  frame: np.ndarray,
  classes: np.ndarray,
  palette: Sequence[Sequence[int]] | np.ndarray,
  share: float,
) -> np.ndarray:
  """Lays the colours of classes over a frame.

  Args:
    frame: uint8 `[H, W, 3]`.
    classes: integer `[h, w]`, 0 to K - 1, at any size.
    palette: `[K, 3]`, red, green and blue of each class, 0 to 255.
    share: of the colours, 0 to 1.

  Returns:
    uint8 `[H, W, 3]`.

  Example:
    >>> frame = np.full((2, 2, 3), 100, np.uint8)
    >>> blend(frame, np.array([[0]]), [[200, 0, 100]], 0.5)[1, 1].tolist()
    [150, 50, 100]
  """
  colours = Image.fromarray(np.asarray(classes, np.uint8))
  colours.putpalette(np.asarray(palette, np.uint8).ravel().tolist())
  size = frame.shape[1], frame.shape[0]
  colours = colours.resize(size, Image.Resampling.NEAREST).convert('RGB')
  return np.asarray(Image.blend(Image.fromarray(frame), colours, share))


def boxes(
  frame: np.ndarray,
  detections: Mapping[str, np.ndarray],
  *,
  palette: Sequence[Sequence[int]] | np.ndarray,
  names: Sequence[str],
) -> np.ndarray:
  """Draws boxes with their class and score over a frame.

  Args:
    frame: uint8 `[H, W, 3]`.
    detections: 'boxes' `[N, 4]`, (x0, y0, x1, y1) in pixels of the frame;
      'scores' `[N]`, and 'classes' `[N]`, -1 for no box. Those of a score below
      `labels.SHOWN` are left out.
    palette: `[K, 3]`, 0 to 255.
    names: of the K classes.

  Returns:
    uint8 `[H, W, 3]`.
  """
  _, letter = _font(frame.shape[:2])
  canvas = Image.fromarray(frame)
  labels.paint_boxes(
    canvas,
    **detections,
    palette=palette,
    names=names,
    letter=letter,
    line=max(1, letter // 8),
  )
  return np.asarray(canvas)


def legend(
  names: Sequence[str],
  palette: Sequence[Sequence[int]] | np.ndarray,
  size: tuple[int, int],
) -> Image.Image | None:
  """A panel that names the colours.

  Args:
    names: of the K classes.
    palette: `[K, 3]`, 0 to 255.
    size: (H, W) of the frames.

  Returns:
    A picture with transparency; None where it would cover more than `MOST` of
    the frames.
  """
  font, letter = _font(size)
  line = round(1.3 * letter)
  rows = min(len(names), max(1, int(0.6 * size[0]) // line))
  columns = -(-len(names) // rows)
  rows = -(-len(names) // columns)
  text = max(font.getlength(name) for name in names)
  column = round(text + 2.2 * letter)
  width, height = columns * column, rows * line + letter // 2
  if width > size[1] or width * height > MOST * size[0] * size[1]:
    return None
  panel = Image.new('RGBA', (width, height), _DARK)
  draw = ImageDraw.Draw(panel)
  for k, name in enumerate(names):
    x = k // rows * column + letter // 2
    y = k % rows * line + letter // 4 + line / 2
    colour = tuple(int(level) for level in palette[k])
    half = letter / 2 - 1
    draw.rectangle((x, y - half, x + 2 * half, y + half), fill=colour)
    draw.text((x + 1.4 * letter, y), name, _WHITE, font, anchor='lm')
  return panel


def key_mark(size: tuple[int, int]) -> Image.Image:
  """A small panel that says 'key' for frames of (H, W)."""
  font, letter = _font(size)
  width = round(font.getlength('key') + 1.8 * letter)
  panel = Image.new('RGBA', (width, round(1.6 * letter)), _DARK)
  draw = ImageDraw.Draw(panel)
  y, radius = panel.height / 2, letter / 4
  x = letter * 0.7
  draw.ellipse(
    (x - radius, y - radius, x + radius, y + radius), fill=DARK['teacher']
  )
  draw.text((x + 0.6 * letter, y), 'key', _WHITE, font, anchor='lm')
  return panel


def lay(
  frame: np.ndarray, panel: Image.Image, *, right: bool, top: bool
) -> np.ndarray:
  """Lays a panel into a corner of a uint8 `[H, W, 3]` frame."""
  canvas = Image.fromarray(frame)
  x = canvas.width - panel.width if right else 0
  y = 0 if top else canvas.height - panel.height
  canvas.paste(panel, (x, y), panel)
  return np.asarray(canvas)


def _font(size: tuple[int, int]):
  """A font for pictures of (H, W), and the size of its letters in pixels."""
  letter = max(9, round(min(size) / 38))
  return ImageFont.load_default(letter), letter
