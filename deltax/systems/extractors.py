"""Region features of frames: a backbone, region pooling, whitening.

Any network that gives the maps of its stages can stand here; `EXTRACTORS` has
those that have a name. Source: Kordopatis-Zilos et al., ViSiL, ICCV 2019
(L3-iMAC regions); Distill-and-Select, IJCV 2022, section 3.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
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
STUDENTS = ('students', 'gates')  # what an extractor that has some saves too


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
    arrays: what it computes with: 'variables', and perhaps 'whitening',
      'students' and 'gates'.
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
  _check_name(name)
  if weights is None:
    if not EXTRACTORS[name].packaged:
      raise ValueError(
        f'{name} has no packaged weights: give a file of published ones'
      )
    weights = packaged_weights(name)
  elif isinstance(weights, str | os.PathLike):
    weights = _read_weights(name, weights)
  pooled = _pooled(name)
  whitening = _fitting(name, pooled, weights, whitening)

  def run(variables, whitening, frames):
    return _whitened(pooled(variables, frames), whitening)

  return _described(
    *({'name': name}, {'variables': weights}, whitening),
    functools.partial(jax.jit(run), weights, whitening),
  )


def make_delta_extractor(
  name: str,
  params: Any,
  *,
  spec: Mapping[str, Any],
  interval: int,
  whitening: Whitening | str | os.PathLike | None = None,
) -> Extractor:
  """Makes an extractor with cheap students between its key frames.

  Every `CHUNK` frames begin with a key frame. It pays where frames are sampled
  densely enough to resemble each other.

  Args:
    name: of the backbone, one of `EXTRACTORS`.
    params: of `deltax.delta.distill(net, make_spec(**spec))` for that backbone
      without classes; None for its teacher are the packaged weights.
    spec: options of `deltax.delta.make_spec`, plain values.
    interval: frames from one key frame to the next.
    whitening: as `make_extractor` takes it.

  Returns:
    The extractor, in the deployed form.

  Raises:
    ValueError: an unknown name, an interval that is not within 1 and `CHUNK`,
      or whitening or parameters that do not fit.
  """
  _check_name(name)
  if not 1 <= interval <= CHUNK:
    raise ValueError(
      f'an interval of {interval} frames; expected 1 to {CHUNK}, the frames of '
      'one call'
    )
  variables = params['teacher']
  if variables is None:
    variables = packaged_weights(name)
  whitening = _fitting(name, _pooled(name), variables, whitening)
  arrays = {'variables': variables}
  arrays |= {part: params[part] for part in STUDENTS if params.get(part)}
  distilled = delta.distill(
    models.create(name, num_classes=None), delta.make_spec(**spec)
  )
  whole = {**params, 'teacher': variables}

  @functools.cache
  def programs(height, width):
    frame = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    return _programs(distilled.freeze(whole, frame), name, whitening)

  return _described(
    {'name': name, 'interval': interval, 'spec': json.loads(json.dumps(spec))},
    *(arrays, whitening, functools.partial(_run_apart, programs, interval)),
  )


def _programs(frozen: delta.Frozen, name: str, whitening: Whitening | None):
  """A key frame, and a step, from uint8 frames to regions."""

  def keyframe(params, whitening, frames):
    carry, maps = frozen.keyframe(params, normalise(frames))
    return carry, _whitened(_regions(name, maps), whitening)

  def step(params, whitening, carry, frames):
    # The last stretch may be a frame shorter than the others.
    carry = jax.tree.map(lambda x: x[: len(frames)], carry)
    carry, maps = frozen.step(params, carry, normalise(frames))
    return carry, _whitened(_regions(name, maps), whitening)

  return tuple(
    functools.partial(jax.jit(program), frozen.params, whitening)
    for program in (keyframe, step)
  )


def _run_apart(
  programs: Callable[[int, int], Sequence[Callable]],
  interval: int,
  frames: np.ndarray,
) -> np.ndarray:
  """Regions of frames: all key frames together, then all that follow one.

  So few programs serve every interval, and a step is one of several frames.
  """
  keyframe, step = programs(*frames.shape[1:3])
  carry, first = keyframe(frames[::interval])
  found = np.zeros((len(frames), *first.shape[1:]), np.float32)
  found[::interval] = first
  for distance in range(1, interval):
    later = frames[distance::interval]
    carry, found[distance::interval] = step(carry, later)
  return found


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


def _check_name(name: str) -> None:
  if name not in EXTRACTORS:
    raise ValueError(f'no extractor {name!r}; known: {", ".join(EXTRACTORS)}')


def _pooled(name: str) -> Callable[[Any, Array], Array]:
  """From variables of a backbone and uint8 frames to regions."""
  net = models.create(name, num_classes=None)

  @jax.jit
  def pooled(variables, frames):
    # The network computes in the type of its weights, all else in float32.
    dtype = jnp.result_type(*jax.tree.leaves(variables))
    maps = net.apply(variables, normalise(frames).astype(dtype))
    return _regions(name, maps)

  return pooled


def _regions(name: str, maps: Sequence[Array]) -> Array:
  """Those of the maps of a backbone's stages, float32 `[B, R, D]`."""
  stages = EXTRACTORS[name].stages
  return region_pool([maps[i].astype(jnp.float32) for i in stages])


def _whitened(regions: Array, whitening: Whitening | None) -> Array:
  return regions if whitening is None else whiten(whitening, regions)


def _fitting(
  name: str,
  pooled: Callable[[Any, Array], Array],
  variables: Any,
  whitening: Whitening | str | os.PathLike | None,
) -> Whitening | None:
  """Whitening, read where it is a file, that fits the regions."""
  if isinstance(whitening, str | os.PathLike):
    whitening = read_whitening(whitening)
  if whitening is None:
    return None
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
  return whitening


def _described(
  description: Mapping[str, Any],
  arrays: Mapping[str, Any],
  whitening: Whitening | None,
  run: Callable[[Array], Array],
) -> Extractor:
  size = None if whitening is None else int(whitening.projection.shape[1])
  description = {**description, 'whitened': size}
  if whitening is not None:
    arrays = {**arrays, 'whitening': whitening._asdict()}
  return Extractor(run, description, arrays, fingerprint(description, arrays))


def _read_weights(name, path):
  state, _ = convert.read_checkpoint(path)
  return convert.from_state_dict(name, state)
