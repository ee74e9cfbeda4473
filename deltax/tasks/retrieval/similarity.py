"""Similarity of videos: a teacher from triplets, students from its scores.

Source: Kordopatis-Zilos et al., Distill-and-Select, IJCV 2022, section 3.3.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deltax import retrieval
from deltax.metrics.retrieval import Ranking, average_precision
from deltax.retrieval.networks import losses as retrieval_losses
from deltax.task import Task
from deltax.training.parallel import all_devices, axis_index, this_device
from deltax.types import Array, Batch, Params

_HARD = 3.0  # weight of hard negatives and of a view's match with itself
OBJECTIVES = ('distillation', 'triplet', 'self_supervised')


def make_task(
  *,
  network: str,
  options: Mapping[str, Any] | None = None,
  objective: str = 'distillation',
  penalty_weight: float = 1e-3,
  margin: float = 0.5,
  axis_name: str | None = None,
) -> Task:
  """The task of a network that says how alike two videos are.

  Training batches hold 'anchor', 'positive' and 'negative' float32 `[B, T, R,
  D]`, their masks `[B, T]` as 'anchor_mask' and so on, and 'scores' `[B, 2]`, a
  teacher's for both pairs in [-1, 1]. Evaluation batches hold 'query' and
  'target', their masks, the numbers 'query_id' and 'target_id' int32 `[B]`, and
  'relevant' `[B]`, 1 or 0.

  Args:
    network: as `deltax.retrieval.create` takes it; 'coarse' is a coarse
      student, all others compare frames.
    options: attributes of the network.
    objective: 'distillation' of the scores; 'triplet', which needs none; or
      'self_supervised' (S2VS), on batches of two views of each video, 'view_a'
      and 'view_b', the other videos of the batch being unlike both.
    penalty_weight: of the similarities outside of [-1, 1], summed over a pair.
      The published loss sums over the batch too, so that its weight grows with
      the batch: its 1e-3 at 32 triplets is 0.032 here.
    margin: of the triplets.
    axis_name: mapped axis over which the views of a batch are compared.

  Returns:
    The task.

  Raises:
    ValueError: an unknown network or objective.
  """
  if objective not in OBJECTIVES:
    raise ValueError(
      f'no objective {objective!r}; known: {", ".join(OBJECTIVES)}'
    )
  if objective == 'self_supervised' and network == 'coarse':
    raise ValueError('self-supervision is for networks that compare frames')
  net = retrieval.create(network, **(options or {}))
  coarse = network == 'coarse'

  def init(key, batch):
    first = 'view_a' if objective == 'self_supervised' else 'anchor'
    return _drawn(net, network, key, *_videos(batch, first)[0]), {}

  def scores(params, pairs, key=None):
    """Scores of pairs of videos (name, name) of a batch, and what penalises."""
    return (_coarse if coarse else _fine)(net, params, pairs, key)

  def losses(params, model_state, batch, key):
    if objective == 'self_supervised':
      views = _videos(batch, 'view_a', 'view_b')
      named = _views(net, params, views, penalty_weight, axis_name)
      return named, model_state
    videos = _videos(batch, 'anchor', 'positive', 'negative')
    scored, penalty = scores(params, videos, key)
    if objective == 'triplet':
      loss = retrieval_losses.triplet(*scored.T, margin)
      named = {'triplet': loss}
    else:
      targets = batch['scores']
      if coarse:
        targets = targets / 2 + 0.5
      loss = retrieval_losses.distillation(scored, targets).mean(-1)
      named = {'distillation': loss}
    if not coarse:
      named['penalty'] = penalty_weight * penalty
    return named, model_state

  def evaluate(params, model_state, batch):
    del model_state
    scored, _ = scores(params, _videos(batch, 'query', 'target'))
    return {
      'score': scored[:, 0],
      **{name: batch[name] for name in ('query_id', 'target_id', 'relevant')},
    }

  def summarise(arrays):
    return {'map': _mean_average_precision(**arrays)}

  return Task(init, losses, evaluate, summarise, stack=True)


def _drawn(net, network, key, regions, mask) -> Params:
  """Parameters of a network; those of binary codes are fitted to a batch."""
  keys = jax.random.split(key)
  one, of_one = jnp.asarray(regions[:1]), jnp.asarray(mask[:1])
  if network == 'coarse':
    variables = jax.jit(net.init)(keys[0], one, of_one)
  else:
    variables = jax.jit(net.init)(keys[0], one, one, of_one, of_one)
  params = dict(variables.get('params', {}))
  if network == 'fine_binary':
    real = regions[np.asarray(mask) > 0]
    samples = jnp.asarray(real).reshape(-1, real.shape[-1])
    projection = retrieval.fit_itq(samples, keys[1])
    params['binarization'] = {'projection': projection}
  return params


def _videos(batch: Batch, *names: str) -> list[tuple[Array, Array]]:
  """Regions and mask of videos of a batch, by their names."""
  return [(batch[name], batch[f'{name}_mask']) for name in names]


def _views(net, params, videos, penalty_weight, axis_name) -> dict[str, Array]:
  """`[B]` losses of two views of each video, `[B, T, R, D]` and their masks.

  Each device compares its own views with those of all devices.

  Source: Kordopatis-Zilos et al., Self-Supervised Video Similarity Learning,
  CVPRW 2023.
  """
  own = [jnp.concatenate(parts) for parts in zip(*videos, strict=True)]
  regions, masks = (all_devices(part, axis_name) for part in own)

  def against(one):
    """One view with all of them."""
    query, query_mask = (
      jnp.broadcast_to(x[None], (len(regions), *x.shape)) for x in one
    )
    return net.apply(
      {'params': params},
      *(query, regions, query_mask, masks),
      train=True,
    )

  compared = jax.lax.map(against, tuple(own))
  similarities = all_devices(compared.score / 2 + 0.5, axis_name)
  count = len(own[0]) // 2
  video = jnp.tile(axis_index(axis_name) * count + jnp.arange(count), 2)
  video = all_devices(video, axis_name)
  alike = (video[:, None] == video[None]).astype(jnp.float32)

  def by_video(losses):
    return this_device(losses, axis_name).reshape(2, -1).mean(0)

  contrast = retrieval_losses.contrast(similarities, alike)
  hard = retrieval_losses.hardest_negative(similarities, alike)
  own = retrieval_losses.self_match(similarities)
  beyond = jax.vmap(retrieval_losses.penalty)(compared.raw).sum(1)
  return {
    'contrast': by_video(contrast),
    'hard_negative': by_video(_HARD * hard),
    'self_match': by_video(_HARD * own),
    'penalty': penalty_weight * beyond.reshape(2, -1).mean(0),
  }


def _mean_average_precision(score, query_id, target_id, relevant):
  """Mean over the queries that have something relevant; 0 if none has."""
  del target_id
  precisions = []
  for query in np.unique(query_id[relevant > 0]):
    of_query = query_id == query
    places = np.flatnonzero(relevant[of_query])
    ranks = Ranking(score[of_query]).ranks(places)
    precisions.append(average_precision(ranks, len(places)))
  return float(np.mean(precisions)) if precisions else 0.0


def _coarse(net, params, videos, key) -> tuple[Array, Array]:
  """`[B, V - 1]` scores of the first video with the others."""
  train = key is not None
  keys = jax.random.split(key, len(videos)) if train else videos

  def vector(video, key):
    rngs = {'dropout': key} if train else None
    return net.apply({'params': params}, *video, train=train, rngs=rngs)

  first, *others = map(vector, videos, keys)
  cosines = jnp.stack([(first * other).sum(-1) for other in others], -1)
  return cosines, jnp.zeros(len(cosines))


def _fine(net, params, videos, key) -> tuple[Array, Array]:
  def encode(regions):
    return net.apply(
      {'params': params}, regions, train=key is not None, method='encode'
    )

  codes = [(encode(regions), mask) for regions, mask in videos]
  (first, mask), *others = codes
  compared = [
    net.apply(
      {'params': params}, first, other, mask, other_mask, method='compare'
    )
    for other, other_mask in others
  ]
  penalty = sum(retrieval_losses.penalty(pair.raw) for pair in compared)
  return jnp.stack([pair.score for pair in compared], -1), penalty
