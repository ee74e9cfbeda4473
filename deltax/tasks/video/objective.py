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
from deltax.tasks.video import choice
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
  latency: str = '',
  target: float | None = None,
  search_steps: int | None = None,
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
    budget_weight: of the budget loss: the cost of a later frame's gated layers
      as drawn, as a share of the teacher's; with a target, how far the expected
      cost of a later frame is from it, as a share of the target.
    published_cost: whether only the first candidate, the full copy, has a
      price: the teacher's.
    costs: price of each layer's full copy by path, in place of its
      multiply-accumulates, as the released cost files hold them; implies
      `published_cost`.
    latency: file that `deltax profile` wrote: costs are its milliseconds in
      place of multiply-accumulates. It may have measured frames of another size
      than those of the clips.
    target: what a later frame may cost, as a share of the teacher's frame. With
      `latency` both include the rest of the frame, which no student touches;
      without, they are the multiply-accumulates of the layers with students.
      Evaluation and deployment then take the likeliest choice of the gates that
      keeps to it, in place of each gate's own.
    search_steps: after so many steps the gates are settled: the choice stays,
      its students are trained without noise and without the budget loss.
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
    ValueError: for `scan` with batch statistics, an unknown scale, `latency`
      beside other costs, or a target that is no positive share; from `init`,
      for layers in `costs` or `start` that are not those of the spec, or a
      target that no choice reaches.
    FileNotFoundError: there is no file of latencies.
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
  if latency and (costs or published_cost):
    raise ValueError('latency= is beside costs= or published_cost=; give one')
  if target is not None and not target > 0:
    raise ValueError(f'a target is a positive share, got {target}')
  latencies = delta_wing.latency.read(latency) if latency else None
  settles = target is not None or search_steps is not None
  spec = delta_wing.make_spec(**(spec or {}))
  delta = delta_wing.distill(net, spec)
  training_delta = delta_wing.distill(training_net, spec)

  def distilled(predicted, target):
    """`[L, B]` errors of the layers' calls."""
    errors = delta_wing.losses.distillation(predicted, target)
    if last_call_only:
      errors = delta_wing.losses.last_calls(errors)
    return jnp.stack(list(errors.values()))

  def priced(variables, frame) -> choice.Prices:
    if latencies:
      return choice.measured(latencies, net, spec, variables, frame)
    prices, own = delta.costs({'teacher': variables}, frame)
    own = costs or own
    if published_cost or costs:
      prices = {
        path: (own[path], *[0.0] * (len(each) - 1))
        for path, each in prices.items()
      }
    return choice.Prices(prices, own)

  def init(key, teacher, frame):
    params = jax.jit(delta.init)(key, teacher, frame)
    students = params['students']
    if costs is not None:
      _check_paths('costs', costs, students)
    if start is not None:
      # Saved trees have no empty branches, as students without weights are.
      own = start.get('students', {})
      _check_paths('start', _with_weights(own), _with_weights(students))
      params |= {**start, 'students': {**students, **own}}
    pair = jax.ShapeDtypeStruct((1, 2, *frame.shape[1:]), jnp.float32)
    _, changes = jax.eval_shape(delta.reference, params, pair)
    calls = jax.eval_shape(distilled, changes, changes).shape[0]
    chosen = {}
    if settles:
      prices = priced(teacher, frame)
      chosen = {'gates': choice.settled(params['gates'], prices, target)}
    return {**params, 'teacher': params['teacher']['params']}, {
      **chosen,
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

  def stage(gates, params, model_state, prices):
    """Weights of the candidates, the choice, and whether it is still open.

    The choice is part of the model state, because an optimizer's momentum moves
    logits on that no longer get a gradient.
    """
    step, kept = model_state['step'], model_state.get('gates', {})
    now = choice.settled(logits_of(params), prices, target)
    if search_steps is None:
      return gates, {'gates': now}, True
    # The last update of the search is seen one step later.
    chosen = {p: jnp.where(step <= search_steps, now[p], kept[p]) for p in now}
    searching = step < search_steps
    gates = {
      p: jnp.where(searching, own, choice.one_hot(chosen[p]))
      for p, own in gates.items()
    }
    return gates, {'gates': chosen}, searching

  def losses(params, model_state, clip, key, terms: Terms):
    if not train_teacher:
      params = {**params, 'teacher': jax.lax.stop_gradient(params['teacher'])}
    whole = {**params, 'teacher': variables_of(params, model_state)}
    if clip.shape[1] < 2:
      raise ValueError(
        'a delta network trains on clips of two frames or more, got clips of '
        'one; set clip_length=2'
      )
    prices = priced(whole['teacher'], clip)
    gates = delta.sample(key, whole)
    chosen, searching = {}, True
    if settles:
      gates, chosen, searching = stage(gates, params, model_state, prices)
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
    if target is None:
      budget = delta_wing.losses.budget(
        gates, prices.candidates, prices.teacher
      )
    else:
      share = prices.share(
        jax.tree.map(gating.probabilities, logits_of(params))
      )
      budget = jnp.abs(share / target - 1)
    found = {
      **terms(whole['teacher'], outs, targets),
      'distillation': distillation_weight * active * distillation,
      'budget': budget_weight * jnp.where(searching, budget, 0.0),
    }
    return found, {
      **chosen,
      'batch_stats': aux.batch_stats,
      'distillation_scale': scale,
      'step': model_state['step'] + 1,
    }

  def watch(params, model_state):
    logits = logits_of(params)
    if search_steps is not None:
      open_still = model_state['step'] < search_steps
      kept = model_state.get('gates', {})
      logits = {p: jnp.where(open_still, logits[p], kept[p]) for p in logits}
    return {
      f'gate/{path}': gating.probabilities(own)[0]
      for path, own in logits.items()
    }

  return Objective(delta, init, losses, watch)


def logits_of(params: Params) -> dict[str, Array]:
  """Those of the gates; a saved tree has no empty branches."""
  return params.get('gates', {})


def _with_weights(students: Mapping[str, Any]) -> dict[str, Any]:
  return {path: own for path, own in students.items() if jax.tree.leaves(own)}


def _check_paths(name: str, given: Mapping, known: Mapping) -> None:
  if set(given) != set(known):
    raise ValueError(
      f'{name} names {len(given)} layers, the network has {len(known)} with '
      f'students; not in both: {", ".join(sorted(set(given) ^ set(known)))}'
    )
