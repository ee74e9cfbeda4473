"""The rotation whose signs lose least: where binary codes start."""

import jax
import numpy as np

from deltax.types import Key

_ITERATIONS = 50


def fit_itq(samples: np.ndarray, key: Key) -> np.ndarray:
  """Fits the projection whose signs are the binary codes.

  Samples are projected to their principal directions, and these rotated so that
  the samples lie close to the corners of a cube: signs and rotation are
  improved alternately, from a random rotation.

  Args:
    samples: `[N, D]` regions, better many times D. They are normalised, as they
      are before they are coded.
    key: of the first rotation.

  Returns:
    `[D, D]` float32 orthogonal matrix, applied to rows from the right.

  Raises:
    ValueError: there are no samples, or they are no matrix.

  Source: Gong & Lazebnik, "Iterative quantization", CVPR 2011.
  """
  samples = np.asarray(samples, np.float32)
  if samples.ndim != 2 or not len(samples):
    raise ValueError(
      f'samples of shape {samples.shape}; expected [N, D] regions'
    )
  lengths = np.linalg.norm(samples, axis=1, keepdims=True)
  samples = samples / np.maximum(lengths, 1e-12)
  # Codes are made without a mean, so the signs here are fitted without it too.
  centred = samples - samples.mean(0)[None]
  _, directions = np.linalg.eigh(centred.T @ centred)
  projected = samples @ directions
  draw = jax.random.normal(key, directions.shape)
  turn = np.linalg.qr(np.asarray(draw))[0]
  for _ in range(_ITERATIONS):
    codes = np.sign(projected @ turn)
    left, _, right = np.linalg.svd(projected.T @ codes)
    turn = left @ right
  return directions @ turn
