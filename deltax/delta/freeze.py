"""The deployed form: chosen students, folded batch norm, one cache a layer.

A layer's student is linear, so against a fixed reference `z_0 + g(x_t - x_0)`
equals `g(x_t) + k` with `k = z_0 - g(x_0)`: the key frame leaves one array a
layer instead of two, and later frames subtract nothing. The same k serves both
references, since the recurrent sum telescopes. A block's student is not linear;
what it computes of the key frame alone is cached beside. Where the choice is
the teacher's own layer, nothing is cached.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax

from deltax.delta.adapters.linen import Block, is_span, modules, watched
from deltax.delta.references import check_frames, unroll
from deltax.delta.spec import Selected
from deltax.delta.students.layers import Full, Teacher, Within
from deltax.delta.survey import Norm, Survey, call_of
from deltax.layers import winograd
from deltax.types import Array, Carry, Params


class Frozen(NamedTuple):
  """A deployed delta network: parameters, and pure functions of them.

  Attributes:
    params: `{'convs': {path: kernel, bias, and on CPU the kernel of some for
      Winograd's form}, 'students': {path: ...},
      'variables': what else the network holds}`.
    keyframe: `(params, frame) -> (carry, out)`; carry is `{name: [B, H', W',
      N]}`, of a nonlinear block `{'z': the same, ...}`. Costs the teacher and
      one pass of the students.
    step: `(params, carry, frame) -> (carry, out)`.
    rollout: `(params, clip, interval, *, phase=0) -> outs [B, T, ...]`.
  """

  params: Params
  keyframe: Callable[[Params, Array], tuple[Carry, Any]]
  step: Callable[[Params, Carry, Array], tuple[Carry, Any]]
  rollout: Callable[..., Any]


def freeze(
  net: nn.Module,
  params: Params,
  plan: Callable[[Sequence[int]], tuple[Survey, Selected]],
  shape: Sequence[int],
  choices: Mapping[str, int],
  reference: str,
) -> Frozen:
  """Builds the deployed form.

  A batch norm is folded into a convolution when it alone reads the
  convolution's output, and each is called once a pass; not out of a block that
  has a student, whose output would be another.

  Args:
    net: the network.
    params: of the delta network.
    plan: from the shape of a frame, the network's survey and what has students.
    shape: of a frame; functions of the result take frames of any.
    choices: index of the chosen candidate, by path.
    reference: that of the spec.

  Raises:
    ValueError: for students of blocks whose reference is the frame before: they
      are not linear, so that no constant stands for the past.
  """
  survey, selected = plan(shape)
  chosen = {
    path: (unit, candidates[choices.get(path, 0)])
    for path, (unit, candidates) in selected.items()
    if not isinstance(candidates[choices.get(path, 0)], Teacher)
  }
  blocks = [unit for unit, _ in chosen.values() if isinstance(unit, Block)]
  if reference == 'previous' and blocks:
    raise ValueError(
      f'students of blocks ({blocks[0].path!r}) are deployed against the key '
      "frame; train them with reference 'key'"
    )
  norms = {
    path: norm
    for path, norm in survey.norms.items()
    if not _leaves(path, norm.path, blocks)
  }
  rest = traverse_util.flatten_dict(params['teacher'], sep='/')
  convs = {}
  students = {
    path: dict(params['students'].get(path, {}).get(candidate.name, {}))
    for path, (_, candidate) in chosen.items()
  }
  for layer in modules(survey.layers):
    path, norm = layer.path, norms.get(layer.path)
    kernel = rest.pop(f'params/{path}/kernel')
    bias = rest.pop(f'params/{path}/bias', None)
    scale, shift = _affine(rest, norm, layer.kernel[-1])
    convs[path] = {'kernel': kernel * scale.reshape(1, 1, 1, -1)}
    if bias is not None or norm is not None:
      convs[path]['bias'] = shift + (0.0 if bias is None else bias * scale)
    if jax.default_backend() == 'cpu' and winograd.has_tiles(
      layer.kernel, layer.strides, layer.dilation, layer.groups
    ):
      tiles = winograd.transform_kernel(convs[path]['kernel'])
      convs[path]['winograd'] = tiles
    if path in chosen:
      own = students[path]
      students[path] = chosen[path][1].scale(own, scale)
      if 'bias' in own:
        students[path]['bias'] = own['bias'] * scale
      if reference == 'none':
        students[path]['bias'] = students[path].get('bias', 0.0) + shift
  folded = {norm.path for norm in norms.values()}
  frozen = {
    'convs': convs,
    'students': students,
    'variables': traverse_util.unflatten_dict(rest, sep='/'),
  }

  def run(params, frame, conv, block):
    check_frames(frame, 4)

    def norm(module, teacher, x):
      return x if '/'.join(module.path) in folded else teacher(x)

    return watched(
      *(net, params['variables'], frame),
      conv=conv,
      norm=norm,
      block=block,
      blocks=blocks,
    )

  def inner(path):
    """Whether nothing reads what a convolution gives on later frames."""
    return isinstance(chosen[path][1], Within)

  def teacher(params, layer, x):
    own = params['convs'][layer.path]
    ones = ((1, 1), (1, 1))
    if 'winograd' in own and layer.padding == ones and winograd.pays(x.shape):
      z = winograd.winograd_conv(x, own['winograd'])
    else:
      z = Full().apply(own, x, layer)
    return _add(z, own.get('bias'))

  def student_of(name, frame):
    """A layer or a block at the size that it has here, and its student."""
    unit, candidates = call_of(*plan(frame.shape), name)
    return unit, candidates[choices.get(unit.path, 0)]

  def follow(params, unit, candidate, prepared, inputs):
    """A student on the inputs themselves: right up to a constant."""
    own = params['students'].get(unit.path, {})
    if isinstance(unit, Block):
      inputs = inputs[: len(unit.inputs)]
      return candidate.follow(own, prepared, inputs, unit)
    return candidate.apply(own, *inputs, unit)

  def prepare(params, unit, candidate, inputs):
    """What a block's student needs of the key frame."""
    if not isinstance(unit, Block):
      return {}
    inputs = inputs[: len(unit.inputs)]
    if reference == 'none':
      inputs = jax.tree.map(jnp.zeros_like, inputs)
    return candidate.prepare(params['students'][unit.path], inputs, unit)

  def keyframe(params: Params, frame: Array) -> tuple[Carry, Any]:
    carry = {}

    def keep(name, z, inputs):
      path = name.partition(':')[0]
      if path in chosen and not inner(path) and reference != 'none':
        student = student_of(name, frame)
        prepared = prepare(params, *student, inputs)
        constant = z - follow(params, *student, prepared, inputs)
        constant = _add(constant, params['students'].get(path, {}).get('bias'))
        # A bare array where it is all.
        carry[name] = {**prepared, 'z': constant} if prepared else constant
      return z

    def conv(layer, _, x):
      return keep(layer.name, teacher(params, layer, x), (x,))

    def block(name, own, inputs):
      return keep(name, own(*inputs), inputs)

    out = run(params, frame, conv, block)
    return carry, out

  def step(params: Params, carry: Carry, frame: Array) -> tuple[Carry, Any]:
    following = dict(carry)

    def block(name, _, inputs):
      path = name.partition(':')[0]
      bias = params['students'].get(path, {}).get('bias')
      student = student_of(name, frame)
      if reference == 'none' or inner(path):
        prepared = prepare(params, *student, inputs)
        return _add(follow(params, *student, prepared, inputs), bias)
      held = carry[name]
      prepared, constant = {}, held
      if isinstance(held, dict):
        prepared, constant = held, held['z']
      elif reference == 'previous' and bias is not None:
        # The recurrent form adds a student's bias anew on every frame.
        following[name] = _add(held, bias)
      return follow(params, *student, prepared, inputs) + constant

    def conv(layer, _, x):
      if layer.path in chosen:
        return block(layer.name, None, (x,))
      return teacher(params, layer, x)

    out = run(params, frame, conv, block)
    return following, out

  def rollout(
    params: Params, clip: Array, interval: Any, *, phase: Any = 0
  ) -> Any:
    check_frames(clip, 5)
    return unroll(
      lambda frame: keyframe(params, frame),
      lambda carry, frame: step(params, carry, frame),
      clip,
      interval,
      phase,
    )

  return Frozen(frozen, keyframe, step, rollout)


def in_dtype(frozen: Frozen, dtype: Any) -> Frozen:
  """The same network with weights, activations and carry of another type.

  Args:
    frozen: the network.
    dtype: such as `jnp.bfloat16`, which halves the carry and is fast on
      accelerators; CPUs gain nothing.

  Returns:
    Its functions take frames of any type and give outputs of their own type,
    float32 for float32.
  """

  def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)

  def keyframe(params, frame):
    carry, out = frozen.keyframe(params, frame.astype(dtype))
    return carry, cast(out, frame.dtype)

  def step(params, carry, frame):
    carry, out = frozen.step(params, carry, frame.astype(dtype))
    return carry, cast(out, frame.dtype)

  def rollout(params, clip, interval, *, phase=0):
    out = frozen.rollout(params, clip.astype(dtype), interval, phase=phase)
    return cast(out, clip.dtype)

  return Frozen(cast(frozen.params, dtype), keyframe, step, rollout)


def _leaves(conv: str, norm: str, blocks: Collection[Block]) -> bool:
  """Whether a convolution is in a block and its batch norm outside."""
  for block in blocks:
    if is_span(block) and conv == block.layers[-1]:
      return True
    inside = block.path + '/'
    if conv.startswith(inside) and not norm.startswith(inside):
      return True
  return False


def _affine(variables: dict, norm: Norm | None, features: int):
  """Scale and shift that a batch norm applies; its entries are taken out."""
  if norm is None:
    return jnp.ones(features), jnp.zeros(features)
  mean = variables.pop(f'batch_stats/{norm.path}/mean')
  var = variables.pop(f'batch_stats/{norm.path}/var')
  scale = variables.pop(f'params/{norm.path}/scale', jnp.ones(features))
  bias = variables.pop(f'params/{norm.path}/bias', jnp.zeros(features))
  scale = scale * lax.rsqrt(var + norm.epsilon)
  return scale, bias - mean * scale


def _add(z: Array, bias: Array | None) -> Array:
  return z if bias is None else z + bias.reshape(1, 1, 1, -1)
