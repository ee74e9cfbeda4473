"""The graph of an ONNX model while it is written, whatever order axes are in.

Networks of this library have channels last, engines want them first: a
transpose around every convolution would cost more than many a layer. So an
array of the program is written down with the order that its axes happen to have
in the model. Transposing, or repeating along an axis, only changes that note;
a node is made where an operation insists on an order.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET = 18
IR_VERSION = 9

Shape = tuple[int, ...]


class Tensor(NamedTuple):
  """An array of the program, as a tensor of the model.

  Attributes:
    shape: of the array.
    axes: which axis of the array each axis of the tensor is. Along those that
      are missing the array repeats one value.
    sizes: of the tensor; 1 along an axis where the array repeats one value.
    dtype: of both.
    name: in the model; '' of a constant.
    value: of a constant.
  """

  shape: Shape
  axes: tuple[int, ...]
  sizes: Shape
  dtype: np.dtype
  name: str = ''
  value: np.ndarray | None = None

  @property
  def is_constant(self) -> bool:
    return self.value is not None

  @property
  def array(self) -> np.ndarray:
    """All values of a constant."""
    order = sorted(self.axes)
    value = self.value.transpose([self.axes.index(axis) for axis in order])
    missing = [a for a in range(len(self.shape)) if a not in self.axes]
    return np.broadcast_to(np.expand_dims(value, missing), self.shape)

  @property
  def is_whole(self) -> bool:
    """Whether the tensor has all values of the array."""
    return self.sizes == tuple(self.shape[axis] for axis in self.axes) and all(
      self.shape[axis] == 1
      for axis in range(len(self.shape))
      if axis not in self.axes
    )


def constant(value: Any) -> Tensor:
  """A known array; axes along which it repeats one value are cut short."""
  value = full = np.asarray(value)
  for axis in range(value.ndim):
    first = value.take([0], axis) if value.shape[axis] > 1 else value
    if first is not value and (value == first).all():
      value = first
  axes = tuple(range(full.ndim))
  return Tensor(full.shape, axes, value.shape, full.dtype, value=value)


class Graph:
  """Nodes and constants that are written one after the other."""

  def __init__(self):
    self.nodes, self.initializers = [], []
    self._made: dict[Any, str] = {}
    self._producers: dict[str, Any] = {}
    self._count = 0

  def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
    """Writes an operation, and gives the name of its result."""
    from onnx import helper

    name = self._named(kind)
    node = helper.make_node(kind, list(inputs), [name], name, **attributes)
    self.nodes.append(node)
    self._producers[name] = node
    return name

  def producer(self, name: str) -> Any:
    """The node that makes a tensor; None of an input or constant."""
    return self._producers.get(name)

  def initializer(self, value: np.ndarray) -> str:
    """Writes a constant, and gives its name."""
    from onnx import numpy_helper

    name = self._named('constant')
    contiguous = np.ascontiguousarray(value).reshape(value.shape)
    self.initializers.append(numpy_helper.from_array(contiguous, name))
    return name

  def integers(self, values: Sequence[int]) -> str:
    """The name of a list of whole numbers, such as sizes."""
    key = 'integers', tuple(values)
    if key not in self._made:
      self._made[key] = self.initializer(np.array(values, np.int64))
    return self._made[key]

  def ordered(
    self, tensor: Tensor, order: Sequence[int], *, whole: bool = False
  ) -> str:
    """The name of a tensor with axes in an order.

    Args:
      tensor: of an array of the program.
      order: axes of the array; all that the tensor has. It gets those that it
        has not with a size of 1.
      whole: whether the result has every value of the array.
    """
    order = tuple(order)
    if tensor.is_constant:
      return self._ordered_constant(tensor, order, whole)
    key = tensor.name, tensor.axes, order
    if key not in self._made:
      self._made[key] = self._moved(tensor, order)
    if not whole or tensor.is_whole:
      return self._made[key]
    sizes = self.integers(_expanded(tensor, order))
    return self.node('Expand', [self._made[key], sizes])

  def _ordered_constant(self, tensor, order, whole):
    key = id(tensor.value), tensor.axes, order, whole, tensor.shape
    if key not in self._made:
      here = [axis for axis in order if axis in tensor.axes]
      value = tensor.value.transpose([tensor.axes.index(axis) for axis in here])
      missing = [i for i, axis in enumerate(order) if axis not in tensor.axes]
      value = np.expand_dims(value, missing)
      if whole:
        shape = fixed(tensor.shape[axis] for axis in order)
        value = np.broadcast_to(value, shape)
      self._made[key] = self.initializer(value)
      self._made[key, 'held'] = tensor.value  # else its id may be given anew
    return self._made[key]

  def _moved(self, tensor, order):
    here = tuple(axis for axis in order if axis in tensor.axes)
    name = tensor.name
    if here != tensor.axes:
      places = [tensor.axes.index(axis) for axis in here]
      name = self.node('Transpose', [name], perm=places)
    missing = [i for i, axis in enumerate(order) if axis not in tensor.axes]
    if missing:
      name = self.node('Unsqueeze', [name, self.integers(missing)])
    return name

  def _named(self, kind):
    self._count += 1
    return f'{kind.lower()}_{self._count}'

  def used(self, outputs: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Nodes and constants that outputs depend on, in order."""
    wanted, nodes = set(outputs), []
    for node in reversed(self.nodes):
      if wanted.intersection(node.output):
        wanted.update(node.input)
        nodes.append(node)
    return nodes[::-1], [c for c in self.initializers if c.name in wanted]


def _expanded(tensor: Tensor, order: Sequence[int]) -> list[int]:
  """The sizes that a tensor is to have; 1 stands for that which it has."""
  has = dict(zip(tensor.axes, tensor.sizes, strict=True))
  wanted = ((axis, tensor.shape[axis]) for axis in order)
  return fixed(1 if has.get(axis, 1) == size else size for axis, size in wanted)


def fixed(sizes: Any) -> list[int]:
  """Sizes as numbers.

  Raises:
    ValueError: one of them is not known, such as that of the batch.
  """
  sizes = list(sizes)
  if not all(isinstance(size, int | np.integer) for size in sizes):
    raise ValueError('it needs the size of the batch')
  return [int(size) for size in sizes]


def count(sizes: Sequence[int]) -> int:
  """Product of sizes, symbolic ones left out."""
  return math.prod(size for size in sizes if isinstance(size, int))
