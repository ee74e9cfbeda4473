"""Operations of JAX that layers are made of, in ONNX: products and windows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deltax.delta.deploy.onnx.elements import Operation, by_element, given
from deltax.delta.deploy.onnx.graph import Graph, Tensor, constant


def convolution(
  graph: Graph, equation: Any, x: Tensor, kernel: Tensor
) -> Tensor:
  """Channels come first in ONNX, whatever the program says."""
  asked = equation.params
  numbers = asked['dimension_numbers']
  if asked['batch_group_count'] != 1:
    raise ValueError('it is the gradient of a convolution')
  pads, spread = asked['padding'], asked['lhs_dilation']
  inputs = [
    graph.ordered(x, numbers.lhs_spec, whole=True),
    graph.ordered(kernel, numbers.rhs_spec, whole=True),
  ]
  options = {
    'dilations': list(asked['rhs_dilation']),
    'group': asked['feature_group_count'],
  }
  if set(spread) == {1}:
    name = graph.node(
      'Conv',
      inputs,
      strides=list(asked['window_strides']),
      pads=_ends(pads),
      **options,
    )
    return given(equation, name, numbers.out_spec)
  if set(asked['window_strides']) != {1} or options['group'] != 1:
    raise ValueError('it is a convolution with strides on both sides')
  return _transposed(graph, equation, inputs, numbers, options, spread, pads)


def _transposed(graph, equation, inputs, numbers, options, spread, pads):
  """A convolution of an image with zeros between its pixels."""
  x, kernel = inputs
  shape = equation.invars[1].aval.shape
  lengths = [shape[axis] for axis in numbers.rhs_spec[2:]]
  # ONNX turns the kernel around, and names its inputs first.
  spatial = [*range(2, 2 + len(lengths))]
  many = len(spatial)
  lists = [-1] * many, [-(2**31)] * many, spatial, [-1] * many
  kernel = graph.node('Slice', [kernel, *map(graph.integers, lists)])
  kernel = graph.node('Transpose', [kernel], perm=[1, 0, *spatial])
  extents = [
    (length - 1) * step
    for length, step in zip(lengths, options['dilations'], strict=True)
  ]
  # What it pads is cut off there.
  trims = [
    (extent - low, extent - high)
    for extent, (low, high) in zip(extents, pads, strict=True)
  ]
  more = [max(0, -high) for _, high in trims]
  name = graph.node(
    'ConvTranspose',
    [x, kernel],
    strides=list(spread),
    pads=_ends([(low, max(0, high)) for low, high in trims]),
    output_padding=more,
    **options,
  )
  if min(low for low, _ in trims) < 0:
    raise ValueError('it pads more than its kernel is long')
  return given(equation, name, numbers.out_spec)


def _ends(pads: Sequence[tuple[int, int]]) -> list[int]:
  """Padding as ONNX has it: all starts, then all ends."""
  return [int(pad[end]) for end in (0, 1) for pad in pads]


def product(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
  """`dot_general`: of the last axis with a matrix, or of stacks of matrices."""
  (x_sum, y_sum), (x_batch, y_batch) = equation.params['dimension_numbers']
  x_free, y_free = (
    [axis for axis in range(len(t.shape)) if axis not in (*summed, *batch)]
    for t, summed, batch in ((x, x_sum, x_batch), (y, y_sum, y_batch))
  )
  out = equation.outvars[0].aval.shape
  left = graph.ordered(x, (*x_batch, *x_free, *x_sum), whole=True)
  right = graph.ordered(y, (*y_batch, *y_sum, *y_free), whole=True)
  plain = len(x_sum) == len(y_free) == 1
  # Stacks multiply as they are where each side has one axis of each sort, and
  # one matrix is the same for all.
  if not (plain and (len(x_free) == 1 or not x_batch)):
    left = _merged(graph, left, x, x_batch, x_free, x_sum)
    right = _merged(graph, right, y, y_batch, y_sum, y_free)
    name = graph.node('MatMul', [left, right])
    sizes = [size if isinstance(size, int) else -1 for size in out]
    if sizes.count(-1) > 1:
      raise ValueError('it mixes the batch with other axes')
    name = graph.node('Reshape', [name, graph.integers(sizes)])
    return given(equation, name, range(len(out)))
  return given(equation, graph.node('MatMul', [left, right]), range(len(out)))


def _merged(graph, name, tensor, batch, rows, cols):
  """A stack of matrices, of any axes."""
  sizes = [tensor.shape[axis] for axis in batch]
  sizes = [size if isinstance(size, int) else -1 for size in sizes]
  for axes in (rows, cols):
    known = all(isinstance(tensor.shape[axis], int) for axis in axes)
    length = (
      int(np.prod([tensor.shape[axis] for axis in axes])) if known else -1
    )
    sizes.append(length)
  if sizes.count(-1) > 1:
    raise ValueError('it mixes the batch with other axes')
  return graph.node('Reshape', [name, graph.integers(sizes)])


def pool(kind: str) -> Operation:
  """Maxima or sums under a window, of images."""

  def write(graph, equation, x):
    asked = equation.params
    order = (
      x.axes if len(x.axes) == len(x.shape) else tuple(range(len(x.shape)))
    )
    windows, strides, pads = (
      asked[name] for name in ('window_dimensions', 'window_strides', 'padding')
    )
    moved = [
      a for a in range(len(x.shape)) if windows[a] != 1 or strides[a] != 1
    ]
    if {*asked['base_dilation'], *asked['window_dilation']} != {1}:
      raise ValueError('its windows have gaps')
    if len(x.shape) != 4 or len(moved) > 2:
      raise ValueError('it is no pool of images')
    # Images are `[B, H, W, C]` here.
    rest = [axis for axis in order if axis not in moved]
    while len(rest) > 2:
      moved.append(rest.pop())
    order = (*sorted(rest), *sorted(moved))
    spatial = order[2:]
    if any(pads[axis] != (0, 0) for axis in order[:2]):
      raise ValueError('it is no pool of images')
    options = {
      'kernel_shape': [windows[axis] for axis in spatial],
      'strides': [strides[axis] for axis in spatial],
      'pads': _ends([pads[axis] for axis in spatial]),
    }
    name = graph.ordered(x, order, whole=True)
    if kind == 'max':
      name = graph.node('MaxPool', [name], **options)
      return given(equation, name, order)
    name = graph.node('AveragePool', [name], count_include_pad=1, **options)
    places = constant(np.asarray(np.prod(options['kernel_shape']), x.dtype))
    mean = given(equation, name, order)
    return by_element('Mul')(graph, equation, mean, places)

  return write


def bilinear(graph: Graph, equation: Any, x: Tensor) -> Tensor:
  """`resize_bilinear`, which the program names."""
  order = (0, 3, 1, 2)
  rows, cols = equation.outvars[0].aval.shape[1:3]
  name = graph.ordered(x, order, whole=True)
  scales = [1, 1, rows / x.shape[1], cols / x.shape[2]]
  scales = graph.initializer(np.array(scales, np.float32))
  name = graph.node('Resize', [name, '', scales], mode='linear')
  return given(equation, name, order)


LAYERS: dict[str, Operation] = {
  'conv_general_dilated': convolution,
  'dot_general': product,
  'reduce_window_max': pool('max'),
  'reduce_window_sum': pool('sum'),
}
