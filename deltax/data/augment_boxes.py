"""Clips with boxes: random changes, and frames of equal shape.

A clip is a dict of

*   'frames': uint8 `[T, h, w, 3]`;
*   'boxes': float32 `[T, N, 4]`, x0, y0, x1, y1 in pixels, x1 and y1 exclusive;
*   'classes': int32 `[T, N]`; a row of class -1 holds no box, but zeros;
*   'size': float32 `[2]`, rows and columns of the picture, which is the frame's
    upper left part;
*   'real': bool `[T]`, False for frames that only fill up the clip.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from absl import logging

from deltax.data.augment import mirror
from deltax.data.labels import NO_BOX

BoxClip = dict[str, np.ndarray]

MEAN_COLOUR = (124, 116, 104)  # of ImageNet, RGB


def make_clip(frames, boxes: Sequence, classes: Sequence) -> BoxClip:
  """A clip from frames and the boxes and classes of each.

  Args:
    frames: uint8 `[T, H, W, 3]`.
    boxes: T arrays `[n, 4]`; n may differ.
    classes: T arrays `[n]`.
  """
  count = max(len(rows) for rows in boxes)
  clip = {
    'frames': frames,
    'boxes': np.zeros((len(frames), count, 4), np.float32),
    'classes': np.full((len(frames), count), NO_BOX, np.int32),
    'size': np.array(frames.shape[1:3], np.float32),
    'real': np.ones(len(frames), bool),
  }
  for t, (rows, kinds) in enumerate(zip(boxes, classes, strict=True)):
    clip['boxes'][t, : len(rows)] = np.reshape(rows, (-1, 4))
    clip['classes'][t, : len(rows)] = kinds
  return clip


def drop(clip: BoxClip, gone) -> BoxClip:
  """Without the boxes that `gone`, bool `[T, N]`, marks."""
  gone = gone | (clip['classes'] == NO_BOX)
  return clip | {
    'boxes': np.where(gone[..., None], np.float32(0), clip['boxes']),
    'classes': np.where(gone, np.int32(NO_BOX), clip['classes']),
  }


def hide(clip: BoxClip, filling) -> BoxClip:
  """Marks frames that only fill up the clip, bool `[T]`; they have no boxes."""
  clip = drop(clip, np.broadcast_to(filling[:, None], clip['classes'].shape))
  return clip | {'real': clip['real'] & ~filling}


def drop_small(clip: BoxClip, side: float) -> BoxClip:
  """Without boxes whose shorter side has less than `side` pixels."""
  return drop(clip, _sides(clip['boxes']).min(-1) < side)


def keep_largest(clip: BoxClip, count: int) -> BoxClip:
  """With exactly `count` rows of boxes: of more, the largest, in their order.

  >>> boxes = [[0, 0, 1, 1], [0, 0, 3, 3], [0, 0, 2, 2]]
  >>> clip = make_clip(np.zeros((1, 9, 9, 3), np.uint8), [boxes], [[7, 8, 9]])
  >>> keep_largest(clip, 2)['classes'].tolist()
  [[8, 9]]
  """
  boxes, classes = clip['boxes'], clip['classes']
  present = classes != NO_BOX
  left_out = int(np.maximum(present.sum(-1) - count, 0).sum())
  if left_out:
    logging.log_every_n(
      logging.WARNING,
      '%d boxes of a clip are left out: the largest %d of a frame are kept',
      100,
      left_out,
      count,
    )
  missing = max(count - boxes.shape[1], 0)
  boxes = np.pad(boxes, ((0, 0), (0, missing), (0, 0)))
  classes = np.pad(classes, ((0, 0), (0, missing)), constant_values=NO_BOX)
  area = np.where(classes == NO_BOX, -1, _area(boxes))
  largest = np.argsort(-area, -1, kind='stable')[:, :count]
  # Boxes first, in the order in which they came.
  absent = np.take_along_axis(classes, largest, 1) == NO_BOX
  order = np.argsort(largest + absent * boxes.shape[1], -1)
  rows = np.take_along_axis(largest, order, 1)
  return clip | {
    'boxes': np.take_along_axis(boxes, rows[..., None], 1),
    'classes': np.take_along_axis(classes, rows, 1),
  }


def flip(clip: BoxClip, rng: np.random.Generator) -> BoxClip:
  """Mirrors whole pictures left and right, half of the time."""
  if rng.random() < 0.5:
    return clip
  boxes = clip['boxes'].copy()
  boxes[..., [0, 2]] = clip['frames'].shape[2] - boxes[..., [2, 0]]
  frames = mirror(clip['frames'])
  return _settle(clip | {'frames': frames, 'boxes': boxes})


def letterbox(clip: BoxClip, size: tuple[int, int]) -> BoxClip:
  """Scales pictures, sides in proportion, until they just fit into `size`.

  Args:
    clip: whole pictures.
    size: height and width; `pad_alike` fills up to them.
  """
  height, width = clip['frames'].shape[1:3]
  scale = min(size[0] / height, size[1] / width)
  scaled = tuple(max(1, int(k * scale + 1e-6)) for k in (height, width))
  return _resize(
    clip, scaled, cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
  )


def resize_sides(clip: BoxClip, sides: tuple[int, int]) -> BoxClip:
  """Scales pictures as far as both sides allow, bilinearly.

  Args:
    clip: whole pictures.
    sides: what the longer and the shorter side may have at most, in pixels.

  Source: the Faster R-CNN recipe of Delta Distillation's published code.
  """
  height, width = clip['frames'].shape[1:3]
  scale = min(max(sides) / max(height, width), min(sides) / min(height, width))
  size = (int(height * scale + 0.5), int(width * scale + 0.5))
  return _resize(clip, size, cv2.INTER_LINEAR)


def shapes_of(sides: tuple[int, int], divisor: int = 16) -> tuple:
  """Wide, high and square frames that hold all pictures of `resize_sides`.

  >>> shapes_of((1000, 600))
  ((608, 1008), (1008, 608), (1008, 1008))
  """
  longer, shorter = (
    -(-side // divisor) * divisor for side in (max(sides), min(sides))
  )
  return (shorter, longer), (longer, shorter), (longer, longer)


def pad_alike(
  batch: Sequence[BoxClip], shapes: Sequence[tuple]
) -> list[BoxClip]:
  """Gives clips the frames of the smallest shape that holds them all.

  Pictures stay in the upper left; the rest has ImageNet's mean colour.

  Raises:
    ValueError: no shape holds them.
  """
  rows, columns = np.max([clip['frames'].shape[1:3] for clip in batch], 0)
  fitting = [s for s in shapes if s[0] >= rows and s[1] >= columns]
  if not fitting:
    raise ValueError(
      f'pictures of {rows} x {columns} pixels fit in no frame of {shapes}'
    )
  shape = min(fitting, key=lambda s: s[0] * s[1])
  return [clip | {'frames': _pad(clip['frames'], shape)} for clip in batch]


def scale_and_crop(
  clip: BoxClip,
  rng: np.random.Generator,
  crop: tuple[int, int],
  scales: tuple[float, float],
  least: float = 0.4,
) -> BoxClip:
  """Scales whole pictures by a random factor and cuts out a random window.

  Args:
    clip: whole pictures.
    rng: generator.
    crop: height and width of the window. Where the scaled picture is smaller,
      it is padded below and right.
    scales: smallest and largest factor; between them it is log-uniform.
    least: share of its area that a box keeps in the window, or is dropped.
  """
  height, width = clip['frames'].shape[1:3]
  # Log-uniform: half the size is as likely as twice the size.
  scale = np.exp(rng.uniform(*np.log(scales)))
  size = (max(1, round(height * scale)), max(1, round(width * scale)))
  y = int(rng.integers(0, max(size[0] - crop[0], 0) + 1))
  x = int(rng.integers(0, max(size[1] - crop[1], 0) + 1))
  clip = _resize(clip, size, cv2.INTER_LINEAR)
  frames = clip['frames'][:, y : y + crop[0], x : x + crop[1]]
  before = _area(clip['boxes'])
  clip = clip | {
    'frames': frames,
    'boxes': clip['boxes'] - np.array([x, y, x, y], np.float32),
    'size': np.array(frames.shape[1:3], np.float32),
  }
  clip = _settle(clip)
  # A box of which little is left would teach to see objects in scraps.
  clip = drop(clip, _area(clip['boxes']) < least * before)
  return clip | {'frames': _pad(frames, crop)}


def _resize(
  clip: BoxClip, size: tuple[int, int], interpolation: int
) -> BoxClip:
  height, width = clip['frames'].shape[1:3]
  if size == (height, width):
    return clip
  frames = [
    cv2.resize(frame, size[::-1], interpolation=interpolation)
    for frame in clip['frames']
  ]
  ratio = np.array([size[1] / width, size[0] / height] * 2, np.float32)
  return _settle(
    clip
    | {
      'frames': np.stack(frames),
      'boxes': clip['boxes'] * ratio,
      'size': np.array(size, np.float32),
    }
  )


def _settle(clip: BoxClip) -> BoxClip:
  """Cuts boxes at the picture's border; drops those that are outside."""
  rows, columns = clip['size']
  border = np.array([columns, rows, columns, rows], np.float32)
  clip = clip | {'boxes': np.clip(clip['boxes'], 0, border)}
  return drop(clip, _area(clip['boxes']) <= 0)


def _sides(boxes) -> np.ndarray:
  return boxes[..., 2:] - boxes[..., :2]


def _area(boxes) -> np.ndarray:
  return _sides(boxes).prod(-1)


def _pad(frames, shape: tuple[int, int]) -> np.ndarray:
  if frames.shape[1:3] == tuple(shape):
    return frames
  padded = np.empty((len(frames), *shape, 3), np.uint8)
  padded[:] = MEAN_COLOUR
  padded[:, : frames.shape[1], : frames.shape[2]] = frames
  return padded
