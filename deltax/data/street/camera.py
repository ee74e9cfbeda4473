"""What a camera in a car would record of a clean rendering; exact motion."""

import cv2
import numpy as np

FAR_DEPTH = 300.0  # metres; sky and skyline, which turn with the camera only


def develop(colours, depth, look, time: float, rng) -> np.ndarray:
  """A photograph: fog, exposure, motion blur, noise, JPEG.

  Args:
    colours: uint8 `[s * H, s * W, 3]` renderings while the shutter is open.
    depth: float `[H, W]`, metres; inf in the sky.
    look: weather and camera, a `scene.Look`.
    time: seconds since the clip's start.
    rng: numpy generator, for the noise.

  Returns:
    uint8 `[H, W, 3]`.
  """
  height, width = depth.shape
  small = [
    cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA)
    for colour in colours
  ]
  image = np.mean(small, 0, dtype=np.float32) / 255
  # Fog: of the light, a share that shrinks with the distance arrives; the rest
  # has the colour of the haze.
  far = np.minimum(depth, FAR_DEPTH)[..., None]
  clear = np.exp(-look.fog * far)
  image = image * clear + look.haze * (1 - clear)
  gain = look.gain * (1 + look.drift * np.sin(2 * time))
  y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
  if look.headlight:
    cone = np.exp(-((x / 0.6) ** 2) - ((y - 0.35) / 0.5) ** 2)[..., None]
    gain = gain + 0.5 * look.headlight * cone * np.exp(-far / 14)
  image = image * gain
  # The lens darkens the corners, the sensor adds noise that grows with the
  # light (as photons do), the file is a JPEG.
  image *= (1 - look.vignette * (x**2 + y**2) / 2)[..., None]
  image = np.clip(image, 0, 1) ** look.contrast
  spread = look.noise * np.sqrt(0.3 + 1.4 * image)
  image = image + spread * rng.standard_normal(image.shape, np.float32)
  image = np.clip(image * 255, 0, 255).astype(np.uint8)
  quality = [cv2.IMWRITE_JPEG_QUALITY, look.jpeg]
  _, data = cv2.imencode('.jpg', image[..., ::-1], quality)
  return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def motion(previous, current, fov: float):
  """Where each pixel was in the frame before, from depth and poses.

  Args:
    previous, current: `renderer.Picture`s of two times.
    fov: horizontal field of view, degrees.

  Returns:
    flow: float32 `[H, W, 2]`, `(dx, dy)` in pixels from current to previous.
    visible: bool `[H, W]`, whether that place shows the same surface.
  """
  height, width = current.labels.shape
  focal = width / 2 / np.tan(np.deg2rad(fov) / 2)
  v, u = np.mgrid[:height, :width].astype(np.float32)
  # Every pixel's surface in the camera's axes: right, forward, up, in metres.
  # What turns with the camera only is so far away that no step moves it.
  x, z = (u + 0.5 - width / 2) / focal, (height / 2 - v - 0.5) / focal
  depth = np.where(current.depth < FAR_DEPTH, current.depth, 1e6)
  points = np.stack([x * depth, depth, z * depth, np.ones_like(depth)], -1)
  points = points @ current.camera  # to the world
  # What is on a moving thing goes back to where the thing was.
  for track in np.unique(current.instances[current.instances > 0]):
    pixels = current.instances == track
    moved = np.linalg.inv(current.poses[track]) @ previous.poses[track]
    points[pixels] = points[pixels] @ moved
  points = points @ np.linalg.inv(previous.camera)
  # Onto the earlier picture. What is behind the camera has no place there.
  reach = np.maximum(points[..., 1], 1e-3)
  there_u = points[..., 0] / reach * focal + width / 2 - 0.5
  there_v = height / 2 - 0.5 - points[..., 2] / reach * focal
  column, row = np.rint(there_u), np.rint(there_v)
  visible = (points[..., 1] > 0.1) & (column >= 0) & (column < width)
  visible &= (row >= 0) & (row < height)
  column = np.clip(column, 0, width - 1).astype(int)
  row = np.clip(row, 0, height - 1).astype(int)
  # The same surface is seen there only if nothing else was in front of it: if
  # the depth agrees, with a margin for slopes and for the rounding to pixels.
  seen = previous.depth[row, column]
  near = np.abs(seen - points[..., 1]) < 0.3 + 0.06 * points[..., 1]
  both_far = (seen >= FAR_DEPTH) & (depth >= FAR_DEPTH)
  visible &= near | both_far
  visible &= previous.labels[row, column] == current.labels
  visible &= previous.instances[row, column] == current.instances
  flow = np.stack([there_u - u, there_v - v], -1)
  return np.where(visible[..., None], flow, 0).astype(np.float32), visible
