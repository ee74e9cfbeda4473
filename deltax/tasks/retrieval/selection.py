"""The selector: trained to see which coarse scores are far from the fine ones.

Source: Kordopatis-Zilos et al., Distill-and-Select, IJCV 2022, section 3.4.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deltax import retrieval
from deltax.data.features.scored_pairs import deserves
from deltax.retrieval.networks import losses as retrieval_losses
from deltax.task import Task


def make_task(
  *,
  options: Mapping[str, Any] | None = None,
  threshold: float = 0.2,
  axis_name: str | None = None,
) -> Task:
  """The task of the selector, on pairs that both students have scored.

  Batches hold 'query' and 'target' float32 `[B, T, R, D]`, their masks `[B, T]`
  as 'query_mask' and 'target_mask', 'coarse' `[B]` the dot product of the
  coarse vectors, and 'scores' `[B]` of the fine student, both in [-1, 1].

  Args:
    options: attributes of the selector.
    threshold: difference of the fine score, brought to [0, 1], from the coarse
      one, above which a pair deserves the fine student.
    axis_name: mapped axis over which batch statistics are pooled.

  Returns:
    The task.
  """
  net = retrieval.create('selector', **(options or {}))
  training_net = net.clone(axis_name=axis_name)
  names = ('query', 'target', 'query_mask', 'target_mask', 'coarse')

  def init(key, batch):
    variables = jax.jit(net.init)(
      key, *(jnp.asarray(batch[name][:1]) for name in names)
    )
    return variables['params'], {'batch_stats': variables['batch_stats']}

  def labels(batch):
    far = deserves(batch['scores'], batch['coarse'], threshold)
    return jnp.asarray(far, jnp.float32)

  def losses(params, model_state, batch, key):
    logits, updates = training_net.apply(
      {'params': params, **model_state},
      *(batch[name] for name in names),
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': key},
    )
    loss = retrieval_losses.selection(logits, labels(batch))
    return {'selection': loss}, {'batch_stats': updates['batch_stats']}

  def evaluate(params, model_state, batch):
    logits = net.apply(
      {'params': params, **model_state}, *(batch[name] for name in names)
    )
    chosen, truth = logits > 0, labels(batch) > 0
    return {
      'right': (chosen == truth).astype(jnp.float32),
      'found': (chosen & truth).astype(jnp.float32),
      'chosen': chosen.astype(jnp.float32),
      'deserving': truth.astype(jnp.float32),
      'pairs': jnp.ones(len(logits)),
    }

  def summarise(counts):
    either = counts['chosen'] + counts['deserving']
    return {
      'accuracy': counts['right'] / counts['pairs'],
      'f1': 2 * counts['found'] / either if either else 0.0,
    }

  return Task(init, losses, evaluate, summarise)
