"""Gates: the learned choice of one candidate a layer.

A layer with K candidates has K - 1 logits; the last candidate's logit is 0. For
two candidates this is the published gate, one scalar whose sigmoid is the
probability of the full copy.

Source: Habibian et al., ECCV 2022, section 3.2; Jang et al., ICLR 2017.
"""

import jax
import jax.numpy as jnp

from deltax.types import Array, Key


def complete(logits: Array) -> Array:
  """All K logits of a gate from its `[K - 1]` parameters."""
  return jnp.append(logits, jnp.zeros((), logits.dtype))


def probabilities(logits: Array) -> Array:
  """`[K]` probability of every candidate, from `[K - 1]` logits.

  Example:
    >>> [round(float(p), 3) for p in probabilities(jnp.array([-1.0]))]
    [0.269, 0.731]
  """
  return jax.nn.softmax(complete(logits))


def choose(logits: Array) -> Array:
  """Index of the candidate with the largest logit; the last of equal ones.

  Example:
    >>> [int(choose(jnp.array([b]))) for b in (-0.5, 0.0, 0.5)]
    [1, 1, 0]
  """
  everything = complete(logits)
  return everything.size - 1 - jnp.argmax(everything[::-1])


def gumbel(key: Key, count: int) -> Array:
  """`[count]` standard Gumbel noise."""
  return jax.random.gumbel(key, (count,))


def relax(logits: Array, noise: Array, temperature: float) -> Array:
  """A hard sample of the choice, with the gradient of the soft one.

  Args:
    logits: `[K - 1]`.
    noise: `[K]` Gumbel noise; no gradient flows to it.
    temperature: softness of the gradient.

  Returns:
    `[K]` weights, one of them 1 and the others 0 (straight-through).
  """
  noise = jax.lax.stop_gradient(noise)
  soft = jax.nn.softmax((complete(logits) + noise) / temperature)
  hard = jax.nn.one_hot(jnp.argmax(soft), soft.size, dtype=soft.dtype)
  return hard + (soft - jax.lax.stop_gradient(soft))


def sample(
  key: Key, logits: dict[str, Array], temperature: float
) -> dict[str, Array]:
  """Samples every gate of a network.

  Args:
    key: one key for all gates; use the same on every device, or each device
      trains another network.
    logits: `[K - 1]` by layer.
    temperature: softness of the gradient.

  Returns:
    `[K]` weights by layer, as `relax` gives them.
  """
  samples = {}
  for index, (path, values) in enumerate(sorted(logits.items())):
    noise = gumbel(jax.random.fold_in(key, index), values.size + 1)
    samples[path] = relax(values, noise, temperature)
  return samples
