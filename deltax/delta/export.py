"""A frozen delta network as two programs that run without this library.

`keyframe` maps a frame to the carry and the outputs, `step` maps the carry and
a frame to the same. The carry is a list of arrays, all named; parameters are
part of the programs.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from deltax.delta.deploy.frozen import Frozen
from deltax.types import Array

PLATFORMS = ('cpu', 'cuda', 'tpu')


class Value(NamedTuple):
  """An input or output of a program."""

  name: str
  shape: tuple[int, ...]
  dtype: str


class Program(NamedTuple):
  """A function of arrays, as bytes.

  Attributes:
    content: the bytes: what `jax.export.deserialize` takes, or an ONNX model.
    inputs: in the order of the arguments.
    outputs: in the order of the results.
  """

  content: bytes
  inputs: tuple[Value, ...]
  outputs: tuple[Value, ...]


def export(
  frozen: Frozen, shape: Sequence[int], *, form: str = 'stablehlo'
) -> dict[str, Program]:
  """The two programs of a frozen delta network, for frames of one shape.

  Args:
    frozen: the network, as `Delta.freeze` gives it.
    shape: (B, H, W, C) of the frames, float32, normalised.
    form: 'stablehlo', for all of `PLATFORMS`, or 'onnx'.

  Returns:
    'keyframe': from 'frame' to 'carry/<layer>', ... and 'out' (or 'out/<name>',
    ... of a network with several outputs); 'step': from 'carry/<layer>', ...
    and 'frame' to the same.

  Raises:
    ValueError: an unknown form.
    ImportError: the packages of the extra `export` are missing.
  """
  if form not in _WRITERS:
    raise ValueError(f'no form {form!r}; known: {", ".join(_WRITERS)}')
  frame = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
  carry, out = jax.eval_shape(frozen.keyframe, frozen.params, frame)
  leaves, structure = jax.tree.flatten(carry)

  def keyframe(frame: Array) -> tuple[Array, ...]:
    return tuple(jax.tree.leaves(frozen.keyframe(frozen.params, frame)))

  def step(*arguments: Array) -> tuple[Array, ...]:
    *held, frame = arguments
    held = jax.tree.unflatten(structure, held)
    return tuple(jax.tree.leaves(frozen.step(frozen.params, held, frame)))

  seen = (Value('frame', frame.shape, 'float32'),)
  held, results = _values('carry', carry), _values('out', out)
  return {
    name: Program(
      _WRITERS[form](function, shapes, inputs, held + results),
      inputs,
      held + results,
    )
    for name, function, shapes, inputs in (
      ('keyframe', keyframe, [frame], seen),
      ('step', step, [*leaves, frame], held + seen),
    )
  }


def _values(name: str, tree: Any) -> tuple[Value, ...]:
  return tuple(
    Value(
      '/'.join([name, *(str(getattr(k, 'key', k)) for k in path)]),
      leaf.shape,
      str(leaf.dtype),
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  )


Writer = Callable[[Callable, list, Sequence[Value], Sequence[Value]], bytes]


def _stablehlo(function, shapes, inputs, outputs):
  del inputs, outputs
  made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)
  return bytes(made.serialize())


def _onnx(function, shapes, inputs, outputs):
  # The converter replaces functions of jax and flax while it traces, and knows
  # fewer ways to call them than they do; so it is given what is traced already.
  traced = jax.make_jaxpr(function)(*shapes)
  log = logging.getLogger('jax2onnx')
  level, log.level = log.level, logging.CRITICAL
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      import jax2onnx

      model = jax2onnx.to_onnx(
        jaxpr_as_fun(traced),
        inputs=shapes,
        input_names=[value.name for value in inputs],
        output_names=[value.name for value in outputs],
      )
  finally:
    log.level = level
  return model.SerializeToString()


_WRITERS: dict[str, Writer] = {'stablehlo': _stablehlo, 'onnx': _onnx}
