"""Depthwise convolution as a sum of shifted products, and its gradients.

XLA runs a grouped convolution on CPU in a naive loop, 40 times slower.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deltax.layers.windows import Pads, taps
from deltax.types import Array


def sum_of_shifted(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  pads: Pads,
  dilation: Sequence[int],
) -> Array:
  """A depthwise convolution, differentiated as it is written.

  Args:
    x: `[B, H, W, C]` input.
    kernel: `[kh, kw, 1, C]`.
    strides: of rows and columns.
    pads: zeros on (top, bottom), (left, right).
    dilation: spacing of the kernel's rows and columns.

  Returns:
    `[B, H', W', C]`.
  """
  weights = _by_place(kernel)
  seen = taps(x, kernel, strides, pads, dilation)
  return sum(tap * w for tap, w in zip(seen, weights, strict=True))


def _by_place(kernel):
  return kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  pads: Pads,
  dilation: Sequence[int],
) -> Array:
  """`sum_of_shifted`, with gradients that are fast on CPU.

  Differentiated as it is written, the sum becomes one of padded products, and a
  reduction over all pixels for each place of the kernel: about twenty times the
  forward pass for a backbone. Here the gradients take three to four.

  Args:
    x: `[B, H, W, C]` input.
    kernel: `[kh, kw, 1, C]`.
    strides: of rows and columns.
    pads: zeros on (top, bottom), (left, right).
    dilation: spacing of the kernel's rows and columns.

  Returns:
    `[B, H', W', C]`.
  """
  return sum_of_shifted(x, kernel, strides, pads, dilation)


def _forward(x, kernel, strides, pads, dilation):
  return sum_of_shifted(x, kernel, strides, pads, dilation), (x, kernel)


def _backward(strides, pads, dilation, saved, grad):
  x, kernel = saved
  x_grad = _input_grad(grad, kernel, x.shape, strides, pads, dilation)
  return x_grad, _kernel_grad(grad, x, kernel, strides, pads, dilation)


def _input_grad(grad, kernel, shape, strides, pads, dilation):
  """One sum of shifted products per place within a stride."""
  batch, *size, channels = grad.shape
  # Offsets of the kernel's places in the padded input, in whole strides and
  # what is left over.
  offsets = [
    [divmod(i * d, s) for i in range(k)]
    for k, d, s in zip(kernel.shape[:2], dilation, strides, strict=True)
  ]
  # Whole strides in the padded input, without its last zeros.
  counts = [
    -(-(n + p[0]) // s)
    for n, p, s in zip(shape[1:3], pads, strides, strict=True)
  ]
  most = [axis[-1][0] for axis in offsets]
  around = [
    (m, max(n - g, 0)) for m, n, g in zip(most, counts, size, strict=True)
  ]
  padded = jnp.pad(grad, ((0, 0), *around, (0, 0)))
  padded = lax.optimization_barrier(padded)  # else every product pads anew
  places = list(np.ndindex(*kernel.shape[:2]))

  def part(phase):
    # Input pixels of one phase are reached by those places of the kernel alone
    # whose offset leaves this phase over: a convolution without gaps.
    total = jnp.zeros((batch, *counts, channels), grad.dtype)
    for place, weight in zip(places, _by_place(kernel), strict=True):
      whole, left = zip(
        *(axis[i] for axis, i in zip(offsets, place, strict=True)), strict=True
      )
      if left == phase:
        rows, cols = (
          slice(m - w, m - w + n)
          for m, w, n in zip(most, whole, counts, strict=True)
        )
        total += padded[:, rows, cols] * weight
    return total

  lines = [
    jnp.stack([part((a, b)) for b in range(strides[1])], 3)
    for a in range(strides[0])
  ]
  full = jnp.stack(lines, 2).reshape(
    batch, counts[0] * strides[0], counts[1] * strides[1], channels
  )
  (top, _), (left, _) = pads
  return full[:, top : top + shape[1], left : left + shape[2]]


def _kernel_grad(grad, x, kernel, strides, pads, dilation):
  """Row by row, summed over the columns at the end."""
  batch, rows, cols, channels = grad.shape
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  extent = (kernel.shape[0] - 1) * dilation[0] + 1
  places = list(np.ndindex(*kernel.shape[:2]))

  def add(sums, index):
    example, row = index // rows, index % rows
    weight = lax.dynamic_slice(
      grad, (example, row, 0, 0), (1, 1, cols, channels)
    )[0, 0]
    band = lax.dynamic_slice(
      x, (example, row * strides[0], 0, 0), (1, extent, *x.shape[2:])
    )[0]

    # Rows and columns of the band that a place of the kernel sees.
    reach = (cols - 1) * strides[1] + 1
    starts = [(i * dilation[0], j * dilation[1]) for i, j in places]
    return [
      total + band[row, start : start + reach : strides[1]] * weight
      for total, (row, start) in zip(sums, starts, strict=True)
    ], None

  zeros = jnp.zeros((cols, channels), grad.dtype)
  sums, _ = lax.scan(
    add, [zeros] * len(places), jnp.arange(batch * rows), unroll=2
  )
  return jnp.stack([total.sum(0) for total in sums]).reshape(kernel.shape)


depthwise.defvjp(_forward, _backward)
