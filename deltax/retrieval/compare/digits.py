"""Inner products of vectors as products of bytes, which CPUs multiply fastest.

A number is 256 high + low digits, each of 8 bits, times a scale of its frame.
Of the four products of digits that make one of numbers, that of the low ones is
left out for long vectors: of 512 numbers it is 2e-6 of the vectors' lengths
unless their low digits are alike. Lest those of a copy be, a query's scale is
another than a target's.
"""

import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import mlir

from deltax.layers import forms
from deltax.types import Array

WIDEST = 512  # longest vectors whose sums of products of digits fit 32 bits
_BASE = 256  # of the digits
_MIDDLE = 128  # what is added to a digit to make it a byte without sign
_TINY = 1e-30  # the scale of a zero vector
_LONG = 256  # vectors from which on the low digits' product is left out
_OF_QUERY = 1.1  # by how much a query's scale is larger than its numbers ask
# Adding it to a number below 2**22 leaves the rounded number in the low bits.
_ROUND = 1.5 * 2.0**23


class QueryDigits(NamedTuple):
  """A query's vectors as digits, one in each column.

  Attributes:
    digits: int8 `[2 D, R, T]`, the high ones first.
    excess: int32 `[2, R, T]`, what the sums of products have too much because
      targets' digits are counted from -128: all but that of the low digits, in
      units of 256; and that.
    scale: float32 `[T]`.
  """

  digits: Array
  excess: Array
  scale: Array


def query_digits(query: Array) -> QueryDigits:
  """Digits of a query's regions, float32 `[T, R, D]`, D up to `WIDEST`."""
  bits, scale = _bits(query, _OF_QUERY)
  bits = bits.transpose(2, 1, 0)
  high, low = (x.astype(jnp.int32) - _MIDDLE for x in _bytes(bits))
  digits = jnp.concatenate([high, low]).astype(jnp.int8)
  high, low = high.sum(0), low.sum(0)
  excess = _MIDDLE * jnp.stack([(_BASE + 1) * high + low, low])
  return QueryDigits(by_rows(digits), excess, scale)


def digit_products(query: QueryDigits, targets: Array) -> tuple[Array, Array]:
  """Inner products of every region of a query with every one of some targets.

  Args:
    query: of `[T, R, D]` regions.
    targets: float32 `[M, P, D]`.

  Returns:
    int32 or float32 `[M, P, R, T]`, and the scale, float32 `[M, T]`, that they
    are to be multiplied by.
  """
  count, others, size = targets.shape
  bits, scale = _bits(targets, 1.0)
  high, low = _bytes(bits.reshape(-1, size))
  digits = query.digits.reshape(2 * size, -1)
  shape = count, others, *query.digits.shape[1:]

  # Vectors twice as long: one digit of each with the other of the other.
  crossed = _dot(jnp.concatenate([low, high], 1), digits)
  products = (_BASE * _dot(high, digits[:size]) + crossed).reshape(shape)
  products = products - query.excess[None, :1]
  if size < _LONG:
    lowest = _dot(low, digits[size:]).reshape(shape) - query.excess[None, 1:]
    products = products.astype(jnp.float32) + lowest / _BASE
  return products, _BASE * scale[:, None] * query.scale[None]


def pays(size: int) -> bool:
  """Whether this CPU multiplies digits of vectors of D faster than floats."""
  known = _flags()
  long = size >= _LONG and 'avx512_vnni' in known  # sums of four products
  return size <= WIDEST and (long or 'amx_int8' in known)  # or tiles


@functools.cache
def _flags() -> frozenset[str]:
  try:
    return frozenset(pathlib.Path('/proc/cpuinfo').read_text().split())
  except OSError:
    return frozenset()


def _bits(x: Array, margin: float) -> tuple[Array, Array]:
  """Whole numbers, 128 (256 + 1) more than x / scale, and the scale `[M]`."""
  largest = jnp.abs(x).max((1, 2)) * margin
  scale = jnp.maximum(largest, _TINY) / (127 * _BASE)
  # A barrier, lest the division be done for every element.
  inverse = lax.optimization_barrier(1 / scale)[:, None, None]
  shifted = x * inverse + (_ROUND + _MIDDLE * (_BASE + 1))
  return lax.bitcast_convert_type(shifted, jnp.int32), scale


def _bytes(bits: Array) -> tuple[Array, Array]:
  """High and low digits, uint8, each 128 more than it is."""
  return (bits >> 8).astype(jnp.uint8), bits.astype(jnp.uint8)


@jax.jit
def by_rows(x: Array) -> Array:
  """`x`; on a CPU laid out in memory row by row, where XLA might transpose."""
  if forms.target() != 'cpu':
    return x
  return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _dot(x: Array, y: Array) -> Array:
  """int32 product of uint8 `[M, K]` and int8 `[K, N]`."""
  if forms.target() == 'cpu':
    return _mixed_dot(x, y)
  return jnp.matmul(x.astype(jnp.int32), y.astype(jnp.int32))


# XLA for CPUs has a product of bytes with sign by bytes without, the only one
# that processors without tiles have an instruction for. `lax.dot_general` makes
# 32 bits of both before it multiplies them, hence an operation of our own.
_mixed_dot_p = Primitive('mixed_dot')
_mixed_dot = jax.jit(_mixed_dot_p.bind)


@_mixed_dot_p.def_abstract_eval
def _shape(x, y):
  return ShapedArray((x.shape[0], y.shape[1]), jnp.int32)


def _lower(context, x, y):
  (out,) = context.avals_out
  kind = ir.RankedTensorType.get(out.shape, ir.IntegerType.get_signless(32))
  numbers = stablehlo.DotDimensionNumbers.get([], [], [1], [0])
  return [stablehlo.dot_general(kind, x, y, numbers)]


mlir.register_lowering(_mixed_dot_p, _lower)
