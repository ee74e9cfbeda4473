"""`distill`: any network as a key-frame pass and cheap later frames.

The teacher's convolutions run on key frames. On a later frame t, a student of
layer l predicts the change of the layer's output from the change of its input
since the reference frame, and `z_t = z_ref + g(x_t - x_ref)`; so does one of a
whole block, which sees `x_ref` too. Whatever lies between runs unchanged on
every frame.

Source: Habibian et al., "Delta Distillation for Efficient Video Processing",
ECCV 2022, section 3.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from deltax.delta import cost
from deltax.delta import gates as gating
from deltax.delta.adapters.linen import Block, Layer, subtree, watched
from deltax.delta.freeze import Frozen, freeze, in_dtype
from deltax.delta.functions import Aux, Delta, Gates
from deltax.delta.references import (
  assemble,
  check_frames,
  references,
  take_frames,
  unroll,
)
from deltax.delta.spec import Selected, Spec
from deltax.delta.students.layers import Teacher, Within, started
from deltax.delta.survey import Survey, call_of, survey
from deltax.types import Array, Carry, Key, Params

RGB = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)


def distill(net: nn.Module, spec: Spec | None = None) -> Delta:
  """Turns a network into a delta network.

  Args:
    net: any linen network whose two-dimensional `nn.Conv` calls are not hidden
      in `nn.scan` or `nn.remat`. `net.apply(variables, frames)` evaluates it;
      for training with batch statistics it takes `train=True`.
    spec: which layers, which candidates, against which frame; the published
      segmentation setting when absent.

  Returns:
    The functions of the delta network.

  Raises:
    ValueError: from `init`, if convolutions are hidden or the spec picks none.

  Example:
    >>> net = nn.Sequential([nn.Conv(4, (3, 3)) for _ in range(3)])
    >>> delta = distill(net)
    >>> frame = jnp.ones((1, 8, 8, 3))
    >>> teacher = net.init(jax.random.key(0), frame)
    >>> params = delta.init(jax.random.key(1), teacher, frame)
    >>> delta.choose(params)
    {'layers_1': 1}
    >>> delta.rollout(params, jnp.ones((1, 5, 8, 8, 3)), interval=5).shape
    (1, 5, 8, 8, 4)
  """
  spec = spec or Spec()

  @functools.cache
  def surveyed(structure, shapes, shape) -> tuple[Survey, Selected]:
    variables = jax.tree.unflatten(
      structure, [jax.ShapeDtypeStruct(*leaf) for leaf in shapes]
    )
    found = survey(net, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    return found, spec.select(found)

  def plan(variables, shape: Sequence[int]) -> tuple[Survey, Selected]:
    """The layers of the network on frames of one shape, and who has students.

    Tracing is slow and shapes are few, so the plan of a shape is kept.
    """
    leaves, structure = jax.tree.flatten(variables)
    shapes = tuple((leaf.shape, jnp.dtype(leaf.dtype)) for leaf in leaves)
    return surveyed(structure, shapes, (1, *shape[-3:]))

  def init(key: Key, teacher_variables: Any, frame: Array) -> Params:
    _, selected = plan(teacher_variables, frame.shape)
    keys = jax.random.split(key, len(selected))
    students, logits = {}, {}
    for own, (path, (unit, candidates)) in zip(
      keys, selected.items(), strict=True
    ):
      students[path] = started(own, teacher_variables, unit, candidates)
      if spec.reference == 'none' and getattr(unit, 'bias', False):
        bias = subtree(teacher_variables['params'], path)['bias']
        for each in students[path].values():
          each['bias'] = jnp.array(bias)
      if len(candidates) > 1:
        logits[path] = jnp.full((len(candidates) - 1,), spec.initial_logit)
    return {
      'teacher': teacher_variables,
      'students': students,
      'gates': logits,
    }

  def student(params, shape, name, weights: Gates | None, change, held, exact):
    """The predicted change of one output, from those of the inputs.

    `exact` is that of a block which may be the teacher's own, else None: linen
    modules cannot be called inside of a `lax.switch`.
    """
    found, selected = plan(params['teacher'], shape)
    unit, candidates = call_of(found, selected, name)
    path = unit.path

    def branch(candidate, change, held):
      own = params['students'].get(path, {}).get(candidate.name, {})
      if isinstance(unit, Block):
        if isinstance(candidate, Teacher):
          return exact
        count = len(unit.inputs)
        return candidate.apply(own, change[:count], held[:count], unit)
      bias = own.get('bias')
      if isinstance(candidate, Teacher):
        own = subtree(params['teacher']['params'], path)
      out = candidate.apply(own, change[0], unit)
      return out if bias is None else out + bias.reshape(1, 1, 1, -1)

    branches = [functools.partial(branch, c) for c in candidates]
    if len(branches) == 1:
      return branches[0](change, held)
    if weights is not None:
      shares = weights[path]
      return sum(shares[i] * b(change, held) for i, b in enumerate(branches))
    chosen = gating.choose(params['gates'][path])
    return lax.switch(chosen, branches, change, held)

  def run(params, frames, selected, hook, **options):
    """The network, with `hook(name, teacher, inputs)` on what has students."""

    def conv(layer, teacher, x):
      if layer.path not in selected:
        return teacher(x)
      return hook(layer.name, teacher, (x,))

    blocks = [unit for unit, _ in selected.values() if isinstance(unit, Block)]
    return watched(
      *(net, params['teacher'], frames),
      conv=conv,
      block=hook,
      blocks=blocks,
      **options,
    )

  def before(x, others, sources):
    """What each of the `others` among the frames of `x` refers to."""
    if spec.reference == 'none':
      return jnp.zeros_like(take_frames(x, others))
    return take_frames(x, sources)

  def keyframe(params: Params, frame: Array) -> tuple[Carry, Any]:
    check_frames(frame, 4)
    _, selected = plan(params['teacher'], frame.shape)
    carry = {}

    def hook(name, teacher, inputs):
      z = teacher(*inputs)
      carry[name] = {'x': inputs, 'z': z}
      if spec.reference == 'none':
        carry[name] = jax.tree.map(jnp.zeros_like, carry[name])
      return z

    out = run(params, frame, selected, hook)
    return carry, out

  def later(params, carry, frame, weights):
    """A later frame: the next carry, the output, the predicted changes."""
    check_frames(frame, 4)
    found, selected = plan(params['teacher'], frame.shape)
    following, deltas = dict(carry), {}

    def hook(name, teacher, inputs):
      held, exact = carry[name], None
      change = jax.tree.map(jnp.subtract, inputs, held['x'])
      if _may_stay(*call_of(found, selected, name)):
        if spec.reference == 'previous':
          # One call: a module may have no second one in a pass.
          pairs = zip(held['x'], inputs, strict=True)
          past, now = jnp.split(teacher(*map(jnp.concatenate, pairs)), 2)
        else:
          past, now = held['z'], teacher(*inputs)
        exact = now - past
      delta = student(
        *(params, frame.shape, name, weights, change, held['x'], exact)
      )
      z = held['z'] + delta
      if _distilled(selected, name):
        deltas[name] = delta
      if spec.reference == 'previous':
        following[name] = {'x': inputs, 'z': z}
      return z

    out = run(params, frame, selected, hook)
    return following, out, deltas

  def step(params: Params, carry: Carry, frame: Array) -> tuple[Carry, Any]:
    carry, out, _ = later(params, carry, frame, None)
    return carry, out

  def rollout(
    params: Params, clip: Array, interval: Any, *, phase: Any = 0
  ) -> Any:
    check_frames(clip, 5)
    return unroll(
      functools.partial(keyframe, params),
      functools.partial(step, params),
      clip,
      interval,
      phase,
    )

  def scanned(params, clip, interval, weights):
    """`clip` by a scan over time: outputs, changes of the later frames."""

    def first(frame):
      carry, out = keyframe(params, frame)
      # The key frame's own change is zero; its shape comes from a later frame.
      shapes = jax.eval_shape(later, params, carry, frame, weights)[2]
      empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
      return carry, (out, empty)

    def follow(carry, frame):
      carry, out, deltas = later(params, carry, frame, weights)
      return carry, (out, deltas)

    outs, deltas = unroll(first, follow, clip, interval, 0)
    _, others, _ = references(clip.shape[1], interval, spec.reference)
    return outs, {k: take_frames(v, others) for k, v in deltas.items()}

  def folded(params, clip, interval, weights, **options):
    """`clip` in one pass: the output of `net.apply`, and the changes."""
    batch, time = clip.shape[:2]
    found, selected = plan(params['teacher'], clip.shape)
    keys, others, sources = references(time, interval, spec.reference)
    deltas = {}

    def split(x):
      return x.reshape(batch, -1, *x.shape[1:])

    def fold(x):
      return x.reshape(-1, *x.shape[2:])

    def hook(name, teacher, inputs):
      maps, exact = [split(x) for x in inputs], None
      # One call, lest batch norm takes its statistics twice.
      stays = _may_stay(*call_of(found, selected, name))
      given = range(time) if stays else keys
      z = split(teacher(*(fold(take_frames(x, given)) for x in maps)))
      if not others:
        return fold(z)
      if stays:
        exact = fold(take_frames(z, others) - before(z, others, sources))
        z = take_frames(z, keys)
      held = tuple(fold(before(x, others, sources)) for x in maps)
      now = (fold(take_frames(x, others)) for x in maps)
      change = tuple(x - y for x, y in zip(now, held, strict=True))
      delta = student(*(params, clip.shape, name, weights, change, held, exact))
      delta = split(delta)
      if _distilled(selected, name):
        deltas[name] = delta
      return fold(assemble(z, delta, keys, others, sources))

    out = run(params, fold(clip), selected, hook, **options)
    return out, deltas, split

  def clip(
    params: Params,
    clip: Array,
    *,
    key: Key | None = None,
    train: bool = False,
    gates: Gates | None = None,
    interval: int | None = None,
    scan: bool = False,
  ) -> tuple[Any, Aux]:
    check_frames(clip, 5)
    interval = interval or clip.shape[1]
    if train and gates is None:
      if key is None:
        raise ValueError(
          'clip(train=True) samples gates; it needs key= or gates='
        )
      gates = sample(key, params)
    stats = params['teacher'].get('batch_stats', {})
    if scan:
      outs, deltas = scanned(params, clip, interval, gates)
      return outs, Aux(deltas, gates, stats)
    if not train:
      outs, deltas, split = folded(params, clip, interval, gates)
      return jax.tree.map(split, outs), Aux(deltas, gates, stats)
    rngs = (
      None if key is None else {'dropout': jax.random.fold_in(key, 1 << 20)}
    )
    (outs, updates), deltas, split = folded(
      params,
      clip,
      interval,
      gates,
      train=True,
      mutable=['batch_stats'],
      rngs=rngs,
    )
    stats = updates.get('batch_stats', stats)
    return jax.tree.map(split, outs), Aux(deltas, gates, stats)

  def reference(
    params: Params, clip: Array, *, interval: int | None = None
  ) -> tuple[Any, dict[str, Array]]:
    check_frames(clip, 5)
    batch, time = clip.shape[:2]
    variables = lax.stop_gradient(params['teacher'])
    _, selected = plan(variables, clip.shape)
    _, others, sources = references(time, interval or time, spec.reference)
    deltas = {}

    def split(x):
      return x.reshape(batch, -1, *x.shape[1:])

    def hook(name, teacher, inputs):
      z = teacher(*inputs)
      if others and _distilled(selected, name):
        frames = split(z)
        change = take_frames(frames, others) - before(frames, others, sources)
        deltas[name] = change
      return z

    frames = lax.stop_gradient(clip).reshape(-1, *clip.shape[2:])
    outs = run({'teacher': variables}, frames, selected, hook)
    return jax.tree.map(split, outs), deltas

  def sample(key: Key, params: Params) -> Gates:
    return gating.sample(key, params.get('gates', {}), spec.temperature)

  def choose(params: Params) -> dict[str, int]:
    gates = params.get('gates', {})  # a saved tree has no empty branches
    return {
      path: int(gating.choose(gates[path])) if path in gates else 0
      for path in {**params['students'], **gates}
    }

  def macs(params: Params, frame: Any) -> cost.Macs:
    found, selected = plan(params['teacher'], frame.shape)
    return cost.table(found, selected, choose(params))

  def costs(params: Params, frame: Any) -> tuple[dict, dict]:
    found, selected = plan(params['teacher'], frame.shape)
    return cost.prices(found, selected)

  def deploy(params: Params, frame: Any = RGB, *, dtype: Any = None) -> Frozen:
    variables = jax.eval_shape(lambda x: x, params['teacher'])
    own = functools.partial(plan, variables)
    frozen = freeze(
      *(net, params, own, frame.shape, choose(params), spec.reference)
    )
    return frozen if dtype is None else in_dtype(frozen, dtype)

  return Delta(
    init=init,
    keyframe=keyframe,
    step=step,
    rollout=rollout,
    clip=clip,
    reference=reference,
    sample=sample,
    choose=choose,
    macs=macs,
    costs=costs,
    freeze=deploy,
  )


def _distilled(selected: Selected, name: str) -> bool:
  """Whether a call has a student that is held to the teacher's change."""
  _, candidates = selected[name.partition(':')[0]]
  return not isinstance(candidates[0], Within)


def _may_stay(unit: Layer | Block, candidates) -> bool:
  """Whether a block may be the teacher's own."""
  return isinstance(unit, Block) and any(
    isinstance(each, Teacher) for each in candidates
  )
