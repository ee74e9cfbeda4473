"""Labels by a frame-based network, where it is sure of them.

Source: Habibian et al., ECCV 2022, section 4.2: training on pseudo-labels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from deltax import models
from deltax.data.video.frames import resize
from deltax.models.inputs import normalise
from deltax.tasks.parts import variables_of
from deltax.tasks.segmentation.parts import upsample
from deltax.tasks.video.viewer import MULTIPLE
from deltax.types import IGNORE, Array, ModelState, Params


def make_labeller(
  params: Params,
  model_state: ModelState,
  *,
  model: str,
  num_classes: int,
  threshold: float,
) -> Callable[[np.ndarray], np.ndarray]:
  """What labels a frame with the teacher of a run.

  Args:
    params: of the run.
    model_state: of the run.
    model: name of its network.
    num_classes: K.
    threshold: a pixel is labelled if its class has at least this probability.

  Returns:
    `(frame uint8 [H, W, 3] RGB) -> uint8 [H, W]`, 0 to K - 1, or 255. A frame
    whose sides the network does not take is shown to it a little scaled.
  """
  net = models.create(model, num_classes=num_classes)
  variables = variables_of(params, model_state)

  def labelled(variables, frame, size):
    logits = net.apply(variables, normalise(frame[None]))
    return confident(upsample(logits[None], size)[0, 0], threshold)

  labelled = jax.jit(labelled, static_argnames='size')

  def label(frame):
    size = frame.shape[:2]
    taken = tuple(MULTIPLE * max(1, round(side / MULTIPLE)) for side in size)
    if taken != size:
      frame = resize(frame, taken)
    return np.asarray(labelled(variables, frame, size))

  return label


def confident(logits: Array, threshold: float) -> Array:
  """The class of every place where its probability is high enough.

  Args:
    logits: `[..., K]` scores; K below 256.
    threshold: probability, 0 to 1.

  Returns:
    uint8 `[...]`; 255 where the largest probability is below the threshold, or
    no number.

  >>> confident(jnp.array([[0.0, 3.0], [1.0, 0.0], [0.0, jnp.nan]]), 0.9)
  Array([  1, 255, 255], dtype=uint8)
  """
  sure = jax.nn.softmax(logits).max(-1) >= threshold
  return jnp.where(sure, logits.argmax(-1), IGNORE).astype(jnp.uint8)
