"""Region features of frames: a backbone, region pooling, whitening.

Any network that gives the maps of its stages can stand here; `EXTRACTORS` has
those that have a name. Source: Kordopatis-Zilos et al., ViSiL, ICCV 2019
(L3-iMAC regions); Distill-and-Select, IJCV 2022, section 3.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax import convert, delta, models, plain
from deltax.convert.packaged import packaged_weights
from deltax.models.inputs import normalise
from deltax.retrieval.fitting import Whitening, whiten
from deltax.retrieval.networks.regions import region_pool
from deltax.retrieval.system import fingerprint
from deltax.types import Array

CHUNK = 16  # frames of one call, so that one program serves any video


class _Backbone(NamedTuple):
  stages: tuple[int, ...]  # of the network's outputs
  packaged: bool  # whether its weights come as a package


EXTRACTORS = {
  'efficientnet_lite0': _Backbone((1, 2, 4, 6), packaged=True),
  'resnet50': _Backbone((0, 1, 2, 3), packaged=False),
}


class Extractor(NamedTuple):
  """Frames to regions; call it.

  Attributes:
    run: uint8 `[CHUNK, H, W, 3]` frames to float32 `[CHUNK, R, D]`; a partial
      application of a function to its weights.
    description: plain values that say what it is.
    arrays: what it computes with: 'variables' and perhaps 'whitening'.
    fingerprint: of both.
  """

  run: Callable[[Array], Array]
  description: Mapping[str, Any]
  arrays: Mapping[str, Any]
  fingerprint: str

  def __call__(self, frames: np.ndarray) -> np.ndarray:
    """Regions of frames.

    Args:
      frames: uint8 `[T, H, W, 3]` RGB.

    Returns:
      float32 `[T, R, D]`, rows of length 1.

    Raises:
      ValueError: frames of another shape or type, or none.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
      raise ValueError(
        f'frames {frames.dtype} {frames.shape}: expected uint8 [T, H, W, 3]'
      )
    if not len(frames):
      raise ValueError('a video without frames has no regions')
    regions = []
    for start in range(0, len(frames), CHUNK):
      chunk = frames[start : start + CHUNK]
      padding = ((0, CHUNK - len(chunk)), (0, 0), (0, 0), (0, 0))
      padded = self.run(np.pad(chunk, padding))
      regions.append(np.asarray(padded)[: len(chunk)])
    return np.concatenate(regions)


def make_extractor(
  name: str,
  *,
  whitening: Whitening | str | os.PathLike | None = None,
  weights: Any = None,
) -> Extractor:
  """Makes an extractor by its name.

  Args:
    name: one of `EXTRACTORS`.
    whitening: arrays, or the file that `deltax whiten` wrote; None leaves the
      regions as they are pooled.
    weights: of the backbone: variables, or a PyTorch file (a classifier's, or
      the published extractor's); None takes packaged ones, where there are any.

  Returns:
    The extractor.

  Raises:
    ValueError: an unknown name, no weights for a network without a package, or
      weights or whitening that do not fit.
    FileNotFoundError: a file is missing.
  """
  if name not in EXTRACTORS:
    raise ValueError(f'no extractor {name!r}; known: {", ".join(EXTRACTORS)}')
  if weights is None:
    if not EXTRACTORS[name].packaged:
      raise ValueError(
        f'{name} has no packaged weights: give a file of published ones'
      )
    weights = packaged_weights(name)
  elif isinstance(weights, str | os.PathLike):
    weights = _read_weights(name, weights)
  net = models.create(name, num_classes=None)
  return _extractor({'name': name}, net.apply, weights, name, whitening)


def make_delta_extractor(
  name: str,
  params: Any,
  *,
  spec: delta.Spec,
  interval: int,
  whitening: Whitening | str | os.PathLike | None = None,
) -> Extractor:
  """Makes an extractor with cheap students between its key frames.

  Every `CHUNK` frames begin with a key frame. It pays where frames are sampled
  densely enough to resemble each other.

  Args:
    name: of the backbone, one of `EXTRACTORS`.
    params: of `deltax.delta.distill(net, spec)` for that backbone without
      classes.
    spec: which layers have which students.
    interval: frames from one key frame to the next.
    whitening: as `make_extractor` takes it.

  Returns:
    The extractor.
  """
  net = models.create(name, num_classes=None)
  distilled = delta.distill(net, spec)

  def apply(params, frames):
    outs = distilled.rollout(params, frames[None], interval=interval)
    return jax.tree.map(lambda x: x[0], outs)

  description = {'name': name, 'interval': interval}
  return _extractor(description, apply, params, name, whitening)


def is_packaged(extractor: Extractor) -> bool:
  """Whether its name alone gives its backbone's weights again."""
  name = extractor.description['name']
  if not EXTRACTORS[name].packaged:
    return False
  weights, packaged = extractor.arrays['variables'], packaged_weights(name)
  return fingerprint({}, weights) == fingerprint({}, packaged)


def read_whitening(path: str | os.PathLike) -> Whitening:
  """Reads what `deltax whiten` wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no file of whitening.
  """
  try:
    arrays = plain.read_arrays(path)
    fitted = Whitening(*(arrays[name] for name in Whitening._fields))
  except FileNotFoundError:
    raise FileNotFoundError(f'{path}: no such file of whitening') from None
  except (ValueError, KeyError) as error:
    raise ValueError(
      f'{path} is no file of whitening (mean, projection): {error}'
    ) from error
  return fitted


def _extractor(description, apply, variables, name, whitening):
  if isinstance(whitening, str | os.PathLike):
    whitening = read_whitening(whitening)
  stages = EXTRACTORS[name].stages

  @jax.jit
  def pooled(variables, frames):
    # The network computes in the type of its weights, all else in float32.
    dtype = jnp.result_type(*jax.tree.leaves(variables))
    maps = apply(variables, normalise(frames).astype(dtype))
    return region_pool([maps[i].astype(jnp.float32) for i in stages])

  def run(variables, whitening, frames):
    regions = pooled(variables, frames)
    return regions if whitening is None else whiten(whitening, regions)

  if whitening is not None:
    # Of the shape that will be asked for: it is traced once for both.
    frames = jax.ShapeDtypeStruct((CHUNK, 224, 224, 3), jnp.uint8)
    try:
      shapes = pooled.eval_shape(variables, frames)
    except Exception as error:  # a network tells it in its own ways
      reason = str(error).splitlines()[0]
      raise ValueError(f'the weights do not fit {name}: {reason}') from error
    channels = shapes.shape[-1]
    mean, projection = map(np.shape, whitening)
    if mean != (channels,) or projection[:-1] != (channels,):
      raise ValueError(
        f'whitening of shapes {mean} and {projection}: regions of {name} '
        f'have {channels} numbers, so [{channels}] and [{channels}, D] fit'
      )
  size = None if whitening is None else int(whitening.projection.shape[1])
  description = {**description, 'whitened': size}
  arrays = {'variables': variables}
  if whitening is not None:
    arrays['whitening'] = whitening._asdict()
  return Extractor(
    functools.partial(jax.jit(run), variables, whitening),
    description,
    arrays,
    fingerprint(description, arrays),
  )


def _read_weights(name, path):
  state, _ = convert.read_checkpoint(path)
  return convert.from_state_dict(name, state)
