"""Optimizers by name, with schedules and parameter groups."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deltax.types import Array, Params

Schedule = Callable[[Array], Array]
Group = Mapping[str, float] | Literal['frozen']

GROUP_OPTIONS = ('learning_rate', 'weight_decay')
POLY_POWER = 0.9
FROZEN = 'frozen'


class ScheduleState(NamedTuple):
  """Steps done (int32 `[]`) and the rate that the last one used (`[]`)."""

  count: Array
  learning_rate: Array


def poly(base: float, steps: int) -> Schedule:
  """`base * (1 - max(s - 1, 0) / steps) ** 0.9` at step `s`, from 0.

  Steps 0 and 1 share the base rate: the published segmentation code sets the
  rate after each step, from that step's own index.

  >>> [round(float(poly(1.0, 4)(s)), 3) for s in range(4)]
  [1.0, 1.0, 0.772, 0.536]
  """

  def rate(step: Array) -> Array:
    left = 1 - jnp.maximum(step - 1, 0) / steps
    return base * jnp.maximum(left, 0) ** POLY_POWER

  return rate


def cosine(base: float, steps: int) -> Schedule:
  """Half a cosine wave from `base` at step 0 to 0 at step `steps`."""
  return lambda step: (
    base * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1)))
  )


def constant(base: float, steps: int) -> Schedule:
  """`base` at every step."""
  del steps
  return lambda step: base * jnp.ones_like(step, jnp.float32)


def step_down(base: float, steps: int) -> Schedule:
  """`base`, and a tenth of it from four sevenths of the run on.

  The published detection code runs 7 epochs and lowers the rate at epoch 4.

  >>> [round(float(step_down(1.0, 14)(s)), 3) for s in (0, 7, 8, 13)]
  [1.0, 1.0, 0.1, 0.1]
  """
  return lambda step: base * jnp.where(7 * step < 4 * steps, 1.0, 0.1)


SCHEDULES = {
  'poly': poly,
  'cosine': cosine,
  'constant': constant,
  'step_down': step_down,
}


def make_schedule(
  name: str, base: float, steps: int, warmup_steps: int = 0
) -> Schedule:
  """Step (int `[]`, from 0) -> learning rate (float32 `[]`).

  Args:
    name: one of `SCHEDULES`.
    base: the rate before any decay.
    steps: length of the run, over which the rate decays.
    warmup_steps: over this many first steps the rate also rises in proportion:
      step `s` uses `(s + 1) / warmup_steps` of it.
  """
  rate = _known('schedule', name, SCHEDULES)(base, steps)
  if not warmup_steps:
    return rate
  return lambda step: rate(step) * jnp.minimum((step + 1) / warmup_steps, 1)


def make_optimizer(
  name: str = 'sgd',
  *,
  learning_rate: float,
  steps: int,
  schedule: str = 'poly',
  warmup_steps: int = 0,
  momentum: float = 0.9,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  clip_norm: float | None = None,
  groups: Sequence[tuple[str, Group]] = (('', {}),),
) -> optax.GradientTransformation:
  """An optax transform, from plain values.

  Args:
    name: 'sgd', 'adam' (both add `weight_decay * params` to the gradient) or
      'adamw' (decay apart from the moments).
    learning_rate: base rate of the groups that set none.
    steps: length of the run, for the schedule.
    schedule: one of `SCHEDULES`.
    warmup_steps: length of a linear rise at the start, 0 for none.
    momentum: of 'sgd'.
    nesterov: of 'sgd'.
    weight_decay: of the groups that set none; it acts on every parameter.
    clip_norm: the gradient of all trained parameters together is scaled down to
      this norm where it is larger.
    groups: pairs of a regular expression, searched in a parameter's path (its
      keys joined by '/'), and either 'frozen' or the group's own
      `learning_rate` and `weight_decay`. The first match counts. A pattern
      that matches any path, as '' does, is for whatever is left, if anything.

  Returns:
    A transform whose `init` and `update` raise a ValueError that lists names,
    where a group matches no parameter or a parameter no group. `learning_rates`
    reads its last rates.
  """
  scale = _known(
    'optimizer',
    name,
    {
      'sgd': lambda decay: (
        optax.add_decayed_weights(decay),
        optax.trace(momentum, nesterov),
      ),
      'adam': lambda decay: (
        optax.add_decayed_weights(decay),
        optax.scale_by_adam(),
      ),
      'adamw': lambda decay: (
        optax.scale_by_adam(),
        optax.add_decayed_weights(decay),
      ),
    },
  )

  def transform(pattern: str, group: Group) -> optax.GradientTransformation:
    if group == FROZEN:
      return optax.set_to_zero()
    options = dict(
      learning_rate=learning_rate, weight_decay=weight_decay
    ) | _group_options(pattern, group)
    rate = make_schedule(
      schedule, options['learning_rate'], steps, warmup_steps
    )
    return optax.chain(*scale(options['weight_decay']), _descend(rate))

  if not all(
    isinstance(pair, tuple | list) and len(pair) == 2 for pair in groups
  ):
    raise ValueError(
      f'groups={groups!r:.80}; expected pairs of a pattern and what it sets'
    )
  patterns = tuple(pattern for pattern, _ in groups)
  frozen = {pattern for pattern, group in groups if group == FROZEN}
  by_group = optax.partition(
    {pattern: transform(pattern, group) for pattern, group in groups},
    lambda params: group_of(params, patterns),
  )
  if clip_norm is None:
    return by_group
  clip = optax.masked(
    optax.clip_by_global_norm(clip_norm),
    lambda params: jax.tree.map(
      lambda pattern: pattern not in frozen, group_of(params, patterns)
    ),
  )
  return optax.chain(clip, by_group)


def group_of(params: Params, patterns: Sequence[str]) -> Any:
  """The first of `patterns` that each parameter's path matches, as a tree.

  >>> group_of({'teacher': 0, 'gates': {'a': 0}}, ('^teacher', '^gates/'))
  {'gates': {'a': '^gates/'}, 'teacher': '^teacher'}

  Raises:
    ValueError: a parameter without a group, a group without a parameter, unless
      its pattern matches whatever is left.
  """
  paths = [
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  labels = [
    next((p for p in patterns if re.search(p, path)), None) for path in paths
  ]
  lost = [p for p, label in zip(paths, labels, strict=True) if label is None]
  if lost:
    raise ValueError(
      f'no parameter group matches {_list(lost)}; groups: {_list(patterns)}'
    )
  idle = [p for p in patterns if p not in labels and not re.search(p, '')]
  if idle:
    raise ValueError(
      f'parameter groups that match no parameter: {_list(idle)}; parameters: '
      f'{_list(paths)}'
    )
  return jax.tree.unflatten(jax.tree.structure(params), labels)


def learning_rates(opt_state: optax.OptState) -> dict[str, Array]:
  """The rates of the last step, by name: 'learning_rate/<words of pattern>'.

  Empty for an optimizer that `make_optimizer` did not make.
  """
  rates = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(opt_state):
    if path[-1:] == (jax.tree_util.GetAttrKey('learning_rate'),):
      patterns = [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]
      words = re.findall(r'\w+', ' '.join(patterns))
      rates[f'learning_rate/{"_".join(words)}'.rstrip('/')] = leaf
  return rates


def _descend(rate: Schedule) -> optax.GradientTransformation:
  """Multiplies by minus the scheduled rate, and remembers that rate."""

  def init(params: Params) -> ScheduleState:
    del params
    return ScheduleState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

  def update(updates, state, params=None):
    del params
    now = jnp.asarray(rate(state.count), jnp.float32)
    updates = jax.tree.map(lambda u: (-now * u).astype(u.dtype), updates)
    return updates, ScheduleState(state.count + 1, now)

  return optax.GradientTransformation(init, update)


def _group_options(pattern: str, group: Group) -> dict[str, float]:
  unknown = set(group) - set(GROUP_OPTIONS)
  if unknown:
    raise ValueError(
      f'group {pattern!r}: unknown {_list(unknown)}; known: '
      f"{_list(GROUP_OPTIONS)}, or the word 'frozen' for the whole group"
    )
  return dict(group)


def _known(what: str, name: str, table: Mapping[str, Any]) -> Any:
  if name not in table:
    raise ValueError(f'unknown {what} {name!r}; known: {_list(table)}')
  return table[name]


def _list(names) -> str:
  names = [repr(name) for name in sorted(names)]
  more = f' and {len(names) - 12} more' if len(names) > 12 else ''
  return ', '.join(names[:12]) + more
