"""How well each candidate of each layer follows the teacher."""

import collections
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from deltax.delta.transform import Delta
from deltax.types import Array, Params


def errors(delta: Delta, params: Params, clip: Array) -> dict[str, np.ndarray]:
  """The error of each candidate in its layer's change, against the teacher.

  All layers take their first candidate at once, then their second, and so on
  (their last where they have fewer), so that a student sees inputs that
  students of its kind have computed. The negative errors are values for
  `deltax.delta.choice.within`: a choice without a search, after training.

  Args:
    delta: the delta network.
    params: of it; where its gates stand does not matter.
    clip: `[B, T, H, W, C]`, frame 0 the key frame.

  Returns:
    `[K]` by path of a layer or a block: the mean squared error of the predicted
    change of its output over the mean square of the teacher's own, all later
    frames and all calls together. 0 is perfect, 1 is as bad as no change. Where
    the teacher's output does not change, the sum of squared errors. Of a layer
    within a span, whose change is left to the span's last layer, 0.

  Raises:
    ValueError: if the clip has no later frame.
  """
  if clip.ndim == 5 and clip.shape[1] < 2:
    raise ValueError(f'a clip of {clip.shape} has no later frame to compare')
  # A saved tree has no empty branches: the gates tell how many there are.
  logits = params.get('gates', {})
  gated = {path: gate.size + 1 for path, gate in logits.items()}
  counts = dict.fromkeys(params['students'], 1) | gated

  @jax.jit
  def sums(params, clip):
    _, target = delta.reference(params, clip)
    _, aux = delta.clip(params, clip)
    missed = {k: _energy(aux.deltas[k], z) for k, z in target.items()}
    return missed, {k: _energy(z) for k, z in target.items()}

  shares = []
  for index in range(max(counts.values())):
    gates = {
      path: _choosing(min(index, counts[path] - 1), counts[path])
      for path in gated
    }
    missed, energy = map(_by_path, sums({**params, 'gates': gates}, clip))
    shares.append({p: missed[p] / (energy[p] or 1.0) for p in energy})
  return {
    path: np.array([share.get(path, 0.0) for share in shares[:count]])
    for path, count in counts.items()
  }


def _energy(change: Array, other: Array | float = 0.0) -> Array:
  """The sum of squares of a difference, in float32 or more."""
  exact = jnp.promote_types(change.dtype, jnp.float32)
  return jnp.square(change.astype(exact) - jnp.asarray(other, exact)).sum()


def _choosing(index: int, count: int) -> Array:
  """`[K - 1]` logits of a gate that chooses one of K candidates."""
  return jnp.full(count - 1, -1.0).at[index].set(1.0, mode='drop')


def _by_path(sums: Mapping[str, Array]) -> dict[str, float]:
  """Sums over the calls of each layer."""
  total: collections.Counter[str] = collections.Counter()
  for name, value in sums.items():
    total[name.partition(':')[0]] += float(value)
  return dict(total)
