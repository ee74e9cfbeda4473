"""What turns a video into what an index stores of it."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from deltax.retrieval.calibration import UNCALIBRATED, Calibration
from deltax.retrieval.compare import bits
from deltax.retrieval.compare.many import bucket_length
from deltax.types import Array

CLIP, STEP = 6, 3  # frames of a clip, and from one to the next
_TOGETHER = 256  # clips that are encoded at once
LONG = 1024  # frames that are encoded at once
_SHORTEST = 1e-12  # a shorter vector is divided by this


class Network(NamedTuple):
  """A network and its variables.

  Attributes:
    net: a linen module, as `deltax.retrieval.create` makes it.
    variables: what `net.apply` takes; `{}` if it has none.
  """

  net: Any
  variables: Any


class System(NamedTuple):
  """All networks that a search needs, from frames to scores.

  Attributes:
    extract: uint8 `[T, H, W, 3]` RGB frames to float32 `[T, R, D]` regions.
    coarse: makes one vector of a video.
    fine: makes codes of every frame, and compares those of two videos.
    selector: says which pairs need the fine student; None: those of the best
      coarse scores.
    description: plain values that say what it is made of.
    fingerprint: a short name of the description and every array. Systems of
      equal fingerprints give equal codes; an index accepts no other.
    calibration: puts the scores of both students on one scale.
  """

  extract: Callable[[np.ndarray], np.ndarray]
  coarse: Network
  fine: Network
  selector: Network | None
  description: Mapping[str, Any]
  fingerprint: str
  calibration: Calibration = UNCALIBRATED


class Codes(NamedTuple):
  """What is stored of one video.

  Attributes:
    coarse: float32 `[E]`, of length 1.
    fine: float32 `[T, R, D]`; binary codes uint32 `[T, R, D / 32]`.
    selector: float32 `[]`, the selector's number for this video; 0 without one.
    clips: float32 `[M, E]`, coarse vectors of the clips of the video, see
      `encode_clips`.
  """

  coarse: np.ndarray
  fine: np.ndarray
  selector: np.ndarray
  clips: np.ndarray


def encode(system: System, regions: np.ndarray) -> Codes:
  """Encodes one video: all that an index stores to compare it later.

  Compiled once for each of few lengths that videos are padded to. A video of
  more than `LONG` frames is encoded part by part, so that memory beyond its
  regions and codes does not grow: its coarse vector is the mean of those of its
  parts, and the selector's number as well.

  Args:
    system: the networks.
    regions: float32 `[T, R, D]`, of T real frames, vectors of length 1.

  Returns:
    The codes.

  Raises:
    ValueError: regions of another shape, of no frames, or with NaN.
  """
  return encode_parts(system, _parts(regions))


def encode_parts(system: System, parts: Iterable[np.ndarray]) -> Codes:
  """Encodes one video of which there is only a part in memory at a time.

  Args:
    system: the networks.
    parts: float32 `[T, R, D]` regions as of `encode`, of `LONG` frames each but
      the last, which may have fewer.

  Returns:
    The codes that `encode` gives of all of it.

  Raises:
    ValueError: see `encode`.
  """
  clips, encoded = _Clips(system.coarse), []
  for part in parts:
    encoded.append(_encode(system, part))
    clips.add(part)
  coarse, fine, selector = zip(*encoded, strict=True)
  vectors = clips.vectors(coarse[0].shape)
  if len(encoded) == 1:
    return Codes(*encoded[0], vectors)
  lengths = [len(codes) for codes in fine]
  vector = np.average(coarse, 0, lengths)
  vector /= max(float(np.linalg.norm(vector)), _SHORTEST)
  return Codes(
    vector.astype(np.float32),
    np.concatenate(fine),
    np.average(selector, 0, lengths).astype(np.float32),
    vectors,
  )


def _parts(regions: np.ndarray) -> list[np.ndarray]:
  """A video as it is, or a long one in parts; one without frames is one."""
  starts = range(0, max(1, len(regions)), LONG)
  return [regions[start : start + LONG] for start in starts]


def _encode(system, regions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Coarse vector, fine codes and the selector's number of a part."""
  regions, mask = _padded(regions)
  coarse = _run(system.coarse.net)(system.coarse.variables, regions, mask)
  selector = np.zeros(1, np.float32)
  if system.selector:
    run = _run(system.selector.net, 'self_similarity')
    selector = run(system.selector.variables, regions, mask)
  fine = _fine(system.fine, regions, mask)
  return np.asarray(coarse)[0], fine, np.asarray(selector)[0]


def encode_fine(fine: Network, regions: np.ndarray) -> np.ndarray:
  """The fine codes alone, as `encode` gives them."""
  parts = [_fine(fine, *_padded(part)) for part in _parts(regions)]
  return parts[0] if len(parts) == 1 else np.concatenate(parts)


def encode_coarse(coarse: Network, regions: np.ndarray) -> np.ndarray:
  """The coarse vector alone, as `encode` gives it."""
  return np.asarray(_run(coarse.net)(coarse.variables, *_padded(regions)))[0]


def encode_clips(coarse: Network, regions: np.ndarray) -> np.ndarray:
  """Coarse vectors of the clips of a video, which overlap by half.

  The vector of a long video is of all that it shows; what is short in it is
  found by these.

  Args:
    coarse: the network.
    regions: float32 `[T, R, D]`, as of `encode`.

  Returns:
    float32 `[M, E]`, of length 1: one for `CLIP` frames every `STEP`, the last
    ones included. M is 0 where the video is no longer than a clip.
  """
  clips = _Clips(coarse)
  for part in _parts(regions):
    clips.add(part)
  return clips.vectors(encode_coarse(coarse, regions[:CLIP]).shape)


class _Clips:
  """Encodes the clips of a video, part by part."""

  def __init__(self, coarse: Network):
    self._coarse, self._run = coarse, _run(coarse.net)
    self._rest, self._first = None, 0  # frames still needed; the first of them
    self._next, self._vectors = 0, []  # where the next clip begins

  def add(self, part: np.ndarray) -> None:
    """Encodes the clips that are whole with this part."""
    rest = part if self._rest is None else np.concatenate([self._rest, part])
    end = self._first + len(rest)
    if end > CLIP:
      starts = np.arange(self._next, end - CLIP + 1, STEP)
      self._encode(rest, starts - self._first)
      self._next += STEP * len(starts)
    # The last clip of all ends with the video.
    first = max(self._first, min(self._next, end - CLIP))
    self._rest, self._first = rest[first - self._first :], first

  def vectors(self, shape: tuple[int, ...]) -> np.ndarray:
    """float32 `[M, *shape]`, of all clips; the last one may overlap more."""
    last = self._first + len(self._rest) - CLIP
    if last > 0 and last != self._next - STEP:
      self._encode(self._rest, np.array([last - self._first]))
    return np.concatenate([np.zeros((0, *shape), np.float32), *self._vectors])

  def _encode(self, regions: np.ndarray, starts: np.ndarray) -> None:
    for n in range(0, len(starts), _TOGETHER):
      some = starts[n : n + _TOGETHER]
      clips = np.stack([regions[start : start + CLIP] for start in some])
      # Padded to few sizes, so that few programs are compiled.
      blank = bucket_length(len(some)) - len(some)
      clips = np.pad(clips, ((0, blank), *((0, 0),) * 3))
      masks = np.ones(clips.shape[:2], np.float32)
      vectors = self._run(self._coarse.variables, clips, masks)
      self._vectors.append(np.asarray(vectors)[: len(some)])


def vectors_of(codes: Codes) -> np.ndarray:
  """float32 `[1 + M, E]`, the coarse vectors of a video and of its clips."""
  return np.concatenate([codes.coarse[None], codes.clips])


def needs(
  selector: Network, query: np.ndarray, targets: np.ndarray, coarse: np.ndarray
) -> np.ndarray:
  """How much the pairs of one query with N videos need the fine student.

  Args:
    selector: the network.
    query: float32 `[]`, the selector's number of the query (see `Codes`).
    targets: float32 `[N]`, the same of the videos.
    coarse: float32 `[N]`, coarse scores of the pairs, -1 to 1.

  Returns:
    float32 `[N]` logits, the larger the more.
  """
  run = _run(selector.net, 'decide')
  queries = np.broadcast_to(query, coarse.shape)
  return np.asarray(run(selector.variables, queries, targets, coarse))


def _padded(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  if regions.ndim != 3 or not len(regions):
    raise ValueError(
      f'regions of shape {regions.shape}: expected [T, R, D], T at least 1'
    )
  if not np.isfinite(regions).all():
    raise ValueError('regions with NaN or infinite values')
  frames = len(regions)
  padding = bucket_length(frames) - frames
  padded = np.pad(regions, ((0, padding), (0, 0), (0, 0)))[None]
  mask = np.pad(np.ones(frames, np.float32), (0, padding))[None]
  return padded, mask


def _fine(fine, regions, mask):
  codes = _run(fine.net, 'encode')(fine.variables, regions)
  codes = np.asarray(codes)[0, : int(mask.sum())]
  binary = getattr(fine.net, 'index', None) == 'binary'
  return np.asarray(bits.pack(codes)) if binary else codes


def fingerprint(description: Mapping[str, Any], arrays: Any) -> str:
  """A short name for a description and a pytree of arrays, equal for equal.

  Args:
    description: plain values.
    arrays: nested dicts of arrays.

  Returns:
    Sixteen hexadecimal digits.
  """
  digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
  by_path = flatten(arrays)
  for path in sorted(by_path):
    array = np.ascontiguousarray(by_path[path])
    digest.update(f'{path}{array.dtype}{array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()[:16]


def flatten(arrays: Any) -> dict[str, Any]:
  """The arrays of nested dicts by their path.

  >>> flatten({'params': {'dense': {'bias': 0}}, 'empty': {}})
  {'params/dense/bias': 0}
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in leaves
  }


def nest(by_path: Mapping[str, Any]) -> dict[str, Any]:
  """The inverse of `flatten`.

  >>> nest({'params/dense/bias': 0, 'params/scale': 1})
  {'params': {'dense': {'bias': 0}, 'scale': 1}}
  """
  whole: dict[str, Any] = {}
  for path, leaf in by_path.items():
    *folders, name = path.split('/')
    inner = whole
    for folder in folders:
      inner = inner.setdefault(folder, {})
    inner[name] = leaf
  return whole


@functools.cache
def _run(net: Any, method: str | None = None) -> Callable[..., Array]:
  return jax.jit(functools.partial(net.apply, method=method))
