"""What turns a video into what an index stores of it."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from deltax.retrieval.compare import bits
from deltax.retrieval.compare.many import bucket_length
from deltax.types import Array


class Network(NamedTuple):
  """A network and its variables, `{}` if it has none."""

  net: nn.Module
  variables: Any


class System(NamedTuple):
  """Everything that retrieval needs; two equal ones give the same scores.

  Attributes:
    extract: uint8 `[T, H, W, 3]` RGB frames to float32 `[T, R, D]` regions.
    coarse: one vector per video.
    fine: codes of every frame, and the comparator.
    selector: which pairs deserve the fine student; None: the best coarse ones.
    description: plain values that say what it is made of.
    fingerprint: of the description and every array.
  """

  extract: Callable[[np.ndarray], np.ndarray]
  coarse: Network
  fine: Network
  selector: Network | None
  description: Mapping[str, Any]
  fingerprint: str


class Codes(NamedTuple):
  """What is stored of one video.

  Attributes:
    coarse: float32 `[E]`, of length 1.
    fine: float32 `[T, R, D]`; binary codes uint32 `[T, R, D / 32]`.
    selector: float32 `[]`, the selector's number for this video; 0 without one.
  """

  coarse: np.ndarray
  fine: np.ndarray
  selector: np.ndarray


def encode(system: System, regions: np.ndarray) -> Codes:
  """The codes of one video, compiled once per bucket of lengths.

  Args:
    system: the networks.
    regions: float32 `[T, R, D]`.

  Raises:
    ValueError: regions of another shape, of no frames, or with NaN.
  """
  regions, mask = _padded(regions)
  coarse = _run(system.coarse.net)(system.coarse.variables, regions, mask)
  selector = np.zeros(1, np.float32)
  if system.selector:
    run = _run(system.selector.net, 'self_similarity')
    selector = run(system.selector.variables, regions, mask)
  return Codes(
    np.asarray(coarse)[0],
    _fine(system.fine, regions, mask),
    np.asarray(selector)[0],
  )


def encode_fine(fine: Network, regions: np.ndarray) -> np.ndarray:
  """The fine codes alone, as `encode` gives them."""
  return _fine(fine, *_padded(regions))


def encode_coarse(coarse: Network, regions: np.ndarray) -> np.ndarray:
  """The coarse vector alone, as `encode` gives it."""
  return np.asarray(_run(coarse.net)(coarse.variables, *_padded(regions)))[0]


def needs(
  selector: Network, query: np.ndarray, targets: np.ndarray, coarse: np.ndarray
) -> np.ndarray:
  """How much pairs of one query need the fine student.

  Args:
    selector: the network.
    query: float32 `[]`, the selector's number of the query.
    targets: float32 `[N]`, of the videos.
    coarse: float32 `[N]`, coarse scores.

  Returns:
    float32 `[N]` logits, the larger the more.
  """
  run = _run(selector.net, 'decide')
  own = np.broadcast_to(query, coarse.shape)
  return np.asarray(run(selector.variables, own, targets, coarse))


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
  found = _run(fine.net, 'encode')(fine.variables, regions)
  found = np.asarray(found)[0, : int(mask.sum())]
  binary = getattr(fine.net, 'index', None) == 'binary'
  return np.asarray(bits.pack(found)) if binary else found


def fingerprint(description: Mapping[str, Any], arrays: Any) -> str:
  """A short name for a description and a pytree of arrays, equal for equal.

  Args:
    description: plain values.
    arrays: nested dicts of arrays.

  Returns:
    Sixteen hexadecimal digits.
  """
  digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
  flat = traverse_util.flatten_dict(arrays, sep='/')
  for name in sorted(flat):
    array = np.ascontiguousarray(flat[name])
    digest.update(f'{name}{array.dtype}{array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()[:16]


@functools.cache
def _run(net: nn.Module, method: str | None = None) -> Callable[..., Array]:
  return jax.jit(functools.partial(net.apply, method=method))
