"""A trained delta network on a video: what it is shown, what is drawn."""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax import delta, models
from deltax.data import DataInfo, describe
from deltax.data.prefetch import ahead
from deltax.data.video import frames as video_frames
from deltax.delta import Frozen
from deltax.delta.run.streamer import Streamer
from deltax.models.inputs import normalise
from deltax.report.pictures import overlay
from deltax.tasks.detection.detectors import FAMILIES, make_detector
from deltax.tasks.imitation.drawing import make_drawing
from deltax.tasks.imitation.task import kinds_of
from deltax.tasks.network import brought_by
from deltax.tasks.parts import delta_params
from deltax.tasks.segmentation.parts import predict
from deltax.tasks.video.deployed import EveryFrame, OfPixels
from deltax.types import ModelState, Params

Size = tuple[int, int]
MULTIPLE = 8  # of rows and columns: what every network for segmentation takes
# The data of converted checkpoints, by task and classes: it is not stored.
PUBLISHED = {
  ('segmentation', 19): 'cityscapes_video',
  ('detection', 30): 'imagenet_vid',
}


class Viewer(NamedTuple):
  """A network that looks at the frames of one video.

  Attributes:
    frozen: the delta network, of uint8 `[B, h, w, 3]` RGB frames.
    size: (h, w).
    fit: `(frame [H, W, 3]) -> [h, w, 3]`, uint8.
    draw: `(frame [H, W, 3], out, is_key) -> [H, W, 3]`, uint8: what the network
      sees, from its output on the fitted frame; rows and columns are even, the
      last one twice where they were not.
  """

  frozen: OfPixels
  size: Size
  fit: Callable[[np.ndarray], np.ndarray]
  draw: Callable[[np.ndarray, Any, bool], np.ndarray]


def kind_of(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
  """A run's task, and the data set whose classes it knows.

  Args:
    config: stored with the run; of a converted checkpoint its `task` alone.
  """
  task = config.get('task') or {}
  if 'data' in config:
    return task.get('name'), config['data']['name']
  detects = models.family(task.get('model')) in FAMILIES
  kind = 'detection' if detects else 'segmentation'
  data = PUBLISHED.get((kind, task.get('num_classes')))
  return (kind, data) if data else (task.get('name'), None)


def network_size(config: Mapping[str, Any], shape: Size) -> Size | None:
  """The size at which a network sees a video.

  A detector's is the one it was trained at. For segmentation it has the video's
  proportions, and about as many pixels as the frames of the training.

  Args:
    config: of the run.
    shape: (H, W) of the video.

  Returns:
    Rows and columns; None where the config tells no size.

  Example:
    >>> config = {'task': {}, 'data': {'options': {'size': (128, 256)}}}
    >>> network_size(config, (720, 1280))
    (136, 240)
  """
  if size := config['task'].get('size'):
    return tuple(size)
  described = config.get('data', {})
  size = described.get('options', {}).get('size')
  size = size or described.get('train', {}).get('crop')
  if not size:
    return None
  scale = math.sqrt(math.prod(size) / math.prod(shape)) / MULTIPLE
  return tuple(MULTIPLE * max(1, round(scale * side)) for side in shape)


def make_viewer(
  params: Params,
  model_state: ModelState,
  *,
  config: Mapping[str, Any],
  size: Size,
  shape: Size,
  share: float = 0.5,
) -> Viewer:
  """A delta network for one video.

  Args:
    params: of the run.
    model_state: of the run.
    config: of the run, see `kind_of`.
    size: (h, w) at which the network sees the frames.
    shape: (H, W) of the video.
    share: of the class colours over the frame, 0 to 1, for segmentation.

  Returns:
    The viewer.

  Raises:
    ValueError: the network takes no frames of that size.
  """
  kind, data = kind_of(config)
  task, whole = config['task'], delta_params(params, model_state)
  prepare = normalise
  if kind == 'imitation':
    *parts, prepare = _imitation(task, whole['teacher'], size)
  elif kind == 'detection':
    parts = _detection(task, describe(data), whole['teacher'], size, shape)
  else:
    parts = _segmentation(task, describe(data), size, shape, share)
  net, fit, draw = parts
  spec = delta.make_spec(**(task['delta'].get('spec') or {}))
  frame = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  frozen = delta.distill(net, spec).freeze(whole, frame)
  mark = overlay.key_mark(shape)

  def drawn(frame, out, is_key):
    frame = draw(frame, out)
    if is_key:
      frame = overlay.lay(frame, mark, right=True, top=True)
    odd = [(0, side % 2) for side in frame.shape[:2]]
    return np.pad(frame, (*odd, (0, 0)), 'edge')

  return Viewer(OfPixels(frozen, prepare), size, fit, drawn)


def teacher_of(deployed: Frozen | OfPixels) -> EveryFrame:
  """The network for which every frame is a key frame: no students run."""
  return EveryFrame(deployed)


def annotate(
  frames: Iterable[np.ndarray],
  viewer: Viewer,
  streamer: Streamer,
  *,
  times: list[tuple[bool, float]],
  mark: bool = True,
) -> Iterator[np.ndarray]:
  """The frames with what the network sees in them.

  Reading, the network and drawing each have a thread, a few frames apart.

  Args:
    frames: uint8 `[H, W, 3]` RGB.
    viewer: of frames of that size.
    streamer: of the viewer's network.
    times: is filled with every frame's: whether it is a key frame, and the
      network's milliseconds.
    mark: whether key frames are marked.

  Yields:
    uint8 `[H, W, 3]`, see `Viewer`.
  """

  def seen():
    fitted = ((frame, viewer.fit(frame)) for frame in frames)
    for frame, small in ahead(fitted):
      start = time.perf_counter()
      out = jax.block_until_ready(streamer.push(small))
      times.append((streamer.is_key, 1000 * (time.perf_counter() - start)))
      yield frame, out, mark and streamer.is_key

  shown = ahead(seen())
  return ahead(viewer.draw(*shot) for shot in shown)


def _segmentation(
  task: Mapping[str, Any], info: DataInfo, size: Size, shape: Size, share: float
):
  """The network, `fit`, and `draw` without its key mark."""
  net = models.create(task['model'], num_classes=task['num_classes'])
  panel = overlay.legend(info.classes, info.palette, shape)

  @jax.jit
  def classes_of(logits):
    return predict(logits[None, None], size)[0, 0].astype(jnp.uint8)

  def draw(frame, logits):
    classes = np.asarray(classes_of(logits))
    frame = overlay.blend(frame, classes, info.palette, share)
    if panel is None:
      return frame
    return overlay.lay(frame, panel, right=False, top=False)

  return net, functools.partial(video_frames.resize, size=size), draw


def _imitation(task: Mapping[str, Any], variables: Any, size: Size):
  """The network, `fit`, `draw` without its key mark, and `prepare`."""
  brought = brought_by(task)
  kinds = kinds_of(brought, task.get('outputs'), size, variables)
  draw = make_drawing(task.get('draw', ''), kinds)
  fit = functools.partial(video_frames.resize, size=size)
  return brought.net, fit, draw, brought.prepare


def _detection(
  task: Mapping[str, Any],
  info: DataInfo,
  variables: Any,
  size: Size,
  shape: Size,
):
  """The same for boxes; frames keep their proportions, as in training."""
  detector = make_detector(
    task['model'],
    num_classes=task['num_classes'],
    size=size,
    **(task.get('detector') or {}),
  )
  inner = video_frames.fitted(shape, size)
  back = np.tile(np.divide(shape, inner)[::-1], 2)  # x, y, x, y

  @jax.jit
  def detect(variables, out):
    outs = jax.tree.map(lambda x: x[None], out)
    detections = detector.detect(
      variables, outs, jnp.array([inner], jnp.float32)
    )
    return jax.tree.map(lambda x: x[0], detections)

  def draw(frame, out):
    detections = jax.tree.map(np.asarray, detect(variables, out))._asdict()
    detections['boxes'] = detections['boxes'] * back
    return overlay.boxes(
      frame, detections, palette=info.palette, names=info.classes
    )

  return detector.net, functools.partial(video_frames.fit, size=size), draw
