"""Operations of JAX on sizes and places, and reductions, in ONNX."""

from typing import Any

import numpy as np

from deltax.delta.deploy.onnx.elements import (
  Operation,
  by_element,
  common_order,
  given,
)
from deltax.delta.deploy.onnx.graph import Graph, Tensor, constant, fixed


def same(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  return x._replace(shape=equation.outvars[0].aval.shape)


def broadcast(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """A note alone: see `Graph`."""
  places = equation.params['broadcast_dimensions']
  axes = tuple(places[axis] for axis in x.axes)
  return given(equation, x.name, axes, x.sizes)._replace(value=x.value)


def transpose(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """A note alone."""
  places = equation.params['permutation']
  axes = tuple(places.index(axis) for axis in x.axes)
  return given(equation, x.name, axes, x.sizes)


def squeeze(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  gone = [axis % len(x.shape) for axis in equation.params['dimensions']]
  return _without(graph, equation, x, gone)


def _without(graph, equation, x, gone):
  """Axes of one value, left out."""
  places = [i for i, axis in enumerate(x.axes) if axis in gone]
  name = x.name
  if places:
    name = graph.node('Squeeze', [name, graph.integers(places)])
  kept = [i for i, axis in enumerate(x.axes) if axis not in gone]
  axes = [x.axes[i] - sum(g < x.axes[i] for g in gone) for i in kept]
  return given(equation, name, axes, [x.sizes[i] for i in kept])


def reshape(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """Where only axes of size 1 come and go, no value is moved."""
  new = equation.outvars[0].aval.shape
  long = [axis for axis, size in enumerate(x.shape) if size != 1]
  places = [axis for axis, size in enumerate(new) if size != 1]
  if [x.shape[axis] for axis in long] == [new[axis] for axis in places]:
    gone = [axis for axis in range(len(x.shape)) if axis not in long]
    x = _without(graph, equation, x, gone)
    return x._replace(axes=tuple(places[axis] for axis in x.axes))
  name = graph.ordered(x, range(len(x.shape)), whole=True)
  known = [isinstance(size, int) for size in new]
  if sum(known) < len(new) - 1:
    raise ValueError('it mixes the batch with other axes')
  sizes = [
    s if is_known else -1 for s, is_known in zip(new, known, strict=True)
  ]
  name = graph.node('Reshape', [name, graph.integers(sizes)])
  return given(equation, name, range(len(new)))


def concatenate(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
  dimension = equation.params['dimension']
  # Padding by nothing adds empty arrays, which engines do not take.
  tensors = [t for t in tensors if t.shape[dimension] != 0]
  if len(tensors) == 1:
    return tensors[0]
  order = common_order(tensors)
  order += tuple(a for a in range(len(tensors[0].shape)) if a not in order)
  names = [graph.ordered(tensor, order, whole=True) for tensor in tensors]
  place = order.index(dimension)
  return given(equation, graph.node('Concat', names, axis=place), order)


def stack(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
  new = equation.params['axis']
  order = common_order(tensors)
  order += tuple(a for a in range(len(tensors[0].shape)) if a not in order)
  first = graph.integers([0])
  names = [
    graph.node('Unsqueeze', [graph.ordered(t, order, whole=True), first])
    for t in tensors
  ]
  name = graph.node('Concat', names, axis=0)
  return given(equation, name, (new, *(a + (a >= new) for a in order)))


def cut(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """`slice`."""
  given_ = equation.params
  steps = given_['strides'] or (1,) * len(x.shape)
  new = equation.outvars[0].aval.shape
  places = [
    i
    for i, (axis, size) in enumerate(zip(x.axes, x.sizes, strict=True))
    if size != 1 and new[axis] != size
  ]
  name, sizes = x.name, list(x.sizes)
  if places:
    axes = [x.axes[i] for i in places]
    rows = [
      fixed(part[axis] for axis in axes)
      for part in (given_['start_indices'], given_['limit_indices'])
    ]
    lists = (*rows, places, [steps[axis] for axis in axes])
    name = graph.node('Slice', [name, *map(graph.integers, lists)])
    for i in places:
      sizes[i] = new[x.axes[i]]
  return given(equation, name, x.axes, sizes)


def reverse(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  axes = [a for a in equation.params['dimensions'] if a in x.axes]
  places = [x.axes.index(axis) for axis in axes]
  many = len(places)
  lists = [-1] * many, [-(2**31)] * many, places, [-1] * many
  name = graph.node('Slice', [x.name, *map(graph.integers, lists)])
  return given(equation, name, x.axes, x.sizes)


def pad(graph: Graph, equation: Any, x: Tensor, value: Tensor) -> Tensor:
  padding = equation.params['padding_config']
  if any(inner for _, _, inner in padding):
    raise ValueError('it pads between values')
  order = x.axes + tuple(a for a in range(len(x.shape)) if a not in x.axes)
  name = graph.ordered(x, order, whole=True)
  ends = [padding[axis][end] for end in (0, 1) for axis in order]
  name = graph.node(
    'Pad', [name, graph.integers(ends), graph.ordered(value, ())]
  )
  return given(equation, name, order)


def gather(graph: Graph, equation: Any, x: Tensor, places: Tensor) -> Tensor:
  """Whole slices along one axis, as `jnp.take` and indexing read them."""
  numbers, sizes = (
    equation.params[name] for name in ('dimension_numbers', 'slice_sizes')
  )
  (axis, *others), collapsed = (
    numbers.start_index_map,
    numbers.collapsed_slice_dims,
  )
  rest = [size for i, size in enumerate(x.shape) if i != axis]
  whole = rest == [size for i, size in enumerate(sizes) if i != axis]
  if (
    others or collapsed != (axis,) or numbers.operand_batching_dims or not whole
  ):
    raise ValueError('it reads from places along more than one axis')
  order = x.axes + tuple(a for a in range(len(x.shape)) if a not in x.axes)
  index = Tensor(places.shape[:-1], *_last_dropped(graph, places))
  rank = len(index.shape)
  name = graph.ordered(x, order, whole=True)
  at = graph.ordered(index, range(rank), whole=True)
  name = graph.node('Gather', [name, at], axis=order.index(axis))
  # Where each axis of the tensor is in the result.
  kept = dict(
    zip(
      [a for a in range(len(x.shape)) if a != axis],
      numbers.offset_dims,
      strict=True,
    )
  )
  new = equation.outvars[0].aval.ndim
  batch = [i for i in range(new) if i not in numbers.offset_dims]
  axes = [b for a in order for b in (batch if a == axis else [kept[a]])]
  return given(equation, name, axes)


def _last_dropped(graph, places):
  """The other fields of indices without their last axis, of size 1."""
  if places.is_constant:
    known = constant(places.array[..., 0])
    return known.axes, known.sizes, known.dtype, '', known.value
  last = len(places.shape) - 1
  name = graph.ordered(places, range(last + 1), whole=True)
  name = graph.node('Squeeze', [name, graph.integers([last])])
  return tuple(range(last)), places.shape[:-1], places.dtype, name, None


def reduced(kind: str) -> Operation:
  """A reduction of some axes."""

  def write(graph, equation, x):
    gone = equation.params['axes']
    order = x.axes + tuple(a for a in range(len(x.shape)) if a not in x.axes)
    name = graph.ordered(x, order, whole=True)
    left = [axis for axis in order if axis not in gone]
    axes = [axis - sum(g < axis for g in gone) for axis in left]
    places = [order.index(axis) for axis in gone]
    if kind == 'ReduceSum' and places == [2, 3] and len(order) == 4:
      return _sum_of_image(graph, equation, name, x, axes)
    name = graph.node(kind, [name, graph.integers(places)], keepdims=0)
    return given(equation, name, axes)

  return write


def _sum_of_image(graph, equation, name, x, axes):
  """A mean, which engines run in their own layout, times the pixels."""
  rows_and_cols = [x.shape[axis] for axis in equation.params['axes']]
  pixels = constant(np.asarray(np.prod(fixed(rows_and_cols)), x.dtype))
  name = graph.node('GlobalAveragePool', [name])
  name = graph.node('Squeeze', [name, graph.integers([2, 3])])
  mean = given(equation, name, axes)
  return by_element('Mul')(graph, equation, mean, pixels)


def argmax(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  from onnx import helper

  (axis,) = equation.params['axes']
  order = x.axes + tuple(a for a in range(len(x.shape)) if a not in x.axes)
  name = graph.ordered(x, order, whole=True)
  name = graph.node('ArgMax', [name], axis=order.index(axis), keepdims=0)
  kind = helper.np_dtype_to_tensor_dtype(
    np.dtype(equation.params['index_dtype'])
  )
  axes = [a - (a > axis) for a in order if a != axis]
  return given(equation, graph.node('Cast', [name], to=kind), axes)


def split(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
  axis, sizes = (equation.params[name] for name in ('axis', 'sizes'))
  order = x.axes + tuple(a for a in range(len(x.shape)) if a not in x.axes)
  name = graph.ordered(x, order, whole=True)
  start, parts = 0, []
  for size, out in zip(sizes, equation.outvars, strict=True):
    ends = [start], [start + size], [order.index(axis)]
    part = graph.node('Slice', [name, *map(graph.integers, ends)])
    shape = out.aval.shape
    whole = tuple(shape[a] for a in order)
    parts.append(Tensor(shape, order, whole, x.dtype, part))
    start += size
  return parts


SHAPES: dict[str, Operation] = {
  'argmax': argmax,
  'broadcast_in_dim': broadcast,
  'concatenate': concatenate,
  'copy': same,
  'copy_p': same,
  'gather': gather,
  'optimization_barrier': same,
  'pad': pad,
  'reduce_max': reduced('ReduceMax'),
  'reduce_min': reduced('ReduceMin'),
  'reduce_prod': reduced('ReduceProd'),
  'reduce_sum': reduced('ReduceSum'),
  'reshape': reshape,
  'rev': reverse,
  'slice': cut,
  'split': split,
  'stack': stack,
  'squeeze': squeeze,
  'stop_gradient': same,
  'transpose': transpose,
}
