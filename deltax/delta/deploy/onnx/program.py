"""Programs of JAX as ONNX models.

A program is a list of operations of a few dozen kinds; for each there is a
function that writes it down in ONNX. Operations that call a function are
replaced by what the function does, and what does not depend on the program's
arguments is computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from deltax.delta.deploy.onnx.elements import ELEMENTS
from deltax.delta.deploy.onnx.graph import (
  IR_VERSION,
  OPSET,
  Graph,
  Tensor,
  constant,
)
from deltax.delta.deploy.onnx.layers import LAYERS, bilinear
from deltax.delta.deploy.onnx.shapes import SHAPES
from deltax.errors import DeltaxError
from deltax.layers.resize import deltax_bilinear

_OPERATIONS = {**ELEMENTS, **SHAPES, **LAYERS}
_FUNCTIONS = {
  deltax_bilinear.__name__: bilinear
}  # which have one operation in ONNX
_IMAGES = (0, 3, 1, 2)


class Port(NamedTuple):
  """An input or output of a model.

  Attributes:
    name: of it.
    channels_first: whether it is `[B, C, H, W]`, of an array `[B, H, W, C]`.
  """

  name: str
  channels_first: bool = False


def to_onnx(
  program: ClosedJaxpr, inputs: Sequence[Port], outputs: Sequence[Port | None]
) -> bytes:
  """An ONNX model of a function of arrays.

  Args:
    program: the function, as `jax.make_jaxpr` traces it. Sizes of a symbolic
      batch stay open in the model.
    inputs: the arguments.
    outputs: the results; None for one that is left out.

  Returns:
    The model, serialised.

  Raises:
    DeltaxError: naming the layer and the operation that has no form in ONNX.
    ImportError: the packages of the extra `export` are missing.
  """
  from onnx import helper

  graph, jaxpr = Graph(), program.jaxpr
  taken = [
    _input(port, variable.aval)
    for port, variable in zip(inputs, jaxpr.invars, strict=True)
  ]
  results = [
    (port, result)
    for port, result in zip(
      outputs, _write(graph, program, taken, ''), strict=True
    )
    if port is not None
  ]
  for port, result in results:
    name = graph.ordered(result, _order(port, result.shape), whole=True)
    graph.nodes.append(helper.make_node('Identity', [name], [port.name]))
  nodes, constants = graph.used([port.name for port, _ in results])
  model = helper.make_model(
    helper.make_graph(
      nodes,
      'program',
      [
        _described(p, v.aval) for p, v in zip(inputs, jaxpr.invars, strict=True)
      ],
      [_described(*result) for result in results],
      constants,
    ),
    opset_imports=[helper.make_opsetid('', OPSET)],
    ir_version=IR_VERSION,
  )
  return model.SerializeToString()


def _order(port: Port, shape: Sequence[int]) -> Sequence[int]:
  return _IMAGES if port.channels_first else range(len(shape))


def _input(port: Port, aval: Any) -> Tensor:
  order = tuple(_order(port, aval.shape))
  sizes = tuple(aval.shape[axis] for axis in order)
  return Tensor(aval.shape, order, sizes, aval.dtype, port.name)


def _described(port: Port, array: Any) -> Any:
  from onnx import helper

  kind = helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
  sizes = [array.shape[axis] for axis in _order(port, array.shape)]
  sizes = [size if isinstance(size, int) else str(size) for size in sizes]
  return helper.make_tensor_value_info(port.name, kind, sizes)


def _write(
  graph: Graph, program: ClosedJaxpr, inputs: Sequence[Tensor], layer: str
) -> list[Tensor]:
  """Writes a program of tensors; gives its results.

  Args:
    graph: is written to.
    program: a function of arrays.
    inputs: its arguments.
    layer: that calls it; '' for the whole, whose layers are named.
  """
  jaxpr = program.jaxpr
  known = dict(zip(jaxpr.invars, inputs, strict=True))
  held = zip(jaxpr.constvars, program.consts, strict=True)
  known |= {variable: constant(value) for variable, value in held}

  def read(variable):
    if isinstance(variable, Literal):
      return constant(np.asarray(variable.val, variable.aval.dtype))
    return known[variable]

  for equation in jaxpr.eqns:
    results = _equation(graph, equation, [*map(read, equation.invars)], layer)
    known |= zip(equation.outvars, results, strict=True)
  return [read(variable) for variable in jaxpr.outvars]


def _equation(graph, equation, inputs, layer):
  kind = equation.primitive.name
  layer = layer or str(equation.source_info.name_stack)
  inner = called(equation.params)
  known = all(tensor.is_constant for tensor in inputs) and not inner
  if known and kind != 'broadcast_in_dim':
    return _computed(equation, inputs)
  write = _FUNCTIONS.get(equation.params.get('name')) if inner else None
  write = write or _OPERATIONS.get(kind)
  if write is None and inner:
    return _write(graph, inner, inputs[-len(inner.jaxpr.invars) :], layer)
  if write is None:
    raise DeltaxError(f'{layer} has no form in ONNX: the operation {kind!r}')
  try:
    made = write(graph, equation, *inputs)
  except ValueError as error:
    raise DeltaxError(
      f'{layer} has no form in ONNX: the operation {kind!r}: {error}'
    ) from error
  return made if isinstance(made, list) else [made]


def _computed(equation: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
  """The results of an operation on constants."""
  values = equation.primitive.bind(
    *(tensor.array for tensor in inputs), **equation.params
  )
  if not equation.primitive.multiple_results:
    values = [values]
  return [constant(value) for value in values]


def called(params: Mapping[str, Any]) -> ClosedJaxpr | None:
  """The function that an operation calls, once and with its own arguments."""
  for name in ('jaxpr', 'call_jaxpr'):
    if isinstance(function := params.get(name), ClosedJaxpr):
      return None if 'length' in params else function
    if isinstance(function, jax.extend.core.Jaxpr):
      return ClosedJaxpr(function, ())
  return None
