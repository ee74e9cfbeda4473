"""A frozen delta network as two programs that run without this library.

`keyframe` maps a frame to the carry and the outputs, `step` maps the carry and
a frame to the same. The carry is a list of arrays, all named; parameters are
part of the programs.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from deltax.delta.deploy.frozen import Frozen
from deltax.delta.deploy.litert import to_litert
from deltax.delta.deploy.onnx import Port, to_onnx
from deltax.layers import forms
from deltax.types import Array

PLATFORMS = ('cpu', 'cuda', 'tpu')


class Value(NamedTuple):
  """An input or output of a program."""

  name: str
  shape: tuple[int, ...]
  dtype: str


Values = tuple[Value, ...]


class Program(NamedTuple):
  """A function of arrays, as bytes.

  Attributes:
    content: the bytes: what `jax.export.deserialize` takes, or a model of ONNX
      or LiteRT.
    inputs: in the order of the arguments.
    outputs: in the order of the results.
    text: the same as portable StableHLO, of the version that its first line
      tells; '' of another form.
  """

  content: bytes
  inputs: Values
  outputs: Values
  text: str = ''


def export(
  frozen: Frozen,
  shape: Sequence[int],
  *,
  form: str = 'stablehlo',
  dtype: Any = jnp.float32,
) -> dict[str, Program]:
  """The two programs of a frozen delta network, for frames of one shape.

  Layers take the forms that suit the target (`deltax.layers.forms`), not those
  that are fast on this machine.

  Args:
    frozen: the network, as `Delta.freeze` gives it.
    shape: of the frames, (B, H, W, C).
    form: 'stablehlo', for all of `PLATFORMS`; 'onnx'; 'openvino', which is
      ONNX too, for an engine that holds images with their channels last; or
      'litert', for phones and small computers.
    dtype: of the frames, as the network takes them.

  Returns:
    'keyframe': from 'frame' to 'carry/<layer>', ... and 'out' (or 'out/<name>',
    ... of a network with several outputs); 'step': from 'carry/<layer>', ...
    and 'frame' to the same. Of 'onnx', images of the carry have their channels
    first. A step in a form other than 'stablehlo' gives only those arrays that
    it changes, and reads these under 'held/<layer>', for two arrays never share
    a name there.

  Raises:
    ValueError: an unknown form.
    DeltaxError: a layer has no such form; it is named. Or the form is 'litert',
      and the batch symbolic.
    ImportError: the packages of the extra `export`, or `litert`, are missing.
  """
  if form not in _WRITERS:
    raise ValueError(f'no form {form!r}; known: {", ".join(_WRITERS)}')
  target, write = _WRITERS[form]
  frame = jax.ShapeDtypeStruct(tuple(shape), dtype)
  carry, out = jax.eval_shape(frozen.keyframe, frozen.params, frame)
  _, later = jax.eval_shape(frozen.step, frozen.params, carry, frame)
  leaves, structure = jax.tree.flatten(carry)

  def keyframe(frame: Array) -> tuple[Array, ...]:
    with forms.forms_for(target):
      return tuple(jax.tree.leaves(frozen.keyframe(frozen.params, frame)))

  def step(*arguments: Array) -> tuple[Array, ...]:
    *held, frame = arguments
    held = jax.tree.unflatten(structure, held)
    with forms.forms_for(target):
      return tuple(jax.tree.leaves(frozen.step(frozen.params, held, frame)))

  seen = (Value('frame', frame.shape, str(frame.dtype)),)
  held = _values('carry', carry)
  return {
    name: write(function, shapes, inputs, held + _values('out', results))
    for name, function, shapes, inputs, results in (
      ('keyframe', keyframe, [frame], seen, out),
      ('step', step, [*leaves, frame], held + seen, later),
    )
  }


def _values(name: str, tree: Any) -> Values:
  return tuple(
    Value(
      '/'.join([name, *(str(getattr(k, 'key', k)) for k in path)]),
      leaf.shape,
      str(leaf.dtype),
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  )


Writer = Callable[[Callable, list, Values, Values], Program]


def _stablehlo(function, shapes, inputs, outputs):
  made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)
  version = re.search(rb'StableHLO_v([\d.]+)', made.mlir_module_serialized)
  text = f'// StableHLO {version[1].decode()}\n{made.mlir_module()}'
  return Program(bytes(made.serialize()), inputs, outputs, text)


def _onnx(function, shapes, inputs, outputs, *, channels_first):
  traced = jax.make_jaxpr(function)(*shapes)
  inputs, results = _changes(traced.jaxpr, inputs, outputs)

  def port(value):
    of_carry = value.name.startswith(('carry/', 'held/'))
    is_image = of_carry and len(value.shape) == 4
    return Port(value.name, channels_first and is_image)

  def stored(value):
    if not port(value).channels_first:
      return value
    return value._replace(shape=tuple(value.shape[i] for i in (0, 3, 1, 2)))

  ports = [port(v) if v in results else None for v in outputs]
  content = to_onnx(traced, [port(v) for v in inputs], ports)
  return Program(content, *(tuple(map(stored, v)) for v in (inputs, results)))


def _litert(function, shapes, inputs, outputs):
  jaxpr = jax.make_jaxpr(function)(*shapes).jaxpr
  inputs, results = _changes(jaxpr, inputs, outputs)

  def changes(*arguments):
    made = dict(zip(outputs, function(*arguments), strict=True))
    return [made[value] for value in results]

  names = ([value.name for value in values] for values in (inputs, results))
  return Program(to_litert(changes, shapes, *names), inputs, results)


def _changes(
  jaxpr: Jaxpr, inputs: Values, outputs: Values
) -> tuple[Values, Values]:
  """Inputs, and those outputs that are not as they came in.

  What is changed is read under 'held/<layer>' and given as 'carry/<layer>'.
  """
  taken = dict(zip(inputs, jaxpr.invars, strict=True))
  given = dict(zip(outputs, jaxpr.outvars, strict=True))
  results = tuple(v for v in given if taken.get(v) is not given[v])
  named = (
    v._replace(name=v.name.replace('carry/', 'held/', 1)) if v in results else v
    for v in inputs
  )
  return tuple(named), results


_WRITERS: dict[str, tuple[str, Writer]] = {
  'stablehlo': (forms.PORTABLE, _stablehlo),
  'onnx': (forms.PLAIN, functools.partial(_onnx, channels_first=True)),
  'openvino': (forms.PLAIN, functools.partial(_onnx, channels_first=False)),
  'litert': (forms.LITERT, _litert),
}
