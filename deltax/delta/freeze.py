"""The deployed form: chosen students, folded batch norm, one cache a layer.

A student is linear, so against a fixed reference `z_0 + g(x_t - x_0)` equals
`g(x_t) + k` with `k = z_0 - g(x_0)`: the key frame leaves one array a layer
instead of two, and later frames subtract nothing. The same k serves both
references, since the recurrent sum telescopes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax import traverse_util
from jax import lax

from deltax.delta.layers import Layer, Norm, Survey, modules, watched
from deltax.delta.schedule import check_frames, unroll
from deltax.delta.students import Full
from deltax.types import Array, Carry, Params


class Frozen(NamedTuple):
  """A deployed delta network: parameters, and pure functions of them.

  Attributes:
    params: `{'convs': {path: kernel, bias}, 'students': {path: ...},
      'variables': what else the network holds}`.
    keyframe: `(params, frame) -> (carry, out)`; carry is `{layer: [B, H', W',
      N]}`. Costs the teacher and one pass of the students.
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
  survey: Survey,
  selected: Mapping[str, tuple[Layer, tuple]],
  choices: Mapping[str, int],
  reference: str,
) -> Frozen:
  """Builds the deployed form; see `deltax.delta.distill` for the arguments.

  A batch norm is folded into a convolution when it alone reads the
  convolution's output, and each is called once a pass.
  """
  chosen = {p: selected[p][1][choices[p]] for p in selected}
  rest = traverse_util.flatten_dict(params['teacher'], sep='/')
  convs, students = {}, {}
  for layer in modules(survey.layers):
    path, norm = layer.path, survey.norms.get(layer.path)
    kernel = rest.pop(f'params/{path}/kernel')
    bias = rest.pop(f'params/{path}/bias', None)
    scale, shift = _affine(rest, norm, layer.kernel[-1])
    convs[path] = {'kernel': kernel * scale.reshape(1, 1, 1, -1)}
    if bias is not None or norm is not None:
      convs[path]['bias'] = shift + (0.0 if bias is None else bias * scale)
    if path in chosen:
      own = params['students'][path][chosen[path].name]
      students[path] = chosen[path].scale(own, scale)
      if 'bias' in own:
        students[path]['bias'] = own['bias'] * scale
  folded = {norm.path for norm in survey.norms.values()}
  frozen = {
    'convs': convs,
    'students': students,
    'variables': traverse_util.unflatten_dict(rest, sep='/'),
  }

  def run(params, frame, conv):
    check_frames(frame, 4)

    def norm(module, teacher, x):
      return x if '/'.join(module.path) in folded else teacher(x)

    return watched(net, params['variables'], frame, conv=conv, norm=norm)

  def teacher(params, layer, x):
    own = params['convs'][layer.path]
    return _add(Full().apply(own, x, layer), own.get('bias'))

  def student(params, layer, x):
    own = params['students'][layer.path]
    return chosen[layer.path].apply(own, x, layer)

  def keyframe(params: Params, frame: Array) -> tuple[Carry, Any]:
    carry = {}

    def conv(layer, _, x):
      z = teacher(params, layer, x)
      if layer.path in chosen:
        cached = z - student(params, layer, x)
        bias = params['students'][layer.path].get('bias')
        carry[layer.name] = _add(cached, bias)
      return z

    out = run(params, frame, conv)
    return carry, out

  def step(params: Params, carry: Carry, frame: Array) -> tuple[Carry, Any]:
    following = dict(carry)

    def conv(layer, _, x):
      if layer.path not in chosen:
        return teacher(params, layer, x)
      bias = params['students'][layer.path].get('bias')
      if reference == 'previous' and bias is not None:
        # The recurrent form adds a student's bias anew on every frame.
        following[layer.name] = _add(carry[layer.name], bias)
      return student(params, layer, x) + carry[layer.name]

    out = run(params, frame, conv)
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
