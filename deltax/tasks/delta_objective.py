"""The objective of delta distillation, whatever the network is trained for.

Source: Habibian et al., ECCV 2022, section 3; the recipes of both tasks are
options of one objective.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deltax import delta as delta_wing
from deltax.delta import gates as gating
from deltax.tasks.parts import variables_of
from deltax.training.parallel import mean_over_devices
from deltax.types import Array, Key, ModelState, Params

# (variables, outs of all frames, the teacher's own outs) to weighted losses.
Terms = Callable[[Any, Any, Any], dict[str, Array]]


class Objective(NamedTuple):
  """A delta network and how it is trained.

  Attributes:
    delta: its functions.
    init: `(key, teacher, frame) -> (params, model_state)`, from the teacher's
      variables.
    losses: `(params, model_state, clip, key, terms) -> ({name: [B] or []},
      model_state)`, those of `terms` and its own 'distillation' and 'budget'.
    watch: see `deltax.task.Task`.
  """

  delta: delta_wing.Delta
  init: Callable[[Key, Any, Array], tuple[Params, ModelState]]
  losses: Callable[..., tuple[dict[str, Array], ModelState]]
  watch: Callable[[Params, ModelState], dict[str, Array]]


def make_objective(
  net: nn.Module,
  training_net: nn.Module,
  *,
  axis_name: str | None,
  spec: Mapping[str, Any] | None = None,
  distillation_weight: float = 0.01,
  distillation_steps: int | None = None,
  distillation_scale: Literal['network', 'layer', 'none'] = 'network',
  last_call_only: bool = False,
  budget_weight: float = 0.1,
  published_cost: bool = False,
  costs: Mapping[str, float] | None = None,
  start: Mapping[str, Any] | None = None,
  train_teacher: bool = True,
  batch_statistics: bool = True,
  scan: bool = False,
) -> Objective:
  """Builds the objective; clips are `[B, T, H, W, 3]`, frame 0 the key.

  Args:
    net: the network.
    training_net: the same, its batch statistics pooled over `axis_name`.
    axis_name: mapped axis of the devices.
    spec: options of `deltax.delta.make_spec`; absent, the published
      segmentation setting.
    distillation_weight: of the mean over layers of the squared error of the
      predicted changes.
    distillation_steps: the distillation loss ends after so many steps.
    distillation_scale: what that error is divided by: its mean over layers in
      the first batch in which anything moves ('network', as published for
      segmentation), each layer's own error then ('layer', as published for
      EfficientDet), or nothing ('none', as published for Faster R-CNN).
    last_call_only: whether a layer that is called several times a frame is
      distilled in its last call only, as published; else in each.
    budget_weight: of the expected cost of the later frames, as a share.
    published_cost: whether only the first candidate, the full copy, has a
      price: the teacher's.
    costs: price of each layer's full copy by path, in place of its
      multiply-accumulates, as the released cost files hold them; implies
      `published_cost`.
    start: 'students' and 'gates' to start from, as a converted checkpoint holds
      them; None starts from the teacher's kernels.
    train_teacher: whether gradients reach the teacher's weights.
    batch_statistics: whether batch norm uses and updates batch statistics, or
      the teacher's running ones.
    scan: whether clips roll through `lax.scan` in training; needs running
      statistics.

  Returns:
    The objective.

  Raises:
    ValueError: for `scan` with batch statistics, an unknown scale, or layers in
      `costs` or `start` that are not those of the spec.
  """
  if scan and batch_statistics:
    raise ValueError(
      'scan=True trains frame by frame, where there are no batch statistics; '
      'set batch_statistics=False'
    )
  if distillation_scale not in ('network', 'layer', 'none'):
    raise ValueError(
      f'no distillation_scale {distillation_scale!r}; known: network, layer, '
      'none'
    )
  spec = delta_wing.make_spec(**(spec or {}))
  delta = delta_wing.distill(net, spec)
  training_delta = delta_wing.distill(training_net, spec)

  def distilled(predicted, target):
    """`[L, B]` errors of the layers' calls."""
    errors = delta_wing.losses.distillation(predicted, target)
    if last_call_only:
      errors = delta_wing.losses.last_calls(errors)
    return jnp.stack(list(errors.values()))

  def init(key, teacher, frame):
    params = jax.jit(delta.init)(key, teacher, frame)
    for name, given in (
      ('costs', costs),
      ('start', (start or {}).get('students')),
    ):
      if given is not None and set(given) != set(params['students']):
        raise ValueError(
          f'{name} names {len(given)} layers, the network has '
          f'{len(params["students"])} with students; not in both: '
          f'{", ".join(sorted(set(given) ^ set(params["students"])))}'
        )
    params |= start or {}
    pair = jax.ShapeDtypeStruct((1, 2, *frame.shape[1:]), jnp.float32)
    _, changes = jax.eval_shape(delta.reference, params, pair)
    calls = jax.eval_shape(distilled, changes, changes).shape[0]
    return {**params, 'teacher': params['teacher']['params']}, {
      'batch_stats': teacher['batch_stats'],
      # 0 is "not yet".
      'distillation_scale': jnp.zeros(
        (calls,) if distillation_scale == 'layer' else ()
      ),
      'step': jnp.zeros((), jnp.int32),
    }

  def rescaled(errors, scale):
    """`[B]` mean over layers of the scaled errors, and the scale."""
    if distillation_scale == 'none':
      return errors.mean(0), scale
    sizes = jax.lax.stop_gradient(mean_over_devices(errors.mean(1), axis_name))
    if distillation_scale == 'network':
      sizes = sizes.mean()
    first = jnp.where(sizes > 0, 1 / jnp.where(sizes > 0, sizes, 1), 0)
    scale = jnp.where(scale > 0, scale, first)
    per_layer = jnp.broadcast_to(scale, errors.shape[:1])
    return (errors * per_layer[:, None]).mean(0), scale

  def losses(params, model_state, clip, key, terms: Terms):
    if not train_teacher:
      params = {**params, 'teacher': jax.lax.stop_gradient(params['teacher'])}
    whole = {**params, 'teacher': variables_of(params, model_state)}
    if clip.shape[1] < 2:
      raise ValueError(
        'a delta network trains on clips of two frames or more, got clips of '
        'one; set clip_length=2'
      )
    gates = delta.sample(key, whole)
    outs, aux = training_delta.clip(
      whole, clip, key=key, train=batch_statistics, gates=gates, scan=scan
    )
    targets, changes = delta.reference(whole, clip)
    distillation, scale = rescaled(
      distilled(aux.deltas, changes), model_state['distillation_scale']
    )
    active = 1.0
    if distillation_steps is not None:
      active = jnp.where(model_state['step'] < distillation_steps, 1.0, 0.0)
    prices, own = delta.costs(whole, clip)
    own = costs or own
    if published_cost or costs:
      prices = {
        path: (own[path], *[0.0] * (len(each) - 1))
        for path, each in prices.items()
      }
    found = {
      **terms(whole['teacher'], outs, targets),
      'distillation': distillation_weight * active * distillation,
      'budget': budget_weight * delta_wing.losses.budget(gates, prices, own),
    }
    return found, {
      'batch_stats': aux.batch_stats,
      'distillation_scale': scale,
      'step': model_state['step'] + 1,
    }

  def watch(params, model_state):
    del model_state
    return {
      f'gate/{path}': gating.probabilities(logits)[0]
      for path, logits in params['gates'].items()
    }

  return Objective(delta, init, losses, watch)
