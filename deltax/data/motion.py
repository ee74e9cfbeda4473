"""Optical flow between real frames, for scores of temporal consistency."""

import cv2
import numpy as np


def dis_flow(previous, current) -> tuple[np.ndarray, np.ndarray]:
  """Dense motion by DIS (dense inverse search), checked in both directions.

  Args:
    previous, current: uint8 `[H, W, 3]` RGB, at least 16 pixels a side.

  Returns:
    flow: float32 `[H, W, 2]`, `(dx, dy)` in pixels: what is at `(x, y)` in
      `current` was at `(x + dx, y + dy)` in `previous`.
    valid: bool `[H, W]`. False where the way there and back ends elsewhere
      (covered or uncovered surfaces) or leaves the picture.

  Raises:
    ValueError: frames of different shape, or no uint8 RGB.

  Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search (2016);
    the two-way test is that of Sundaram et al. (2010).
  """
  previous, current = np.asarray(previous), np.asarray(current)
  for frame in (previous, current):
    shape = frame.shape
    if frame.dtype != np.uint8 or frame.ndim != 3 or shape[2] != 3:
      raise ValueError(f'expected uint8 [H, W, 3], got {frame.dtype} {shape}')
  if previous.shape != current.shape or min(current.shape[:2]) < 16:
    raise ValueError(
      'expected two frames of one shape, at least 16 pixels a side, got '
      f'{previous.shape} and {current.shape}'
    )
  before, after = (
    cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (previous, current)
  )
  search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  flow = search.calc(after, before, None)
  back = search.calc(before, after, None)
  height, width = after.shape
  y, x = np.mgrid[:height, :width].astype(np.float32)
  there_x, there_y = x + flow[..., 0], y + flow[..., 1]
  returned = cv2.remap(back, there_x, there_y, cv2.INTER_LINEAR)
  # Where the same surface is seen in both frames, the way back cancels the way
  # there, up to an error that grows with the motion.
  miss = np.sum((flow + returned) ** 2, -1)
  reach = np.sum(flow**2 + returned**2, -1)
  inside = (there_x >= 0) & (there_x <= width - 1)
  inside &= (there_y >= 0) & (there_y <= height - 1)
  return flow, inside & (miss <= 0.01 * reach + 0.5)


def follow(frames) -> dict[str, np.ndarray]:
  """Motion of every frame of a clip to the one before, by `dis_flow`.

  Args:
    frames: uint8 `[T, H, W, 3]` RGB.

  Returns:
    'flow' float32 `[T, H, W, 2]` and 'visible' bool `[T, H, W]`; both are 0 for
    the first frame.
  """
  shape = frames.shape[:3]
  flow, visible = np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
  for t in range(1, len(frames)):
    flow[t], visible[t] = dis_flow(frames[t - 1], frames[t])
  return {'flow': flow, 'visible': visible}
