"""Operations of JAX by element, in ONNX.

Each is a function of the graph, the equation of the program and the tensors
that it reads, to the tensor that it gives.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deltax.delta.deploy.onnx.graph import Graph, Tensor, constant, count

Operation = Callable[..., Tensor]


def given(
  equation: Any, name: str, axes: Sequence[int], sizes: Sequence[int] = ()
) -> Tensor:
  """The tensor of an equation's result, which is whole if no sizes are told."""
  aval = equation.outvars[0].aval
  sizes = sizes or [aval.shape[axis] for axis in axes]
  return Tensor(aval.shape, tuple(axes), tuple(sizes), aval.dtype, name)


def common_order(tensors: Sequence[Tensor]) -> tuple[int, ...]:
  """An order of axes for all tensors, which takes the fewest transposes."""

  def worth(tensor):
    # Where whole tensors disagree, one that went through a layer for images has
    # its channels first, and what comes after wants them so.
    moved = tensor.axes != tuple(sorted(tensor.axes))
    return len(tensor.axes), not tensor.is_constant, moved, count(tensor.sizes)

  order = max(tensors, key=worth).axes
  others = {axis for tensor in tensors for axis in tensor.axes}
  return order + tuple(sorted(others.difference(order)))


def by_element(kind: str, **attributes: Any) -> Operation:
  """An operation of one or more tensors that ONNX has too."""

  def write(graph, equation, *tensors):
    order = common_order(tensors)
    names = [graph.ordered(t, order if t.axes else ()) for t in tensors]
    sizes = [1] * len(order)
    for tensor in tensors:
      for axis, size in zip(tensor.axes, tensor.sizes, strict=True):
        if size != 1:
          sizes[order.index(axis)] = size
    return given(equation, graph.node(kind, names, **attributes), order, sizes)

  return write


def chained(*operations: Operation) -> Operation:
  """One operation of one tensor after the other."""

  def write(graph, equation, x):
    for operation in operations:
      x = operation(graph, equation, x)
    return x

  return write


def with_constant(
  kind: str, value: float | Callable[[Any], float], *, first: bool = False
) -> Operation:
  """An operation of a tensor and a number, which may depend on the equation."""

  def write(graph, equation, x):
    number = value(equation) if callable(value) else value
    other = constant(np.asarray(number, x.dtype))
    return by_element(kind)(
      graph, equation, *((other, x) if first else (x, other))
    )

  return write


def maximum(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
  """Of a tensor and zero the operation that engines join to a convolution."""
  for one, other in ((x, y), (y, x)):
    if _is_number(other) and not other.value.any() and one.dtype == np.float32:
      return chained(by_element('Relu'))(graph, equation, one)
  return by_element('Max')(graph, equation, x, y)


def minimum(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
  """After `Relu` and of a number one `Clip`, likewise."""
  for one, other in ((x, y), (y, x)):
    before = graph.producer(one.name)
    if _is_number(other) and before is not None and before.op_type == 'Relu':
      bounds = (np.zeros((), one.dtype), other.value.reshape(()))
      names = [graph.initializer(bound) for bound in bounds]
      name = graph.node('Clip', [before.input[0], *names])
      return given(equation, name, one.axes, one.sizes)
  return by_element('Min')(graph, equation, x, y)


def _is_number(tensor: Tensor) -> bool:
  return tensor.is_constant and tensor.value.size == 1


def clamp(
  graph: Graph, equation: Any, low: Tensor, x: Tensor, high: Tensor
) -> Tensor:
  x = by_element('Max')(graph, equation, x, low)
  return by_element('Min')(graph, equation, x, high)


def select(
  graph: Graph, equation: Any, which: Tensor, *cases: Tensor
) -> Tensor:
  if which.dtype != bool:
    raise ValueError('it chooses among more than two')
  return by_element('Where')(graph, equation, which, *cases[::-1])


def convert(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  from onnx import helper

  dtype = equation.params['new_dtype']
  if x.dtype == dtype:
    return given(equation, x.name, x.axes, x.sizes)
  kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
  return by_element('Cast', to=kind)(graph, equation, x)


def power(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """By a whole number."""
  exponent = equation.params['y']
  if exponent == 2:
    return by_element('Mul')(graph, equation, x, x)
  return with_constant('Pow', exponent)(graph, equation, x)


def square(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  return by_element('Mul')(graph, equation, x, x)


_ONE = with_constant('Sub', 1.0, first=True)

ELEMENTS: dict[str, Operation] = {
  **{
    name: by_element(kind)
    for name, kind in {
      'abs': 'Abs',
      'add': 'Add',
      'add_any': 'Add',
      'and': 'And',
      'ceil': 'Ceil',
      'cos': 'Cos',
      'div': 'Div',
      'eq': 'Equal',
      'erf': 'Erf',
      'exp': 'Exp',
      'floor': 'Floor',
      'ge': 'GreaterOrEqual',
      'gt': 'Greater',
      'le': 'LessOrEqual',
      'log': 'Log',
      'logistic': 'Sigmoid',
      'lt': 'Less',
      'mul': 'Mul',
      'neg': 'Neg',
      'not': 'Not',
      'or': 'Or',
      'pow': 'Pow',
      'sign': 'Sign',
      'sin': 'Sin',
      'sqrt': 'Sqrt',
      'sub': 'Sub',
      'tanh': 'Tanh',
    }.items()
  },
  'clamp': clamp,
  'convert_element_type': convert,
  'erfc': chained(by_element('Erf'), _ONE),
  'expm1': chained(by_element('Exp'), with_constant('Sub', 1.0)),
  'integer_pow': power,
  'log1p': chained(with_constant('Add', 1.0), by_element('Log')),
  'max': maximum,
  'min': minimum,
  'rsqrt': chained(by_element('Sqrt'), by_element('Reciprocal')),
  'select_n': select,
  'square': square,
}
